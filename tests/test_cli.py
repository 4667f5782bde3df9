"""Verbs that other test files do not run: score, bench, compare, report, calibrate, data, corpus."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile

from nas.cli import main
from nas.networks.registry import create
from nas.supernet.benchmark import bench_search
from nas.training.benchmark import bench_train

SCORES = "\n".join(
    [f"U{i} - bonafide {1 + 0.1 * i}" for i in range(20)]
    + [f"V{i} A0{1 + i % 2} spoof {-0.5 + 0.1 * i}" for i in range(20)]
)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What `nas ARGUMENTS` prints; fails on any exit code but 0."""
    code = 0
    with mock.patch("sys.argv", ["nas", *map(str, arguments)]):
        try:
            main()
        except SystemExit as leave:
            code = leave.code or 0
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    path = tmp_path / "scores.txt"
    path.write_text(SCORES)
    return path


def test_evaluate_and_calibrate(scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "evaluate", "--scores", scores, "--bootstrap", 50, "--json", tmp_path / "out.json")
    assert "EER" in text
    assert "95 %" in text
    assert set(json.loads((tmp_path / "out.json").read_text())) >= {"eer", "min_tdcf", "worst_attack", "per_attack"}
    text = run(capsys, "calibrate", scores, "-o", tmp_path / "threshold.json")
    assert "accept scores from" in text
    assert "log-likelihood ratio" in text


def test_compare_draws(scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.txt"
    other.write_text(SCORES.replace("0.4", "0.9"))
    arguments = [f"one={scores}", f"two={other}", "--bootstrap", 50, "-o", tmp_path / "out"]
    assert "| one |" in run(capsys, "compare", *arguments)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    pictures = {
        f"{name}.{suffix}" for name in ("intervals", "det", "histogram", "attacks") for suffix in ("png", "svg")
    }
    assert names == {"comparison.md", "comparison.json", *pictures}


@pytest.mark.parametrize("table", ["table2", "table3", "finetuning"])
def test_report_tables(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "published" in run(capsys, "report", table)
    for suffix in ("md", "csv", "json"):
        run(capsys, "report", table, "-o", tmp_path / f"table.{suffix}")
        assert (tmp_path / f"table.{suffix}").stat().st_size > 100


def test_bench_prints_ratios(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = {"gru_hidden": 8, "gru_layers": 1}
    monkeypatch.setattr("nas.supernet.benchmark.bench_search", partial(bench_search, **tiny))
    monkeypatch.setattr("nas.training.benchmark.bench_train", partial(bench_train, **tiny))
    small = ["--channels", 4, "--samples", 6000, "--batch", 2, "--repeats", 1]
    with pytest.raises(AssertionError, match="'fold' cannot be measured; did you mean 'folded'"):
        run(capsys, "bench", "search", "--implementation", "fold")
    text = run(capsys, "bench", "search", *small, "--cells", 3, "--no-memory", "--json", tmp_path / "search.json")
    assert "per_edge" in text
    assert "folded" in text
    assert len(json.loads((tmp_path / "search.json").read_text())["rows"]) == 2
    assert "bf16" in run(capsys, "bench", "train", *small)
    arguments = ["lcnn-lfcc-lstmsum", "--samples", 8000, "--repeats", 1]
    assert "lcnn-lfcc-lstmsum" in run(capsys, "bench", "score", *arguments)


def test_data_and_corpus_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert "asvspoof2019_la" in run(capsys, "data", "layouts")
    assert "world_copy" in run(capsys, "corpus", "attacks")


def test_corpus_build_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for speaker in range(6):
        for number in range(2):
            path = tmp_path / "speech" / f"s{speaker}" / f"s{speaker}_{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            t = np.arange(32_000) / 16_000
            tone = np.sin(2 * np.pi * (110 + 20 * speaker) * t) * (1 + 0.3 * np.sin(5 * t)) * 0.2
            soundfile.write(path, tone + random.normal(0, 0.01, len(t)), 16_000)
    arguments = ["--bonafide", tmp_path / "speech", "--attacks", "griffin_lim", "--workers", 0, "--quiet"]
    text = run(capsys, "corpus", "build", *arguments, "-o", tmp_path / "corpus")
    manifest = Path(text.split("manifest: ")[1].strip())
    assert len(manifest.read_text().splitlines()) == 1 + 2 * 12
    assert "griffin_lim" in run(capsys, "data", "inspect", manifest, "--quiet")


def test_score_lines(
    tmp_path: Path, scores: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # How released weights load is tested in test_published.py; here a network with random ones stands in.
    monkeypatch.setattr("nas.training.score.load_published", lambda name, weights: create(name).eval())
    for name, rate in (("a", 8000), ("b", 44_100)):
        soundfile.write(tmp_path / f"{name}.wav", np.random.default_rng(1).normal(0, 0.1, rate), rate)
    run(capsys, "calibrate", scores, "-o", tmp_path / "threshold.json")
    model = ["--model", "lcnn-lfcc-lstmsum", "--weights", "released.pt"]
    audio = [tmp_path / "a.wav", tmp_path / "b.wav"]
    lines = run(capsys, "score", *audio, *model, "--threshold", tmp_path / "threshold.json").splitlines()
    assert [line.split()[0] for line in lines] == [str(path) for path in audio]
    assert all(line.split()[2] in ("bonafide", "spoof") for line in lines)
    run(capsys, "score", tmp_path, *model, "-o", tmp_path / "out.txt")
    assert [line.split()[0] for line in (tmp_path / "out.txt").read_text().splitlines()] == ["a", "b"]
