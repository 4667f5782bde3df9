"""Speed and pitch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nas.data.augment import Range, augmentation, uniform

_HALF_TAPS = 12
_FRAME, _HOP = 512, 128


@augmentation("speed")
def speed(waveforms: Tensor, generator: torch.Generator, factor: Range = (0.9, 1.1)) -> Tensor:
    """Waveforms [B, T] played `factor` times as fast, pitch and formants with them; what ends early begins again."""
    return _resample(waveforms, uniform(generator, waveforms, *factor))


@augmentation("pitch_shift")
def pitch_shift(waveforms: Tensor, generator: torch.Generator, semitones: Range = (-2.0, 2.0)) -> Tensor:
    """Waveforms [B, T] with pitch and formants moved by `semitones`, their duration kept."""
    ratio = 2 ** (uniform(generator, waveforms, *semitones) / 12)
    return _resample(_stretch(waveforms, ratio), ratio)[:, : waveforms.shape[1]]


def _resample(waveforms: Tensor, factor: Tensor) -> Tensor:
    """y[b, t] = x[b, factor[b] t], band-limited, by windowed sinc interpolation; x repeats after its end."""
    samples = waveforms.shape[1]
    position = torch.arange(samples, device=waveforms.device, dtype=torch.float64) * factor[:, None].double()
    base = position.floor()
    cutoff = (1 / factor).clamp_max(1)[:, None]
    output = torch.zeros_like(waveforms)
    for tap in range(-_HALF_TAPS + 1, _HALF_TAPS + 1):
        index = base + tap
        distance = (position - index).to(waveforms.dtype)
        window = torch.cos(math.pi / 2 * distance / _HALF_TAPS).square() * (distance.abs() < _HALF_TAPS)
        kernel = cutoff * torch.sinc(cutoff * distance) * window
        output += waveforms.gather(1, index.long() % samples) * kernel
    return output


def _stretch(waveforms: Tensor, ratio: Tensor) -> Tensor:
    """Phase vocoder (Flanagan and Golden, 1966): utterance b lasts ratio[b] times as long, pitch kept.

    Returns:
        [B, T * the largest ratio]; what is shorter is followed by silence.
    """
    samples = waveforms.shape[1]
    window = torch.hann_window(_FRAME, device=waveforms.device, dtype=waveforms.dtype)
    spectrum = torch.stft(waveforms, _FRAME, _HOP, window=window, return_complex=True, pad_mode="constant")
    length = int(samples * max(1.0, float(ratio.max())))
    steps = torch.arange(length // _HOP + 1, device=waveforms.device, dtype=waveforms.dtype) / ratio[:, None]
    last = spectrum.shape[2] - 1
    left = steps.long().clamp_max(last)
    right = (left + 1).clamp_max(last)
    weight = (steps - left).clamp(0, 1)[:, None]
    frames = [1, spectrum.shape[1], 1]
    before = spectrum.gather(2, left[:, None].repeat(frames))
    after = spectrum.gather(2, right[:, None].repeat(frames))
    magnitude = (1 - weight) * before.abs() + weight * after.abs()
    magnitude = magnitude * (steps <= last)[:, None]
    bins = torch.arange(spectrum.shape[1], device=waveforms.device, dtype=waveforms.dtype)
    expected = (2 * math.pi * _HOP / _FRAME * bins)[None, :, None]
    deviation = after.angle() - before.angle() - expected
    advance = expected + deviation - 2 * math.pi * (deviation / (2 * math.pi)).round()
    phase = before[:, :, :1].angle() + torch.cumsum(advance, 2) - advance
    stretched = torch.polar(magnitude, phase)
    return torch.istft(stretched, _FRAME, _HOP, window=window, length=length)
