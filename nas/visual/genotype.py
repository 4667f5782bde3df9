"""A genotype drawn: its cells side by side, every operation named, coloured and dashed by family.

`nas.visual.graph` says what a cell is, `cell_layout` where its parts stand, `genotype_figure` draws them. What is
written in a genotype file is never trusted: names are drawn as plain text, shortened, without control characters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import networkx as nx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path

from nas.genotype import FIRST_NODE, Genotype
from nas.space import CellType, SearchSpace, get_space
from nas.visual.graph import OUTPUT, Strengths, genotype_graph
from nas.visual.layout import Layout, Point, layered
from nas.visual.look import FAMILIES, INK, MUTED, PANEL, PAPER, RULE, Family, family_of, plain, save_figure

ROW, GAP, MARGIN, HEADER, LEGEND = 0.66, 0.2, 0.32, 0.72, 0.5
MOST_STRETCH = 1.9
"""How far the rows of the shorter cell are pulled apart to stand beside the longer one."""
NARROWEST = 3.2
PALE, CHANGED = 0.28, "#FFF0B3"
RADIUS = 0.235
PILL_HEIGHT = 0.27
THIN, THICK = 1.0, 5.5


def genotype_figure(
    genotype: Genotype, space: SearchSpace | None = None, strengths: Strengths | None = None, title: str = ""
) -> Figure:
    """All cells side by side, as a figure of its own (no display, no global state).

    Args:
        genotype: what is drawn.
        space: names the families of the primitives; None: the raw waveform space.
        strengths: drawn as the width of edges, and as numbers, where known.
        title: one line above the cells.
    """
    return _figure([_cells(genotype, strengths)], space, title)


def _cells(genotype: Genotype, strengths: Strengths | None = None) -> list[tuple[str, nx.MultiDiGraph]]:
    return [(f"{name.capitalize()} cell", genotype_graph(genotype, name, strengths)) for name in genotype.cells]


def diff_genotypes(
    first: Genotype,
    second: Genotype,
    path: str | FilePath,
    space: SearchSpace | None = None,
    names: tuple[str, str] = ("first", "second"),
) -> FilePath:
    """Draw two genotypes side by side; what only one of them has is in full colour on yellow, the rest pale.

    Raises:
        NasError: the suffix is not .svg, .png or .pdf, or the file cannot be written.
    """
    columns = []
    for genotype, other, name in ((first, second, names[0]), (second, first, names[1])):
        row = _cells(genotype)
        for (_, graph), (cell_type, cell) in zip(row, genotype.cells.items(), strict=True):
            others = other.cells[cell_type].nodes if cell_type in other.cells else ()
            for node, edges in enumerate(cell.nodes):
                shared = list(others[node]) if node < len(others) else []
                for place, edge in enumerate(edges):
                    graph.edges[edge.source, node + FIRST_NODE, place]["changed"] = edge not in shared
                    if edge in shared:
                        shared.remove(edge)
        columns.append([(f"{title}, {name}", graph) for title, graph in row])
    changed = [
        sum(bool(data.get("changed")) for _, graph in cells for *_, data in graph.edges(data=True)) for cells in columns
    ]
    title = "No difference" if not any(changed) else f"{max(changed)} operations differ"
    return save_figure(_figure(list(zip(*columns, strict=False)), space, title), path)


def draw_genotype(
    genotype: Genotype,
    path: str | FilePath,
    space: SearchSpace | None = None,
    strengths: Strengths | None = None,
    title: str = "",
) -> FilePath:
    """Draw the genotype into an .svg, .png or .pdf file; the same genotype gives the same bytes. Returns the path.

    Raises:
        NasError: another suffix, strengths that do not fit, or a file that cannot be written.
    """
    return save_figure(genotype_figure(genotype, space, strengths, title), path)


def _pill(node: object, place: object) -> str:
    return f"operation {place} into {node}"


def cell_layout(graph: nx.MultiDiGraph) -> tuple[Layout, dict[object, float]]:
    """Where the nodes and the operations of a cell stand, and how wide each is; cell k-2 left of cell k-1.

    A node stands two rows under the lowest node that it reads, its operations in the row between.
    """
    level: dict[object, int] = {}
    widths: dict[object, float] = {}
    edges: list[tuple[object, object]] = []
    for node, role in graph.nodes(data="role"):
        if role == "output":
            continue
        level[node] = 0 if role == "input" else 2 + max(level[source] for source in graph.predecessors(node))
        widths[node] = 1.0 if role == "input" else 2 * RADIUS + 0.1
        for source, _, place, data in graph.in_edges(node, keys=True, data=True):
            pill = _pill(node, place)
            level[pill] = level[node] - 1
            widths[pill] = _pill_width(data)
            edges += [(source, pill), (pill, node)]
    level[OUTPUT], widths[OUTPUT] = max(level.values()) + 1, 1.0
    edges += [(node, OUTPUT) for node in graph.predecessors(OUTPUT)]
    rows: list[list[object]] = [[] for _ in range(level[OUTPUT] + 1)]
    for item, row in level.items():
        rows[row].append(item)
    layout = layered(rows, edges, widths, ROW, GAP)
    return layout if layout.positions[0][0] <= layout.positions[1][0] else layout.mirrored(), widths


def _pill_text(data: Mapping[str, object]) -> str:
    strength = data["strength"]
    return plain(str(data["primitive"])) + ("" if strength is None else f"  {strength:.3f}")


def _pill_width(data: Mapping[str, object]) -> float:
    return 0.24 + 0.078 * max(len(_pill_text(data)), 4)


def _figure(rows: Sequence[Sequence[tuple[str, nx.MultiDiGraph]]], space: SearchSpace | None, title: str) -> Figure:
    """Rows of cells, each with its heading, and one legend."""
    space = space or get_space("raw_waveform")
    layouts = [[cell_layout(graph) for _, graph in row] for row in rows]
    inner = [max(layout.height for layout, _ in row) for row in layouts]
    columns = [
        max(max(row[at][0].width for row in layouts), NARROWEST) + 2 * MARGIN for at in range(max(map(len, rows)))
    ]
    above = 0.5 if title else 0.0
    width = sum(columns) + MARGIN * (len(columns) + 1)
    heights = [height + HEADER + 2 * MARGIN + 0.3 for height in inner]
    height = sum(heights) + MARGIN * (len(rows) + 1) + LEGEND + above
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    if title:
        _text(axes, (MARGIN, MARGIN + 0.12), plain(title, 100), 14, weight="bold", anchor="left")
    top = MARGIN + above
    for row, placed, tall, room in zip(rows, layouts, inner, heights, strict=True):
        left = MARGIN
        for (name, graph), (layout, sizes), panel in zip(row, placed, columns, strict=False):
            _box(axes, (left + panel / 2, top + room / 2), panel, room, PANEL, "none", 0, 0.12)
            _text(axes, (left + MARGIN, top + 0.3), plain(name, 48), 13, weight="bold", anchor="left")
            says = _effect(_type_of(graph, space))
            _text(axes, (left + MARGIN, top + 0.53), says, 9, MUTED, anchor="left")
            layout = layout.stretched(min(tall / layout.height, MOST_STRETCH))
            shift = (left + panel / 2 - layout.width / 2, top + HEADER + MARGIN + (tall - layout.height) / 2)
            _draw_cell(axes, graph, layout, sizes, shift, space)
            left += panel + MARGIN
        top += room + MARGIN
    drawn = [data for row in rows for _, graph in row for *_, data in graph.edges(data=True)]
    used = [family_of(data["primitive"], space) for data in drawn if data["role"] == "operation"]
    known = any(data.get("strength") is not None for data in drawn)
    _legend(axes, [item for item in FAMILIES if item in used], known, width / 2, height - LEGEND / 2 - MARGIN / 3)
    return figure


def _type_of(graph: nx.MultiDiGraph, space: SearchSpace) -> CellType:
    """The type of a drawn cell; of a genotype from another space, a plain one."""
    name = graph.graph["cell_type"]
    return space.cell_type(name) if name in space.types else CellType("unknown")


def _effect(cell_type: CellType) -> str:
    """What a cell does to channels and frames, in words."""
    more = {1: "keeps", 2: "doubles"}.get(cell_type.widens, f"multiplies by {cell_type.widens}")
    less = {1: "keeps", 2: "halves"}.get(cell_type.shrinks, f"divides by {cell_type.shrinks}")
    return f"{more} the channels, {less} the frames"


def _draw_cell(
    axes: Axes,
    graph: nx.MultiDiGraph,
    layout: Layout,
    widths: Mapping[object, float],
    shift: Point,
    space: SearchSpace,
) -> None:
    place = {item: (x + shift[0], y + shift[1]) for item, (x, y) in layout.positions.items()}
    routes = iter(layout.routes)
    strongest = max((data["strength"] or 0.0 for *_, data in graph.edges(data=True) if "strength" in data), default=0.0)
    operations = [
        (node, key, data)
        for node in graph.nodes
        if node != OUTPUT
        for _, _, key, data in graph.in_edges(node, keys=True, data=True)
    ]
    for _, _, data in operations:
        kind = family_of(data["primitive"], space)
        strength = data["strength"]
        line = 2.0 if strength is None else THIN + (THICK - THIN) * strength / (strongest or 1.0)
        pen = (kind.colour, line, kind.dashes, PALE if data.get("changed") is False else 1.0)
        _wire(axes, _ends(next(routes), shift, 0.18, PILL_HEIGHT / 2), *pen)
        _wire(axes, _ends(next(routes), shift, PILL_HEIGHT / 2, RADIUS), *pen, arrow=True)
    for route in routes:
        _wire(axes, _ends(route, shift, RADIUS, 0.18), RULE, 1.6, below=True)
    for node, key, data in operations:
        kind = family_of(data["primitive"], space)
        pill = _pill(node, key)
        paper = CHANGED if data.get("changed") else PAPER
        line = 0.6 if data.get("changed") is False else 1.5
        _box(axes, place[pill], widths[pill], PILL_HEIGHT, paper, kind.colour, line, PILL_HEIGHT / 2, kind.dashes)
        _text(axes, place[pill], _pill_text(data), 8.5, MUTED if data.get("changed") is False else INK)
    factor = _type_of(graph, space).widens
    channels = "C" if factor == 1 else f"{factor}C"
    for node, role in graph.nodes(data="role"):
        x, y = place[node]
        label = graph.nodes[node]["label"]
        if role == "intermediate":
            axes.add_patch(Circle((x, y), RADIUS, facecolor=INK, edgecolor=PANEL, linewidth=2, zorder=4))
            _text(axes, (x, y - 0.05), label, 11, PAPER, weight="bold")
            _text(axes, (x, y + 0.11), channels, 7, "#DDE3EA")
            continue
        if role == "output":
            channels = f"{factor * graph.in_degree(OUTPUT)}C"
        _box(axes, (x, y), widths[node], 0.36, INK if role == "output" else PAPER, INK, 1.5, 0.07)
        colour = PAPER if role == "output" else INK
        _text(axes, (x, y - 0.055), label, 9.5, colour, weight="bold")
        _text(axes, (x, y + 0.1), channels, 7, "#DDE3EA" if role == "output" else MUTED)


def _ends(route: Sequence[Point], shift: Point, start: float, stop: float) -> list[Point]:
    """The route on the page, from the lower edge of what it leaves to the upper edge of what it enters."""
    points = [(x + shift[0], y + shift[1]) for x, y in route]
    points[0] = (points[0][0], points[0][1] + start)
    points[-1] = (points[-1][0], points[-1][1] - stop)
    return points


def _wire(
    axes: Axes,
    points: list[Point],
    colour: str,
    width: float,
    dashes: tuple[float, ...] = (),
    opacity: float = 1.0,
    arrow: bool = False,
    below: bool = False,
) -> None:
    """A smooth line through the points; it leaves and arrives vertically, an arrow makes its last stretch."""
    head = 0.075 + 0.012 * width if arrow else 0.0
    tip = points[-1]
    points = [*points[:-1], (tip[0], tip[1] - head)]
    vertices, codes = [points[0]], [Path.MOVETO]
    for i in range(len(points) - 1):
        (x0, y0), (x1, y1) = points[i], points[i + 1]
        reach = (y1 - y0) / 2
        lean0, lean1 = _lean(points, i), _lean(points, i + 1)
        vertices += [(x0 + lean0 * reach, y0 + reach), (x1 - lean1 * reach, y1 - reach), (x1, y1)]
        codes += [Path.CURVE4] * 3
    style = (0.0, dashes) if dashes else "solid"
    axes.add_patch(
        PathPatch(
            Path(vertices, codes),
            facecolor="none",
            edgecolor=colour,
            linewidth=width,
            linestyle=style,
            alpha=opacity,
            capstyle="round" if not dashes else "butt",
            zorder=1 if below else 2,
        )
    )
    if arrow:
        half = 0.6 * head
        corners = [tip, (tip[0] - half, tip[1] - head * 1.15), (tip[0] + half, tip[1] - head * 1.15)]
        axes.add_patch(Polygon(corners, closed=True, facecolor=colour, edgecolor="none", alpha=opacity, zorder=5))


def _lean(points: Sequence[Point], at: int) -> float:
    """How much a line leans where it passes a point: not at all at its ends and where it turns back, so that it never
    swings beyond its points; elsewhere as from the point before to the point after."""
    if at in (0, len(points) - 1):
        return 0.0
    (x0, y0), (x1, _), (x2, y2) = points[at - 1 : at + 2]
    return (x2 - x0) / (y2 - y0) if (x1 - x0) * (x2 - x1) > 0 else 0.0


def _box(
    axes: Axes,
    centre: Point,
    width: float,
    height: float,
    face: str,
    edge: str,
    line: float,
    rounding: float,
    dashes: tuple[float, ...] = (),
) -> None:
    corner = (centre[0] - width / 2, centre[1] - height / 2)
    axes.add_patch(
        FancyBboxPatch(
            corner,
            width,
            height,
            boxstyle=f"round,pad=0,rounding_size={rounding}",
            facecolor=face,
            edgecolor=edge,
            linewidth=line,
            linestyle=(0.0, dashes) if dashes else "solid",
            zorder=0 if edge == "none" else 3,
        )
    )


def _text(
    axes: Axes, at: Point, text: str, size: float, colour: str = INK, weight: str = "normal", anchor: str = "center"
) -> None:
    axes.text(
        *at, text, fontsize=size, color=colour, weight=weight, ha=anchor, va="center", family="DejaVu Sans", zorder=6,
        parse_math=False,
    )  # fmt: skip


def _legend(axes: Axes, families: Sequence[Family], strengths: bool, centre: float, y: float) -> None:
    entries = [(item.name, item.colour, item.dashes, 2.4) for item in families]
    entries.append(("concatenation", RULE, (), 2.4))
    if strengths:
        entries.append(("width: strength α · β", INK, (), 4.5))
    widths = [0.62 + 0.075 * len(name) for name, *_ in entries]
    x = centre - sum(widths) / 2
    for (name, colour, dashes, line), width in zip(entries, widths, strict=True):
        style: Any = (0.0, dashes) if dashes else "solid"
        axes.add_line(Line2D([x, x + 0.32], [y, y], color=colour, linewidth=line, linestyle=style, zorder=2))
        _text(axes, (x + 0.4, y), name, 8.5, MUTED, anchor="left")
        x += width
