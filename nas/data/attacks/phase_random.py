"""Phase-randomised resynthesis: every frame keeps its magnitude, its phases are drawn at random."""

from __future__ import annotations

import numpy as np

from nas.data.attacks import Parameters, attack
from nas.data.attacks.spectrum import analyse, synthesise


@attack("phase_random", engine="scipy")
def phase_random(
    waveform: np.ndarray,
    random: np.random.Generator,
    speaker_random: np.random.Generator,
    length: int = 512,
    amount: float = 1.0,
) -> tuple[np.ndarray, Parameters]:
    """waveform float32 [T] -> float32 [T]; each phase is moved by a uniform draw from +-`amount` pi."""
    spectrum = analyse(waveform, length)
    shift = random.uniform(-np.pi * amount, np.pi * amount, spectrum.shape)
    spoofed = synthesise((spectrum * np.exp(1j * shift)).astype(np.complex64), len(waveform))
    return spoofed, {"frame": length, "amount": amount}
