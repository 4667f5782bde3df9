"""Reverberation by synthetic room responses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nas.data.augment import RATE, Range, augmentation, level, uniform

_EARLY = 8
_LONGEST = 1.0


@augmentation("reverberation")
def reverberation(
    waveforms: Tensor, generator: torch.Generator, rt60: Range = (0.15, 0.8), direct: Range = (0.0, 15.0)
) -> Tensor:
    """Waveforms [B, T] in rooms; the direct sound keeps its place and the level of each utterance is kept.

    A response is the direct sound, eight early reflections within 50 ms, and noise that decays exponentially (Moorer,
    1979).

    Args:
        rt60: seconds in which the reverberation falls by 60 dB.
        direct: power of the direct sound over that of the rest, in dB.
    """
    samples = waveforms.shape[1]
    taps = min(int(_LONGEST * RATE), samples)
    decay = uniform(generator, waveforms, *rt60)[:, None]
    time = torch.arange(taps, device=waveforms.device, dtype=waveforms.dtype) / RATE
    envelope = torch.exp(-3 * math.log(10) * time / decay)
    tail = envelope * (2 * uniform(generator, waveforms, 0, 1, taps) - 1)
    early = (uniform(generator, waveforms, 0.002, 0.05, _EARLY) * RATE).long().clamp_max(taps - 1)
    strength = (2 * uniform(generator, waveforms, 0, 1, _EARLY) - 1) * 3
    tail = tail.scatter_add(1, early, strength * envelope.gather(1, early))
    tail[:, 0] = 0
    ratio = 10 ** (-uniform(generator, waveforms, *direct)[:, None] / 20)
    response = tail * (ratio / tail.square().sum(1, keepdim=True).sqrt().clamp_min(1e-9))
    response[:, 0] = 1
    size = samples + taps
    wet = torch.fft.irfft(torch.fft.rfft(waveforms, n=size) * torch.fft.rfft(response, n=size), n=size)[:, :samples]
    return wet * (level(waveforms) / level(wet).clamp_min(1e-9))
