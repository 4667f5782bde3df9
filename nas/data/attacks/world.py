"""WORLD (Morise et al., 2016): copy-synthesis, and a changed voice as a stand-in for voice conversion."""

from __future__ import annotations

import numpy as np

from nas.data.attacks import RATE, Parameters, attack, import_engine


@attack("world_copy", engine="pyworld", extra="corpus")
def world_copy(
    waveform: np.ndarray, random: np.random.Generator, speaker_random: np.random.Generator
) -> tuple[np.ndarray, Parameters]:
    """waveform float32 [T] -> float32 [T]: analysed and synthesised with nothing changed."""
    return _resynthesise(waveform, 1.0, 1.0, "world_copy"), {"pitch_ratio": 1.0, "formant_ratio": 1.0}


@attack("world_shift", engine="pyworld", extra="corpus")
def world_shift(
    waveform: np.ndarray, random: np.random.Generator, speaker_random: np.random.Generator
) -> tuple[np.ndarray, Parameters]:
    """waveform float32 [T] -> float32 [T] with another pitch (up to a factor 1.5) and formants (up to 15 %).

    The ratios are drawn once per speaker; both move in the same direction, as they do between voices.
    """
    direction = speaker_random.choice([-1.0, 1.0])
    pitch = round(float(speaker_random.uniform(1.15, 1.5) ** direction), 4)
    formants = round(float(speaker_random.uniform(1.04, 1.15) ** direction), 4)
    return _resynthesise(waveform, pitch, formants, "world_shift"), {"pitch_ratio": pitch, "formant_ratio": formants}


def _resynthesise(waveform: np.ndarray, pitch_ratio: float, formant_ratio: float, name: str) -> np.ndarray:
    world = import_engine("pyworld", "pyworld", "corpus", name)
    samples = waveform.astype(np.float64)
    coarse, times = world.dio(samples, RATE)
    pitch = world.stonemask(samples, coarse, times, RATE)
    envelope = world.cheaptrick(samples, pitch, times, RATE)
    aperiodicity = world.d4c(samples, pitch, times, RATE)
    if formant_ratio != 1.0:
        envelope = _stretch(envelope, formant_ratio)
    spoofed = world.synthesize(pitch * pitch_ratio, envelope, aperiodicity, RATE)
    return spoofed[: len(waveform)].astype(np.float32)


def _stretch(envelope: np.ndarray, ratio: float) -> np.ndarray:
    """Move the spectral envelope [frames, bins] up by `ratio` along the frequency axis."""
    bins = np.arange(envelope.shape[1], dtype=np.float64)
    source = np.minimum(bins / ratio, bins[-1])
    left = np.minimum(source.astype(int), envelope.shape[1] - 2)
    weight = source - left
    logarithm = np.log(envelope)
    return np.exp(np.ascontiguousarray(logarithm[:, left] * (1 - weight) + logarithm[:, left + 1] * weight))
