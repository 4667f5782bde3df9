"""Learning curves from history.csv, of one run or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nas.visual.look import INK, MUTED, RULE, plain

History = Sequence[Mapping[str, str]]
PANELS = (
    ("Loss", ("train_loss", "dev_loss", "architecture_loss")),
    ("Accuracy, %", ("train_accuracy", "dev_accuracy")),
    ("EER on dev, %", ("dev_eer",)),
    ("Learning rate", ("learning_rate",)),
)
COLOURS = {"train": "#D55E00", "dev": "#0072B2", "architecture": "#009E73", "learning": "#5F6C7B"}
RUN_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#A6478B", "#B8860B", "#5F6C7B")
STYLES = ("-", "--", "-.", ":")


def column(history: History, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and values of a column; rows where it is empty or no number are left out."""
    points = []
    for number, row in enumerate(history, start=1):
        try:
            points.append((float(row.get("epoch") or number), float(row.get(name) or "nan")))
        except ValueError:
            continue
    found = np.array([point for point in points if np.isfinite(point).all()]).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def draw_curves(histories: Mapping[str, History]) -> Figure:
    """Loss, accuracy, EER on the development set and learning rate over the epochs; the lowest EER is marked.

    One run: a colour a partition. Several: a colour a run, and only the development set.
    """
    several = len(histories) > 1
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        for at, (run, history) in enumerate(histories.items()):
            for name in names:
                part = name.split("_")[0]
                epochs, values = column(history, name)
                if not len(values) or (several and part in ("train", "architecture")):
                    continue
                axes.plot(
                    epochs,
                    values,
                    color=RUN_COLOURS[at % 6] if several else COLOURS[part],
                    linestyle=STYLES[(at // 6) % 4] if several else "--" if part == "train" else "-",
                    linewidth=2,
                    marker="o" if len(values) == 1 else "",
                    label=plain(run) if several else part,
                )
                if name == "dev_eer":
                    losses = column(history, "dev_loss")[1]  # of equal EERs a run takes the one of lower loss
                    best = int(np.lexsort((losses, values))[0] if len(losses) == len(values) else values.argmin())
                    axes.plot(epochs[best], values[best], "o", color=INK, markersize=6)
                    if not several:
                        axes.set_title(
                            f"lowest {values[best]:.2f} % at epoch {epochs[best]:.0f}",
                            loc="right",
                            fontsize=9,
                            color=MUTED,
                        )
        axes.set_title(title, loc="left", fontsize=11, weight="bold", color=INK)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(RULE)
        axes.tick_params(labelsize=9, colors=MUTED)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=RULE, linewidth=0.5)
        if len(axes.lines) and (several or len(names) > 1):
            axes.legend(frameon=False, fontsize=9)
    return figure
