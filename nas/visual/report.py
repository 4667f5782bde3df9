"""The report: everything that a run directory tells, on one HTML page that needs nothing else (docs/visual.md).

`run_facts` reads, `write_report` lays out. What a run does not hold is left out of the page.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from nas.config import SearchedNetwork
from nas.cost import genotype_cost
from nas.errors import NasError
from nas.files import write_text
from nas.frontends.sinc import SAMPLE_RATE
from nas.genotype import Genotype
from nas.metrics.eer import eer
from nas.metrics.scores import Trials
from nas.visual import page
from nas.visual.curves import draw_curves
from nas.visual.detection import draw_attacks, draw_det, draw_histograms, gather_detection
from nas.visual.film import Film, draw_frames, draw_overview, draw_trajectories
from nas.visual.genotype import genotype_figure
from nas.visual.look import render
from nas.visual.run_facts import RunFacts, Waveforms, find_waveforms, gather_run, read_text_of

WORST = 6
"""Errors of each class that are listed."""
CARD_METRICS = (
    ("EER, %", "eer", ".2f"),
    ("min t-DCF", "min_tdcf", ".4f"),
    ("mean EER over attacks, %", "average_eer", ".2f"),
    ("minDCF", "min_dcf", ".4f"),
    ("actDCF", "act_dcf", ".4f"),
    ("Cllr", "cllr", ".4f"),
)


def write_report(
    runs: Sequence[str | Path],
    path: str | Path,
    waveforms: Callable[[RunFacts, Sequence[str]], Waveforms] | None = None,
) -> Path:
    """Write the report of one run, or of several with a comparison in front. Returns the path.

    Args:
        runs: run directories.
        path: the .html file.
        waveforms: finds the audio of utterances; by default in the corpus of the recipe, where it is still there.

    Raises:
        NasError: no run, a folder that is not a run directory, damaged files, another suffix, or no room to write.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise NasError(f"{path}: a report ends in .html, not {path.suffix or 'nothing'!r}")
    if not runs:
        raise NasError("a report needs at least one run directory")
    facts = [gather_run(run) for run in runs]
    labels = _labels(facts)
    sections = _comparison(facts, labels) if len(facts) > 1 else []
    for run, label in zip(facts, labels, strict=True):
        parts = _run_sections(run, waveforms or find_waveforms)
        if len(facts) > 1:
            parts = [
                page.Section(f"Run {label}", parts[0].body),
                *(page.Section(p.title, p.body, 3) for p in parts[1:]),
            ]
        sections += parts
    title = facts[0].name if len(facts) == 1 else f"{len(facts)} runs compared"
    lead = ", ".join(f"{run.kind} run {run.folder.name}" for run in facts)
    return write_text(path, page.page(title, lead, sections))


def _labels(facts: Sequence[RunFacts]) -> list[str]:
    """Short names that tell the runs apart."""
    names = [run.folder.resolve().name for run in facts]
    return [name if names.count(name) == 1 else f"{at + 1} {name}" for at, name in enumerate(names)]


def _comparison(facts: Sequence[RunFacts], labels: Sequence[str]) -> list[page.Section]:
    rows = []
    for run, label in zip(facts, labels, strict=True):
        found = run.evaluation
        model = run.card.get("model")
        size = model if isinstance(model, dict) else {}
        rows.append(
            [
                label,
                run.kind,
                run.name,
                str(run.recipe.get("seed", "")),
                _number(run.best_dev_eer, ".2f"),
                _number(found.get("eer"), ".2f"),
                _range(found.get("intervals")),
                _number(found.get("min_tdcf"), ".4f"),
                str(found.get("worst_attack") or ""),
                _number(found.get("worst_attack_eer"), ".2f"),
                _number(size.get("parameters"), ",d"),
                _number(size.get("macs"), ",d"),
                _number(size.get("latency_ms"), ".1f"),
            ]
        )
    header = ["run", "kind", "recipe", "seed", "best dev EER %", "eval EER %", "interval", "min t-DCF", "worst attack"]
    header += ["its EER %", "parameters", "MACs", "latency, ms"]
    told = [at for at in range(len(header)) if any(row[at] for row in rows)]
    body = page.table([header[at] for at in told], [[row[at] for at in told] for row in rows], "The runs")
    curves = {label: run.history for run, label in zip(facts, labels, strict=True) if run.history}
    if curves:
        body += _svg(draw_curves(curves), "Learning curves on the development set, a line a run.")
    scored = {label: run.trials for run, label in zip(facts, labels, strict=True) if _both_classes(run.trials)}
    if len(scored) > 1:
        pictures = gather_detection(scored)  # type: ignore[arg-type]
        body += _svg(draw_det(pictures), f"DET curves of {len(scored)} runs.")
        body += _svg(draw_attacks(pictures), "EER against each attack, a bar a run.")
    return [page.Section("Comparison", body)]


