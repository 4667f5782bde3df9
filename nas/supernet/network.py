"""The whole supernet: waveform -> cosines, with every candidate of every edge alive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from nas.losses import P2SGrad
from nas.networks.raw_pcdarts import FrontendKind, RecurrentEmbedding, Stem, plan_cells, require_samples
from nas.space import SearchSpace, get_space
from nas.supernet.architecture import KINDS, Architecture
from nas.supernet.folded import FoldedCell
from nas.supernet.fused import Passes
from nas.supernet.per_edge import SearchCell
from nas.supernet.recurrent import GatheredGRU

Implementation = Literal["folded", "per_edge"]


class Supernet(nn.Module):
    """The Raw PC-DARTS supernet: waveform [B, T] -> cosines [B, 2], column 1 bona fide.

    Args:
        space: what is searched.
        partial: K_C; one in K_C channels passes through the candidates.
        implementation: how the cells compute it, "folded" (fast) or "per_edge" (the definition); parameters, buffers
            and their names are the same.
        channels, cells, gru_hidden, gru_layers, frontend, learnable, kernel, mask: as in `RawPCDarts`.
        compile: "cell" compiles the cells' elementwise work (folded) or each cell (per edge) with `torch.compile`,
            "whole" the whole forward.
        recompute: keep less for the backward pass and compute it again (folded).

    Raises:
        NasError: K_C does not divide the channels.
    """

    def __init__(
        self,
        space: SearchSpace | str = "raw_waveform",
        partial: int = 2,
        implementation: Implementation = "folded",
        channels: int = 64,
        cells: int = 8,
        gru_hidden: int = 1024,
        gru_layers: int = 3,
        frontend: FrontendKind = "mel",
        learnable: bool = False,
        kernel: int = 128,
        mask: int = 16,
        compile: Literal["none", "cell", "whole"] = "none",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.space = get_space(space) if isinstance(space, str) else space
        nodes = self.space.topology.intermediate
        passes: Passes = "inductor" if compile == "cell" else "auto"
        self.architecture = Architecture(self.space)
        self.stem = Stem(frontend, channels, learnable, kernel, mask)
        plans = plan_cells(channels, cells, {False: nodes, True: nodes})
        self.cells = nn.ModuleList(
            FoldedCell(self.space, plan, partial, passes, recompute)
            if implementation == "folded"
            else SearchCell(self.space, plan, partial)
            for plan in plans
        )
        self.head = RecurrentEmbedding(nodes * plans[-1].channels, gru_hidden, gru_layers)
        if implementation == "folded":
            self.head.gru = GatheredGRU.like(self.head.gru)
        self.output = P2SGrad(gru_hidden)
        if compile == "whole":
            self.compile()
        elif compile == "cell" and implementation == "per_edge":
            for cell in self.cells:
                cell.compile()

    def weight_parameters(self) -> Iterator[nn.Parameter]:
        """Every trained parameter but alpha and beta: omega of the bi-level problem (Eq. 3)."""
        architecture = {id(parameter) for parameter in self.architecture.parameters()}
        return (p for p in self.parameters() if id(p) not in architecture and p.requires_grad)

    def embed(self, waveform: Tensor) -> Tensor:
        """waveform [B, T] -> embedding [B, gru_hidden]."""
        require_samples(waveform.shape[1], len(self.cells))
        s0, s1 = self.stem(waveform)
        weights = {kind: self.architecture.weights(kind) for kind in KINDS}
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1, *weights["expand" if cell.plan.expand else "normal"])
        # Under autocast the head stays float32: rounded cosines would make the loss's gradient mostly rounding.
        with torch.autocast(s1.device.type, enabled=False):
            return self.head(s1.to(self.output.weight.dtype))

    def forward(self, waveform: Tensor) -> Tensor:
        embedding = self.embed(waveform)
        with torch.autocast(embedding.device.type, enabled=False):
            return self.output(embedding)
