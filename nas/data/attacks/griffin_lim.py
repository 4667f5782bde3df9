"""Phase reconstruction: the magnitude of the speech is kept, its phase is guessed (Griffin and Lim, 1984)."""

from __future__ import annotations

import numpy as np

from nas.data.attacks import Parameters, attack
from nas.data.attacks.spectrum import analyse, invert_magnitude


@attack("griffin_lim", engine="scipy")
def griffin_lim(
    waveform: np.ndarray,
    random: np.random.Generator,
    speaker_random: np.random.Generator,
    length: int = 512,
    iterations: int = 32,
) -> tuple[np.ndarray, Parameters]:
    """waveform float32 [T] -> float32 [T]; frames of `length` samples (32 ms), hop a quarter of it."""
    magnitude = np.abs(analyse(waveform, length))
    spoofed = invert_magnitude(magnitude, len(waveform), iterations, random)
    return spoofed, {"frame": length, "iterations": iterations}
