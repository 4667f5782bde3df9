"""The whole supernet: waveform -> cosines, with every candidate of every edge alive."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.cells.network import CellNetwork
from nas.cells.skeleton import CellPlan, Skeleton
from nas.config import SearchedNetwork
from nas.supernet.architecture import Architecture
from nas.supernet.folded import FoldedCell
from nas.supernet.library_cache import private_folder
from nas.supernet.pass_set import Passes
from nas.supernet.per_edge import SearchCell
from nas.supernet.recurrent import GatheredGRU

Implementation = Literal["folded", "per_edge"]


class Supernet(CellNetwork):
    """The skeleton of a search space with search cells: waveform [B, T] -> logits [B, 2], column 1 bona fide.

    Args:
        architecture: weighs the candidates; what is searched is its space.
        network: everything around the cells.
        partial: K_C; one in K_C channels passes through the candidates.
        implementation: how the cells compute it, "folded" (fast) or "per_edge" (the definition); parameters, buffers
            and their names are the same.
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
        architecture: Architecture,
        network: SearchedNetwork,
        partial: int = 2,
        implementation: Implementation = "folded",
        compile: Literal["none", "cell", "whole"] = "none",
        recompute: bool = False,
        published_statistics: bool = False,
    ) -> None:
        space = architecture.space
        passes: Passes = "auto" if compile == "none" else "compiled"

        def make_cell(plan: CellPlan) -> SearchCell:
            if implementation == "folded":
                return FoldedCell(space, plan, partial, passes, recompute)
            return SearchCell(space, plan, partial)

        super().__init__(
            Skeleton.of(space, network), make_cell, dict.fromkeys(space.types, space.topology.intermediate)
        )
        self.space, self.architecture = space, architecture
        if published_statistics:
            for cell in self.cells:
                _move_statistics_twice(cell.get_submodule("edges"))
        recurrent = {name: module for name, module in self.head.named_modules() if type(module) is nn.GRU}
        if implementation == "folded":
            for name, module in recurrent.items():
                self.head.set_submodule(name, GatheredGRU.like(module))
        if compile != "none":
            _set_up_compiler()
        if compile == "whole":
            if implementation == "folded":
                # Passes by hand and a loop over frames, which the compiler would take minutes to follow.
                for part in (*self.cells, *(self.head.get_submodule(name) for name in recurrent)):
                    part.forward = torch.compiler.disable(part.forward)  # type: ignore[method-assign]
            self.compile()
        elif compile == "cell" and implementation == "per_edge":
            for cell in self.cells:
                cell.compile()

    def weight_parameters(self) -> Iterator[nn.Parameter]:
        """Every trained parameter but alpha and beta: omega of the bi-level problem (Eq. 3)."""
        architecture = {id(parameter) for parameter in self.architecture.parameters()}
        return (p for p in self.parameters() if id(p) not in architecture and p.requires_grad)

    def cell_arguments(self) -> Mapping[str, tuple[Tensor, ...]]:
        """For each cell type the weights a [E, K] and b [E] of its candidates and edges."""
        return {name: self.architecture.drawn(name) for name in self.space.types}

    def summarise(self, x: Tensor) -> Tensor:
        # Under autocast the head stays float32: rounded cosines would make the loss's gradient mostly rounding.
        with torch.autocast(x.device.type, enabled=False):
            return super().summarise(x.to(next(self.output.parameters()).dtype))

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
    # By default inductor keeps what it compiled in a folder of /tmp with a known name, which any user can make first.
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(private_folder("inductor"))
    config = torch._dynamo.config
    # Each of the two steps of a search holds the other's parameters (`requires_grad`). By default what was compiled for
    # one of them runs in the other too: parameters of known modules are not looked at again.
    config.skip_tensor_guards_with_matching_dict_tags = False
    # Numbers of sources and targets, and lengths that coincide, make up to 12 variants of a folded cell's passes; past
    # the default limit of 8 the rest would run uncompiled.
    config.recompile_limit = max(config.recompile_limit, 32)
