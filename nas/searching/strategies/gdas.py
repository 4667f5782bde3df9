"""GDAS (Dong and Yang 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from nas.searching.strategies.strategy import STRATEGIES, Differentiable
from nas.supernet.architecture import Architecture

if TYPE_CHECKING:
    from nas.config import Search

HOT, COLD = 10.0, 0.1
"""Temperature in the first and in the last epoch (the paper's search)."""


@STRATEGIES.entry("gdas")
class GDAS(Differentiable):
    """One primitive of each edge is drawn for every forward pass, by softmax(alpha): the hard maximum of
    (log a + Gumbel noise) / tau forward, its softmax backward (Eq. 7). tau falls linearly over the epochs."""

    tau = HOT

    def begin_epoch(self, architecture: Architecture, epoch: int, settings: Search) -> None:
        self.tau = HOT + (COLD - HOT) * (epoch - 1) / max(settings.epochs - 1, 1)

    def draw(self, architecture: Architecture, cell_type: str) -> tuple[Tensor, Tensor]:
        _, b = self.weights(architecture, cell_type)
        return F.gumbel_softmax(architecture.alpha(cell_type).log_softmax(1), self.tau, hard=True), b
