"""Random gain."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.data.augment import Range, augmentation, uniform


@augmentation("gain")
def gain(waveforms: Tensor, generator: torch.Generator, decibels: Range = (-10.0, 10.0)) -> Tensor:
    """Waveforms [B, T] scaled by a gain in dB, one per utterance; what would leave +-1 is clipped."""
    factor = 10 ** (uniform(generator, waveforms, *decibels) / 20)
    return (waveforms * factor[:, None]).clamp(-1, 1)
