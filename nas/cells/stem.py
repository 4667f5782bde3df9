"""The first layers of a searched network: waveform to the two inputs of its first cell (Ge et al. 2021, Table 1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nas.complexity import PartCost, View
from nas.frontends.frontend import Frontend
from nas.space import LEAKY_SLOPE


class Stem(nn.Module):
    """waveform [B, T] -> s0 [B, D, L], s1 [B, C, ceil(L / 2)]: front-end, max-pool, BN, LeakyReLU; convolution.

    Args:
        frontend: puts out D values a frame; its `pool` frames are taken together.
        channels: C.
    """

    def __init__(self, frontend: Frontend, channels: int) -> None:
        super().__init__()
        self.frontend = frontend
        self.norm = nn.BatchNorm1d(frontend.channels)
        self.conv = nn.Conv1d(frontend.channels, channels, 3, stride=2, padding=1, bias=False)
        self.conv_norm = nn.BatchNorm1d(channels)

    @property
    def windows(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Of each output, in frames of the front-end: frames before and after that it reads, and the stride."""
        pool = self.frontend.pool
        return (0, pool - 1, pool), (pool, 2 * pool - 1, 2 * pool)

    def complexity(self, frames: int, view: View) -> tuple[PartCost, PartCost]:
        """What the max-pool with its normalisation and the convolution cost behind `frames` frames that see `view`."""
        channels, values, pooled = self.conv.out_channels, self.frontend.channels, frames // self.frontend.pool
        halved = (pooled + 1) // 2
        first, second = (view.strided(*window).samples for window in self.windows)
        weights = 3 * values * channels
        memory = values * (frames + pooled), values * pooled + channels * halved
        return (
            PartCost(f"max-pool {self.frontend.pool}", values, pooled, 2 * values, 0, 0, first, memory[0]),
            PartCost(
                "stem", channels, halved, weights + 2 * channels, weights * halved, channels * halved, second, memory[1]
            ),
        )

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.frontend.frames(waveform)
        s0 = F.leaky_relu(self.norm(F.max_pool1d(frames, self.frontend.pool)), LEAKY_SLOPE)
        return s0, F.leaky_relu(self.conv_norm(self.conv(s0)), LEAKY_SLOPE)
