"""`nas score` of many files: every readable one is scored, named apart, and what was not scored is said."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nas import cli
from nas.data.audio_files import distinct_names, find_audio
from nas.errors import NasError
from nas.metrics import read_scores
from nas.training.score import Heard


@pytest.fixture(autouse=True)
def _scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that hears one second and scores by level."""
    from nas.data.decode import decode

    def score(path: Path) -> Heard:
        waveform = decode(path)
        heard = waveform[:16_000]
        return Heard(float(np.abs(heard).max()), len(waveform) / 16_000, len(heard) / 16_000, not heard.any())

    monkeypatch.setattr("nas.training.score.open_scorer", lambda *_: score)


def save(path: Path, level: float = 0.5, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(int(seconds * 16_000), level, np.float32), 16_000)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    model = ("--model", "aasist-l", "--weights", "w.pth")
    monkeypatch.setattr(sys, "argv", ["nas", "score", *map(str, arguments), *model])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_bad_files_do_not_cost_the_good_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "f" / "a.wav")
    save(tmp_path / "f" / "z.wav")
    (tmp_path / "f" / "b.wav").write_text("no audio")
    (tmp_path / "f" / "c.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    (tmp_path / "f" / "notes.txt").write_text("no audio")
    assert run(monkeypatch, tmp_path / "f", "-o", tmp_path / "s.txt") == 2
    assert (tmp_path / "s.txt").read_text() == "a 0.5\nz 0.5\n"
    said = capsys.readouterr().err
    assert "b.wav: unreadable" in said
    assert "ffmpeg -i" in said
    assert "2 of 4 files could not be scored" in said
    assert "files passed over, since their suffix is none of audio: 1 (1 .txt)" in said
    assert run(monkeypatch, tmp_path / "f") == 2
    assert capsys.readouterr().out.count("heard 0.50 of 0.50 s") == 2


def test_nothing_is_written_where_nothing_was_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.wav").write_text("no audio")
    assert run(monkeypatch, tmp_path / "b.wav", "-o", tmp_path / "s.txt") == 2
    assert not (tmp_path / "s.txt").exists()
    assert capsys.readouterr().err.startswith(f"nas: {tmp_path}/b.wav: unreadable audio")


def test_what_was_heard_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "long.wav", seconds=2.5)
    save(tmp_path / "silent.wav", level=0)
    assert run(monkeypatch, tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("long.wav 0.5  (heard 1.00 of 2.50 s)")
    assert lines[1].endswith("silent.wav 0  (heard 0.50 of 0.50 s, digital silence)")
    assert run(monkeypatch, tmp_path, "-o", tmp_path / "s.txt") == 0
    said = capsys.readouterr().err
    assert "heard: 1 of 2 files whole; of 1 only the first 1.00 s each (1 of their 2 s)" in said
    assert "digital silence was scored: 1 of 2 files" in said


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("decide", [False, True])
def test_evaluate_reads_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank: bool, decide: bool
) -> None:
    folder = tmp_path / "f"
    speakers = ("Ann Lee", "Bo, Jr.") if blank else ("ann", "bo")
    for number, speaker in enumerate(speakers):
        save(folder / speaker / "1.wav", level=0.5 + number / 4)
    threshold = tmp_path / "t.json"
    threshold.write_text("{}")
    if decide:
        from nas.metrics import Decision

        monkeypatch.setattr(Decision, "accepts", lambda self, scores: np.asarray(scores) > 0.6)
        monkeypatch.setattr("nas.metrics.read_decision", lambda path: Decision.__new__(Decision))
    arguments = ["--threshold", threshold] if decide else []
    assert run(monkeypatch, folder, "-o", tmp_path / "s.txt", *arguments) == 0
    rows = zip(speakers, ("spoof", "bonafide"), strict=True)
    protocol = tmp_path / "k.csv"
    protocol.write_text("utterance,key\n" + "".join(f'"{speaker}/1",{key}\n' for speaker, key in rows))
    trials = read_scores(tmp_path / "s.txt", protocol, higher="bonafide")
    assert sorted(trials.score.tolist()) == [0.5, 0.75]
    text = (tmp_path / "s.txt").read_text()
    assert ("bonafide" in text) is decide


def test_names_that_would_forge_lines_are_refused_and_shown_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "f" / "good.wav")
    save(tmp_path / "f" / "x 1\ny.wav")
    save(tmp_path / "f" / "\x1b[2Jred.wav")
    assert run(monkeypatch, tmp_path / "f", "-o", tmp_path / "s.txt") == 2
    assert (tmp_path / "s.txt").read_text() == "good 0.5\n"
    run(monkeypatch, tmp_path / "f")
    streams = capsys.readouterr()
    assert "\x1b" not in streams.out + streams.err
    assert "\\x1b[2Jred" in streams.err


def names(*files: str, folder: str = "f") -> list[str]:
    return distinct_names([Path(folder)] * len(files), [Path(folder, file) for file in files])


def test_names_are_as_short_as_they_can_be_told_apart() -> None:
    assert names("a.wav", "x/b.wav") == ["a", "b"]
    assert names("x/1.wav", "y/1.wav", "y/2.wav") == ["x/1", "y/1", "y/2"]
    assert distinct_names([Path("f"), Path("g")], [Path("f/1.wav"), Path("g/1.wav")]) == ["f/1", "g/1"]
    assert distinct_names([Path(), Path()], [Path("f/1.wav"), Path("g/1.wav")]) == ["f/1", "g/1"]
    assert len(set(names("1.wav", "1.flac", "x/1.wav"))) == 3
    assert names("a.b.wav", "a.c.wav") == ["a.b", "a.c"]


def test_a_file_that_is_named_twice_is_scored_once(tmp_path: Path) -> None:
    path = save(tmp_path / "f" / "1.wav")
    assert len(find_audio([tmp_path / "f", path, tmp_path / "f"]).files) == 1
    with pytest.raises(NasError, match="holds no audio file"):
        find_audio([save(tmp_path / "g" / "1.wav").rename(tmp_path / "g" / "1.txt").parent])
