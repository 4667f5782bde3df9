"""One evaluation: every number that is reported about a system, from its scored trials."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError, printable
from nas.labels import NO_ATTACK
from nas.metrics.bootstrap import Bootstrap, Interval, resample
from nas.metrics.dcf import ASVSPOOF5, OperatingPoint, act_dcf, cllr, curve_min_dcf
from nas.metrics.eer import DetectionCurve, curve_eer, detection_curve
from nas.metrics.scores import Higher, Trials, read_scores
from nas.metrics.tdcf import ASVErrors, Edition, curve_min_tdcf, read_asv_scores, tandem_costs
from nas.words import named

UNKNOWN_ATTACK = "unknown"
"""How spoofed trials are listed whose attack the score file does not tell."""

TIES_MATTER = 0.005
"""Percentage points of EER by which ties between the classes must move the result before it is remarked on."""


@dataclass(frozen=True)
class AttackResult:
    """A system against one attack: EER in percent, min t-DCF (None without ASV scores), spoofed trials.

    The min t-DCF is that of a corpus with this attack only: the verification system's errors are those on this attack.
    """

    eer: float
    min_tdcf: float | None
    trials: int


@dataclass(frozen=True)
class Corpus:
    """What was scored: how the corpus is laid out, its absolute folder (None: it has none), and the partition."""

    layout: str
    root: str | None
    partition: str

    def __str__(self) -> str:
        return f"{self.partition} of {self.layout}" + (f" at {self.root}" if self.root else "")


@dataclass(frozen=True)
class Evaluation:
    """What a system's scores are worth. EERs are percentages; costs are normalised, 1 being a useless system."""

    eer: float
    eer_threshold: float
    min_tdcf: float | None
    min_tdcf_threshold: float | None
    asv_eer: float | None
    tdcf_edition: int
    min_dcf: float
    act_dcf: float
    cllr: float
    per_attack: Mapping[str, AttackResult]
    n_bonafide: int
    n_spoof: int
    n_speakers: int | None
    direction: str
    source: str
    bootstrap: Bootstrap | None = None
    bootstrap_unit: str | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    corpus: Corpus | None = None

    @property
    def worst_attack(self) -> str:
        """The attack with the highest EER; the first by name among equals."""
        return max(self.per_attack, key=lambda name: self.per_attack[name].eer)

    @property
    def worst_attack_eer(self) -> float:
        """EER of the worst attack in percent."""
        return self.per_attack[self.worst_attack].eer

    @property
    def average_eer(self) -> float:
        """Mean of the attacks' EERs in percent, each attack counting the same."""
        return float(np.mean([attack.eer for attack in self.per_attack.values()]))

    def to_json(self) -> str:
        """`as_dict` as JSON text."""
        return json.dumps(_finite(self.as_dict()), indent=2, allow_nan=False) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types. EERs in percent, intervals as [low, high]."""
        intervals = {name: [found.low, found.high] for name, found in self.intervals.items()}
        content: dict[str, Any] = {
            "eer": self.eer,
            "min_tdcf": self.min_tdcf,
            "worst_attack": self.worst_attack,
            "worst_attack_eer": self.worst_attack_eer,
            "average_eer": self.average_eer,
            "per_attack": {
                name: {"eer": attack.eer, "min_tdcf": attack.min_tdcf, "trials": attack.trials}
                for name, attack in self.per_attack.items()
            },
            "min_dcf": self.min_dcf,
            "act_dcf": self.act_dcf,
            "cllr": self.cllr,
            "eer_threshold": self.eer_threshold,
            "min_tdcf_threshold": self.min_tdcf_threshold,
            "tdcf_edition": self.tdcf_edition,
            "asv_eer": self.asv_eer,
            "n_bonafide": self.n_bonafide,
            "n_spoof": self.n_spoof,
            "n_speakers": self.n_speakers,
            "direction": self.direction,
            "source": self.source,
            "corpus": None if self.corpus is None else asdict(self.corpus),
            "remarks": list(self.remarks),
        }
        if self.bootstrap is not None:
            content["intervals"] = intervals
            content["bootstrap"] = {
                "unit": self.bootstrap_unit,
                "rounds": self.bootstrap.rounds,
                "level": self.bootstrap.level,
                "seed": self.bootstrap.seed,
            }
        return content

    def summary(self) -> str:
        """A few lines for a terminal."""
        where = "" if self.corpus is None else f" ({printable(str(self.corpus))})"
        lines = [f"{self.n_bonafide} bona fide and {self.n_spoof} spoofed trials{where}"]
        lines.append(f"EER          {self.eer:.4f} %{self._range('eer', '.2f', ' %')}")
        if self.min_tdcf is not None:
            lines.append(
                f"min t-DCF    {self.min_tdcf:.5f}{self._range('min_tdcf', '.4f')} (edition {self.tdcf_edition})"
            )
        lines.append(f"worst attack {printable(self.worst_attack)}, EER {self.worst_attack_eer:.3f} %")
        for name, attack in self.per_attack.items():
            cost = "" if attack.min_tdcf is None else f"  min t-DCF {attack.min_tdcf:.5f}"
            lines.append(f"  {printable(name):<10} EER {attack.eer:7.3f} %{cost}  ({attack.trials} trials)")
        lines += [f"note: {printable(remark)}" for remark in self.remarks]
        return "\n".join(lines)

    def _range(self, metric: str, form: str, unit: str = "") -> str:
        found = self.intervals.get(metric)
        if found is None or self.bootstrap is None:
            return ""
        level = f"{100 * self.bootstrap.level:g} %"
        return f" [{found.low:{form}}, {found.high:{form}}]{unit}, {level} by {self.bootstrap_unit}"


def evaluate_trials(
    trials: Trials,
    asv: ASVErrors | None = None,
    bootstrap: Bootstrap | int | None = None,
    speakers: Mapping[str, str] | NDArray[Any] | None = None,
    edition: Edition = 2019,
    point: OperatingPoint = ASVSPOOF5,
) -> Evaluation:
    """Evaluate scored trials.

    Args:
        asv: errors of the speaker verification system; without them there is no min t-DCF.
        bootstrap: a plan, or the number of rounds, for 95 % intervals of every metric.
        speakers: the speaker of each utterance by name, or of each trial [N], for the bootstrap by speaker.
        edition: the t-DCF of ASVspoof 2019 or of 2021.

    Raises:
        NasError: a class without trials, an utterance whose speaker is not told.
    """
    if isinstance(bootstrap, int):
        bootstrap = Bootstrap(bootstrap)
    trials = _with_speakers(trials, speakers)
    _needs_both_classes(trials)
    curve = detection_curve(trials.bonafide, trials.spoof)
    point_eer = curve_eer(curve)
    cost = curve_min_tdcf(curve, tandem_costs(asv, edition)) if asv is not None else None
    intervals: dict[str, Interval] = {}
    if bootstrap is not None:
        per_attack = set(trials.attacks) != {"-"}
        values = resample([trials], bootstrap, asv, edition, point, per_attack)[0]
        # An attack of very few trials may never be drawn and gets no interval; the pooled EER must have one.
        kept = {name: drawn for name, drawn in values.items() if name == "eer" or np.isfinite(drawn).any()}
        intervals = {name: Interval.of(drawn, bootstrap.level) for name, drawn in kept.items()}
    return Evaluation(
        eer=100 * point_eer.value,
        eer_threshold=point_eer.threshold,
        min_tdcf=None if cost is None else cost.value,
        min_tdcf_threshold=None if cost is None else cost.threshold,
        asv_eer=None if asv is None or math.isnan(asv.eer) else 100 * asv.eer,
        tdcf_edition=edition,
        min_dcf=curve_min_dcf(curve, point),
        act_dcf=act_dcf(trials.bonafide, trials.spoof, point),
        cllr=cllr(trials.bonafide, trials.spoof),
        per_attack=_per_attack(trials, asv, edition),
        n_bonafide=int(trials.bonafide.size),
        n_spoof=int(trials.spoof.size),
        n_speakers=None if trials.speaker is None else len(set(trials.speaker.tolist())),
        direction=trials.direction,
        source=trials.source,
        bootstrap=bootstrap,
        bootstrap_unit=None if bootstrap is None else bootstrap.unit_for(trials),
        intervals=intervals,
        remarks=trials.remarks + _remarks(trials, curve, point_eer.value) + _asv_remarks(trials, asv),
    )


def evaluate_scores(
    scores: str | Path,
    protocol: str | Path | None = None,
    asv_scores: str | Path | None = None,
    bootstrap: int | None = None,
    higher: Higher | None = None,
    subset: str | None = None,
) -> Evaluation:
    """Measure a score file.

    Args:
        scores: the file (`nas.metrics.read_scores` says which forms are read).
        protocol: keys, attacks and speakers, where the file has none.
        asv_scores: three-column ASV score file, for the min t-DCF.
        bootstrap: rounds for 95 % intervals, by speaker where the protocol knows them; none by default.
        higher: what a high score means; detected, with a warning where it is not plain, by default.
        subset: of a protocol that has several (ASVspoof 2021: eval, progress, hidden_track), or "all"; by default the
            only one that has scores, else eval.

    Raises:
        NasError: bad input.
    """
    asv = read_asv_scores(asv_scores) if asv_scores else None
    return evaluate_trials(read_scores(scores, protocol, higher=higher, subset=subset), asv, bootstrap)


def _per_attack(trials: Trials, asv: ASVErrors | None, edition: Edition) -> dict[str, AttackResult]:
    results = {}
    for attack in trials.attacks:
        spoof = trials.of_attack(attack)
        curve = detection_curve(trials.bonafide, spoof)
        cost = None
        errors = None if asv is None else asv.of_attack(attack)
        if errors is not None:
            try:
                cost = curve_min_tdcf(curve, tandem_costs(errors, edition)).value
            except NasError:  # The verification system stops every trial of this attack: there is no tandem cost.
                cost = None
        name = UNKNOWN_ATTACK if attack == "-" else attack
        results[name] = AttackResult(100 * curve_eer(curve).value, cost, int(spoof.size))
    return results


def _with_speakers(trials: Trials, speakers: Mapping[str, str] | NDArray[Any] | None) -> Trials:
    if speakers is None:
        return trials
    if isinstance(speakers, Mapping):
        missing = [name for name in trials.utterance.tolist() if name not in speakers]
        if missing:
            raise NasError(f"{trials.source}: trials whose speaker is not told: {named(missing)}")
        speakers = np.array([speakers[name] for name in trials.utterance.tolist()], dtype=object)
    return replace(trials, speaker=np.asarray(speakers, dtype=object))


def _finite(content: Any) -> Any:
    """The same content with null for numbers that JSON cannot hold."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _needs_both_classes(trials: Trials) -> None:
    for scores, name in ((trials.bonafide, "bona fide"), (trials.spoof, "spoofed")):
        if scores.size == 0:
            raise NasError(
                f"{trials.source}: of {len(trials)} trials none is {name}; error rates need trials of both classes"
            )