def _run_sections(run: RunFacts, waveforms: Callable[[RunFacts, Sequence[str]], Waveforms]) -> list[page.Section]:
    sections = [page.Section("Summary", _summary(run))]
    if run.card:
        sections.append(page.Section("Result card", _card(run.card)))
    if run.genotype is not None:
        sections.append(page.Section("Genotype", _genotype(run, run.genotype)))
    if run.film is not None:
        sections.append(page.Section("The search, epoch by epoch", _film(run.film)))
    if run.history:
        best = (
            "" if run.best_dev_eer is None else f" The lowest EER on the development set is {run.best_dev_eer:.2f} %."
        )
        alt = f"Loss, accuracy, development EER and learning rate over {len(run.history)} epochs.{best}"
        sections.append(page.Section("Learning curves", _svg(draw_curves({run.name: run.history}), alt)))
    if run.trials is not None and _both_classes(run.trials):
        sections.append(page.Section("Evaluation", _evaluation(run, run.trials)))
        sections.append(page.Section("Worst errors", _errors(run, run.trials, waveforms)))
    sections.append(page.Section("How it came about", _provenance(run)))
    return sections


def _summary(run: RunFacts) -> str:
    entries = [("kind of run", run.kind), ("seed", str(run.recipe.get("seed", "")))]
    if run.history:
        entries.append(("epochs", str(len(run.history))))
    if run.best_dev_eer is not None:
        entries.append(("best dev EER", f"{run.best_dev_eer:.2f} %"))
    found = run.evaluation
    if found.get("eer") is not None:
        entries.append(("eval EER", f"{_number(found['eer'], '.2f')} %"))
    if found.get("min_tdcf") is not None:
        entries.append(("min t-DCF", _number(found["min_tdcf"], ".4f")))
    if found.get("worst_attack"):
        entries.append(("worst attack", str(found["worst_attack"])))
        entries.append(("EER against it", f"{_number(found.get('worst_attack_eer'), '.2f')} %"))
    body = page.numbers(entries)
    data = run.recipe.get("data")
    if isinstance(data, dict):
        body += page.paragraph(f"Corpus: {data.get('root') or data.get('layout')}.")
        if data.get("layout") == "embedded":
            body += page.paragraph(
                "The corpus is synthetic, made for demonstration: these figures say nothing about real speech.",
                "remark",
            )
    remarks = found.get("remarks")
    if not isinstance(remarks, list):
        return body
    return body + "".join(page.paragraph(str(remark), "remark") for remark in remarks)


def _card(card: Mapping[str, Any]) -> str:
    """What is needed to believe and to repeat the result: metrics with intervals, size and speed, recipe and seed."""
    metrics, model = (part if isinstance(part, dict) else {} for part in (card.get("metrics"), card.get("model")))
    intervals = metrics.get("intervals")
    intervals = intervals if isinstance(intervals, dict) else {}
    rows = []
    for label, key, form in CARD_METRICS:
        ends = intervals.get(key)
        between = " to ".join(_number(end, form) for end in ends) if isinstance(ends, list) else ""
        rows.append([label, _number(metrics.get(key), form) or "not measured", between])
    columns = 3 if intervals else 2  # intervals are there where a bootstrap was asked for
    header = ["metric", "value", "interval"]
    body = page.table(header[:columns], [row[:columns] for row in rows], "Evaluation")
    facts = [
        ("parameters", _number(model.get("parameters"), ",")),
        ("multiply-accumulates an utterance", _number(model.get("macs"), ",")),
        ("latency an utterance, ms", _number(model.get("latency_ms"), ".1f")),
        ("threads", _number(model.get("threads"), ",")),
        ("samples an utterance", _number(model.get("samples"), ",")),
        ("seed", str(card.get("seed", ""))),
        ("SHA-256 of the recipe", str(card.get("recipe_sha256") or "")),
    ]
    return body + page.table(["what", "value"], [[name, value] for name, value in facts if value], "Network and recipe")


def _genotype(run: RunFacts, genotype: Genotype) -> str:
    strengths = None
    if run.film is not None and genotype in run.film.genotypes:
        strengths = run.film.kept_strengths(run.film.genotypes.index(genotype))
    picture = render(genotype_figure(genotype, run.space, strengths), "svg")
    body = page.image(picture, "svg", _in_words(genotype), wide=True)
    network = _searched(run)
    if network is not None:
        data = run.recipe.get("data")
        samples = data.get("samples", 64_000) if isinstance(data, dict) else 64_000
        cost = genotype_cost(genotype, run.space, network, int(samples))
        rows = [
            [
                part.name,
                f"{part.channels} × {part.frames}",
                f"{part.parameters:,}",
                f"{part.macs:,}",
                f"{part.activations:,}",
                "all" if part.receptive_field is None else f"{part.receptive_field / 16:.1f}",
            ]
            for part in cost.parts
        ]
        rows.append(["all", "", f"{cost.parameters:,}", f"{cost.macs:,}", f"{cost.activations:,}", ""])
        header = ["part", "channels × frames", "parameters", "MACs", "activations", "receptive field, ms"]
        body += page.table(header, rows, f"Cost of the network for {samples} samples")
    return body + page.preformatted(str(genotype), "The genotype as published text")


