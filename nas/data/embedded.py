"""The embedded corpus: speech-like sounds made in process, for the demonstration and for tests. It is synthetic.

Bona fide utterances come from a source-filter generator: glottal pulses with jitter, shimmer and intonation, aspiration
noise that follows the pulses, formants that follow a random sequence of phones, frication, plosive bursts and pauses; a
speaker has a vocal-tract length, a pitch and a breathiness. Spoofs are copies of such utterances (others of the same
speakers) that went through the attacks of nas.data.attacks. Both classes are then levelled and given a noise
floor in the same way, so that nothing but the resynthesis tells them apart.

`phase_random` is kept for the evaluation partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import fft

from nas.data.attacks import RATE, get_attack
from nas.data.attacks.spectrum import OVERLAP, analyse, frame_count, synthesise
from nas.data.seeds import generator_for
from nas.data.utterance import Utterance
from nas.errors import NasError

ATTACKS: dict[str, dict[str, int | float | bool]] = {
    "griffin_lim": {"length": 256, "iterations": 4},
    "lpc_pulse_noise": {"order": 16, "monotone": True},
    "mel_inversion": {"bands": 40, "length": 512, "iterations": 4},
    "phase_random": {"length": 512},
}
"""Attacks of the embedded corpus and their settings: audible ones, since it must be learnt in a minute."""

EVALUATION_ONLY = ("phase_random",)
PARTITIONS = ("train", "dev", "eval")
_SHARES = (0.5, 0.2, 0.3)

_FRAME = 256
_LEVEL = 10 ** (-30 / 20)
_FLOOR = 10 ** (-40 / 20)

# First four formants in Hz of an adult male voice: vowels, then glides, liquids and nasals (values as in textbooks).
_VOICED_PHONES = np.array(
    [
        [270, 2290, 3010, 3600],
        [390, 1990, 2550, 3500],
        [530, 1840, 2480, 3500],
        [660, 1720, 2410, 3500],
        [730, 1090, 2440, 3400],
        [570, 840, 2410, 3300],
        [440, 1020, 2240, 3300],
        [300, 870, 2240, 3300],
        [640, 1190, 2390, 3400],
        [490, 1350, 1690, 3200],
        [360, 1300, 2700, 3300],
        [280, 2100, 2900, 3500],
        [270, 1000, 2200, 3100],
    ],
    dtype=np.float64,
)
_FRICTION_CENTRES = np.array([2500.0, 3500.0, 4500.0, 5500.0, 6500.0])


@dataclass(frozen=True)
class _Speaker:
    """The constants of a voice: pitch in Hz, tract length relative to an adult male, shares of the pitch and of 1."""

    name: str
    pitch: float
    tract: float
    breathiness: float
    jitter: float
    shimmer: float
    tilt: float


def embedded_corpus(
    seed: int, speakers: int = 20, utterances: int = 16, seconds: float = 1.25
) -> tuple[tuple[Utterance, ...], list[np.ndarray]]:
    """Make the corpus: half of every speaker's utterances are bona fide, half are spoofed.

    Args:
        seed: everything is drawn from it.
        speakers: number of voices, at least 4; they are shared out over train, dev and eval (about 5 : 2 : 3).
        utterances: number of utterances of a speaker, at least 2.
        seconds: mean duration; durations are uniform within 20 % of it, in both classes.

    Returns:
        The utterances (their paths are names only, there are no files) and their waveforms, float32 [T] at 16 kHz.

    Raises:
        NasError: too few speakers or utterances, or a duration outside 0.25 s to 60 s.
    """
    if speakers < 4 or utterances < 2:
        raise NasError(
            f"the embedded corpus needs 4 speakers and 2 utterances of each, not {speakers} and {utterances}"
        )
    if not 0.25 <= seconds <= 60:
        raise NasError(f"utterances of the embedded corpus last 0.25 s to 60 s, not {seconds}")
    table = embedded_table(seed, speakers, utterances)
    return table, [embedded_waveform(seed, utterance, seconds) for utterance in table]


def embedded_table(seed: int, speakers: int = 20, utterances: int = 16) -> tuple[Utterance, ...]:
    """The utterances of `embedded_corpus`, which are made one by one by `embedded_waveform`."""
    table: list[Utterance] = []
    for index, partition in enumerate(_partitions(speakers)):
        attacks = [name for name in ATTACKS if partition == "eval" or name not in EVALUATION_ONLY]
        for number in range(utterances):
            name, key = f"EMB_{index:04d}_{number:03d}", "spoof" if number % 2 else "bonafide"
            spoofed = sum(row.partition == partition and row.key == "spoof" for row in table)
            attack = attacks[spoofed % len(attacks)] if number % 2 else "-"
            table.append(Utterance(Path(f"{name}.wav"), name, name[:8], attack, key, partition))
    return tuple(table)


def embedded_waveform(seed: int, utterance: Utterance, seconds: float = 1.25) -> np.ndarray:
    """An utterance of `embedded_table`, float32 [T] at 16 kHz; a function of the seed and its name alone."""
    random = generator_for(seed, utterance.utterance)
    waveform = _speak(_draw_speaker(seed, utterance.speaker), seconds * random.uniform(0.8, 1.2), random)
    if utterance.key == "spoof":
        attack = get_attack(utterance.attack).function
        waveform, _ = attack(waveform, random, random, **ATTACKS[utterance.attack])
    return _finish(waveform, random)


def _partitions(speakers: int) -> list[str]:
    """The partition of each speaker, every partition having at least one."""
    dev = max(1, round(_SHARES[1] * speakers))
    evaluation = max(1, round(_SHARES[2] * speakers))
    return ["train"] * (speakers - dev - evaluation) + ["dev"] * dev + ["eval"] * evaluation


def _draw_speaker(seed: int, name: str) -> _Speaker:
    random = generator_for(seed, name)
    female = random.random() < 0.5
    return _Speaker(
        name=name,
        pitch=random.uniform(165, 250) if female else random.uniform(85, 150),
        tract=random.uniform(1.08, 1.22) if female else random.uniform(0.94, 1.08),
        breathiness=random.uniform(0.03, 0.12),
        jitter=random.uniform(0.006, 0.02),
        shimmer=random.uniform(0.03, 0.1),
        tilt=random.uniform(0.45, 0.6),
    )


def _speak(speaker: _Speaker, seconds: float, random: np.random.Generator) -> np.ndarray:
    """One utterance, float32 [T]: excitation through a filter that moves from phone to phone."""
    samples = int(seconds * RATE)
    hop = _FRAME // OVERLAP
    frames = frame_count(samples, _FRAME)
    formants = np.empty((frames, 4))
    voicing, friction = np.zeros(frames), np.zeros(frames)
    centre = np.full(frames, 4000.0)
    start = 0
    while start < frames:
        kind = random.choice(("voiced", "fricative", "plosive", "pause"), p=(0.68, 0.16, 0.1, 0.06))
        if start == 0 or frames - start < 40:
            kind = "voiced"  # no silence at the edges, where a copy would differ from its original
        span = slice(start, start + int(random.uniform(*_DURATIONS[kind]) * RATE / hop) + 1)
        formants[span] = random.choice(_VOICED_PHONES) * random.normal(1, 0.04, 4) * speaker.tract
        if kind == "voiced":
            voicing[span] = random.uniform(0.6, 1.0)
        elif kind == "fricative":
            friction[span] = random.uniform(0.05, 0.25)
            voicing[span] = random.choice((0.0, 0.3))
            centre[span] = random.choice(_FRICTION_CENTRES) * speaker.tract**0.5
        elif kind == "plosive":
            burst = slice(min(span.stop, frames) - 3, span.stop)
            friction[burst] = random.uniform(0.1, 0.4)
            centre[burst] = random.uniform(1500, 5000)
        start = span.stop
    formants, voicing, friction, centre = (_glide(track) for track in (formants, voicing, friction, centre))

    pulses, aspiration = _glottis(speaker, samples, random)
    source = analyse(pulses + aspiration, _FRAME) * voicing[:, None]
    noise = analyse(random.standard_normal(samples).astype(np.float32), _FRAME) * friction[:, None]
    spectrum = source * _tract(formants) + 0.3 * noise * _resonance(centre[:, None], np.full((1, 1), 1500.0))[:, 0]
    return synthesise(spectrum.astype(np.complex64), samples)


_DURATIONS = {"voiced": (0.06, 0.2), "fricative": (0.05, 0.13), "plosive": (0.04, 0.08), "pause": (0.04, 0.15)}
"""Shortest and longest duration of a phone in seconds."""


def _glide(track: np.ndarray, width: int = 9) -> np.ndarray:
    """Smooth a parameter [frames] or [frames, formants] over about 30 ms: the articulators do not jump."""
    window = np.hanning(width + 2)[1:-1]
    padding = [(width // 2, width // 2)] + [(0, 0)] * (track.ndim - 1)
    padded = np.pad(track, padding, mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)
    return views @ (window / window.sum())


def _glottis(speaker: _Speaker, samples: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Glottal flow derivative and the aspiration noise that follows the flow, each float32 [samples].

    The flow is Rosenberg's: t^2 (1 - t) while the glottis is open, 0 while it is closed; its derivative 2t - 3t^2.
    """
    time = np.arange(samples) / RATE
    knots = np.linspace(0, time[-1], max(3, int(time[-1] * 3)))
    intonation = np.interp(time, knots, random.normal(0, 0.1, len(knots))) - 0.12 * time / time[-1]
    pitch = speaker.pitch * np.exp(intonation)
    # Jitter and shimmer are drawn per cycle; the jittered phase may hold a few cycles more than the smooth one.
    cycle_count = int(pitch.sum() / RATE * 1.2) + 10
    jitter = random.normal(1, speaker.jitter, cycle_count)
    smooth_cycle = np.cumsum(pitch / RATE).astype(int)
    phase = np.cumsum(pitch * jitter[smooth_cycle] / RATE)
    cycle = np.minimum(phase.astype(int), cycle_count - 1)
    position = phase - np.floor(phase)
    open_share = speaker.tilt + 0.05 * random.standard_normal(cycle_count)[cycle]
    inside = np.minimum(position / open_share, 1)
    strength = 1 + random.normal(0, speaker.shimmer, cycle_count)[cycle]
    flow = np.where(inside < 1, inside**2 * (1 - inside), 0)
    pulses = np.where(inside < 1, 2 * inside - 3 * inside**2, 0) * strength
    aspiration = random.standard_normal(samples) * (flow * 6.75 + 0.1) * speaker.breathiness
    return pulses.astype(np.float32), aspiration.astype(np.float32)


