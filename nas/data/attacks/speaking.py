"""What the text-to-speech attacks share: the text that they speak, for how long, and the voice's own size."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from scipy import signal

from nas.data.attacks import RATE
from nas.data.edges import trim

SENTENCES = (
    "The boat came in before the rain.",
    "Nobody had told the baker about the wedding.",
    "A narrow road runs along the edge of the lake.",
    "We kept the letters in a box under the stairs.",
    "She asked for the second volume, not the first.",
    "The train was late, so they walked to the village.",
    "Most of the apples fell during the night.",
    "He paints the fence every other summer.",
    "Turn left at the church and follow the wall.",
    "The children counted thirty-one ships in the harbour.",
    "My uncle repairs clocks that nobody else will touch.",
    "It snowed for three days without a pause.",
    "You can hear the mill from the other side of the hill.",
    "They planted beans, onions and a row of sunflowers.",
    "The committee meets again on Thursday morning.",
    "Please put the blue cups on the upper shelf.",
    "A dog barked twice and then the street was quiet.",
    "The new bridge is higher than the old one was.",
    "I would rather read by the window than by the fire.",
    "Her brother plays the viola in a small orchestra.",
    "The price of the tickets has not changed since spring.",
    "Every lamp in the corridor had been switched off.",
    "Fresh bread is sold at the corner after six.",
    "The doctor wrote the name down and closed the book.",
    "Two of the questions were harder than the others.",
    "Clouds gathered slowly over the eastern valley.",
    "We measured the room again and found the mistake.",
    "The gardener keeps his tools in remarkable order.",
    "Someone had left a yellow umbrella at the station.",
    "The last page of the report is missing.",
    "Winter mornings smell of wood smoke here.",
    "They chose a quiet table far from the door.",
    "The river is deep enough to swim in by June.",
    "He whistled the tune until everybody knew it.",
    "A good map would have saved us an hour.",
    "The teacher drew a large circle on the board.",
    "There is a spare key behind the third brick.",
    "Our neighbours are moving to the coast in August.",
    "The kettle boiled while she looked for the sugar.",
    "Nothing in the old house had been thrown away.",
    "Several birds were sitting on the telephone wire.",
    "The judge listened carefully to both of them.",
    "You should have seen the size of that pumpkin.",
    "I shall ask the captain when he comes ashore.",
)
"""Short English sentences, written for this purpose and free to use."""

_PAUSE = (0.1, 0.35)
"""Shortest and longest pause between sentences in seconds; the engine's own silence is taken off."""


def speak_for(
    samples: int, random: np.random.Generator, speak: Callable[[str], np.ndarray]
) -> tuple[np.ndarray, list[int]]:
    """Speak sentences drawn by `random`, with a pause between them, until there are `samples` of speech.

    Args:
        speak: text -> float32 [T] at 16 kHz.

    Returns:
        float32 [at least samples], and the numbers of the sentences.
    """
    parts: list[np.ndarray] = []
    spoken: list[int] = []
    length = 0
    for number in np.concatenate([random.permutation(len(SENTENCES)) for _ in range(4)]):
        if length >= samples * 1.1:
            break
        sentence = trim(speak(SENTENCES[number]), 40.0)
        pause = np.zeros(int(random.uniform(*_PAUSE) * RATE), np.float32)
        parts += [sentence, pause]
        spoken.append(int(number))
        length += len(sentence) + len(pause)
    return np.concatenate(parts).astype(np.float32), spoken


def resize_voice(waveform: np.ndarray, rate: int, ratio: float) -> np.ndarray:
    """Bring a voice at `rate` Hz to 16 kHz, its pitch and formants moved by `ratio` (its duration by 1 / ratio).

    As a recording played faster or slower: the voice of a smaller or larger speaker.
    """
    step = Fraction(RATE / (rate * ratio)).limit_denominator(400)
    return signal.resample_poly(waveform.astype(np.float64), step.numerator, step.denominator).astype(np.float32)
