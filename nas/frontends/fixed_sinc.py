"""Fixed sinc filters as AASIST and RawNet2 have them: band-pass filters between neighbouring edges, never trained.

Filter n of the band (f1, f2) has the taps
[2 f2 / sr sinc(2 f2 n / sr) - 2 f1 / sr sinc(2 f1 n / sr)] hamming(n), n = -K // 2 ... K // 2,
where sinc(x) = sin(pi x) / (pi x).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.errors import NasError
from nas.frontends.sinc import SAMPLE_RATE, filter_mask

POOL = 3
"""Frames, and in AASIST filters, that the max-pooling behind the first layer takes together."""

Scale = Literal["mel", "inverse-mel", "linear"]


def mel_from_hz(hz: np.ndarray | float) -> np.ndarray:
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


def hz_from_mel(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)


def band_edges(scale: Scale, filters: int, surplus: int = 0) -> np.ndarray:
    """Edges in Hz of `filters` neighbouring bands from 0 Hz upwards, [filters + 1].

    Args:
        scale: "mel", "inverse-mel" (runs downwards, each edge one hertz lower, as published) or "linear".
        filters: number of bands.
        surplus: further bands between the last one and 8 kHz that are computed and dropped: 2 in RawNet2-2019.

    Raises:
        NasError: there is no such scale.
    """
    points, kept, nyquist = filters + 1 + surplus, filters + 1, SAMPLE_RATE / 2
    if scale == "linear":
        return np.linspace(0.0, nyquist, points)[:kept]
    if scale not in ("mel", "inverse-mel"):
        raise NasError(f"the scale of the sinc filters is mel, inverse-mel or linear, not {scale!r}")
    hz = hz_from_mel(np.linspace(0.0, mel_from_hz(nyquist), points))[:kept]
    return hz if scale == "mel" else np.abs(np.flip(hz) - 1)


def band_pass(edges: np.ndarray, kernel: int) -> np.ndarray:
    """Impulse responses [filters, kernel] in float32; an even kernel is raised by one so that they are symmetric.

    Equal to the published ones (AASIST, both RawNet2) to the bit: time is an axis of float32 there, and so is the sinc
    on it; its gain 2 f / sr and the difference of the two are float64, as NumPy 2 computes them from the published
    code. Float64 throughout differs by 1.5e-7.
    """
    half = kernel // 2
    n = np.arange(-half, half + 1, dtype=np.float32)
    phase = (2 * edges[:, None]).astype(np.float32) * n / np.float32(SAMPLE_RATE)
    low_pass = 2 * edges[:, None] / SAMPLE_RATE * np.sinc(phase)
    # Window and response meet in single precision, as published.
    return np.diff(low_pass, axis=0).astype(np.float32) * np.hamming(2 * half + 1).astype(np.float32)


class FixedSinc(nn.Module):
    """waveform [B, T] -> [B, filters, T - kernel + 1] (the kernel odd): no padding, nothing trained.

    Args:
        filters: number of filters.
        kernel: taps; 128 becomes 129.
        scale: how the bands are spread.
        surplus: see `band_edges`.
        mask: F of the filter masking in training mode, int(U(0, F)) neighbouring filters; 0 never masks.
    """

    taps: Tensor

    def __init__(self, filters: int, kernel: int = 128, scale: Scale = "mel", surplus: int = 0, mask: int = 0) -> None:
        super().__init__()
        self.mask, self.kernel = mask, 2 * (kernel // 2) + 1
        taps = torch.from_numpy(band_pass(band_edges(scale, filters, surplus), kernel))
        self.register_buffer("taps", taps.unsqueeze(1), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        taps = self.taps
        if self.training and self.mask > 0:
            taps = taps * filter_mask(len(taps), self.mask, taps.device).unsqueeze(1)
        return F.conv1d(waveform.unsqueeze(1), taps.to(waveform.dtype))

    def magnitude(self, waveform: Tensor, bands: int = 1) -> Tensor:
        """Largest |output| of `bands` neighbouring filters in `POOL` neighbouring frames.

        waveform [B, T] -> [B, filters // bands, (T - kernel + 1) // POOL]; what is left over at the ends is dropped.
        """
        return F.max_pool2d(self(waveform).abs().unsqueeze(1), (bands, POOL)).squeeze(1)


def require_samples(waveform: Tensor, least: int) -> None:
    """Refuse a waveform that would leave a network no frame.

    Raises:
        NasError: not [B, T], or fewer than `least` samples.
    """
    if waveform.dim() != 2:
        raise NasError(f"a network takes waveforms of shape [utterances, samples], not {list(waveform.shape)}")
    if waveform.shape[1] < least:
        raise NasError(f"a waveform of {waveform.shape[1]} samples is too short: at least {least} are needed")
