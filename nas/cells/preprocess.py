"""The inputs of a cell brought to its channels and its frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.cells.skeleton import CellPlan
from nas.space import LEAKY_SLOPE


class Halve(nn.Module):
    """[B, C_in, T] -> [B, C, T // 2]: LeakyReLU, 1 x 1 convolution, max-pool 2, BN. Brings s0 to the length of s1."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels, 1, bias=False)
        self.norm = nn.BatchNorm1d(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.leaky_relu(x, LEAKY_SLOPE))
        return self.norm(F.max_pool1d(x, 2))


class FactorizedHalve(nn.Module):
    """Halve, after a cell that widened the network: the convolution in two halves, as published
    (one convolution, mathematically)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv1d(channels_in, channels // 2, 1, bias=False)
        self.conv_2 = nn.Conv1d(channels_in, channels // 2, 1, bias=False)
        self.norm = nn.BatchNorm1d(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.cat([self.conv_1.weight, self.conv_2.weight])
        return self.norm(F.max_pool1d(F.conv1d(F.leaky_relu(x, LEAKY_SLOPE), weight), 2))


class Preprocess(nn.Module):
    """The two inputs of a cell, [B, ., 2 T] and [B, ., T], brought to [B, C, T] each.

    With an odd number of frames the two differ by one; both are cut to the shorter, so that every length works.
    """

    def __init__(self, plan: CellPlan) -> None:
        super().__init__()
        halve = FactorizedHalve if plan.after_widening else Halve
        self.first = halve(plan.before_previous, plan.channels)
        self.second = nn.Sequential(
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Conv1d(plan.previous, plan.channels, 1, bias=False),
            nn.BatchNorm1d(plan.channels, affine=False),
        )

    def forward(self, s0: Tensor, s1: Tensor) -> tuple[Tensor, Tensor]:
        frames = min(s0.shape[2] // 2, s1.shape[2])
        return self.first(s0[:, :, : 2 * frames]), self.second(s1[:, :, :frames])
