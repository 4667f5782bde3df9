"""Waveforms brought to one level."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Normalisation = Literal["none", "peak", "rms", "standard"]

RMS = 0.1
"""Root mean square that "rms" scales to: 20 dB below full scale."""
SILENCE = 1e-5
"""A waveform is never divided by less, so that silence stays silence (a 16-bit step is 3e-5)."""


def normalise(waveforms: Tensor, how: Normalisation) -> Tensor:
    """Waveforms [B, T], each by itself: "peak" the largest |sample| 1; "rms" a root mean square of 0.1; "standard" mean
    0 and variance 1; "none" as they are."""
    if how == "none":
        return waveforms
    if how == "standard":
        waveforms = waveforms - waveforms.mean(1, keepdim=True)
    if how == "peak":
        size = waveforms.abs().amax(1, keepdim=True)
    else:
        size = waveforms.square().mean(1, keepdim=True).sqrt() / (RMS if how == "rms" else 1.0)
    return waveforms / size.clamp_min(SILENCE)
