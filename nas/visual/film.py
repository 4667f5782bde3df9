"""The search as a film: what alpha and beta did, epoch after epoch, from the files that a search leaves behind.

`read_film` gathers the numbers, the `draw_` functions only draw them. Nothing is computed that a reader could not
check against RUN/genotypes/epoch_NNN.architecture.json.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from nas.errors import NasError
from nas.files import write_bytes
from nas.genotype import FIRST_NODE, Genotype
from nas.space import SearchSpace, get_space
from nas.text_files import read_json
from nas.visual.genotype import genotype_figure
from nas.visual.graph import Strengths
from nas.visual.look import INK, MUTED, RULE, family_of, plain, render, save_figure

Values = NDArray[np.float64]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Of the cell types, in the order of the space; taken again where there are more."""
HOLD_MS, LAST_HOLD_MS = 600, 2_500


class Change(NamedTuple):
    """A node that reads otherwise than an epoch before."""

    epoch: int
    cell_type: str
    node: int
    before: str
    after: str


@dataclass(frozen=True)
class Film:
    """The course of a search.

    Attributes:
        space: the search space that was searched.
        epochs: [N] numbers of the epochs, rising.
        alpha: weights of the primitives for each cell type, [N, E, K].
        beta: weights of the edges into each node, [N, E].
        genotypes: [N], derived after each epoch.
    """

    space: SearchSpace
    epochs: tuple[int, ...]
    alpha: Mapping[str, Values]
    beta: Mapping[str, Values]
    genotypes: tuple[Genotype, ...]

    def strength(self, cell_type: str) -> Values:
        """alpha times beta, [N, E, K]: what the genotype is derived from."""
        return self.alpha[cell_type] * self.beta[cell_type][:, :, None]

    def entropy(self, cell_type: str) -> Values:
        """Entropy of each edge's softmax in nats, [N, E]; log K where nothing is decided, 0 where all is."""
        a = self.alpha[cell_type]
        return np.asarray(-(a * np.log(np.maximum(a, 1e-12))).sum(axis=2))

    def parameter_free(self, cell_type: str) -> Values:
        """Share of the kept edges whose operation has no weights, [N]; near 1 the search has collapsed."""
        shares = []
        for genotype in self.genotypes:
            free = [self.space.primitive(edge.primitive).parameter_free for edge in genotype.cells[cell_type].edges]
            shares.append(sum(free) / len(free))
        return np.array(shares)

    def kept_strengths(self, at: int) -> Strengths:
        """Strength of each kept edge of the genotype number `at`, for `draw_genotype`."""
        index = {edge: number for number, edge in enumerate(self.space.topology.edges)}
        column = {name: number for number, name in enumerate(self.space.primitive_names)}
        found: dict[str, list[list[float]]] = {}
        for cell_type in self.space.types:
            strength = self.strength(cell_type)[at]
            found[cell_type] = [
                [float(strength[index[edge.source, node], column[edge.primitive]]) for edge in edges]
                for node, edges in enumerate(self.genotypes[at].cells[cell_type].nodes, start=FIRST_NODE)
            ]
        return found

    def changes(self) -> tuple[Change, ...]:
        """Every change of the genotype from one epoch to the next; the order of a node's inputs does not count."""
        found = []
        for epoch, old, new in zip(self.epochs[1:], self.genotypes, self.genotypes[1:], strict=False):
            for cell_type in self.space.types:
                nodes = zip(old.cells[cell_type].nodes, new.cells[cell_type].nodes, strict=True)
                for node, (before, after) in enumerate(nodes):
                    if sorted(before) != sorted(after):
                        found.append(Change(epoch, cell_type, node, _inputs(before), _inputs(after)))
        return tuple(found)


def _inputs(edges: Sequence[Any]) -> str:
    return ", ".join(
        f"{edge.primitive} of {_node(edge.source)}" for edge in sorted(edges, key=lambda edge: edge.source)
    )


def _node(source: int) -> str:
    return f"k−{FIRST_NODE - source}" if source < FIRST_NODE else str(source - FIRST_NODE)


def edge_name(source: int, target: int) -> str:
    """An edge as people write it: k−1 → 0 is from the cell before to the first node."""
    return f"{_node(source)} → {_node(target)}"