def _tract(formants: np.ndarray) -> np.ndarray:
    """Response complex [frames, bins] of the formants [frames, 4] in series, and of the lips (a differentiation)."""
    bandwidths = 50 + 0.05 * formants
    higher = np.broadcast_to([4500.0, 5500.0, 6500.0], (len(formants), 3))
    poles = np.concatenate([formants, higher], axis=1)
    widths = np.concatenate([bandwidths, np.full(higher.shape, 400.0)], axis=1)
    return np.prod(_resonance(poles, widths), axis=1)


def _resonance(frequency: np.ndarray, bandwidth: np.ndarray) -> np.ndarray:
    """Two-pole resonators of unit gain at 0 Hz: [frames, resonators] in Hz -> complex [frames, resonators, bins]."""
    radius = np.exp(-np.pi * bandwidth / RATE)
    first = -2 * radius * np.cos(2 * np.pi * np.minimum(frequency, 0.48 * RATE) / RATE)
    first, second = np.broadcast_arrays(first, np.square(radius))
    delay = np.exp(-2j * np.pi * fft.rfftfreq(_FRAME))
    gain = 1 + first + second
    return gain[..., None] / (1 + first[..., None] * delay + second[..., None] * np.square(delay))


def _finish(waveform: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """What happens to both classes alike: a noise floor, the level, the range of 16-bit samples."""
    level = float(np.sqrt(np.mean(np.square(waveform)))) or 1.0
    noisy = waveform / level + _FLOOR * random.standard_normal(len(waveform))
    gain = _LEVEL * 10 ** (random.uniform(-3, 3) / 20)
    return np.clip(gain * noisy, -1, 1).astype(np.float32)
