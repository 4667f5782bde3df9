"""Neural text-to-speech by hibari-tts: a small network distilled from Kokoro-82M, its weights in the package."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from nas.data.attacks import Parameters, attack, import_engine
from nas.data.attacks.speaking import resize_voice, speak_for


@attack("hibari", engine="hibari-tts", extra="tts")
def hibari(
    waveform: np.ndarray, random: np.random.Generator, speaker_random: np.random.Generator
) -> tuple[np.ndarray, Parameters]:
    """waveform float32 [T] -> float32 [at least T] of other words; pace and voice size are drawn once per speaker."""
    speed = round(float(speaker_random.uniform(0.85, 1.2)), 3)
    size = round(float(speaker_random.uniform(0.84, 1.12)), 3)
    voice = _voice()

    def speak(text: str) -> np.ndarray:
        seed = int(random.integers(2**31))
        return resize_voice(voice(text, speed=speed / size, seed=seed), voice.sample_rate, size)

    spoofed, spoken = speak_for(len(waveform), random, speak)
    return spoofed, {"voice": "heart", "speed": speed, "size": size, "sentences": " ".join(map(str, spoken))}


@functools.lru_cache(maxsize=1)
def _voice() -> Any:
    engine = import_engine("hibari", "hibari-tts", "tts", "hibari")
    return engine.Hibari(voice="heart", threads=1)
