"""Mel inversion: the speech is reduced to a mel spectrogram and rebuilt from it, as a mel vocoder does."""

from __future__ import annotations

import functools

import numpy as np

from nas.data.attacks import RATE, Parameters, attack
from nas.data.attacks.spectrum import analyse, invert_magnitude


@attack("mel_inversion", engine="scipy")
def mel_inversion(
    waveform: np.ndarray,
    random: np.random.Generator,
    speaker_random: np.random.Generator,
    bands: int = 80,
    length: int = 1024,
    iterations: int = 32,
) -> tuple[np.ndarray, Parameters]:
    """waveform float32 [T] -> float32 [T], through `bands` mel energies a frame and Griffin-Lim phases."""
    filters, inverse = mel_filters(bands, length)
    mel = np.square(np.abs(analyse(waveform, length))) @ filters.T
    magnitude = np.sqrt(np.maximum(mel @ inverse.T, 0)).astype(np.float32)
    spoofed = invert_magnitude(magnitude, len(waveform), iterations, random)
    return spoofed, {"bands": bands, "frame": length, "iterations": iterations}


@functools.lru_cache(maxsize=8)
def mel_filters(bands: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangular filters on the mel scale 2595 log10(1 + f / 700) from 0 Hz to half the rate.

    Returns:
        The filters [bands, bins] and the matrix [bins, bands] that spreads band energies back over the bins with the
        same triangles, so that flat spectra come back flat and no energy is negative.
    """
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), bands + 2) / 2595) - 1)
    frequencies = np.linspace(0, RATE / 2, length // 2 + 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    filters = np.maximum(0, np.minimum((frequencies - low) / (centre - low), (high - frequencies) / (high - centre)))
    # A band narrower than a bin would have no bin at all: it then takes the nearest one.
    empty = filters.sum(1) < 1e-3
    filters[empty, np.abs(frequencies[None] - centre[empty]).argmin(1)] = 1
    spread = filters / np.maximum(filters.sum(0, keepdims=True), 1e-9)
    inverse = (spread / filters.sum(1, keepdims=True)).T
    return filters.astype(np.float32), inverse.astype(np.float32)
