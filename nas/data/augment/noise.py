"""Additive noise at a signal-to-noise ratio."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.data.augment import Range, augmentation, level, normal, uniform


@augmentation("noise")
def noise(
    waveforms: Tensor, generator: torch.Generator, snr: Range = (10.0, 40.0), slope: Range = (0.0, 2.0)
) -> Tensor:
    """Stationary noise added to waveforms [B, T].

    Args:
        snr: ratio of the powers of speech and noise in dB.
        slope: the noise's power falls as frequency to the minus this: 0 white, 1 pink, 2 brown.
    """
    samples = waveforms.shape[1]
    spectrum = torch.fft.rfft(normal(generator, waveforms))
    # Below bin 1 the power law has no value: 0 Hz is left out.
    frequency = torch.arange(spectrum.shape[1], device=waveforms.device, dtype=waveforms.dtype).clamp_min(1)
    tilt = frequency ** (-uniform(generator, waveforms, *slope)[:, None] / 2)
    tilt[:, 0] = 0
    coloured = torch.fft.irfft(spectrum * tilt, n=samples)
    ratio = 10 ** (-uniform(generator, waveforms, *snr)[:, None] / 20)
    return waveforms + coloured * (level(waveforms) * ratio / level(coloured).clamp_min(1e-9))
