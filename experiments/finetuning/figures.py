"""The figures 1 to 4 and the table of the fine-tuning study, drawn from run directories beside the published values.

    python -m experiments.finetuning.figures RUNS OUTPUT

RUNS holds the run directories aasist, rawnet2 and lcnn (those that are missing are left out), each after
`nas evaluate` on dev and eval.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nas.errors import NasError
from nas.files import write_text
from nas.text_files import read_json
from nas.visual.curves import column
from nas.visual.look import INK, MUTED, RULE, save_figure

History = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Published:
    """What the paper says of a system: accuracies of training in %, and the loss of its table."""

    title: str
    accuracies: tuple[tuple[int, float, float], ...]
    """(epoch, lowest, highest)"""
    final: str
    loss: str


PUBLISHED = {
    "aasist": Published("AASIST", ((1, 10.4, 10.4), (5, 45.0, 60.0)), "45 to 60 (5 epochs)", "5.75"),
    "rawnet2": Published("RawNet2", ((1, 12.0, 12.0), (10, 84.29, 84.29)), "84.29", "1.19"),
    "lcnn": Published("LCNN", ((10, 81.4, 81.4),), "81.4", "1.26"),
}
COLOURS = {"aasist": "#009E73", "rawnet2": "#D55E00", "lcnn": "#0072B2"}
FIGURES = (("aasist",), ("rawnet2",), ("lcnn",), ("lcnn", "rawnet2"))


def read_history(run: Path) -> History:
    """The rows of history.csv.

    Raises:
        NasError: it is missing.
    """
    try:
        with open(run / "history.csv", encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    except OSError as error:
        raise NasError(f"{run} has no history.csv: it is not a run that has trained an epoch") from error


def draw(runs: Mapping[str, History]) -> Figure:
    """Loss and accuracy over the epochs, of training (full) and development (dashed), with the published values."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, history in runs.items():
        known, colour = PUBLISHED[name], COLOURS[name]
        for axes, measure in ((left, "loss"), (right, "accuracy")):
            for part, style in (("train", "-"), ("dev", "--")):
                epochs, values = column(history, f"{part}_{measure}")
                axes.plot(epochs, values, style, color=colour, linewidth=2, marker="o", markersize=3,
                          label=f"{known.title}, {part}")  # fmt: skip
        for at, (epoch, low, high) in enumerate(known.accuracies):
            label = f"{known.title}, published" if at == 0 else None
            right.errorbar(
                epoch, (low + high) / 2, (high - low) / 2, fmt="D", color=colour, markerfacecolor="white",
                markersize=7, capsize=4, label=label,
            )  # fmt: skip
    right.axhline(50, color=MUTED, linewidth=0.8, linestyle=":")
    right.set_ylim(0, 102)
    left.set_ylim(bottom=0)
    for axes, title in ((left, "Loss"), (right, "Accuracy, %  (dotted: a coin)")):
        axes.set_title(title, loc="left", fontsize=11, weight="bold", color=INK)
        axes.set_xlabel("epoch", fontsize=9, color=MUTED)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=RULE, linewidth=0.5)
        axes.tick_params(labelsize=9, colors=MUTED)
        axes.legend(frameon=False, fontsize=8, loc="lower right" if axes is right else "best")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure


def eer_of(run: Path, partition: str) -> str:
    """EER in % of an evaluated partition with the counts of its trials; a dash where it was not evaluated."""
    path = run / "scores" / f"{partition}.json"
    if not path.is_file():
        return "-"
    found = read_json(path, "evaluation")
    return f"{found['eer']:.2f}"


def table(runs: Mapping[str, History], folder: Path) -> str:
    """The paper's table, with what was measured beside it, in Markdown."""
    lines = [
        "| | epochs | final accuracy, %, published | here, train / dev | final loss, published | here, train / dev "
        "| EER dev, % | EER eval, % |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, history in runs.items():
        last, known = history[-1], PUBLISHED[name]
        accuracy, loss = ([float(last[f"{part}_{of}"]) for part in ("train", "dev")] for of in ("accuracy", "loss"))
        lines.append(
            f"| {known.title} | {len(history)} | {known.final} | {accuracy[0]:.1f} / {accuracy[1]:.1f} | {known.loss} "
            f"| {loss[0]:.2f} / {loss[1]:.2f} | {eer_of(folder / name, 'dev')} | {eer_of(folder / name, 'eval')} |"
        )
    return "\n".join(lines) + "\n"


def main(folder: Path, output: Path) -> None:
    """Write figure1 to figure4 and table.md."""
    found = {name: read_history(folder / name) for name in PUBLISHED if (folder / name).is_dir()}
    if not found:
        raise NasError(f"{folder} holds none of the runs {', '.join(PUBLISHED)}")
    for number, names in enumerate(FIGURES, start=1):
        if all(name in found for name in names):
            print(save_figure(draw({name: found[name] for name in names}), output / f"figure{number}.svg"))
            save_figure(draw({name: found[name] for name in names}), output / f"figure{number}.png")
    write_text(output / "table.md", table(found, folder))
    print((output / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
