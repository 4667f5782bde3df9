"""The first layer on the waveform: sinc filters (fixed or learnable), or Conv 0, both with filter masking.

Ge et al. 2021, Section 3.1, Eq. 5 and the published layer. A waveform [B, T] becomes [B, C, T - 124].
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.complexity import PartCost, View
from nas.frontends.frontend import Frontend

SAMPLE_RATE = 16_000
MIN_LOW_HZ = 50.0
MIN_BAND_HZ = 50.0
PADDING = 2
SHORTER = 124
"""Frames that 128 taps leave out; fewer taps leave out fewer, and as much is asked of their waveforms."""
SURPLUS_FILTERS = 4
"""The published layer computes C + 4 filters and keeps the lowest-numbered C; its weights hold all of them."""

Scale = Literal["mel", "inverse-mel", "linear"]
SCALES: tuple[Scale, ...] = get_args(Scale)


def band_edges(scale: Scale, bands: int) -> np.ndarray:
    """Edges in Hz of `bands` neighbouring bands between 0 and 7,900 Hz, [bands + 1].

    The inverse-mel edges run downwards, as published: |7,900 - mel edge|, so that filter 0 is the highest.
    """
    highest = SAMPLE_RATE / 2 - (MIN_LOW_HZ + MIN_BAND_HZ)
    if scale == "linear":
        return np.linspace(0.0, highest, bands + 1)
    mel = np.linspace(0.0, 2595 * np.log10(1 + highest / 700), bands + 1)
    hz = 700 * (10 ** (mel / 2595) - 1)
    # The published inversion flips the edges and subtracts one hertz.
    return hz if scale == "mel" else np.abs(np.flip(hz) - 1)


def filter_mask(channels: int, maximum: int, device: torch.device) -> Tensor:
    """[C, 1] of ones, with zeros on f consecutive filters: f ~ U[0, F), first ~ U[0, C - f) (Section 3.1).

    Drawn on the device, so that a training step never waits for the host.
    """
    maximum = min(maximum, channels)
    masked = torch.randint(0, maximum, (1,), device=device)
    first = (torch.rand(1, device=device) * (channels - masked)).long()
    index = torch.arange(channels, device=device)
    return ((index < first) | (index >= first + masked)).to(torch.float32).unsqueeze(1)


class SincFilters(Frontend):
    """C band-pass filters g[n, f1, f2] = 2 f2 sinc(2 pi f2 n) - 2 f1 sinc(2 pi f1 n), Hamming-windowed (Eq. 5).

    Args:
        channels: number of filters C.
        scale: how the bands are spread at the start: "mel", "inverse-mel" or "linear".
        learnable: whether the cut-off frequencies are trained.
        kernel: taps; an even number is raised by one so that the filters are symmetric.
        mask: F, one more than the most filters that are masked at once; 0 never masks. Only in training mode.
    """

    pool = 3
    time: Tensor
    window: Tensor

    def __init__(
        self, channels: int, scale: Scale = "mel", learnable: bool = False, kernel: int = 128, mask: int = 16
    ) -> None:
        super().__init__()
        self.channels, self.mask = channels, mask
        half = kernel // 2
        edges = band_edges(scale, channels + SURPLUS_FILTERS)
        self.low_hz = nn.Parameter(torch.tensor(edges[:-1, None], dtype=torch.float32), requires_grad=learnable)
        self.band_hz = nn.Parameter(torch.tensor(np.diff(edges)[:, None], dtype=torch.float32), requires_grad=learnable)
        # Left half of the symmetric kernel: time in radians per Hz, and its Hamming window.
        taps = torch.arange(-half, 0, dtype=torch.float32)
        grid = torch.linspace(0, (2 * half + 1) / 2 - 1, half)
        self.register_buffer("time", 2 * math.pi * taps / SAMPLE_RATE, persistent=False)
        self.register_buffer("window", 0.54 - 0.46 * torch.cos(2 * math.pi * grid / (2 * half + 1)), persistent=False)

    def cutoffs(self) -> tuple[Tensor, Tensor]:
        """Cut-in and cut-off frequency of every kept filter in Hz, [C, 1] each."""
        low = MIN_LOW_HZ + self.low_hz[: self.channels].abs()
        high = (low + MIN_BAND_HZ + self.band_hz[: self.channels].abs()).clamp(MIN_LOW_HZ, SAMPLE_RATE / 2)
        return low, high

    def filters(self) -> Tensor:
        """Impulse responses [C, 1, kernel], divided by twice their bandwidth so that the centre tap is 1."""
        low, high = self.cutoffs()
        left = (torch.sin(high * self.time) - torch.sin(low * self.time)) / (self.time / 2) * self.window
        left = left / (2 * (high - low))
        return torch.cat([left, torch.ones_like(low), left.flip(1)], dim=1).unsqueeze(1)

    def complexity(self, samples: int) -> tuple[PartCost, View]:
        """What it costs for a waveform of so many samples, and what a frame of it sees."""
        return _filters_complexity(self.channels, 2 * self.time.shape[0] + 1, 2 * self.low_hz.shape[0], samples)

    def least_samples(self, frames: int) -> int:
        return frames + SHORTER

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform [B, T] -> [B, C, T - 124]."""
        filters = self.filters()
        if self.training and self.mask > 0:
            filters = filters * filter_mask(self.channels, self.mask, filters.device).unsqueeze(1)
        return F.conv1d(waveform.unsqueeze(1), filters.to(waveform.dtype), padding=PADDING)


