"""Short-time spectra: a Hann-windowed transform that its inverse undoes exactly."""

from __future__ import annotations

import numpy as np
from scipy import fft

OVERLAP = 4
"""Frames that cover a sample: the hop is the frame length divided by this."""


def hann(length: int) -> np.ndarray:
    """Periodic Hann window, float32 [length]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


def analyse(waveform: np.ndarray, length: int) -> np.ndarray:
    """waveform float32 [T] -> complex64 [frames, length // 2 + 1], hop length // 4.

    The signal is padded with zeros so that every sample is covered by four frames:

        frames   |----0----|
                    |----1----|
        signal            x x x x ...        (padding length - hop on the left, at least as much on the right)
    """
    hop = length // OVERLAP
    count = frame_count(len(waveform), length)
    padded = np.zeros((count - 1) * hop + length, np.float32)
    padded[length - hop : length - hop + len(waveform)] = waveform
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]
    return fft.rfft(frames * hann(length), axis=-1)


def synthesise(spectrum: np.ndarray, samples: int) -> np.ndarray:
    """complex64 [frames, length // 2 + 1] -> float32 [samples]: the least-squares inverse of `analyse`."""
    length = 2 * (spectrum.shape[1] - 1)
    hop = length // OVERLAP
    frames = fft.irfft(spectrum, n=length, axis=-1) * hann(length)
    count = len(frames)
    padded = np.zeros((count + OVERLAP - 1, hop), np.float32)
    for part in range(OVERLAP):
        padded[part : part + count] += frames[:, part * hop : (part + 1) * hop]
    # The squares of four shifted Hann windows add up to 3/2 at every sample.
    return padded.reshape(-1)[length - hop : length - hop + samples] / 1.5


def frame_count(samples: int, length: int) -> int:
    """Number of frames of `analyse`."""
    hop = length // OVERLAP
    return -(-samples // hop) + OVERLAP - 1


def invert_magnitude(magnitude: np.ndarray, samples: int, iterations: int, random: np.random.Generator) -> np.ndarray:
    """Waveform float32 [samples] whose short-time magnitude is near `magnitude` [frames, bins].

    Griffin and Lim (1984) with the momentum 0.99 of Perraudin et al. (2013), from random phases.
    """
    length = 2 * (magnitude.shape[1] - 1)
    phase = random.uniform(0, 2 * np.pi, magnitude.shape)
    spectrum = (magnitude * np.exp(1j * phase)).astype(np.complex64)
    previous = np.zeros_like(spectrum)
    for _ in range(iterations):
        consistent = analyse(synthesise(spectrum, samples), length)
        spectrum = consistent + 0.99 * (consistent - previous)
        spectrum *= magnitude / np.maximum(np.abs(spectrum), 1e-12)
        previous = consistent
    return synthesise(spectrum, samples)
