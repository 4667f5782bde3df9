"""Systems side by side: which differences on the same trials are more than luck, and what several seeds amount to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import NasError, nearest, printable
from nas.metrics.bootstrap import Bootstrap, Interval, p_value, resample
from nas.metrics.evaluation import Evaluation, evaluate_trials
from nas.metrics.scores import Trials
from nas.metrics.tdcf import ASVErrors, Edition


@dataclass(frozen=True)
class Difference:
    """How one metric of a system differs from the reference's on the same trials (system minus reference).

    `p_value` is two-sided, from the paired bootstrap; `adjusted_p` is corrected by Holm's method for the number of
    systems compared with the reference on this metric.
    """

    system: str
    reference: str
    metric: str
    value: float
    interval: Interval
    p_value: float
    adjusted_p: float

    @property
    def significant(self) -> bool:
        """At the 5 % level, after the correction."""
        return self.adjusted_p < 0.05


@dataclass(frozen=True)
class Comparison:
    """Evaluations of several systems on the same trials, and their differences from one of them."""

    evaluations: Mapping[str, Evaluation]
    reference: str
    differences: tuple[Difference, ...]

    def difference(self, system: str, metric: str = "eer") -> Difference | None:
        """A system's difference from the reference; None for the reference itself and for what was not measured."""
        found = [d for d in self.differences if (d.system, d.metric) == (system, metric)]
        return found[0] if found else None

    def header(self) -> list[str]:
        """Names of the columns of `rows`."""
        costs = ["min t-DCF", "interval"] if self._with_costs else []
        return [
            "system",
            "EER %",
            "interval",
            *costs,
            "worst attack",
            "its EER %",
            "EER - reference",
            "p",
            "significant",
        ]

    def rows(self) -> list[list[str]]:
        """A row a system, best EER first, for a table."""
        rows = []
        for name, result in sorted(self.evaluations.items(), key=lambda item: item[1].eer):
            row = [name, f"{result.eer:.2f}", _interval(result.intervals["eer"], ".2f")]
            if self._with_costs:
                row += [f"{result.min_tdcf:.4f}", _interval(result.intervals["min_tdcf"], ".4f")]
            row += [result.worst_attack, f"{result.worst_attack_eer:.2f}"]
            against = self.difference(name)
            if against is None:
                row += ["reference", "", ""]
            else:
                moved = f"{against.value:+.2f} {_interval(against.interval, '+.2f')}"
                row += [moved, f"{against.adjusted_p:.3f}", "yes" if against.significant else "no"]
            rows.append(row)
        return rows

    def to_markdown(self) -> str:
        """The rows as a Markdown table, with a line that says how the intervals came about."""
        some = next(iter(self.evaluations.values()))
        plan = some.bootstrap
        assert plan is not None
        note = (
            f"{100 * plan.level:g} % intervals and two-sided significance from {plan.rounds} paired bootstrap rounds "
            f"by {some.bootstrap_unit} (seed {plan.seed}), p corrected by Holm's method; reference: {self.reference}."
        )
        remarks = [
            f"* {printable(name)}: {printable(remark)}"
            for name, result in self.evaluations.items()
            for remark in result.remarks
        ]
        parts = [
            markdown_table(self.header(), self.rows()),
            f"{note}\n",
            *(["\n".join(remarks) + "\n"] if remarks else []),
        ]
        return "\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types."""
        return {
            "reference": self.reference,
            "systems": {name: result.as_dict() for name, result in self.evaluations.items()},
            "differences": [
                {
                    "system": d.system,
                    "metric": d.metric,
                    "value": d.value,
                    "interval": [d.interval.low, d.interval.high],
                    "p_value": d.p_value,
                    "adjusted_p": d.adjusted_p,
                    "significant": d.significant,
                }
                for d in self.differences
            ],
        }

    def to_json(self) -> str:
        """`as_dict` as JSON text."""
        return json.dumps(self.as_dict(), indent=2) + "\n"

    @property
    def _with_costs(self) -> bool:
        return all(result.min_tdcf is not None for result in self.evaluations.values())