def read_film(run: str | Path) -> Film:
    """Read the architecture of every epoch of a search.

    Args:
        run: run directory of a search.

    Raises:
        NasError: the directory holds no such files, or one of them is damaged or does not fit the others.
    """
    folder = Path(run) / "genotypes"
    found = {int(match[1]): path for path in folder.glob("epoch_*.architecture.json") if (match := _numbered(path))}
    if not found:
        raise NasError(f"{run} is not the run directory of a search: genotypes/epoch_NNN.architecture.json is missing")
    epochs = tuple(sorted(found))
    contents = [_read(found[epoch]) for epoch in epochs]
    space = get_space(str(contents[0].get("space", "raw_waveform")))
    edges, primitives = len(space.topology.edges), len(space.primitives)
    alpha = {
        cell_type: np.stack(
            [
                _numbers(content, f"a_{cell_type}", (edges, primitives), found[epoch])
                for epoch, content in zip(epochs, contents, strict=True)
            ]
        )
        for cell_type in space.types
    }
    beta = {
        cell_type: np.stack(
            [
                _numbers(content, f"b_{cell_type}", (edges,), found[epoch])
                for epoch, content in zip(epochs, contents, strict=True)
            ]
        )
        for cell_type in space.types
    }
    genotypes = tuple(Genotype.load(folder / f"epoch_{epoch:03d}.json").validate(space) for epoch in epochs)
    return Film(space, epochs, alpha, beta, genotypes)


def _numbered(path: Path) -> re.Match[str] | None:
    return re.fullmatch(r"epoch_(\d{1,6})\.architecture\.json", path.name)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path, "JSON file of alpha and beta")
    except NasError as error:
        raise NasError(f"not a JSON file of alpha and beta: {error}") from error
    if not isinstance(content, dict):
        raise NasError(f"{path}: expected weights for each cell type, such as a_normal and b_normal")
    return content


def _numbers(content: dict[str, Any], key: str, shape: tuple[int, ...], path: Path) -> Values:
    try:
        values = np.array(content[key], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise NasError(f"{path}: {key} is missing or not a table of numbers") from error
    if values.shape != shape or not np.isfinite(values).all():
        raise NasError(f"{path}: {key} has shape {list(values.shape)}; expected {list(shape)} finite numbers")
    return values


def draw_trajectories(film: Film, cell_type: str) -> Figure:
    """softmax(alpha) of every edge of a cell over the epochs; a row a node, a column a source.

    What the genotype takes at the end is drawn thick; the shade of an edge that is dropped is pale.
    """
    topology = film.space.topology
    columns = topology.inputs + topology.intermediate - 1
    figure = Figure(figsize=(2.35 * columns + 0.5, 1.75 * topology.intermediate + 1.1), layout="constrained")
    kept = film.genotypes[-1].cells[cell_type].nodes
    highest = float(film.alpha[cell_type].max()) * 1.08
    grid = figure.subplots(topology.intermediate, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, (source, target) in enumerate(topology.edges):
        axes = grid[target - topology.inputs][source]
        axes.set_axis_on()
        taken = {edge.primitive for edge in kept[target - topology.inputs] if edge.source == source}
        for column, name in enumerate(film.space.primitive_names):
            colour, style = _line(name, film.space)
            axes.plot(
                film.epochs,
                film.alpha[cell_type][:, number, column],
                color=colour,
                linestyle=style,
                linewidth=2.6 if name in taken else 1.1,
                alpha=1.0 if taken else 0.4,
            )
        _frame(axes)
        axes.set_ylim(0, highest)
        axes.set_title(
            edge_name(source, target) + (f"   {plain(min(taken), 16)}" if taken else ""),
            fontsize=8.5,
            color=INK if taken else MUTED,
            weight="bold" if taken else "normal",
            parse_math=False,
        )
    names = film.space.primitive_names
    handles = [
        Line2D([], [], color=colour, linestyle=style, linewidth=1.8, label=plain(name))
        for name, (colour, style) in ((name, _line(name, film.space)) for name in names)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(names), 8), frameon=False, fontsize=8.5)
    figure.suptitle(
        f"{cell_type.capitalize()} cell: softmax of α on every edge, over the epochs",
        fontsize=13,
        weight="bold",
        color=INK,
    )
    return figure


def _line(name: str, space: SearchSpace) -> tuple[str, Any]:
    """Colour of the family; operations of one family differ in their dashes."""
    family = family_of(name, space)
    same = [other for other in space.primitive_names if family_of(other, space) == family]
    return family.colour, ("-", (0, (4, 1.5)), (0, (1.5, 1.5)), (0, (5, 1, 1, 1)))[same.index(name) % 4]


def draw_overview(film: Film) -> Figure:
    """Entropy of the edges, share of operations without weights, and the moments of change, over the epochs."""
    figure = Figure(figsize=(9.5, 7.0), layout="constrained")
    entropy, collapse, moments = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
    undecided = float(np.log(len(film.space.primitives)))
    types = film.space.types
    colours = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(types)}
    for cell_type, colour in colours.items():
        values = film.entropy(cell_type)
        entropy.fill_between(film.epochs, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.15, linewidth=0)
        entropy.plot(
            film.epochs, values.mean(axis=1), color=colour, linewidth=2.2, label=f"{cell_type} cell, mean and range"
        )
        style = ("-", "--", "-.", ":")[types.index(cell_type) % 4]
        collapse.plot(
            film.epochs, film.parameter_free(cell_type), color=colour, linewidth=2.2, linestyle=style, label=cell_type
        )
    entropy.axhline(undecided, color=MUTED, linewidth=1, linestyle=":")
    entropy.annotate(
        f"undecided: log {len(film.space.primitives)}", (film.epochs[-1], undecided), xytext=(0, -11),
        textcoords="offset points", ha="right", fontsize=8, color=MUTED,
    )  # fmt: skip
    entropy.set_title("Entropy of softmax(α) over the edges, nats", fontsize=10.5, loc="left", color=INK, weight="bold")
    entropy.set_ylim(top=undecided + 0.06 * max(undecided - entropy.get_ylim()[0], 0.02))
    entropy.legend(frameon=False, fontsize=8.5, loc="lower left")
    collapse.set_title("Kept operations without weights (collapse near 1)", fontsize=10.5, loc="left", color=INK,
                       weight="bold")  # fmt: skip
    collapse.set_ylim(-0.05, 1.05)
    moments.set_title("Changes of the genotype", fontsize=10.5, loc="left", color=INK, weight="bold")
    rows = [(cell_type, node) for cell_type in types for node in range(film.space.topology.intermediate)]
    moments.set_yticks(range(len(rows)), [f"{cell_type} {node}" for cell_type, node in rows], fontsize=8)
    moments.set_ylim(len(rows) - 0.4, -0.6)
    for change in film.changes():
        moments.plot(
            change.epoch, rows.index((change.cell_type, change.node)), "o", color=colours[change.cell_type], ms=5.5
        )
    for axes in (entropy, collapse, moments):
        _frame(axes)
        axes.grid(axis="y", color=RULE, linewidth=0.5)
    moments.set_xlabel("epoch", fontsize=9, color=MUTED)
    return figure


