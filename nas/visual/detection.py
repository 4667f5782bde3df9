"""Pictures of detection: DET curves, score histograms, EER per attack; one or several systems.

`gather_detection` finds the numbers, the `draw_` functions only draw them, so that the numbers can be kept and drawn
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.special import ndtri

from nas.errors import NasError
from nas.metrics.comparison import Comparison
from nas.metrics.eer import detection_curve, eer
from nas.metrics.scores import Trials
from nas.visual.look import INK, LONGEST_TEXT, MUTED, PAPER, RULE, plain, save_figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#A6478B", "#B8860B", "#5F6C7B")
"""One a system, told apart by colour-blind people; the line style changes with each round."""
STYLES = ("-", "--", "-.", ":")
HATCHES = ("", "////", "....", "xxxx")
BONAFIDE_COLOUR, SPOOF_COLOUR = "#0072B2", "#D55E00"

BINS = 80
DET_POINTS = 600
DET_TICKS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
DET_LOWEST = 2e-4
MOST_SYSTEMS = 24

Values = NDArray[np.float64]


@dataclass(frozen=True)
class SystemPicture:
    """What the pictures show of one system. Rates are fractions, EERs percentages.

    `far` and `frr` [K] are the DET curve, thinned; `edges` [BINS + 1] and the two densities [BINS] the histogram, each
    class with unit area; `per_attack` the EER against each attack.
    """

    name: str
    eer: float
    threshold: float
    far: Values
    frr: Values
    edges: Values
    bonafide_density: Values
    spoof_density: Values
    per_attack: Mapping[str, float]


def gather_detection(systems: Mapping[str, Trials]) -> list[SystemPicture]:
    """The numbers behind the pictures.

    Raises:
        NasError: no system, more than can be told apart, a class without trials.
    """
    if not 1 <= len(systems) <= MOST_SYSTEMS:
        raise NasError(f"a picture shows 1 to {MOST_SYSTEMS} systems, not {len(systems)}")
    pictures = []
    for name, trials in systems.items():
        point = eer(trials.bonafide, trials.spoof)
        far, frr = _det_curve(trials)
        low, high = float(trials.score.min()), float(trials.score.max())
        if high == low:
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, BINS + 1)
        densities = [_density(scores, edges) for scores in (trials.bonafide, trials.spoof)]
        attacks = {attack: 100 * eer(trials.bonafide, trials.of_attack(attack)).value for attack in trials.attacks}
        pictures.append(
            SystemPicture(
                name, 100 * point.value, point.threshold, far, frr, edges, densities[0], densities[1], attacks
            )
        )
    return pictures


def draw_det(pictures: list[SystemPicture]) -> Figure:
    """Detection error trade-off on normal deviate axes (Martin et al., Eurospeech 1997), EER points marked."""
    figure = Figure(figsize=(6.2, 6.0), layout="constrained")
    axes = figure.add_subplot()
    lowest = max(min(0.01, *(float(min(p.far.min(), p.frr.min())) for p in pictures)), DET_LOWEST)
    highest = min(max(0.5, *(p.eer / 60 for p in pictures)), 0.95)
    for at, picture in enumerate(pictures):
        colour, style = _line(at)
        label = f"{_label(picture.name)} ({picture.eer:.2f} %)"
        axes.plot(ndtri(picture.far), ndtri(picture.frr), color=colour, linestyle=style, linewidth=1.6, label=label)
        if lowest < picture.eer / 100 < highest:
            place = ndtri(picture.eer / 100)
            axes.plot([place], [place], "o", color=colour, markersize=5, zorder=3)
    limits = ndtri([lowest, highest])
    axes.plot(limits, limits, color=RULE, linewidth=0.8, zorder=0)
    ticks = [tick for tick in DET_TICKS if lowest <= tick <= highest]
    for axis, setter in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        axis.set_ticks(ndtri(ticks), [f"{100 * tick:g}" for tick in ticks])
        setter(*limits)
    axes.set_xlabel("spoofed speech accepted (FAR, %)")
    axes.set_ylabel("bona fide speech rejected (FRR, %)")
    _plain_axes(axes, grid=True)
    axes.set_aspect("equal")
    axes.legend(title="system (EER)", facecolor=PAPER, edgecolor=PAPER, framealpha=1, fontsize=9, title_fontsize=9)
    return figure


def draw_histograms(pictures: list[SystemPicture]) -> Figure:
    """Scores of both classes, a panel a system, with the threshold of the EER."""
    figure = Figure(figsize=(6.8, 0.6 + 2.2 * len(pictures)), layout="constrained")
    for at, picture in enumerate(pictures):
        axes = figure.add_subplot(len(pictures), 1, at + 1)
        for density, colour, label in (
            (picture.spoof_density, SPOOF_COLOUR, "spoofed"),
            (picture.bonafide_density, BONAFIDE_COLOUR, "bona fide"),
        ):
            axes.stairs(density, picture.edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(density, picture.edges, color=colour, linewidth=1.2, label=label)
        axes.axvline(picture.threshold, color=INK, linewidth=1.0, linestyle="--", label="threshold of the EER")
        axes.set_title(f"{_label(picture.name)}: EER {picture.eer:.2f} %", fontsize=10, loc="left", color=INK)
        axes.set_yscale("symlog", linthresh=_linear_up_to(picture))
        axes.set_ylim(bottom=0)
        axes.set_ylabel("density (log)")
        _plain_axes(axes)
        if at == 0:
            axes.legend(frameon=False, fontsize=8.5)
    axes.set_xlabel("score (higher = bona fide)")
    return figure


def draw_attacks(pictures: list[SystemPicture]) -> Figure:
    """EER against each attack, bars grouped by attack; pooled EER as a line."""
    attacks = sorted({attack for picture in pictures for attack in picture.per_attack})
    width = 0.8 / len(pictures)
    wide = min(max(6.0, 1.6 + 0.28 * len(attacks) * (1 + len(pictures))), 15.0)
    figure = Figure(figsize=(wide, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for at, picture in enumerate(pictures):
        colour, style = _line(at)
        places = np.arange(len(attacks)) + (at - (len(pictures) - 1) / 2) * width
        heights = [picture.per_attack.get(attack, np.nan) for attack in attacks]
        hatch = HATCHES[at // len(COLOURS) % len(HATCHES)]
        bars = axes.bar(places, heights, width * 0.92, color=colour, hatch=hatch, edgecolor=PAPER, linewidth=0)
        bars.set_label(_label(picture.name))
        if len(pictures) <= 2:
            texts = [f"{height:.1f}" if height >= 0 else "" for height in heights]
            for text in axes.bar_label(bars, texts, fontsize=7, padding=1):
                text.set_path_effects([withStroke(linewidth=2, foreground=PAPER)])
        axes.axhline(picture.eer, color=colour, linewidth=1.0, linestyle=style if at else "--", zorder=0)
    axes.set_xticks(np.arange(len(attacks)), [_label(attack, 14) for attack in attacks])
    if len(attacks) > 16 or max(map(len, attacks)) > 6:
        axes.tick_params(axis="x", labelrotation=60)
    axes.set_ylabel("EER (%), pooled as a line")
    axes.set_ylim(0, 1.12 * max(0.5, *(value for picture in pictures for value in picture.per_attack.values())))
    _plain_axes(axes)
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=9)
    return figure


def draw_intervals(comparison: Comparison) -> Figure:
    """EER of each system with its interval, the best on top; hollow where it differs from the reference, a line."""
    ordered = sorted(comparison.evaluations.items(), key=lambda item: -item[1].eer)
    figure = Figure(figsize=(6.8, 0.9 + 0.27 * len(ordered)), layout="constrained")
    axes = figure.add_subplot()
    for place, (name, result) in enumerate(ordered):
        interval = result.intervals["eer"]
        against = comparison.difference(name)
        differs = against is not None and against.significant
        axes.plot(
            [interval.low, interval.high], [place, place], color=COLOURS[0], linewidth=1.6, solid_capstyle="round"
        )
        axes.plot([result.eer], [place], "o", color=COLOURS[0], markerfacecolor=PAPER if differs else COLOURS[0])
    axes.axvline(comparison.evaluations[comparison.reference].eer, color=RULE, linewidth=1.0, zorder=0)
    axes.set_yticks(range(len(ordered)), [_label(name, 28) for name, _ in ordered])
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    plan = ordered[0][1].bootstrap
    assert plan is not None
    axes.set_xlabel(
        f"EER (%), {100 * plan.level:g} % intervals; hollow: differs from {_label(comparison.reference, 28)}"
    )
    _plain_axes(axes)
    return figure


def draw_all(systems: Mapping[str, Trials], folder: str | Path) -> list[Path]:
    """det, histogram and attacks as .png and .svg in the folder; the paths written."""
    pictures = gather_detection(systems)
    figures = {"det": draw_det(pictures), "histogram": draw_histograms(pictures), "attacks": draw_attacks(pictures)}
    return [
        save_figure(figure, Path(folder) / f"{name}.{suffix}")
        for name, figure in figures.items()
        for suffix in ("png", "svg")
    ]


def _det_curve(trials: Trials) -> tuple[Values, Values]:
    """FAR and FRR [K] at every threshold, half an error standing for none (a normal axis has no zero), thinned."""
    curve = detection_curve(trials.bonafide, trials.spoof, ties="joined")
    least_far, least_frr = 0.5 / trials.spoof.size, 0.5 / trials.bonafide.size
    far, frr = curve.far.clip(least_far, 1 - least_far), curve.frr.clip(least_frr, 1 - least_frr)
    if far.size <= DET_POINTS:
        return far, frr
    way = np.cumsum(np.abs(np.diff(ndtri(far), prepend=ndtri(far[0]))) + np.abs(np.diff(ndtri(frr), prepend=0)))
    kept = np.unique(np.searchsorted(way, np.linspace(way[0], way[-1], DET_POINTS)).clip(0, far.size - 1))
    return far[kept], frr[kept]


def _density(scores: Values, edges: Values) -> Values:
    return np.histogram(scores, edges)[0] / (scores.size * (edges[1] - edges[0]))


def _linear_up_to(picture: SystemPicture) -> float:
    """Half of the smallest density that is drawn: below it the logarithmic axis turns linear, to reach zero."""
    densities = np.concatenate([picture.bonafide_density, picture.spoof_density])
    return float(densities[densities > 0].min() / 2)


def _label(name: str, longest: int = LONGEST_TEXT) -> str:
    """A name fit to draw: dollar signs are no formulas, and a legend leaves out what begins with an underscore."""
    text = plain(name, longest).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _line(at: int) -> tuple[str, str]:
    return COLOURS[at % len(COLOURS)], STYLES[at // len(COLOURS) % len(STYLES)]


def _plain_axes(axes: Axes, grid: bool = False) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    if grid:
        axes.grid(color=RULE, linewidth=0.5, alpha=0.7)
