"""Linear prediction with pulses and noise: the classic parametric vocoder (Atal and Hanauer, 1971)."""

from __future__ import annotations

import numpy as np
from scipy import fft, signal

from nas.data.attacks import RATE, Parameters, attack
from nas.data.attacks.spectrum import OVERLAP, analyse, frame_count, hann, synthesise

LOWEST_PITCH, HIGHEST_PITCH = 60.0, 400.0
"""Range of the pitch tracker in Hz."""


@attack("lpc_pulse_noise", engine="scipy")
def lpc_pulse_noise(
    waveform: np.ndarray,
    random: np.random.Generator,
    speaker_random: np.random.Generator,
    order: int = 18,
    length: int = 512,
    monotone: bool = False,
) -> tuple[np.ndarray, Parameters]:
    """waveform float32 [T] -> float32 [T]: all-pole envelope, excited by pulses where voiced, by noise elsewhere.

    With `monotone` the pitch is the median of the utterance.
    """
    frames = _frames(waveform, length)
    coefficients, gain = linear_prediction(frames, order)
    pitch = track_pitch(waveform, length)
    voiced = pitch > 0
    middle = float(np.median(pitch[voiced])) if voiced.any() else 120.0
    if monotone:
        pitch = np.where(voiced, middle, 0)
    excitation = pulses_and_noise(pitch, len(waveform), length // OVERLAP, random)
    envelope = gain[:, None] / fft.rfft(coefficients, n=length, axis=-1)
    spoofed = synthesise((analyse(excitation, length) * envelope).astype(np.complex64), len(waveform))
    return spoofed, {"order": order, "frame": length, "median_pitch": round(middle, 3), "monotone": int(monotone)}


def linear_prediction(frames: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Levinson-Durbin on all frames at once.

    Args:
        frames: windowed samples [F, length].

    Returns:
        coefficients [F, order + 1] of 1 + a_1 z^-1 + ..., and the root mean square of the prediction error [F].
    """
    count, length = frames.shape
    power = np.square(np.abs(fft.rfft(frames.astype(np.float64), n=2 * length, axis=-1)))
    autocorrelation = fft.irfft(power, axis=-1)[:, : order + 1] / length
    # White noise 40 dB below the frame keeps the recursion stable in band-limited and silent frames.
    error = autocorrelation[:, 0] * 1.0001 + 1e-12
    autocorrelation[:, 0] = error
    coefficients = np.zeros((count, order + 1))
    coefficients[:, 0] = 1
    for step in range(1, order + 1):
        reversed_lags = autocorrelation[:, step:0:-1]
        reflection = -np.sum(coefficients[:, :step] * reversed_lags, axis=1) / error
        coefficients[:, 1 : step + 1] += reflection[:, None] * coefficients[:, step - 1 :: -1][:, :step]
        error = error * (1 - np.square(reflection))
    window_power = np.mean(np.square(hann(length)))
    return coefficients, np.sqrt(np.maximum(error, 0) / window_power)


def track_pitch(waveform: np.ndarray, length: int, threshold: float = 0.45) -> np.ndarray:
    """Fundamental frequency in Hz of every frame of `analyse`, 0 where unvoiced, by the normalised autocorrelation.

    The window is twice as long as the frame, so that two periods of the lowest pitch fit into it.
    """
    hop = length // OVERLAP
    wide = 2 * length
    low_passed = signal.sosfilt(signal.butter(4, 900, output="sos", fs=RATE), waveform).astype(np.float32)
    count = frame_count(len(waveform), length)
    padded = np.zeros((count - 1) * hop + wide, np.float32)
    # Centred on the frames of `analyse`, which begin length - hop samples before the signal.
    start = length - hop + (wide - length) // 2
    padded[start : start + len(waveform)] = low_passed[: len(padded) - start]
    frames = np.lib.stride_tricks.sliding_window_view(padded, wide)[::hop] * hann(wide)
    autocorrelation = fft.irfft(np.square(np.abs(fft.rfft(frames, n=2 * wide, axis=-1))), axis=-1)[:, :wide]
    window = fft.irfft(np.square(np.abs(fft.rfft(hann(wide), n=2 * wide))))[:wide]
    shortest, longest = int(RATE / HIGHEST_PITCH), int(RATE / LOWEST_PITCH)
    lags = slice(shortest, longest + 1)
    normalised = autocorrelation[:, lags] / np.maximum(autocorrelation[:, :1], 1e-9) * (window[0] / window[lags])
    # Multiples of the period score as high: the shortest lag that is a peak of nearly that height is the period.
    inner = normalised[:, 1:-1]
    peaks = (inner >= normalised[:, :-2]) & (inner >= normalised[:, 2:]) & (inner > 0.9 * inner.max(1, keepdims=True))
    best = np.where(peaks.any(1), 1 + peaks.argmax(1), normalised.argmax(1))
    energy = np.mean(np.square(frames), axis=1)
    voiced = (normalised.max(1) > threshold) & (energy > 1e-4 * max(float(energy.max()), 1e-12))
    pitch = np.where(voiced, RATE / (shortest + best), 0.0)
    return np.where(voiced, signal.medfilt(pitch, 5), 0.0)


def pulses_and_noise(pitch: np.ndarray, samples: int, hop: int, random: np.random.Generator) -> np.ndarray:
    """Excitation of unit power, float32 [samples]: pulses where the pitch [frames] is above 0, else white noise."""
    centres = (np.arange(len(pitch)) - (OVERLAP - 1) + OVERLAP / 2) * hop
    voiced = np.interp(np.arange(samples), centres, (pitch > 0).astype(float)) > 0.5
    middle = float(np.median(pitch[pitch > 0])) if (pitch > 0).any() else 120.0
    track = np.interp(np.arange(samples), centres, np.where(pitch > 0, pitch, middle))
    track = np.where(track > 0, track, middle)
    cycles = np.cumsum(track / RATE)
    is_pulse = np.diff(np.floor(cycles), prepend=0) > 0
    excitation = np.where(is_pulse, np.sqrt(RATE / track), 0.0)
    noise = random.standard_normal(samples)
    return np.where(voiced, excitation, noise).astype(np.float32)


def _frames(waveform: np.ndarray, length: int) -> np.ndarray:
    hop = length // OVERLAP
    padded = np.zeros((frame_count(len(waveform), length) - 1) * hop + length, np.float32)
    padded[length - hop : length - hop + len(waveform)] = waveform
    return np.lib.stride_tricks.sliding_window_view(padded, length)[::hop] * hann(length)
