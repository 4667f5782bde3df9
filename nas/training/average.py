"""The mean of the weights of a training's good epochs (stochastic weight averaging, Izmailov et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from nas.network import Network


class WeightAverage(AveragedModel):
    """The mean weights of the epochs that were as good on development as any before them, ties included.

    Attributes:
        lowest: the criterion of the best epoch so far; a buffer, so that a resumed training goes on with it.
    """

    lowest: Tensor

    def __init__(self, network: Network, below: float = 100.0) -> None:
        """Args: below: highest development EER, in percent, of an epoch that counts; published AASIST has 1."""
        super().__init__(network)
        self.below = below
        self.register_buffer("lowest", torch.tensor(float("inf"), dtype=torch.float64))

    def offer(self, network: Network, criterion: float, eer: float) -> bool:
        """Take in the weights of an epoch if it is good enough.

        Args:
            criterion: by which the best epoch is chosen, lower = better.
            eer: on development, percent.
        """
        good = criterion <= self.lowest.item() and eer <= self.below
        self.lowest.clamp_(max=criterion)
        if good:
            self.update_parameters(network)
        return good
