"""A picture of where a network looks: attributions over waveform, spectrogram and bands, and AASIST's attention."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nas.explain.attention import AttentionMaps
from nas.explain.attribution import Attribution
from nas.frontends.sinc import SAMPLE_RATE
from nas.visual.look import INK, MUTED, RULE, plain

BONA_FIDE, SPOOF = "#0072B2", "#D55E00"
STRETCH = 0.05
"""Seconds over which attributions are summed for the picture."""
WINDOW, HOP = 512, 128


def draw_explanation(
    waveform: np.ndarray,
    attribution: Attribution,
    centres: np.ndarray | None = None,
    attention: AttentionMaps | None = None,
    title: str = "",
) -> Figure:
    """The figure of one utterance.

    Args:
        waveform: [T] at 16 kHz, as the network saw it.
        attribution: of its score.
        centres: of the bands in Hz, [bands]; None where the bands are no frequencies.
        attention: of AASIST.
        title: name of the utterance.
    """
    rows = 3 if attention is not None else 2
    figure = Figure(figsize=(11, 3.1 * rows + 0.6), layout="constrained")
    grid = figure.add_gridspec(rows, 2, width_ratios=(3, 1))
    parts = attribution.over_time(max(round(attribution.seconds / STRETCH), 1))
    _waveform(figure.add_subplot(grid[0, 0]), waveform, parts, attribution.seconds)
    _summary(figure.add_subplot(grid[0, 1]), attribution, title)
    _spectrogram(figure, figure.add_subplot(grid[1, 0]), waveform, attribution, centres)
    _bands(figure.add_subplot(grid[1, 1]), attribution.over_bands(), centres)
    if attention is not None:
        _attention(figure, grid[2, :], attention, attribution.seconds)
    return figure


def _waveform(axes: Axes, waveform: np.ndarray, parts: np.ndarray, seconds: float) -> None:
    """The envelope in grey, and what each stretch of time added to the score as bars."""
    blocks = waveform[: len(waveform) // 100 * 100].reshape(-1, 100)
    time = (np.arange(len(blocks)) + 0.5) * 100 / SAMPLE_RATE
    largest = max(float(np.abs(waveform).max()), 1e-9)
    axes.fill_between(time, blocks.min(1) / largest, blocks.max(1) / largest, color=RULE, linewidth=0)
    edges = np.linspace(0, seconds, len(parts) + 1)
    strongest = max(float(np.abs(parts).max()), 1e-12)
    colours = [BONA_FIDE if part > 0 else SPOOF for part in parts]
    axes.bar(edges[:-1], parts / strongest, np.diff(edges), align="edge", color=colours, alpha=0.75)
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.set_xlim(0, seconds)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([-1, 0, 1], [f"{-strongest:.2g}", "0", f"{strongest:.2g}"])
    _plain_axes(axes, f"Waveform, and what each {1000 * STRETCH:.0f} ms added to the score", "", "score")


def _summary(axes: Axes, attribution: Attribution, title: str) -> None:
    axes.axis("off")
    lines = [
        (plain(title), INK, "bold"),
        (f"score {attribution.score:.3f}  (higher = bona fide)", INK, "normal"),
        (f"silence {attribution.silence:.3f}", MUTED, "normal"),
        (f"attributions add up to {attribution.values.sum():.3f}", MUTED, "normal"),
        (f"of {attribution.score - attribution.silence:.3f}; gap {attribution.gap:.3f}", MUTED, "normal"),
        ("■ towards bona fide", BONA_FIDE, "bold"),
        ("■ towards spoof", SPOOF, "bold"),
    ]
    for at, (text, colour, weight) in enumerate(lines):
        axes.text(0, 0.95 - 0.13 * at, text, color=colour, weight=weight, fontsize=10, va="top")


def _spectrogram(
    figure: Figure, axes: Axes, waveform: np.ndarray, attribution: Attribution, centres: np.ndarray | None
) -> None:
    """The spectrogram in grey; over it, where its bands are frequencies, what each band added in each stretch."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP] * np.hanning(WINDOW)
    level = 20 * np.log10(np.abs(np.fft.rfft(frames, axis=1)).T + 1e-6)
    extent = (0.0, attribution.seconds, 0.0, SAMPLE_RATE / 2000)
    top = float(level.max())
    axes.imshow(level, origin="lower", aspect="auto", extent=extent, cmap="Greys", vmin=top - 70, vmax=top + 20)
    if centres is not None and len(centres) > 1:
        count = max(round(attribution.seconds / STRETCH), 1)
        edges = np.linspace(0, attribution.values.shape[1], count + 1).round().astype(int)
        sums = np.add.reduceat(attribution.values, edges[:-1], axis=1)
        order = np.argsort(centres)
        middle = (centres[order][1:] + centres[order][:-1]) / 2
        borders = np.concatenate([[0], middle, [SAMPLE_RATE / 2]]) / 1000
        strongest = max(float(np.quantile(np.abs(sums), 0.995)), 1e-12)
        colours = np.zeros((*sums.shape, 4))
        colours[sums > 0] = (0.0, 0.447, 0.698, 1)
        colours[sums <= 0] = (0.835, 0.369, 0.0, 1)
        colours[..., 3] = 0.8 * np.clip(np.abs(sums) / strongest, 0, 1)
        time = np.linspace(0, attribution.seconds, count + 1)
        axes.pcolormesh(time, borders, colours[order], linewidth=0, rasterized=True)
    axes.set_ylim(0, SAMPLE_RATE / 2000)
    _plain_axes(axes, "Spectrogram, and what each band added", "seconds", "kHz")


