"""The whole network of a genotype: every part with the shape that it puts out, its parameters and its MACs."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

from nas.complexity import PartCost
from nas.cost import GenotypeCost
from nas.frontends.sinc import SAMPLE_RATE
from nas.visual.look import INK, MUTED, PANEL, PAPER, RULE, save_figure

ROW, BOX_LEFT, BOX_WIDTH, BOX_HEIGHT = 0.62, 0.35, 3.3, 0.44
PARAMETERS_LEFT, MACS_LEFT, BAR = 4.35, 7.05, 1.55
PARAMETERS_COLOUR, MACS_COLOUR, WIDENING_COLOUR = "#0072B2", "#D55E00", "#FFF0B3"
WIDTH, HEAD, FOOT = 9.75, 1.25, 0.55


def network_figure(cost: GenotypeCost, title: str = "") -> Figure:
    """A row a part, from the waveform to the cosines: shape after it, receptive field, bars of parameters and MACs."""
    height = HEAD + ROW * (len(cost.parts) + 1) + FOOT
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    axes.axis("off")

    def write(
        x: float, y: float, text: str, size: float = 9, colour: str = INK, weight: str = "normal", anchor: str = "left"
    ) -> None:
        axes.text(
            x, y, text, fontsize=size, color=colour, weight=weight, ha=anchor, va="center", family="DejaVu Sans",
            parse_math=False,
        )  # fmt: skip

    write(BOX_LEFT, 0.38, title or "Network", 14, weight="bold")
    seconds = cost.samples / SAMPLE_RATE
    write(BOX_LEFT, 0.68, f"{cost.parameters:,} parameters, {count(cost.macs)} MACs for {seconds:.2f} s", 9, MUTED)
    for left, name in ((PARAMETERS_LEFT, "parameters"), (MACS_LEFT, "multiply-accumulates")):
        write(left, HEAD - 0.1, name, 9, INK, "bold")
    most = max(part.parameters for part in cost.parts), max(part.macs for part in cost.parts)
    waveform = PartCost("waveform", 1, cost.samples, 0, 0, 0, 1)
    for number, part in enumerate((waveform, *cost.parts)):
        y = HEAD + ROW * (number + 0.5)
        face = INK if number == 0 else WIDENING_COLOUR if part.widens else PANEL
        ink, faint = (PAPER, "#DDE3EA") if number == 0 else (INK, MUTED)
        axes.add_patch(
            FancyBboxPatch(
                (BOX_LEFT, y - BOX_HEIGHT / 2),
                BOX_WIDTH,
                BOX_HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.07",
                facecolor=face,
                edgecolor=RULE if number else INK,
            )
        )
        write(BOX_LEFT + 0.14, y - 0.08, part.name, 9.5, ink, "bold")
        write(BOX_LEFT + 0.14, y + 0.11, _seen(part), 7.5, faint)
        write(BOX_LEFT + BOX_WIDTH - 0.14, y, f"{part.channels} × {part.frames:,}", 9.5, ink, anchor="right")
        if number:
            middle, top = BOX_LEFT + BOX_WIDTH / 2, y - BOX_HEIGHT / 2
            corners = [(middle, top - 0.03), (middle - 0.06, top - 0.14), (middle + 0.06, top - 0.14)]
            axes.add_patch(Polygon(corners, facecolor=MUTED, edgecolor="none"))
            bars = (
                (PARAMETERS_LEFT, PARAMETERS_COLOUR, part.parameters, most[0]),
                (MACS_LEFT, MACS_COLOUR, part.macs, most[1]),
            )
            for left, colour, value, largest in bars:
                length = BAR * value / max(largest, 1)
                axes.add_patch(Rectangle((left, y - 0.09), length, 0.18, facecolor=colour, edgecolor="none"))
                write(left + length + 0.08, y, count(value), 8.5, INK if value else MUTED)
    write(
        BOX_LEFT,
        height - 0.25,
        "channels × frames after each part; below each name what one of its frames sees",
        8,
        MUTED,
    )
    return figure


def _seen(part: PartCost) -> str:
    if part.receptive_field is None:
        return "sees the whole utterance"
    return "16 kHz" if part.name == "waveform" else f"sees {1000 * part.receptive_field / SAMPLE_RATE:.1f} ms"


def count(value: int) -> str:
    """1,234,567 -> "1.23M": three figures."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return str(value)


def draw_network(cost: GenotypeCost, path: str | Path, title: str = "") -> Path:
    """Draw `nas.cost.genotype_cost(...)` into an .svg, .png or .pdf file. Returns the path.

    Raises:
        NasError: another suffix, or a file that cannot be written.
    """
    return save_figure(network_figure(cost, title), path)
