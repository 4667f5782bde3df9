"""The first layers of a searched network: waveform to the two inputs of its first cell (Ge et al. 2021, Table 1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nas.config import FrontendKind
from nas.frontends.sinc import Conv0, SincFilters
from nas.space import LEAKY_SLOPE


class Stem(nn.Module):
    """waveform [B, T] -> s0 [B, C, L], s1 [B, C, ceil(L / 2)]: front-end, max-pool 3, BN, LeakyReLU; convolution."""

    def __init__(self, frontend: FrontendKind, channels: int, learnable: bool, kernel: int, mask: int) -> None:
        super().__init__()
        self.frontend: SincFilters | Conv0
        if frontend == "conv0":
            self.frontend = Conv0(channels, kernel, mask)
            self.frontend.requires_grad_(learnable)
        else:
            self.frontend = SincFilters(channels, frontend, learnable, kernel, mask)
        self.norm = nn.BatchNorm1d(channels)
        self.conv = nn.Conv1d(channels, channels, 3, stride=2, padding=1, bias=False)
        self.conv_norm = nn.BatchNorm1d(channels)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        s0 = F.leaky_relu(self.norm(F.max_pool1d(self.frontend(waveform), 3)), LEAKY_SLOPE)
        return s0, F.leaky_relu(self.conv_norm(self.conv(s0)), LEAKY_SLOPE)
