"""The result card: one page, as JSON and as Markdown, with all that is needed to believe and to repeat a result.

`gather_card` reads a run directory (docs/runs.md), `result_card` takes the parts from anywhere else; what is not known
is left out of the page rather than guessed.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from nas.errors import NasError
from nas.files import write_text
from nas.metrics.comparison import markdown_table
from nas.metrics.evaluation import Evaluation
from nas.network import Network
from nas.networks.benchmark import measure_scoring
from nas.networks.cost import measure_cost
from nas.text_files import read_text
from nas.training.run import read_settings

LATENCY_ROUNDS = 7


@dataclass(frozen=True)
class ModelFacts:
    """Size and speed of a network for one utterance of `samples` samples (16 kHz).

    `latency_ms` is the median time of scoring one utterance with `threads` threads on `device`; None if not measured.
    """

    parameters: int
    trainable: int
    macs: int
    samples: int
    latency_ms: float | None = None
    threads: int | None = None
    device: str | None = None


@dataclass(frozen=True)
class ResultCard:
    """A result with its circumstances. `recipe_sha256` is of the recipe as run, byte for byte."""

    name: str
    evaluation: Evaluation
    model: ModelFacts | None = None
    training_data: Mapping[str, Any] = field(default_factory=dict)
    recipe_sha256: str | None = None
    seed: int | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    genotype: str | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types."""
        return {
            "name": self.name,
            "metrics": json.loads(self.evaluation.to_json()),
            "model": None if self.model is None else asdict(self.model),
            "training_data": dict(self.training_data),
            "recipe_sha256": self.recipe_sha256,
            "seed": self.seed,
            "environment": dict(self.environment),
            "genotype": self.genotype,
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """`as_dict` as JSON text."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """The page."""
        parts = [f"# {_cell(self.name)}\n", _metrics(self.evaluation), _attacks(self.evaluation)]
        if self.model is not None:
            parts.append(_model(self.model))
        if self.training_data:
            rows = [[_cell(key), _cell(value)] for key, value in self.training_data.items()]
            parts.append("## Training data\n\n" + markdown_table(["what", "value"], rows))
        parts.append(_provenance(self))
        if self.genotype:
            parts.append(f"## Genotype\n\n{_fenced(self.genotype)}")
        remarks = [*self.evaluation.remarks, *self.notes]
        if remarks:
            parts.append("## Notes\n\n" + "".join(f"* {_cell(remark)}\n" for remark in remarks))
        return "\n".join(parts)


def result_card(
    name: str,
    evaluation: Evaluation,
    *,
    network: Network | None = None,
    samples: int = 64_000,
    latency: bool = True,
    training_data: Mapping[str, Any] | None = None,
    recipe: str | bytes | None = None,
    seed: int | None = None,
    environment: Mapping[str, Any] | None = None,
    genotype: str | None = None,
    notes: tuple[str, ...] = (),
) -> ResultCard:
    """A card from its parts.

    Args:
        network: measured for its size and, with `latency`, its speed where it is, with PyTorch's threads as they are.
        samples: length of an utterance for both.
        recipe: the recipe as run, for its hash.
    """
    content = recipe.encode("utf-8") if isinstance(recipe, str) else recipe
    return ResultCard(
        name=name,
        evaluation=evaluation,
        model=None if network is None else model_facts(network, samples, latency),
        training_data=dict(training_data or {}),
        recipe_sha256=None if content is None else hashlib.sha256(content).hexdigest(),
        seed=seed,
        environment=dict(environment or {}),
        genotype=genotype,
        notes=notes,
    )


def gather_card(
    run: str | Path, evaluation: Evaluation, network: Network | None = None, latency: bool = True
) -> ResultCard:
    """A card of a run directory: recipe, seed, data, environment and genotype are read from it.

    Raises:
        NasError: it is not a run directory, or a file of it is damaged.
    """
    run = Path(run)
    recipe, environment = read_settings(run)
    file = run / "genotype.json"
    genotype = read_text(file, "genotype file") if file.is_file() else None
    try:
        data, seed = dict(recipe["data"]), int(recipe["seed"])
        name = f"{recipe['name']} (seed {seed})"
    except (ValueError, KeyError, TypeError) as error:
        raise NasError(f"{run / 'recipe.yaml'} is damaged: name, data or seed is missing or no such") from error
    return result_card(
        name,
        evaluation,
        network=network,
        samples=int(data.get("samples", 64_000)),
        latency=latency,
        training_data={key: value for key, value in data.items() if value is not None},
        recipe=(run / "recipe.yaml").read_bytes(),
        seed=seed,
        environment=environment,
        genotype=genotype,
    )


def write_card(folder: str | Path, card: ResultCard) -> list[Path]:
    """card.json and card.md in the folder; the paths written."""
    folder = Path(folder)
    return [write_text(folder / "card.json", card.to_json()), write_text(folder / "card.md", card.to_markdown())]


def model_facts(network: Network, samples: int = 64_000, latency: bool = True) -> ModelFacts:
    """Count a network's parameters and multiply-accumulates, and time it on one utterance if asked to."""
    cost = measure_cost(network, samples)
    facts = ModelFacts(cost.parameters, cost.trainable, cost.macs, samples)
    if not latency:
        return facts
    times = measure_scoring(network, samples, rounds=LATENCY_ROUNDS, threads=torch.get_num_threads())
    median = 1000 * statistics.median(times.plain)
    device = str(next(network.parameters()).device)
    return ModelFacts(cost.parameters, cost.trainable, cost.macs, samples, median, times.threads, device)


def _metrics(result: Evaluation) -> str:
    named = [
        ("EER %", "eer", result.eer, ".4f"),
        ("min t-DCF" if result.tdcf_edition == 2019 else "min t-DCF (2021)", "min_tdcf", result.min_tdcf, ".5f"),
        ("mean EER over attacks %", "average_eer", result.average_eer, ".4f"),
        ("minDCF", "min_dcf", result.min_dcf, ".4f"),
        ("actDCF", "act_dcf", result.act_dcf, ".4f"),
        ("Cllr", "cllr", result.cllr, ".4f"),
    ]
    rows = []
    for label, key, value, form in named:
        interval = result.intervals.get(key)
        found = "" if interval is None else f"[{interval.low:{form}}, {interval.high:{form}}]"
        rows.append([label, "not measured" if value is None else f"{value:{form}}", found])
    text = markdown_table(["metric", "value", "interval"], rows)
    if result.corpus is not None:
        text += f"\nMeasured on: {_cell(result.corpus)}.\n"
    text += f"\n{result.n_bonafide:,} bona fide and {result.n_spoof:,} spoofed trials; higher scores mean bona fide. "
    text += "actDCF and Cllr take the scores for log-likelihood ratios, which only calibrated scores are.\n"
    if result.bootstrap is not None:
        text += (
            f"Intervals: {100 * result.bootstrap.level:g} %, {result.bootstrap.rounds} bootstrap rounds by "
            f"{result.bootstrap_unit}, seed {result.bootstrap.seed}.\n"
        )
    return text


def _attacks(result: Evaluation) -> str:
    rows = []
    for name, attack in result.per_attack.items():
        interval = result.intervals.get(f"eer/{name}")
        found = "" if interval is None else f"[{interval.low:.2f}, {interval.high:.2f}]"
        cost = "" if attack.min_tdcf is None else f"{attack.min_tdcf:.5f}"
        label = f"**{_cell(name)}** (worst)" if name == result.worst_attack else _cell(name)
        rows.append([label, f"{attack.eer:.3f}", found, cost, f"{attack.trials:,}"])
    return "## Attacks\n\n" + markdown_table(["attack", "EER %", "interval", "min t-DCF", "trials"], rows)


def _model(facts: ModelFacts) -> str:
    rows = [
        ["parameters", f"{facts.parameters:,} ({facts.trainable:,} trainable)"],
        ["multiply-accumulates", f"{facts.macs:,} for {facts.samples:,} samples"],
    ]
    if facts.latency_ms is not None:
        threads = "1 thread" if facts.threads == 1 else f"{facts.threads} threads"
        rows.append(["latency", f"{facts.latency_ms:.1f} ms an utterance, {facts.device}, {threads}"])
    return "## Network\n\n" + markdown_table(["what", "value"], rows)


def _provenance(card: ResultCard) -> str:
    rows = []
    if card.seed is not None:
        rows.append(["seed", str(card.seed)])
    if card.recipe_sha256 is not None:
        rows.append(["recipe (SHA-256)", card.recipe_sha256])
    for key, value in card.environment.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {item}" for name, item in value.items() if item is not None)
        elif isinstance(value, list):
            value = " ".join(map(str, value))
        if value not in (None, ""):
            rows.append([_cell(key), _cell(value)])
    rows.append(["scores", _cell(card.evaluation.source)])
    return "## How it came about\n\n" + markdown_table(["what", "value"], rows)


def _cell(value: object) -> str:
    """Text from elsewhere on one line, with nothing that Markdown would take for an element."""
    text = " ".join(str(value).split())
    for sign in "\\`*_<>[]#":
        text = text.replace(sign, f"\\{sign}")
    return text


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text.strip()}\n{fence}\n"
