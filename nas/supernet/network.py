"""The whole supernet: waveform -> cosines, with every candidate of every edge alive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.losses import P2SGrad
from nas.networks.network import Network
from nas.networks.raw_pcdarts import FrontendKind, RecurrentEmbedding, Stem, plan_cells, require_samples
from nas.space import SearchSpace, get_space
from nas.supernet.architecture import KINDS, Architecture
from nas.supernet.folded import FoldedCell
from nas.supernet.fused import Passes
from nas.supernet.per_edge import SearchCell
from nas.supernet.recurrent import GatheredGRU

Implementation = Literal["folded", "per_edge"]


class Supernet(Network):
    """The Raw PC-DARTS supernet: waveform [B, T] -> cosines [B, 2], column 1 bona fide.

    Args:
        space: what is searched.
        partial: K_C; one in K_C channels passes through the candidates.
        implementation: how the cells compute it, "folded" (fast) or "per_edge" (the definition); parameters, buffers
            and their names are the same.
        channels, cells, gru_hidden, gru_layers, frontend, learnable, kernel, mask: as in `RawPCDarts`.
        compile: "cell" compiles each cell with `torch.compile`, "whole" the whole forward; of folded cells the
            elementwise work, where C does not do it.
        recompute: keep less for the backward pass and compute it again (folded).
        published_statistics: move the running statistics of the candidates twice a forward pass, as the published code
            does by computing every mixed operation twice. `num_batches_tracked` counts forward passes all the same.

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
        published_statistics: bool = False,
    ) -> None:
        super().__init__()
        self.space = get_space(space) if isinstance(space, str) else space
        nodes = self.space.topology.intermediate
        passes: Passes = "auto" if compile == "none" else "compiled"
        self.architecture = Architecture(self.space)
        self.stem = Stem(frontend, channels, learnable, kernel, mask)
        plans = plan_cells(channels, cells, {False: nodes, True: nodes})
        self.cells = nn.ModuleList(
            FoldedCell(self.space, plan, partial, passes, recompute)
            if implementation == "folded"
            else SearchCell(self.space, plan, partial)
            for plan in plans
        )
        if published_statistics:
            for cell in self.cells:
                _move_statistics_twice(cell.get_submodule("edges"))
        self.head = RecurrentEmbedding(nodes * plans[-1].channels, gru_hidden, gru_layers)
        if implementation == "folded":
            self.head.gru = GatheredGRU.like(self.head.gru)
        self.output = P2SGrad(gru_hidden)
        if compile != "none":
            _set_up_compiler()
        if compile == "whole":
            if implementation == "folded":
                # Passes by hand and a loop over frames, which the compiler would take minutes to follow.
                for part in (*self.cells, self.head.gru):
                    part.forward = torch.compiler.disable(part.forward)  # type: ignore[method-assign]
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


def _move_statistics_twice(candidates: nn.Module) -> None:
    """Set the momentum of batch normalisations to that of two moves towards the same statistics, 1 - (1 - m)^2."""
    for norm in candidates.modules():
        if isinstance(norm, _BatchNorm) and norm.momentum is not None:
            norm.momentum = 1 - (1 - norm.momentum) ** 2


def _set_up_compiler() -> None:
    config = torch._dynamo.config
    # Each of the two steps of a search holds the other's parameters (`requires_grad`). By default what was compiled for
    # one of them runs in the other too: parameters of known modules are not looked at again.
    config.skip_tensor_guards_with_matching_dict_tags = False
    # Numbers of sources and targets, and lengths that coincide, make up to 12 variants of a folded cell's passes; past
    # the default limit of 8 the rest would run uncompiled.
    config.recompile_limit = max(config.recompile_limit, 32)
