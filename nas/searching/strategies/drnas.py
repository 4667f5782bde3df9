"""DrNAS (Chen et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from nas.searching.strategies.strategy import STRATEGIES, Differentiable
from nas.supernet.architecture import Architecture

PENALTY = 1e-3
"""lambda of the paper's regulariser."""


def concentration(alpha: Tensor) -> Tensor:
    """Of the Dirichlet distribution of each edge, elu(alpha) + 1 [E, K]: above 0, and near 1 at the start."""
    return F.elu(alpha) + 1


@STRATEGIES.entry("drnas")
class DrNAS(Differentiable):
    """The weights of an edge are drawn from a Dirichlet distribution, whose concentration is learnt (Eq. 4); its mean
    is what the architecture stands for. The distribution is drawn to the uniform one by lambda KL."""

    def weights(self, architecture: Architecture, cell_type: str) -> tuple[Tensor, Tensor]:
        c, (_, b) = concentration(architecture.alpha(cell_type)), super().weights(architecture, cell_type)
        return c / c.sum(1, keepdim=True), b

    def draw(self, architecture: Architecture, cell_type: str) -> tuple[Tensor, Tensor]:
        _, b = super().weights(architecture, cell_type)
        return Dirichlet(concentration(architecture.alpha(cell_type))).rsample(), b

    def penalty(self, architecture: Architecture) -> Tensor:
        found = []
        for name in architecture.space.types:
            c = concentration(architecture.alpha(name))
            found.append(kl_divergence(Dirichlet(c), Dirichlet(torch.ones_like(c))).sum())
        return PENALTY * torch.stack(found).sum()
