"""The network of a genotype."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.cells.network import CellNetwork
from nas.cells.preprocess import Preprocess
from nas.cells.skeleton import CellPlan, Skeleton
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
