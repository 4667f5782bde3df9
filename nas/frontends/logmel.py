"""Log-mel spectrograms, for the LCNN of the fine-tuning study."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nas.frontends.fixed_sinc import hz_from_mel, mel_from_hz
from nas.frontends.frontend import Frontend
from nas.frontends.sinc import SAMPLE_RATE
from nas.frontends.spectrum import FLOOR, PowerSpectrum, full_precision, triangular_filters


class LogMel(Frontend):
    """waveform [B, T] -> log10 energies of mel bands, [B, 1 + T // 160, bands].

    The frames are those of the LFCC front-end (20 ms every 10 ms, Hamming, pre-emphasis 0.97), so that the two differ
    in the bands alone; 1,024 points, because with 512 the lowest of 60 mel bands would hold a single bin.

    Args:
        bands: number of bands between 0 and 8 kHz; 60 gives the LCNN the size that it has on LFCC.
        fft: points.
    """

    frames_first = True
    filters: Tensor

    def __init__(self, bands: int = 60, fft: int = 1024) -> None:
        super().__init__()
        self.channels = bands
        self.spectrum = PowerSpectrum(fft)
        self.hop = self.spectrum.hop
        edges = hz_from_mel(np.linspace(0.0, mel_from_hz(SAMPLE_RATE / 2), bands + 2))
        self.register_buffer("filters", triangular_filters(edges, fft), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        with full_precision(waveform.device):
            return torch.log10(self.spectrum(waveform) @ self.filters + FLOOR)