def _searched(run: RunFacts) -> SearchedNetwork | None:
    """The sizes of a run's network; None for a hand-made one, and for a section that does not read."""
    try:
        return SearchedNetwork.model_validate(run.recipe.get("network"))
    except ValidationError:
        return None


def _in_words(genotype: Genotype) -> str:
    cells = []
    for name, cell in genotype.cells.items():
        nodes = [
            f"node {node} is " + " plus ".join(f"{edge.primitive} of {_source(edge.source)}" for edge in edges)
            for node, edges in enumerate(cell.nodes)
        ]
        cells.append(f"{name.capitalize()} cell: {'; '.join(nodes)}.")
    return " ".join(cells)


def _source(source: int) -> str:
    return f"cell k-{2 - source}" if source < 2 else f"node {source - 2}"


def _film(film: Film) -> str:
    frames = []
    for frame in draw_frames(film):
        stream = io.BytesIO()
        frame.save(stream, "PNG", optimize=True)
        frames.append(stream.getvalue())
    labels = [f"Epoch {epoch}" for epoch in film.epochs]
    alts = [
        f"Epoch {epoch}. {_in_words(genotype)}" for epoch, genotype in zip(film.epochs, film.genotypes, strict=True)
    ]
    body = page.slider(frames, labels, alts, "Epoch")
    changes = film.changes()
    alt = f"Entropy, share of operations without weights, and {len(changes)} changes over {len(film.epochs)} epochs."
    body += _svg(draw_overview(film), alt)
    for name in film.space.types:
        body += _svg(
            draw_trajectories(film, name), f"Softmax of alpha on every edge of the {name} cell over the epochs."
        )
    rows = [[str(c.epoch), c.cell_type, str(c.node), c.before, c.after] for c in changes]
    if rows:
        body += page.table(["epoch", "cell", "node", "before", "after"], rows, "Changes of the genotype")
    return body


def _evaluation(run: RunFacts, trials: Trials) -> str:
    pictures = gather_detection({run.name: trials})
    value = pictures[0].eer
    body = _svg(draw_det(pictures), f"DET curve; the EER is {value:.2f} %.")
    body += _svg(draw_histograms(pictures), "Histogram of the scores of bona fide and of spoofed trials.")
    attacks = pictures[0].per_attack
    worst = max(attacks, key=lambda name: attacks[name])
    body += _svg(draw_attacks(pictures), f"EER against each attack; the worst is {worst} with {attacks[worst]:.2f} %.")
    rows = [[name, _number(value, ".2f"), str(len(trials.of_attack(name)))] for name, value in attacks.items()]
    return body + page.table(["attack", "EER %", "trials"], rows, "EER against each attack")


def _errors(run: RunFacts, trials: Trials, waveforms: Callable[[RunFacts, Sequence[str]], Waveforms]) -> str:
    """The bona fide trials with the lowest scores and the spoofed ones with the highest."""
    threshold = eer(trials.bonafide, trials.spoof).threshold
    order = np.argsort(trials.score, kind="stable")
    rejected = [at for at in order if trials.label[at] == 1][:WORST]
    accepted = [at for at in order[::-1] if trials.label[at] == 0][:WORST]
    heard = waveforms(run, [str(trials.utterance[at]) for at in (*rejected, *accepted)])
    body = page.paragraph(f"Threshold of the EER: {threshold:.4f}; higher scores are more bona fide.")
    for title, rows in (("Bona fide with the lowest scores", rejected), ("Spoofed with the highest scores", accepted)):
        body += page.trials(
            title,
            [
                (
                    str(trials.utterance[at]),
                    str(trials.attack[at]),
                    f"{trials.score[at]:.4f}",
                    "error" if (trials.score[at] < threshold) == (trials.label[at] == 1) else "correct",
                    heard.get(str(trials.utterance[at])),
                )
                for at in rows
            ],
            SAMPLE_RATE,
        )
    return (
        body if heard else body + page.paragraph("The audio of these utterances is not where the recipe says.", "quiet")
    )


def _provenance(run: RunFacts) -> str:
    rows = []
    for key, value in run.environment.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {item}" for name, item in value.items() if item is not None)
        elif isinstance(value, list):
            value = " ".join(map(str, value))
        if value not in (None, ""):
            rows.append([str(key), str(value)])
    body = page.table(["what", "value"], rows, "Environment")
    body += page.preformatted(run.recipe_text, "The recipe as run")
    if (run.folder / "log.txt").exists():
        body += page.preformatted(read_text_of(run.folder, "log.txt"), "The log")
    return body


def _svg(figure: Any, alt: str) -> str:
    return page.image(render(figure, "svg"), "svg", alt, alt)


def _both_classes(trials: Trials | None) -> bool:
    return trials is not None and len(trials.bonafide) > 0 and len(trials.spoof) > 0


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int if form.endswith("d") else int | float) else ""


def _range(intervals: object) -> str:
    match intervals:
        case {"eer": [int() | float() as low, int() | float() as high]}:
            return f"[{low:.2f},\N{NO-BREAK SPACE}{high:.2f}]"
    return ""
