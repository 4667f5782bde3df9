"""Simulated codecs: mu-law, band limits, and a coarse telephone codec."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from nas.data.augment import RATE, Range, augmentation, uniform

_TELEPHONE = (300.0, 3400.0)
_EDGE = 150.0
"""Width in Hz over which a band's edges fall off."""


@augmentation("mu_law")
def mu_law(waveforms: Tensor, generator: torch.Generator, bits: int = 8, narrow: bool = True) -> Tensor:
    """ITU-T G.711: waveforms [B, T] companded with mu = 255 to `bits` bits; `narrow` cuts to 300-3400 Hz first."""
    source = _band(waveforms, *_TELEPHONE) if narrow else waveforms
    steps = 2 ** (bits - 1) - 1
    compressed = source.sign() * torch.log1p(255 * source.abs().clamp_max(1)) / math.log(256)
    coarse = (compressed * steps).round() / steps
    return coarse.sign() * ((coarse.abs() * math.log(256)).exp() - 1) / 255


@augmentation("band_limit")
def band_limit(
    waveforms: Tensor, generator: torch.Generator, low: Range = (0.0, 300.0), high: Range = (3400.0, 8000.0)
) -> Tensor:
    """Waveforms [B, T] between a lowest and a highest frequency in Hz, drawn per utterance."""
    return _band(waveforms, uniform(generator, waveforms, *low, 1), uniform(generator, waveforms, *high, 1))


@augmentation("gsm_like")
def gsm_like(waveforms: Tensor, generator: torch.Generator, bits: int = 3) -> Tensor:
    """Waveforms [B, T] as a full-rate GSM phone might leave them: telephone band, 8 kHz, block-adaptive quantisation.

    As in GSM 06.10 the signal is pre-emphasised (0.86), blocks of 5 ms share a maximum that is kept to 6 bits on a
    logarithmic scale, and samples are kept to 3 bits of it. The long-term predictor and the pulse grid of the real
    codec are left out: this is not a GSM codec.
    """
    samples = waveforms.shape[1]
    narrow = functional.pad(_band(waveforms, *_TELEPHONE)[:, ::2], (0, -((samples + 1) // 2) % 40))
    emphasised = narrow - 0.86 * functional.pad(narrow, (1, -1))
    blocks = emphasised.unflatten(1, (-1, 40))
    maximum = blocks.abs().amax(2, keepdim=True).clamp_min(2**-15)
    maximum = 2 ** (torch.ceil(maximum.log2() * 4) / 4)
    half = 2 ** (bits - 1)
    coarse = ((blocks / maximum * half - 0.5).round().clamp(-half, half - 1) + 0.5) / half * maximum
    # De-emphasis is the recursion y[n] = x[n] + 0.86 y[n - 1]; after 128 samples nothing is left of an input.
    kernel = 0.86 ** torch.arange(127, -1, -1, device=waveforms.device, dtype=waveforms.dtype)
    decoded = functional.conv1d(functional.pad(coarse.flatten(1), (127, 0))[:, None], kernel[None, None])[:, 0]
    wide = torch.zeros_like(decoded).repeat_interleave(2, dim=1)
    wide[:, ::2] = 2 * decoded
    return _band(wide[:, :samples], *_TELEPHONE)


def _band(waveforms: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Zero-phase band-pass with raised-cosine edges; `low` and `high` in Hz, numbers or [B, 1]. 8000 Hz is no limit."""
    spectrum = torch.fft.rfft(waveforms)
    frequency = torch.linspace(0, RATE / 2, spectrum.shape[1], device=waveforms.device, dtype=waveforms.dtype)
    rise = ((frequency - low) / _EDGE + 1).clamp(0, 1)
    fall = ((high - frequency) / _EDGE + 1).clamp(0, 1)
    response = (math.pi / 2 * rise).sin().square() * (math.pi / 2 * fall).sin().square()
    return torch.fft.irfft(spectrum * response, n=waveforms.shape[1])
