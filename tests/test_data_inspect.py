"""The inspection of a corpus: planted faults are found, one at a time, and a clean corpus is called clean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy import signal

from nas.data.cues import CUES, measure
from nas.data.inspect import Report, inspect
from nas.data.shortcuts import Shortcuts, find_shortcuts, out_of_fold_scores
from nas.data.utterance import Utterance
from nas.errors import NasError
from nas.metrics import eer

RATE = 16_000
COUNT = 300


def speech_like(generator: np.random.Generator, seconds: float | None = None) -> np.ndarray:
    """Coloured noise in bursts, of random level, with quiet edges: enough for every cue."""
    length = int((seconds or generator.uniform(0.4, 0.8)) * RATE)
    noise = signal.lfilter([1], [1, -0.7], generator.normal(size=length))
    edges = generator.integers(0, 800, 2)
    noise[: edges[0]] *= 1e-3
    noise[length - edges[1] :] *= 1e-3
    return (noise * 0.02 * 10 ** generator.uniform(-0.3, 0.3)).astype(np.float32)


def mu_law(waveform: np.ndarray) -> np.ndarray:
    coarse = np.round(np.sign(waveform) * np.log1p(255 * np.abs(waveform)) / np.log(256) * 127) / 127
    return (np.sign(coarse) * (256.0 ** np.abs(coarse) - 1) / 255).astype(np.float32)


def low_pass(waveform: np.ndarray) -> np.ndarray:
    return signal.sosfiltfilt(signal.butter(10, 4000, fs=RATE, output="sos"), waveform).astype(np.float32)


PLANTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "level": lambda waveform: 2 * waveform,
    "leading_silence": lambda waveform: np.concatenate([np.zeros(800, np.float32), waveform]),
    "trailing_silence": lambda waveform: np.concatenate([waveform, np.full(800, 1e-6, np.float32)]),
    "duration": lambda waveform: np.concatenate([waveform, waveform[: len(waveform) // 3], waveform[-800:]]),
    "bandwidth": low_pass,
    "steps": mu_law,
}


def rows_of(count: int) -> list[Utterance]:
    return [
        Utterance(Path(f"{i}"), f"{i}", f"s{i % 20}", ("A1", "-")[i % 2], ("spoof", "bonafide")[i % 2], "train")
        for i in range(count)
    ]


def shortcuts(plant: Callable[[np.ndarray], np.ndarray] | None, formats: list[str] | None = None) -> Shortcuts:
    generator = np.random.default_rng(5)
    rows = rows_of(COUNT)
    waveforms = [speech_like(generator) for _ in rows]
    if plant:
        waveforms = [plant(w) if row.key == "spoof" else w for w, row in zip(waveforms, rows, strict=True)]
    quantised = [np.rint(w * 32768).astype(np.float32) / 32768 for w in waveforms]
    return find_shortcuts(rows, [measure(w) for w in quantised], formats or ["WAV"] * COUNT)


def test_a_clean_corpus_is_clean() -> None:
    report = shortcuts(None)
    assert report.found == ()
    assert report.together > 0.42
    assert [cue.name for cue in report.cues] == [*CUES, "format"]
    assert all(cue.eer > 0.41 for cue in report.cues)


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_shortcut_is_found_and_named(name: str) -> None:
    report = shortcuts(PLANTS[name])
    assert name in report.found
    assert "together" in report.found
    alone = {cue.name: cue for cue in report.cues}
    assert alone[name].eer < 0.3
    assert alone[name].worst_attack == "A1"
    length = {"duration", "leading_silence", "trailing_silence"}  # silence makes an utterance longer too
    assert not set(report.found) - {name, "together"} - (length if name in length else set())


def test_a_format_of_one_class_is_found() -> None:
    formats = [("WAV PCM_16", "FLAC PCM_16")[i % 2] for i in range(COUNT)]
    assert set(shortcuts(None, formats).found) == {"format", "together"}
    mixed = [("WAV PCM_16", "FLAC PCM_16")[(i // 2) % 2] for i in range(COUNT)]
    assert shortcuts(None, mixed).found == ()
    rare = [f"kind {i}" for i in range(COUNT)]
    assert shortcuts(None, rare).found == ()


def test_weak_cues_add_up() -> None:
    """Level and duration each tell little, their combination tells a lot."""
    generator = np.random.default_rng(1)
    rows = rows_of(COUNT)
    cues = []
    for row in rows:
        common, sign = generator.normal(), 1 if row.key == "spoof" else -1
        template = measure(speech_like(generator, 0.5))
        values = dict(zip(CUES, template.values(), strict=True))
        values |= {"level": -30 + 3 * common + 0.5 * sign, "duration": 2 + 0.3 * common - 0.05 * sign}
        cues.append(type(template)(**values))
    report = find_shortcuts(rows, cues, ["WAV"] * COUNT)
    assert report.found == ("together",)


def test_values_on_both_sides_are_found_although_the_area_is_one_half() -> None:
    generator = np.random.default_rng(1)
    rows = rows_of(COUNT)
    template = measure(speech_like(generator))
    values = dict(zip(CUES, template.values(), strict=True))
    cues = [
        type(template)(**values | {"level": -30 + (generator.choice([-6, 6]) if row.key == "spoof" else 0)})
        for row in rows
    ]
    level = find_shortcuts(rows, cues, ["WAV"] * COUNT).cues[0]
    assert level.eer <= 0.5


def test_scores_come_from_other_speakers() -> None:
    """A feature that only says who speaks must not help."""
    generator = np.random.default_rng(0)
    speakers = np.arange(400) % 40
    labels = (generator.permutation(40) % 2)[speakers]
    features = np.eye(40)[speakers]
    scores = out_of_fold_scores(features, labels, [f"s{i}" for i in speakers])
    assert eer(scores[labels == 1], scores[labels == 0], ties="joined").value > 0.45


def test_silence_is_measured() -> None:
    cues = measure(np.zeros(1600, np.float32))
    assert (cues.level, cues.leading_silence, cues.duration, cues.bandwidth) == (-120.0, 0.1, 0.1, 0.0)
    for samples in (1, 7, 159, 160, 161, 1023, 1025):
        assert all(np.isfinite(measure(np.ones(samples, np.float32)).values()))


def test_cues_are_in_their_units() -> None:
    tone = (0.1 * np.sin(2 * np.pi * 1000 * np.arange(8000) / RATE)).astype(np.float32)
    cues = measure(np.concatenate([np.zeros(1600, np.float32), tone, np.zeros(800, np.float32)]))
    assert cues.leading_silence == pytest.approx(0.1)
    assert cues.trailing_silence == pytest.approx(0.05)
    assert cues.duration == pytest.approx(0.65)
    assert measure(tone).bandwidth in (1000, 1100)
    assert measure(tone).level == pytest.approx(20 * np.log10(0.1) - 3.01, abs=0.01)


# --- a corpus on disk ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    folder = tmp_path_factory.mktemp("corpus")
    generator = np.random.default_rng(2)
    rows = []
    for number in range(40):
        path = folder / f"u{number}.wav"
        soundfile.write(path, speech_like(generator), RATE)
        key, partition = ("spoof", "bonafide")[number % 2], ("train", "dev")[number % 4 // 2]
        rows.append(Utterance(path, path.stem, f"{partition}{number % 8}", ("A1", "-")[number % 2], key, partition))
    return rows


def test_a_corpus_without_faults(corpus: list[Utterance]) -> None:
    report = inspect(corpus, progress=False)
    assert report.faults == ()
    assert report.counts == {
        ("train", "spoof", "A1"): 10,
        ("train", "bonafide", "-"): 10,
        ("dev", "spoof", "A1"): 10,
        ("dev", "bonafide", "-"): 10,
    }
    assert report.formats == {"WAV PCM_16, 16000 Hz, 1 channel": 40}
    assert sum(seconds.sum() for seconds in report.seconds.values()) == pytest.approx(
        sum(soundfile.info(row.path).duration for row in corpus)
    )
    text = report.text()
    assert "Verdict: no faults found." in text
    assert max(map(len, text.splitlines())) <= 100


def _with(corpus: list[Utterance], extra: list[Utterance]) -> Report:
    return inspect([*corpus, *extra], workers=2, progress=False)


def test_faults_are_counted_and_shown(corpus: list[Utterance], tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF and no more")
    copy = tmp_path / "copy.flac"  # the same samples in another file format
    soundfile.write(copy, *soundfile.read(corpus[0].path, dtype="int16"))
    stranger = tmp_path / "stranger.wav"
    soundfile.write(stranger, speech_like(np.random.default_rng(99)), RATE)
    report = _with(
        corpus,
        [
            Utterance(broken, "broken", "-", "-", "bonafide", "eval"),
            Utterance(copy, "copy", "-", "-", "bonafide", "eval"),
            Utterance(stranger, "stranger", corpus[0].speaker, "-", "bonafide", "eval"),
        ],
    )
    assert [row.utterance for row, _ in report.unreadable] == ["broken"]
    assert report.speakers_across == {"train0": ("train", "eval")}
    assert [{row.utterance for row in group} for group in report.duplicates] == [{"u0", "copy"}]
    assert report.faults[:3] == (
        "unreadable files: 1",
        "speakers in more than one partition: 1",
        "recordings that are there more than once: 1",
    )
    text = report.text()
    for piece in ("Unreadable (1):", "train0: train, eval", "u0 (train, spoof), copy (eval, bonafide)"):
        assert piece in text


def test_one_class_has_no_shortcuts(corpus: list[Utterance]) -> None:
    report = inspect([row for row in corpus if row.key == "spoof"], progress=False)
    assert report.shortcuts is None
    assert "a class is missing" in report.text()
    with pytest.raises(NasError, match="no utterances to inspect"):
        inspect([])


def save_rows(folder: Path, waveforms: dict[str, np.ndarray]) -> list[Utterance]:
    rows = []
    for number, (name, waveform) in enumerate(waveforms.items()):
        path = folder / f"{number}.wav"
        soundfile.write(path, waveform, RATE)
        key = ("bonafide", "spoof")[number % 2]
        rows.append(
            Utterance(path, name, f"s\x1b[2J{number}", "-" if key == "bonafide" else "A\x1b]0;x\x07", key, "dev")
        )
    return rows


def test_silence_and_cancelling_channels_are_faults(tmp_path: Path) -> None:
    noise = speech_like(np.random.default_rng(0))
    waveforms = {"a": noise, "b": np.zeros_like(noise), "c": np.stack([noise, -noise], axis=1)}
    report = inspect(save_rows(tmp_path, waveforms), progress=False)
    assert [row.utterance for row in report.silent] == ["b"]
    assert [row.utterance for row in report.cancelled] == ["c"]
    assert "files of digital silence: 1; files whose channels cancel each other: 1" in report.text()


def test_names_of_a_corpus_reach_the_terminal_escaped(tmp_path: Path) -> None:
    noise = speech_like(np.random.default_rng(0))
    rows = save_rows(tmp_path, {f"{number}\x1b[31m\rred": noise for number in range(4)})
    moved = Utterance(rows[0].path, "x", rows[1].speaker, "-", "bonafide", "train")
    text = inspect([*rows, moved], progress=False).text()
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\\x1b[31m\\rred" in text


def test_a_corpus_without_a_readable_file_is_one_sentence(tmp_path: Path) -> None:
    rows = save_rows(tmp_path, {"a": speech_like(np.random.default_rng(0), 2.0)})
    with pytest.raises(NasError, match=r"none of the 1 audio files is readable: .*0\.wav: the audio lasts 2\.0 s"):
        inspect(rows, progress=False, longest_seconds=1)
