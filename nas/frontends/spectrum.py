"""Power spectra of short frames and triangular filter banks: what LFCC and log-mel have in common."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.frontends.sinc import SAMPLE_RATE

FLOOR = float(torch.finfo(torch.float32).eps)
"""Added to a power before its logarithm."""


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context in which automatic mixed precision leaves features alone: bfloat16 has no digits for small energies."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


class PowerSpectrum(nn.Module):
    """waveform [B, T] -> |STFT|^2 [B, 1 + T // hop, 1 + fft // 2].

    Frame t is centred on sample t * hop; the waveform is padded with fft // 2 zeros on both sides. The Hamming window
    of `frame` samples is the periodic one and stands in the middle of the `fft` points.

    Args:
        fft: points.
        frame: samples of a frame; 320 are 20 ms.
        hop: samples between frames; 160 are 10 ms.
        pre_emphasis: a in x[n] - a x[n - 1]; the first sample stays as it is. 0 leaves the waveform alone.
    """

    window: Tensor

    def __init__(self, fft: int = 512, frame: int = 320, hop: int = 160, pre_emphasis: float = 0.97) -> None:
        super().__init__()
        self.fft, self.frame, self.hop, self.pre_emphasis = fft, frame, hop, pre_emphasis
        self.register_buffer("window", torch.hamming_window(frame), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        if self.pre_emphasis:
            waveform = torch.cat(
                [waveform[:, :1], waveform[:, 1:] - self.pre_emphasis * waveform[:, :-1]],
                dim=1,
            )
        # torch.stft knows neither half precision on a CPU nor bfloat16 anywhere.
        waveform = waveform if waveform.dtype == torch.float64 else waveform.float()
        window = self.window.to(waveform.dtype)
        padded = F.pad(waveform, (self.fft // 2, self.fft // 2))
        spectrum = torch.stft(padded, self.fft, self.hop, self.frame, window, center=False, return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square()).transpose(1, 2)


def triangular_filters(edges: np.ndarray, fft: int) -> Tensor:
    """Filters [1 + fft // 2, bands] of `bands + 2` edges in Hz: filter i is 0 at edges i and i + 2, 1 at edge i + 1.

    Raises:
        ValueError: the edges do not rise.
    """
    if not (np.diff(edges) > 0).all():
        raise ValueError("the edges of triangular filters rise")
    hz = np.linspace(0.0, SAMPLE_RATE / 2, fft // 2 + 1)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre))
    return torch.from_numpy(np.maximum(triangles, 0.0).astype(np.float32))