class Conv0(Frontend):
    """Conv 0: a randomly initialised convolution in place of the sinc filters (Section 4.2), masked likewise.

    The published layer keeps the even kernel of 128 taps and has a bias; its output is one frame longer.
    """

    pool = 3

    def __init__(self, channels: int = 64, kernel: int = 128, mask: int = 16, learnable: bool = True) -> None:
        super().__init__()
        self.channels, self.mask = channels, mask
        self.conv = nn.Conv1d(1, channels, kernel, padding=PADDING)
        self.requires_grad_(learnable)

    def complexity(self, samples: int) -> tuple[PartCost, View]:
        """What it costs for a waveform of so many samples, and what a frame of it sees."""
        taps = self.conv.kernel_size[0]
        return _filters_complexity(self.channels, taps, self.channels * (taps + 1), samples)

    def least_samples(self, frames: int) -> int:
        return frames + SHORTER

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform [B, T] -> [B, C, T - 123]."""
        x = self.conv(waveform.unsqueeze(1))
        if self.training and self.mask > 0:
            x = x * filter_mask(self.channels, self.mask, x.device).to(x.dtype)
        return x


def _filters_complexity(channels: int, taps: int, parameters: int, samples: int) -> tuple[PartCost, View]:
    frames, view = samples + 2 * PADDING - taps + 1, View(-PADDING, taps - 1 - PADDING, 1)
    size = channels * frames
    return PartCost("front-end", channels, frames, parameters, taps * size, size, view.samples, samples + size), view


def mel_filters(channels: int = 64, learnable: bool = False, kernel: int = 128, mask: int = 16) -> SincFilters:
    """Sinc filters spread on the mel scale; the arguments are those of `SincFilters`."""
    return SincFilters(channels, "mel", learnable, kernel, mask)


def inverse_mel_filters(channels: int = 64, learnable: bool = False, kernel: int = 128, mask: int = 16) -> SincFilters:
    """Sinc filters spread on the inverse mel scale."""
    return SincFilters(channels, "inverse-mel", learnable, kernel, mask)


def linear_filters(channels: int = 64, learnable: bool = False, kernel: int = 128, mask: int = 16) -> SincFilters:
    """Sinc filters of equal width."""
    return SincFilters(channels, "linear", learnable, kernel, mask)
