"""Masking of time and of frequency (SpecAugment, Park et al., 2019), carried out on the waveform.

Masking of the front-end's filters (Raw PC-DARTS, F = 16) is a setting of the front-end, not of the data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nas.data.augment import RATE, augmentation, uniform


@augmentation("time_mask")
def time_mask(waveforms: Tensor, generator: torch.Generator, seconds: float = 0.2, count: int = 2) -> Tensor:
    """Waveforms [B, T] with `count` spans of up to `seconds` set to zero."""
    samples = waveforms.shape[1]
    width = uniform(generator, waveforms, 0, min(seconds * RATE, samples), int(count))
    start = uniform(generator, waveforms, 0, 1, int(count)) * (samples - width)
    time = torch.arange(samples, device=waveforms.device)
    masked = torch.zeros_like(waveforms, dtype=torch.bool)
    for span in range(int(count)):
        masked |= (time >= start[:, span, None]) & (time < (start + width)[:, span, None])
    return waveforms.masked_fill(masked, 0)


@augmentation("frequency_mask")
def frequency_mask(waveforms: Tensor, generator: torch.Generator, hertz: float = 1000.0, count: int = 2) -> Tensor:
    """Waveforms [B, T] without `count` bands of up to `hertz` Hz."""
    samples = waveforms.shape[1]
    width = uniform(generator, waveforms, 0, min(hertz, RATE / 2), int(count))
    start = uniform(generator, waveforms, 0, 1, int(count)) * (RATE / 2 - width)
    spectrum = torch.fft.rfft(waveforms)
    frequency = torch.linspace(0, RATE / 2, spectrum.shape[1], device=waveforms.device)
    masked = torch.zeros_like(spectrum, dtype=torch.bool)
    for band in range(int(count)):
        masked |= (frequency >= start[:, band, None]) & (frequency < (start + width)[:, band, None])
    return torch.fft.irfft(spectrum.masked_fill(masked, 0), n=samples)
