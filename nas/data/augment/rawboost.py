"""RawBoost (Tak et al., ICASSP 2022): convolutive noise, impulsive noise and coloured noise for raw waveforms.

Constants are those of the published code. It draws for one utterance on the processor; here a batch is done at once.
Two differences, neither of which a listener or a network can tell: filters are applied with exactly no delay (the
published one leaves a sample), and the impulsive noise hits each sample with the drawn probability instead of hitting
an exact number of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nas.data.augment import RATE, Range, augmentation, normal, uniform
from nas.errors import NasError

TERMS = 5
"""N_f: the linear term and the powers up to 5."""
BANDS = 5
"""Notches of a filter."""
FREQUENCY = (20.0, 8000.0)
WIDTH = (100.0, 1000.0)
TAPS = (10, 100)
GAIN = (0.0, 0.0)
BIAS = (5.0, 20.0)
"""dB by which the non-linear terms lie below the linear one."""
IMPULSES = 10.0
"""P: at most this many per cent of the samples are hit."""
IMPULSE_GAIN = 2.0
"""g_sd."""
SNR = (10.0, 40.0)
_HALF = TAPS[1] // 2


@augmentation("rawboost")
def rawboost(waveforms: Tensor, generator: torch.Generator, algorithm: int = 5, snr: Range = SNR) -> Tensor:
    """Waveforms [B, T] through one of RawBoost's algorithms.

    Args:
        algorithm: 0 none; 1 linear and non-linear convolutive noise; 2 impulsive signal-dependent noise; 3 stationary
            signal-independent noise; 4 = 1, 2, 3 in series; 5 = 1, 2; 6 = 1, 3; 7 = 2, 3; 8 = 1 and 2 in parallel.
        snr: range of 3 in dB.

    Raises:
        NasError: there is no such algorithm.
    """
    if algorithm == 8:
        return limit_peak(convolutive_noise(waveforms, generator) + impulsive_noise(waveforms, generator))
    if algorithm not in _SERIES:
        raise NasError(f"RawBoost has the algorithms 0 to 8, not {algorithm!r}")
    for part in _SERIES[algorithm]:
        if part == 1:
            waveforms = convolutive_noise(waveforms, generator)
        elif part == 2:
            waveforms = impulsive_noise(waveforms, generator)
        else:
            waveforms = coloured_noise(waveforms, generator, snr)
    return waveforms


_SERIES: dict[int, tuple[int, ...]] = {
    **{0: (), 1: (1,), 2: (2,), 3: (3,)},
    **{4: (1, 2, 3), 5: (1, 2), 6: (1, 3), 7: (2, 3)},
}


def convolutive_noise(waveforms: Tensor, generator: torch.Generator) -> Tensor:
    """LnL: y = sum over i = 1 ... N_f of h_i * x^i, without its mean; h_2 and on have a lower gain."""
    total = torch.zeros_like(waveforms)
    for power in range(1, TERMS + 1):
        gain = GAIN if power == 1 else (GAIN[0] - BIAS[1], GAIN[1] - BIAS[0])
        total = total + convolve(waveforms**power, notch_filters(waveforms, generator, gain))
    return limit_peak(total - total.mean(1, keepdim=True))


def impulsive_noise(waveforms: Tensor, generator: torch.Generator) -> Tensor:
    """ISD: a share of the samples, up to P %, becomes x (1 + g_sd u1 u2), u from -1 to 1."""
    share = uniform(generator, waveforms, 0, IMPULSES / 100)[:, None]
    samples = waveforms.shape[1]
    hit = uniform(generator, waveforms, 0, 1, samples) < share
    first = uniform(generator, waveforms, -1, 1, samples)
    second = uniform(generator, waveforms, -1, 1, samples)
    return limit_peak(torch.where(hit, waveforms * (1 + IMPULSE_GAIN * first * second), waveforms))


def coloured_noise(waveforms: Tensor, generator: torch.Generator, snr: Range = SNR) -> Tensor:
    """SSI: white noise through a notch filter, added at a signal-to-noise ratio in dB."""
    noise = convolve(normal(generator, waveforms), notch_filters(waveforms, generator, GAIN))
    ratio = 10 ** (-uniform(generator, waveforms, *snr)[:, None] / 20)
    norm = waveforms.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True).clamp_min(1e-9)
    return waveforms + noise * norm * ratio


def notch_filters(waveforms: Tensor, generator: torch.Generator, gain: Range) -> Tensor:
    """Symmetric impulse responses [B, 501]: each the convolution of BANDS band-stops.

    A band-stop is Hamming-windowed, of an odd number of taps, with unit gain at 0 Hz; their convolution is scaled to a
    peak of 1 over frequency, and to `gain` in dB.
    """
    centre = uniform(generator, waveforms, *FREQUENCY, BANDS)
    width = uniform(generator, waveforms, *WIDTH, BANDS)
    low = (centre - width / 2).clamp_min(1e-3)[..., None]
    high = (centre + width / 2).clamp_max(RATE / 2 - 1e-3)[..., None]
    taps = uniform(generator, waveforms, *TAPS, BANDS).floor()[..., None]
    taps = taps + (taps % 2 == 0)
    offset = torch.arange(-_HALF, _HALF + 1, device=waveforms.device, dtype=waveforms.dtype)
    window = (0.54 + 0.46 * torch.cos(2 * math.pi * offset / (taps - 1))) * (offset.abs() <= (taps - 1) / 2)
    band_pass = 2 / RATE * (high * torch.sinc(2 * high / RATE * offset) - low * torch.sinc(2 * low / RATE * offset))
    band_stop = ((offset == 0).to(window.dtype) - band_pass) * window
    band_stop = band_stop / band_stop.sum(2, keepdim=True)

    size = 1024
    response = torch.fft.rfft(band_stop, n=size).prod(1)
    response = response / response.abs().amax(1, keepdim=True)
    response = response * 10 ** (uniform(generator, waveforms, *gain)[:, None] / 20)
    return torch.fft.irfft(response, n=size)[:, : 2 * _HALF * BANDS + 1]


def convolve(waveforms: Tensor, filters: Tensor) -> Tensor:
    """Waveforms [B, T] through symmetric filters [B, odd], without delay and in the same length."""
    samples, half = waveforms.shape[1], filters.shape[1] // 2
    size = samples + filters.shape[1] - 1
    product = torch.fft.rfft(waveforms, n=size) * torch.fft.rfft(filters, n=size)
    return torch.fft.irfft(product, n=size)[:, half : half + samples]


def limit_peak(waveforms: Tensor) -> Tensor:
    """Scale those of the waveforms [B, T] whose peak is above 1 down to a peak of 1."""
    return waveforms / waveforms.abs().amax(1, keepdim=True).clamp_min(1)