def draw_strengths(film: Film, cell_type: str) -> Figure:
    """Strength of each edge's strongest operation over the epochs, as a heat map: a row an edge."""
    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    axes = figure.subplots()
    zeros = [
        index for index, name in enumerate(film.space.primitive_names) if family_of(name, film.space).name == "none"
    ]
    strength = np.delete(film.strength(cell_type), zeros, axis=2).max(axis=2).T
    start, stop = film.epochs[0] - 0.5, film.epochs[-1] + 0.5
    extent = (start, stop, len(strength) - 0.5, -0.5)
    image = axes.imshow(strength, aspect="auto", cmap="cividis", extent=extent, interpolation="nearest")
    edges = film.space.topology.edges
    axes.set_yticks(range(len(edges)), [edge_name(*edge) for edge in edges], fontsize=8)
    axes.set_xlabel("epoch", fontsize=9, color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(f"{cell_type.capitalize()} cell: strength of the edges", fontsize=12, weight="bold", color=INK)
    figure.colorbar(image, ax=axes, label="α · β of the strongest operation", pad=0.01)
    return figure


def _frame(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
    axes.tick_params(labelsize=8, colors=MUTED, length=3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_frames(film: Film) -> list[Image.Image]:
    """The genotype of each epoch with its strengths, as palette images of one size."""
    pictures = []
    for at, epoch in enumerate(film.epochs):
        title = f"Epoch {epoch} of {film.epochs[-1]}"
        figure = genotype_figure(film.genotypes[at], film.space, film.kept_strengths(at), title)
        pictures.append(Image.open(io.BytesIO(render(figure, "png", 80))).convert("RGB"))
    size = (max(picture.width for picture in pictures), max(picture.height for picture in pictures))
    frames = []
    for picture in pictures:
        canvas = Image.new("RGB", size, "white")
        canvas.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
        frames.append(canvas.quantize(64, dither=Image.Dither.NONE))
    return frames


def draw_film(film: Film, path: str | Path) -> Path:
    """Write the frames as an animated GIF that holds its last frame.

    Raises:
        NasError: the suffix is not .gif, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise NasError(f"{path}: a film ends in .gif, not {path.suffix or 'nothing'!r}")
    frames = draw_frames(film)
    stream = io.BytesIO()
    holds = [HOLD_MS] * (len(frames) - 1) + [LAST_HOLD_MS]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=holds, loop=0, disposal=2)
    return write_bytes(path, stream.getvalue())


def draw_search(run: str | Path, folder: str | Path) -> list[Path]:
    """All pictures of a search into a folder: film.gif, overview, trajectories and strengths of each cell type as .svg.

    Raises:
        NasError: `run` is not the run directory of a search, or the folder cannot be written to.
    """
    film, folder = read_film(run), Path(folder)
    figures = {"overview": draw_overview(film)}
    for cell_type in film.space.types:
        figures |= {
            f"trajectories_{cell_type}": draw_trajectories(film, cell_type),
            f"strengths_{cell_type}": draw_strengths(film, cell_type),
        }
    written = [save_figure(figure, folder / f"{name}.svg") for name, figure in figures.items()]
    return [draw_film(film, folder / "film.gif"), *written]
