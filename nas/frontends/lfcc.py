"""Linear-frequency cepstral coefficients as the LCNN systems of Wang and Yamagishi have them."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.frontends.frontend import Frontend
from nas.frontends.sinc import SAMPLE_RATE
from nas.frontends.spectrum import FLOOR, PowerSpectrum, full_precision, triangular_filters


def dct_matrix(size: int) -> Tensor:
    """Orthonormal DCT-II as a matrix [size, size]; row k is the k-th basis vector."""
    n = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi / size * (n + 0.5) * n.unsqueeze(1)) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.float()


def delta(x: Tensor) -> Tensor:
    """x[t + 1] - x[t - 1] along the frames of [B, T, D]; the first and the last frame stand beside themselves."""
    padded = F.pad(x.transpose(1, 2), (1, 1), mode="replicate").transpose(1, 2)
    return padded[:, 2:] - padded[:, :-2]


class LFCC(Frontend):
    """waveform [B, T] -> static coefficients, delta and delta-delta, [B, 1 + T // 160, 3 * coefficients].

    Pre-emphasis 0.97, 20 ms frames every 10 ms, triangular filters on a linear scale, log10, DCT-II. Coefficient 0 is
    replaced by the log energy, log10(sum of the power spectrum / fft).

    Args:
        coefficients: of the static part, and filters of the bank.
        fft: points; 512 in the 2019 systems, 1,024 in the 2021 baseline.
        highest: upper edge of the last filter in Hz; 4,000 in the 2021 baseline.
    """

    frames_first = True
    filters: Tensor
    dct: Tensor

    def __init__(self, coefficients: int = 20, fft: int = 512, highest: float = SAMPLE_RATE / 2) -> None:
        super().__init__()
        self.channels = 3 * coefficients
        self.spectrum = PowerSpectrum(fft)
        self.hop = self.spectrum.hop
        # Part of the state, because the released checkpoints carry both.
        self.register_buffer("filters", triangular_filters(np.linspace(0.0, highest, coefficients + 2), fft))
        self.register_buffer("dct", dct_matrix(coefficients))

    def forward(self, waveform: Tensor) -> Tensor:
        with full_precision(waveform.device):
            power = self.spectrum(waveform)
            bands = torch.log10(power @ self.filters + FLOOR)
            energy = torch.log10(power.sum(dim=2, keepdim=True) / self.spectrum.fft + FLOOR)
            static = torch.cat([energy, (bands @ self.dct.T)[:, :, 1:]], dim=2)
        first = delta(static)
        return torch.cat([static, first, delta(first)], dim=2)