def compare(
    systems: Mapping[str, Trials],
    asv: ASVErrors | None = None,
    bootstrap: Bootstrap | None = None,
    reference: str | None = None,
    edition: Edition = 2019,
) -> Comparison:
    """Evaluate systems on the same trials and test each against the reference (the first, if none is named).

    Raises:
        NasError: fewer than two systems, systems scored on different trials, a reference that is none of them.
    """
    if len(systems) < 2:
        raise NasError(f"a comparison needs at least two systems, not {len(systems)}")
    names = list(systems)
    if reference is None:
        reference = names[0]
    elif reference not in systems:
        raise NasError(f"the reference {reference!r} is not among the systems{nearest(reference, names)}")
    plan = bootstrap or Bootstrap()
    speakers = next((trials for trials in systems.values() if trials.speaker is not None), None)
    evaluations = {name: evaluate_trials(trials, asv, edition=edition) for name, trials in systems.items()}
    # The draws follow the first system, so the one that knows the speakers goes first.
    ordered = sorted(names, key=lambda name: systems[name] is not speakers)
    first = systems[ordered[0]]
    drawn = dict(zip(ordered, resample([systems[name] for name in ordered], plan, asv, edition), strict=True))
    for name in names:
        evaluations[name] = replace(
            evaluations[name],
            bootstrap=plan,
            bootstrap_unit=plan.unit_for(first),
            intervals={metric: Interval.of(values, plan.level) for metric, values in drawn[name].items()},
        )
    differences: list[Difference] = []
    for metric in drawn[reference]:
        others = [name for name in names if name != reference]
        moved = {name: drawn[name][metric] - drawn[reference][metric] for name in others}
        p_values = [p_value(moved[name]) for name in others]
        for name, p, adjusted in zip(others, p_values, holm(p_values), strict=True):
            value = getattr(evaluations[name], metric) - getattr(evaluations[reference], metric)
            interval = Interval.of(moved[name], plan.level)
            differences.append(Difference(name, reference, metric, value, interval, p, adjusted))
    return Comparison(evaluations, reference, tuple(differences))


def name_systems(systems: Sequence[str]) -> dict[str, Path]:
    """Systems given as `NAME=PATH` or `PATH` by their names: without one, as much of the path's end as tells it apart.

    Raises:
        NasError: two systems have one name, or one is given twice.
    """
    pairs = [
        ("", system) if Path(system).exists() or "=" not in system else tuple(system.split("=", 1))
        for system in systems
    ]
    paths = [Path(place) for _, place in pairs]
    parts = [(*path.absolute().parts[:-1], path.absolute().stem) for path in paths]
    named: dict[str, Path] = {}
    for (name, _), path, own in zip(pairs, paths, parts, strict=True):
        ends = ("/".join(own[-depth:]) for depth in range(1, len(own) + 1))
        clear = next((end for end in ends if sum("/".join(other).endswith(f"/{end}") for other in parts) == 1), "")
        name = name or clear or str(path)
        if name in named:
            raise NasError(f"two systems are called {name!r} ({named[name]}, {path}); name them: NAME={path}")
        named[name] = path
    return named


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: each adjusted p is the lowest level at which its hypothesis would be rejected."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


@dataclass(frozen=True)
class Spread:
    """One metric over several seeds: all values, their mean, sample standard deviation, lowest and highest."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """None for a single seed, which has no spread."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def lowest(self) -> float:
        return min(self.values)

    @property
    def highest(self) -> float:
        return max(self.values)

    def __str__(self) -> str:
        if self.deviation is None:
            return f"{self.mean:.4g} (one seed)"
        listed = ", ".join(f"{value:.4g}" for value in self.values)
        return f"{self.mean:.4g} ± {self.deviation:.2g} (n = {len(self.values)}: {listed})"


@dataclass(frozen=True)
class Seeds:
    """One system trained with several seeds: `metrics` maps eer, min_tdcf, ... and eer/ATTACK to their spread."""

    seeds: tuple[int, ...]
    metrics: Mapping[str, Spread]

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types."""
        return {
            "seeds": list(self.seeds),
            "metrics": {
                name: {
                    "mean": spread.mean,
                    "deviation": spread.deviation,
                    "lowest": spread.lowest,
                    "highest": spread.highest,
                    "values": list(spread.values),
                }
                for name, spread in self.metrics.items()
            },
        }


SEED_METRICS = ("eer", "min_tdcf", "worst_attack_eer", "average_eer", "min_dcf", "act_dcf", "cllr")


def over_seeds(evaluations: Mapping[int, Evaluation]) -> Seeds:
    """What several seeds of one system amount to; never the best of them alone.

    Raises:
        NasError: no evaluation, or evaluations of different attacks.
    """
    if not evaluations:
        raise NasError("there are no evaluations to summarise over seeds")
    results = list(evaluations.values())
    if any(set(result.per_attack) != set(results[0].per_attack) for result in results):
        raise NasError("the seeds were evaluated against different attacks, so their mean would mean nothing")
    metrics = {}
    for name in SEED_METRICS:
        values = [getattr(result, name) for result in results]
        if all(value is not None for value in values):
            metrics[name] = Spread(tuple(values))
    for attack in results[0].per_attack:
        metrics[f"eer/{attack}"] = Spread(tuple(result.per_attack[attack].eer for result in results))
    return Seeds(tuple(evaluations), metrics)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars within cells are escaped, and what a terminal would act on."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(printable(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _interval(interval: Interval, form: str) -> str:
    return f"[{interval.low:{form}}, {interval.high:{form}}]"
