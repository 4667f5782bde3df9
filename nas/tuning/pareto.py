"""The Pareto front of a study with several objectives: a table, a picture, and a genotype file a point."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from optuna.study import Study
from optuna.trial import TrialState

from nas.commands import command
from nas.files import write_text
from nas.training.cost import UNITS
from nas.tuning.encoding import Encoding
from nas.visual.look import CONVOLUTION, MAX_POOL, MUTED, save_figure


@dataclass(frozen=True)
class Point:
    """A trial: the dev EER in percent, then the other objectives; all are better low."""

    trial: int
    values: tuple[float, ...]

    def dominates(self, other: Point) -> bool:
        """Whether it is nowhere worse and somewhere better."""
        return self.values != other.values and all(a <= b for a, b in zip(self.values, other.values, strict=True))


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other dominates, by their first value; of equal points the earliest trial."""
    front: dict[tuple[float, ...], Point] = {}
    for point in sorted(points, key=lambda point: point.trial):
        if not any(other.dominates(point) for other in points):
            front.setdefault(point.values, point)
    return sorted(front.values(), key=lambda point: point.values)


def write_front(study: Study, encoding: Encoding, objectives: Sequence[str], recipe: str, folder: Path) -> list[Point]:
    """Write FOLDER/pareto.csv, pareto.md, pareto_OBJECTIVE.png and FOLDER/pareto/trial_NNNN.json; returns the front.

    Args:
        objectives: names after the dev EER.
        recipe: the recipe file with which a point is retrained.
    """
    trials = {t.number: t for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    points = [Point(number, tuple(trial.values)) for number, trial in trials.items()]
    front = pareto_front(points)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "dev_eer", *objectives, "genotype"])
    lines = [f"| trial | dev EER % | {' | '.join(UNITS[name] for name in objectives)} | retrain |"]
    lines.append("|--:|--:|" + "--:|" * len(objectives) + "---|")
    for point in front:
        genotype = encoding.genotype(trials[point.trial].params)
        file = genotype.save(folder / "pareto" / f"trial_{point.trial:04d}.json")
        writer.writerow([point.trial, *point.values, file.relative_to(folder)])
        costs = " | ".join(f"{value:,.6g}" for value in point.values[1:])
        retrain = command("train", Path(recipe), "--genotype", file, "--output", folder / f"train_{point.trial:04d}")
        lines.append(f"| {point.trial} | {point.values[0]:.2f} | {costs} | `{retrain}` |")
    write_text(folder / "pareto.csv", text.getvalue())
    write_text(folder / "pareto.md", "\n".join(lines) + "\n")
    for place, name in enumerate(objectives, start=1):
        save_figure(draw_front(points, front, place, UNITS[name]), folder / f"pareto_{name}.png")
    return front


def draw_front(points: Sequence[Point], front: Sequence[Point], place: int, label: str) -> Figure:
    """Dev EER against objective number `place`: all trials, and those of the front joined by their steps."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(
        [p.values[place] for p in points], [p.values[0] for p in points], s=18, color=MUTED, alpha=0.6, label="trial"
    )
    ordered = sorted(front, key=lambda p: p.values[place])
    xs, ys = [p.values[place] for p in ordered], [p.values[0] for p in ordered]
    if len(points) and len(points[0].values) == 2:
        axes.step(xs, ys, where="post", color=CONVOLUTION.colour, linewidth=1.2)
    axes.scatter(xs, ys, s=34, color=MAX_POOL.colour, zorder=3, label="Pareto front")
    axes.set_xlabel(label)
    axes.set_ylabel("dev EER, %")
    axes.legend(frameon=False)
    return figure