def _bands(axes: Axes, bands: np.ndarray, centres: np.ndarray | None) -> None:
    colours = [BONA_FIDE if value > 0 else SPOOF for value in bands]
    if centres is None:
        axes.barh(np.arange(len(bands)), bands, 0.9, color=colours)
        unit = "band"
    else:
        order = np.argsort(centres)
        middle = (centres[order][1:] + centres[order][:-1]) / 2
        borders = np.concatenate([[0], middle, [SAMPLE_RATE / 2]]) / 1000
        axes.barh(borders[:-1], bands[order], np.diff(borders), align="edge", color=[colours[at] for at in order])
        axes.set_ylim(0, SAMPLE_RATE / 2000)
        unit = "kHz"
    axes.axvline(0, color=MUTED, linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    _plain_axes(axes, "Each band, over all time", "score", unit)


def _attention(figure: Figure, place: object, maps: AttentionMaps, seconds: float) -> None:
    """Both maps relative to even attention (1); what each node receives, and which nodes the graph pooling keeps."""
    left, middle, right = place.subgridspec(1, 3).subplots()  # type: ignore[attr-defined]
    names = ("spectral node (low to high)", "temporal node (in time)")
    for axes, found, name in ((left, maps.spectral, names[0]), (middle, maps.temporal, names[1])):
        relative = found * len(found)
        shown = axes.imshow(relative, origin="lower", aspect="auto", cmap="viridis")
        bar = figure.colorbar(shown, ax=axes, fraction=0.05)
        bar.ax.tick_params(labelsize=8, colors=MUTED)
        _plain_axes(axes, "Attention, 1 = even", f"to {name}", "from node")
    for found, stack, name, colour in (
        (maps.spectral, maps.stack_spectral, "spectral, 0 to 8 kHz", "#009E73"),
        (maps.temporal, maps.stack_temporal, f"temporal, 0 to {seconds:.1f} s", "#A6478B"),
    ):
        at, received = (np.arange(len(found)) + 0.5) / len(found), found.sum(axis=0)
        right.plot(at, received, "-", color=colour, linewidth=1, label=name)
        right.plot(at[stack > 0], received[stack > 0], "o", color=colour, markersize=4)
        right.plot(at[stack == 0], received[stack == 0], "o", color=colour, markersize=4, markerfacecolor="white")
    right.set_xticks([0, 1], ["first", "last"])
    right.set_ylim(bottom=0)
    right.legend(frameon=False, fontsize=8)
    _plain_axes(right, "Received (hollow: pooled away)", "node", "")


def _plain_axes(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, weight="bold", color=INK)
    axes.set_xlabel(x, fontsize=9, color=MUTED)
    axes.set_ylabel(y, fontsize=9, color=MUTED)
    axes.tick_params(labelsize=8, colors=MUTED)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
