"""Softmax(alpha) of a cell at one moment, as a heat map: a row an edge, a column a primitive."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nas.genotype import FIRST_NODE
from nas.visual.film import Film, edge_name
from nas.visual.look import INK, MUTED, plain

KEPT = "#D55E00"
LEAST_SPAN = 0.01


def draw_weights(film: Film, cell_type: str, at: int = -1) -> Figure:
    """Softmax(alpha) of the cells of a type after the epoch number `at` of a film; what is kept is framed."""
    space, at = film.space, at % len(film.epochs)
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    alpha = film.alpha[cell_type][at]
    # Around what an undecided edge has, and not narrower than what can be told from it.
    even = 1 / alpha.shape[1]
    span = max(float(np.abs(alpha - even).max()), LEAST_SPAN)
    image = axes.imshow(
        alpha, aspect="auto", cmap="cividis", vmin=max(even - span, 0), vmax=even + span, interpolation="nearest"
    )
    rows = {edge: row for row, edge in enumerate(space.topology.edges)}
    columns = {name: column for column, name in enumerate(space.primitive_names)}
    for node, edges in enumerate(film.genotypes[at].cells[cell_type].nodes, start=FIRST_NODE):
        for edge in edges:
            corner = (columns[edge.primitive] - 0.47, rows[edge.source, node] - 0.47)
            axes.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, edgecolor=KEPT, linewidth=2))
    axes.set_xticks(np.arange(len(columns)), [plain(name, 14) for name in columns], rotation=35, ha="right", fontsize=8)
    axes.set_yticks(np.arange(len(rows)), [edge_name(*edge) for edge in rows], fontsize=8)
    axes.tick_params(colors=MUTED, labelcolor=INK, length=0)
    title = f"{cell_type.capitalize()} cell, epoch {film.epochs[at]}: softmax(alpha); kept operations framed"
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    figure.colorbar(image, ax=axes, pad=0.01)
    return figure
