"""Formant text-to-speech by eSpeak NG, through the library that the package espeakng-loader carries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from nas.data.attacks import Parameters, attack, import_engine
from nas.data.attacks.speaking import resize_voice, speak_for
from nas.errors import NasError

_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5")
_ACCENTS = ("en-us", "en")


@attack("espeak", engine="espeakng-loader", extra="tts")
def espeak(
    waveform: np.ndarray, random: np.random.Generator, speaker_random: np.random.Generator
) -> tuple[np.ndarray, Parameters]:
    """waveform float32 [T] -> float32 [at least T] of other words, in a voice that is drawn once per speaker."""
    loader = import_engine("espeakng_loader", "espeakng-loader", "tts", "espeak")
    voice = f"{speaker_random.choice(_ACCENTS)}+{speaker_random.choice(_VARIANTS)}"
    settings = {
        "rate": int(speaker_random.integers(140, 200)),
        "pitch": int(speaker_random.integers(30, 70)),
        "range": int(speaker_random.integers(35, 70)),
    }
    data = str(Path(loader.get_data_path()).parent)
    command = [sys.executable, "-I", str(Path(__file__).with_name("espeak_process.py"))]
    command += [loader.get_library_path(), data]
    sound = [voice, *(str(value) for value in settings.values())]

    def speak(text: str) -> np.ndarray:
        seed = str(random.integers(1, 2**31))
        done = subprocess.run([*command, seed, *sound], input=text.encode(), capture_output=True, check=False)  # noqa: S603
        if done.returncode != 0 or len(done.stdout) <= 4:
            raise NasError(
                f"eSpeak NG failed with voice {voice!r} (code {done.returncode}): {done.stderr.decode()[-200:]}"
            )
        rate = int.from_bytes(done.stdout[:4], "little")
        return resize_voice(np.frombuffer(done.stdout[4:], "<i2") / 32768, rate, 1.0)

    spoofed, spoken = speak_for(len(waveform), random, speak)
    return spoofed, {"voice": voice, **settings, "sentences": " ".join(map(str, spoken))}
