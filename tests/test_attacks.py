"""Every registered attack passes the same checks; each then has one of its own."""

from __future__ import annotations

import functools
import json
import math
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from nas.data.attacks import Attack, attack_names, get_attack, import_engine, lpc, mel_inversion, world
from nas.data.attacks.speaking import SENTENCES, resize_voice, speak_for
from nas.data.attacks.spectrum import analyse, synthesise
from nas.data.embedded import embedded_corpus
from nas.data.seeds import generator_for
from nas.errors import NasError

RATE = 16000
NAMES = attack_names()
SPEAKING = ("espeak", "hibari", "piper")
Once = Callable[[str], tuple[np.ndarray, dict]]


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """A bona fide utterance of the embedded corpus, float32 [T]."""
    table, waveforms = embedded_corpus(3, speakers=4, utterances=2, seconds=1.2)
    return next(w for u, w in zip(table, waveforms, strict=True) if u.key == "bonafide")


@pytest.fixture(scope="module")
def spoofed_once(speech: np.ndarray) -> Once:
    """The result of an attack on `speech`, carried out once: neural voices take seconds."""
    return functools.cache(lambda name: run(name, speech))


def run(name: str, waveform: np.ndarray, utterance: str = "u", speaker: str = "s") -> tuple[np.ndarray, dict]:
    attack = get_attack(name)
    try:
        attack.engine_version()
        return attack(waveform, generator_for(0, utterance), generator_for(0, speaker))
    except NasError as error:
        if "pip install" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize("name", NAMES)
class TestEveryAttack:
    def test_gives_speech_of_about_that_length(self, name: str, speech: np.ndarray, spoofed_once: Once) -> None:
        spoofed, parameters = spoofed_once(name)
        assert spoofed.ndim == 1
        assert spoofed.dtype == np.float32
        assert np.isfinite(spoofed).all()
        assert len(spoofed) >= len(speech) if name in SPEAKING else abs(len(spoofed) - len(speech)) <= 160
        assert 0.3 < spoofed.std() / speech.std() < 3 or name in SPEAKING
        assert json.loads(json.dumps(parameters)) == parameters
        short = min(len(spoofed), len(speech))
        assert not np.allclose(spoofed[:short], speech[:short], atol=1e-3)

    def test_keeps_no_state_and_no_other_randomness(self, name: str, speech: np.ndarray, spoofed_once: Once) -> None:
        before = speech.copy()
        first, parameters = spoofed_once(name)
        np.random.seed(1)
        other, _ = run(name, speech[::-1].copy(), "v", "t")
        again, same = run(name, speech)
        assert np.array_equal(first, again)
        assert parameters == same
        assert len(first) != len(other) or not np.array_equal(first, other)
        assert np.array_equal(before, speech), "the input was changed in place"

    def test_names_its_settings(self, name: str) -> None:
        assert set(get_attack(name).options()).isdisjoint({"waveform", "random", "speaker_random"})


@pytest.mark.parametrize("name", ["world_shift", "espeak", "hibari"])
def test_a_speaker_keeps_the_voice(name: str, speech: np.ndarray) -> None:
    def voice(parameters: dict) -> dict:
        return {key: value for key, value in parameters.items() if key != "sentences"}

    short = speech[:6000]
    one, two, other = (run(name, short, u, s)[1] for u, s in (("a", "s"), ("b", "s"), ("a", "t")))
    assert voice(one) == voice(two) != voice(other)


def test_unknown_attacks_are_told() -> None:
    with pytest.raises(NasError, match="did you mean 'griffin_lim'"):
        get_attack("griffin_lin")


def test_a_missing_engine_comes_with_its_command() -> None:
    missing = Attack("ghost", "no-such-engine", "corpus", lambda *_: (np.zeros(1), {}))
    with pytest.raises(NasError, match=r"pip install 'nas-antispoofing\[corpus\]'"):
        missing.engine_version()
    with pytest.raises(NasError, match="pip install no-such-engine"):
        import_engine("no_such_engine", "no-such-engine", None, "ghost")


@settings(max_examples=30, deadline=None)
@given(samples=st.integers(1, 5000), length=st.sampled_from([64, 256, 1024]), seed=st.integers(0, 99))
def test_synthesis_undoes_analysis(samples: int, length: int, seed: int) -> None:
    waveform = np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    np.testing.assert_allclose(synthesise(analyse(waveform, length), samples), waveform, atol=1e-5)


def test_griffin_lim_keeps_the_magnitude_and_phase_random_does_not(speech: np.ndarray) -> None:
    magnitude = np.abs(analyse(speech, 512))

    def distance(name: str) -> float:
        spoofed, _ = run(name, speech)
        return float(np.linalg.norm(np.abs(analyse(spoofed, 512)) - magnitude) / np.linalg.norm(magnitude))

    assert distance("griffin_lim") < 0.15 < 0.4 < distance("phase_random")


