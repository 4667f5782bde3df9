"""The embedded corpus: repeatable, complete, and without a way around the resynthesis."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import optimize

from nas.data.embedded import ATTACKS, EVALUATION_ONLY, embedded_corpus
from nas.data.utterance import Utterance
from nas.errors import NasError


@pytest.fixture(scope="module")
def corpus() -> tuple[tuple[Utterance, ...], list[np.ndarray]]:
    return embedded_corpus(0, speakers=30, utterances=8, seconds=0.8)


def test_is_complete(corpus: tuple[tuple[Utterance, ...], list[np.ndarray]]) -> None:
    table, waveforms = corpus
    assert len(table) == len(waveforms) == 240
    assert len({utterance.utterance for utterance in table}) == 240
    counts = Counter((utterance.partition, utterance.key) for utterance in table)
    assert counts == {
        **{("train", "bonafide"): 60, ("train", "spoof"): 60},
        **{("dev", "bonafide"): 24, ("dev", "spoof"): 24},
        **{("eval", "bonafide"): 36, ("eval", "spoof"): 36},
    }
    for partition in ("train", "dev", "eval"):
        attacks = {u.attack for u in table if u.partition == partition and u.key == "spoof"}
        assert attacks == set(ATTACKS) - (set() if partition == "eval" else set(EVALUATION_ONLY))
    for waveform in waveforms:
        assert waveform.dtype == np.float32
        assert 0.6 * 16000 < len(waveform) < 1.0 * 16000
        assert np.isfinite(waveform).all()
        assert 0.05 < np.abs(waveform).max() <= 1


def test_speakers_stay_in_their_partition(corpus: tuple[tuple[Utterance, ...], list[np.ndarray]]) -> None:
    partitions: dict[str, set[str]] = {}
    for utterance in corpus[0]:
        partitions.setdefault(utterance.speaker, set()).add(utterance.partition)
    assert len(partitions) == 30
    assert all(len(found) == 1 for found in partitions.values())


@pytest.mark.parametrize("seed", [0, 7])
def test_is_a_function_of_the_seed(seed: int) -> None:
    first, second, other = (embedded_corpus(s, speakers=4, utterances=4, seconds=0.3) for s in (seed, seed, seed + 1))
    assert first[0] == second[0]
    assert all(np.array_equal(a, b) for a, b in zip(first[1], second[1], strict=True))
    assert not any(len(a) == len(b) and np.array_equal(a, b) for a, b in zip(first[1], other[1], strict=True))


def test_level_silence_and_duration_tell_nothing(corpus: tuple[tuple[Utterance, ...], list[np.ndarray]]) -> None:
    table, waveforms = corpus
    features = np.array([_shortcuts(waveform) for waveform in waveforms])
    label = np.array([utterance.label for utterance in table])
    train = np.array([utterance.partition == "train" for utterance in table])
    scaled = (features - features[train].mean(0)) / (features[train].std(0) + 1e-9)
    scaled = np.c_[scaled, np.ones(len(scaled))]
    sign = 2 * label - 1

    def loss(weights: np.ndarray) -> float:
        return float(np.logaddexp(0, -sign[train] * (scaled[train] @ weights)).mean() + 1e-2 * weights @ weights)

    score = scaled @ optimize.minimize(loss, np.zeros(scaled.shape[1])).x
    bonafide, spoof = score[~train & (label == 1)], score[~train & (label == 0)]
    rates = [max((bonafide < threshold).mean(), (spoof >= threshold).mean()) for threshold in score]
    assert min(rates) > 0.38, "the EER of a logistic regression on shortcuts"


def _shortcuts(waveform: np.ndarray) -> list[float]:
    """Level in dB, duration, silence at either edge in 10 ms, share of quiet frames."""
    frames = np.sqrt(np.square(waveform[: len(waveform) // 160 * 160]).reshape(-1, 160).mean(1))
    loud = np.flatnonzero(frames > 0.03 * frames.max())
    quiet = (frames < 0.01 * frames.max()).mean()
    return [20 * np.log10(waveform.std()), len(waveform), loud[0], len(frames) - loud[-1], quiet]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"speakers": 3}, "4 speakers"),
        ({"utterances": 1}, "2 utterances"),
        ({"seconds": 0.1}, "0.25 s"),
        ({"seconds": float("nan")}, "0.25 s"),
        ({"seconds": float("inf")}, "0.25 s"),
    ],
)
def test_wrong_sizes_are_told(arguments: dict, message: str) -> None:
    with pytest.raises(NasError, match=message):
        embedded_corpus(0, **arguments)
