"""The network of a genotype."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.cells.network import CellNetwork
from nas.cells.preprocess import Preprocess
from nas.cells.skeleton import CellPlan, Skeleton
from nas.complexity import PartCost, View
from nas.config import SearchedNetwork
from nas.genotype import Cell, Genotype
from nas.space import SearchSpace, get_space


class DerivedCell(nn.Module):
    """A cell of a genotype: each node is the sum of its kept operations; the output is their concatenation, max-pool 2.

    s0 [B, C_before, 2 T], s1 [B, C_previous, T] -> [B, nodes * C, T // 2]
    """

    def __init__(self, space: SearchSpace, cell: Cell, plan: CellPlan) -> None:
        super().__init__()
        self.preprocess = Preprocess(plan)
        self.sources = tuple(tuple(edge.source for edge in edges) for edges in cell.nodes)
        self.concat = cell.concat
        self.operations = nn.ModuleList(
            space.primitive(edge.primitive).operation(plan.channels) for edges in cell.nodes for edge in edges
        )

    def forward(self, s0: Tensor, s1: Tensor) -> Tensor:
        states = list(self.preprocess(s0, s1))
        operations = iter(self.operations)
        for sources in self.sources:
            terms = [next(operations)(states[source]) for source in sources]
            states.append(sum(terms[1:], start=terms[0]))
        return F.max_pool1d(torch.cat([states[node] for node in self.concat], dim=1), 2)


def cell_complexity(
    number: int,
    space: SearchSpace,
    cell: Cell,
    plan: CellPlan,
    views: tuple[View, View],
    lengths: tuple[int, int],
) -> tuple[PartCost, View]:
    """What a `DerivedCell` costs, and what a frame of its output sees.

    The 1 x 1 convolutions of the inputs (the first before its max-pool 2), the operations, the final max-pool 2.

    Args:
        number: of the cell in the stack.
        space, cell, plan: as of `DerivedCell`.
        views: what a frame of each input sees.
        lengths: frames of each input.
    """
    channels = plan.channels
    frames = min(lengths[0] // 2, lengths[1])
    inputs = (plan.before_previous * channels, plan.previous * channels)
    parameters = sum(inputs)
    macs = (2 * inputs[0] + inputs[1]) * frames
    activations = 3 * channels * frames
    states = [views[0].strided(0, 1, 2), views[1]]
    for edges in cell.nodes:
        seen: View | None = None
        for edge in edges:
            cost = space.primitive(edge.primitive).complexity(channels, frames)
            parameters += cost.parameters
            macs += cost.macs
            activations += cost.activations
            read = states[edge.source].strided(cost.reach, cost.reach)
            seen = read if seen is None else seen.joined(read)
        assert seen is not None  # a genotype has no node without edges
        states.append(seen)
    view = states[cell.concat[0]]
    for node in cell.concat[1:]:
        view = view.joined(states[node])
    view = view.strided(0, 1, 2)
    size = channels * frames
    # Its two inputs and all its states are there when the output is put together.
    memory = plan.before_previous * lengths[0] + plan.previous * lengths[1] + (len(states) + len(cell.concat)) * size
    part = PartCost(
        f"cell {number} ({plan.type})",
        len(cell.concat) * channels,
        frames // 2,
        parameters,
        macs,
        activations,
        view.samples,
        memory,
        tuple(states),
        plan.type,
        plan.widens,
    )
    return part, view


class DerivedNetwork(CellNetwork):
    """The network of a genotype: waveform [B, T] -> logits [B, 2], column 1 bona fide.

    Args:
        genotype: a cell for each cell type.
        space: the search space that names their primitives.
        network: everything around the cells.

    Raises:
        NasError: the genotype does not belong to the space.
    """

    def __init__(self, genotype: Genotype, space: SearchSpace | str, network: SearchedNetwork) -> None:
        space = get_space(space) if isinstance(space, str) else space
        cells = genotype.validate(space).cells
        super().__init__(
            Skeleton.of(space, network),
            lambda plan: DerivedCell(space, cells[plan.type], plan),
            {name: len(cell.concat) for name, cell in cells.items()},
        )
        self.genotype = genotype