def test_mel_filters_cover_the_band_and_keep_a_flat_spectrum() -> None:
    filters, inverse = mel_inversion.mel_filters(40, 512)
    assert filters.shape == (40, 257)
    assert (filters.sum(1) > 0).all()
    flat = inverse @ (filters @ np.ones(257, np.float32))
    np.testing.assert_allclose(flat[4:-4], 1, atol=1e-5)


def test_linear_prediction_solves_the_normal_equations() -> None:
    frames = np.random.default_rng(0).standard_normal((5, 200)).cumsum(1).astype(np.float32)
    coefficients, gain = lpc.linear_prediction(frames, 8)
    for row, frame in enumerate(frames.astype(np.float64)):
        lags = np.array([frame[: 200 - lag] @ frame[lag:] for lag in range(9)]) / 200
        lags[0] *= 1.0001
        expected = linalg.solve_toeplitz(lags[:8], -lags[1:])
        np.testing.assert_allclose(coefficients[row, 1:], expected, rtol=1e-5, atol=1e-6)
        error = lags[0] + lags[1:] @ expected
        assert gain[row] ** 2 * np.mean(np.hanning(513)[:-1] ** 2) == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize("pitch", [80.0, 125.0, 210.0, 350.0])
def test_pitch_is_found_and_kept(pitch: float) -> None:
    time = np.arange(16000) / RATE
    voiced = sum(np.cos(2 * math.pi * k * pitch * time) / k for k in range(1, int(3000 / pitch)))
    waveform = (0.1 * voiced).astype(np.float32)
    found = lpc.track_pitch(waveform, 512)[10:-10]
    assert np.median(found) == pytest.approx(pitch, rel=0.02)
    spoofed, _ = run("lpc_pulse_noise", waveform)
    assert np.median(lpc.track_pitch(spoofed, 512)[10:-10]) == pytest.approx(pitch, rel=0.03)


def test_noise_has_no_pitch() -> None:
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    assert (lpc.track_pitch(noise, 512) > 0).mean() < 0.2


def test_world_shift_moves_pitch_and_formants() -> None:
    time = np.arange(16000) / RATE
    cycles = np.cumsum(150 * (1 + 0.03 * np.sin(2 * math.pi * 3 * time))) / RATE
    waveform = (0.05 * sum(np.cos(2 * math.pi * k * cycles) / k for k in range(1, 30))).astype(np.float32)
    spoofed, parameters = run("world_shift", waveform)
    found = np.median(lpc.track_pitch(spoofed, 512)[10:-10])
    assert found == pytest.approx(150 * parameters["pitch_ratio"], rel=0.05)
    assert (parameters["pitch_ratio"] > 1) == (parameters["formant_ratio"] > 1)

    envelope = np.exp(-np.square((np.arange(513) - 100) / 8.0))[None] + 1e-6
    assert world._stretch(envelope, 1.2).argmax() == 120
    assert world._stretch(envelope, 0.8).argmax() == 80


def test_speaking_lasts_long_enough_and_does_not_repeat_itself() -> None:
    def speak(text: str) -> np.ndarray:
        return np.ones(100 * len(text), np.float32)

    spoken, sentences = speak_for(60_000, np.random.default_rng(0), speak)
    assert len(spoken) >= 60_000
    assert len(set(sentences)) == len(sentences)
    assert all(sentence.endswith(".") and sentence.isascii() for sentence in SENTENCES)
    assert len(set(SENTENCES)) == len(SENTENCES) >= 40


def test_a_resized_voice_has_another_pitch_and_duration() -> None:
    tone = np.sin(2 * math.pi * 300 * np.arange(22050) / 22050).astype(np.float32)
    resized = resize_voice(tone, 22050, 1.25)
    assert len(resized) == pytest.approx(16000 / 1.25, rel=0.01)
    peak = np.abs(np.fft.rfft(resized * np.hanning(len(resized)))).argmax() * RATE / len(resized)
    assert peak == pytest.approx(375, rel=0.01)


def test_the_documentation_lists_every_attack_and_its_example_runs(tmp_path: Path, speech: np.ndarray) -> None:
    text = (Path(__file__).resolve().parent.parent / "docs" / "corpus.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"| `{name}` |" in text, f"docs/corpus.md does not list {name}"
    (tmp_path / "example.py").write_text(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0])
    runpy.run_path(str(tmp_path / "example.py"))
    spoofed, parameters = run("coarse", speech)
    assert spoofed.shape == speech.shape
    assert parameters == {"bits": 6}
