"""Cues that have nothing to do with synthesis: what is measured of an utterance for the shortcut report.

A corpus whose classes differ in one of them teaches a network that difference. The best known case is the duration of
the silence at the edges of ASVspoof 2019 LA (Müller et al., "Speech is Silver, Silence is Golden", ASVspoof workshop
2021).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy import fft

from nas.data.decode import SAMPLE_RATE

_FRAME = SAMPLE_RATE // 100
"""10 ms."""
EDGE_DB = 40.0
"""An edge is silent as far as it stays this much below the loudest 10 ms."""
BAND_DB = 45.0
"""The bandwidth ends where the spectrum stays this much below its loudest 100 Hz."""


@dataclass(frozen=True, slots=True)
class Cues:
    """One utterance.

    `steps` tells a coarse codec by the grid it leaves: how many of the small int16 values occur, relative to half of
    how many would if none were missing (1 for speech of 16 bits, about 0.2 after 8-bit mu-law).
    """

    level: float
    """Root mean square, dB of full scale."""
    leading_silence: float
    """Seconds."""
    trailing_silence: float
    """Seconds."""
    duration: float
    """Seconds."""
    bandwidth: float
    """Hz."""
    steps: float
    """0 to 1, in tenths."""

    def values(self) -> tuple[float, ...]:
        return tuple(getattr(self, name) for name in CUES)


CUES = tuple(field.name for field in fields(Cues))
UNITS = {
    "level": "dB",
    "leading_silence": "s",
    "trailing_silence": "s",
    "duration": "s",
    "bandwidth": "Hz",
    "steps": "",
}


def measure(waveform: np.ndarray) -> Cues:
    """The cues of a waveform: float32 [T] at 16 kHz, full scale 1. Digital silence has a level of -120 dB."""
    power = np.square(waveform, dtype=np.float64)
    level = float(10 * np.log10(max(float(power.mean()), 1e-12)))
    leading, trailing = _edge_silence(power)
    duration = len(waveform) / SAMPLE_RATE
    return Cues(level, leading, trailing, duration, _bandwidth(waveform), _steps(waveform))


def _edge_silence(power: np.ndarray) -> tuple[float, float]:
    """Seconds before the first and after the last 10 ms that are not silent; [T] -> two floats."""
    count = max(len(power) // _FRAME, 1)
    frames = power[: count * _FRAME].reshape(count, -1).mean(1)
    loud = np.flatnonzero(frames > frames.max() * 10 ** (-EDGE_DB / 10))
    if len(loud) == 0:
        return len(power) / SAMPLE_RATE, len(power) / SAMPLE_RATE
    return int(loud[0]) * _FRAME / SAMPLE_RATE, int(count - 1 - loud[-1]) * _FRAME / SAMPLE_RATE


def _bandwidth(waveform: np.ndarray) -> float:
    """Upper end of the highest 100 Hz band that carries something, in the spectrum averaged over the utterance."""
    size = 1024
    padded = np.pad(waveform, (0, max(0, size - len(waveform))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2]
    spectrum = np.square(np.abs(fft.rfft(frames * np.hanning(size).astype(np.float32), axis=1))).mean(0)
    edges = np.arange(0, SAMPLE_RATE // 2 + 1, 100)
    bins = np.searchsorted(np.arange(len(spectrum)) * SAMPLE_RATE / size, edges)
    bands = np.add.reduceat(spectrum, bins[:-1])
    carrying = np.flatnonzero(bands > bands.max() * 10 ** (-BAND_DB / 10))
    return float(edges[carrying[-1] + 1]) if len(carrying) else 0.0


def _steps(waveform: np.ndarray) -> float:
    samples = np.rint(waveform * 32768).astype(np.int64)
    width = int(np.median(np.abs(samples))) // 2
    inner = samples[np.abs(samples) <= width]
    values = 2 * width + 1
    # So many of the values would occur if the samples fell on all of them alike, however loud or short the utterance.
    expected = values * -np.expm1(-len(inner) / values)
    share = len(np.unique(inner)) / max(expected, 1.0)
    return min(1.0, round(20 * share) / 10)  # a finer value, or one above a half, would only tell level and duration
