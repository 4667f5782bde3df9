"""A searched network: a skeleton with cells in it. The supernet and the network of a genotype are both one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from nas.cells.skeleton import CellPlan, Skeleton
from nas.cells.stem import Stem
from nas.cells.surroundings import make_frontend, make_output, make_pooling
from nas.network import Network


class CellNetwork(Network):
    """waveform [B, T] -> logits [B, 2], column 1 bona fide.

    Args:
        skeleton: everything around the cells.
        make_cell: builds the cell of a place; s0 [B, C_before, 2 T], s1 [B, C_previous, T] and what
            `cell_arguments` gives its type -> [B, nodes * C, T // 2].
        concatenated: for each cell type the nodes that its output concatenates.
    """

    def __init__(
        self, skeleton: Skeleton, make_cell: Callable[[CellPlan], nn.Module], concatenated: Mapping[str, int]
    ) -> None:
        super().__init__()
        network = skeleton.network
        self.skeleton = skeleton
        self.least_samples = skeleton.least_samples
        self.stem = Stem(make_frontend(network), network.channels)
        plans = skeleton.plans(concatenated, self.stem.frontend.channels)
        self.cells = nn.ModuleList(make_cell(plan) for plan in plans)
        self.types = tuple(plan.type for plan in plans)
        self.head = make_pooling(network, skeleton.width(concatenated))
        self.output = make_output(network)

    def cell_arguments(self) -> Mapping[str, tuple[Tensor, ...]]:
        """For each cell type what its cells are called with besides their inputs: nothing."""
        return dict.fromkeys(self.types, ())

    def run_cells(self, s0: Tensor, s1: Tensor) -> Tensor:
        """Outputs of the stem, s0 [B, C, L] and s1 [B, C, L / 2] -> output of the last cell [B, C', L']."""
        arguments = self.cell_arguments()
        for cell, cell_type in zip(self.cells, self.types, strict=True):
            s0, s1 = s1, cell(s0, s1, *arguments[cell_type])
        return s1

    def summarise(self, x: Tensor) -> Tensor:
        """Frames of the last cell [B, C', L'] -> embedding [B, E]."""
        return self.head(x)

    def embed(self, waveform: Tensor) -> Tensor:
        """waveform [B, T] -> embedding [B, E].

        Raises:
            NasError: the waveform is too short for the number of cells.
        """
        self.skeleton.require_samples(waveform.shape[1])
        return self.summarise(self.run_cells(*self.stem(waveform)))