def _remarks(trials: Trials, curve: DetectionCurve, value: float) -> tuple[str, ...]:
    """What a reader of the numbers must know about the scores."""
    remarks = []
    if trials.direction == "negated":
        remarks.append("the scores were negated, because spoofed trials scored higher than bona fide ones")
    joined = curve_eer(curve.joined()).value
    if 100 * abs(joined - value) > TIES_MATTER:
        shared = np.intersect1d(trials.bonafide, trials.spoof).size
        remarks.append(
            f"{shared} scores are shared by bona fide and spoofed trials; the official order of ties counts such pairs "
            f"as confused, and a threshold on these scores reaches {100 * joined:.4f} %"
        )
    return tuple(remarks)


def _asv_remarks(trials: Trials, asv: ASVErrors | None) -> tuple[str, ...]:
    """What a reader of tandem costs must know about the speaker verification scores."""
    attacks = [attack for attack in trials.attacks if attack != NO_ATTACK]
    untold = [attack for attack in attacks if asv is not None and attack not in asv.miss_spoof_of]
    if asv is None or not untold:
        return ()
    if not asv.miss_spoof_of:
        return ("the ASV scores do not name their attacks, so there is no min t-DCF of single attacks",)
    theirs = named(sorted(asv.miss_spoof_of))
    if len(untold) < len(attacks):
        return (f"attacks that the ASV scores do not have, so without a min t-DCF of their own: {named(untold)}",)
    return (
        f"the ASV scores are of other attacks, {theirs}, than the trials, {named(untold)}: they are those of another "
        "partition, so the pooled min t-DCF means little and there is none of single attacks",
    )
