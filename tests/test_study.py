"""The study's command runs its units in order of need, once, and goes on after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from experiments.run_study import Study
from nas.data.embedded import embedded_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    lines = ["path,key,attack,speaker,partition"]
    for utterance, waveform in zip(*embedded_corpus(0, speakers=4, utterances=16, seconds=0.3), strict=True):
        soundfile.write(tmp_path / utterance.path, waveform, 16_000)
        lines.append(f"{utterance.path},{utterance.key},{utterance.attack},{utterance.speaker},{utterance.partition}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "manifest.csv"


@pytest.mark.slow
def test_a_number_brings_what_it_needs(corpus: Path, tmp_path: Path) -> None:
    study = Study(corpus, tmp_path / "study", "toy", None)
    # As if it had been stopped between the search and what follows.
    study.run("search/mel_fixed-0")
    study.run("train/searched-0-1")
    for name in ("search/mel_fixed-0", "tune/mel_fixed", "train/searched-0-1"):
        assert study.done(name)
    found = study.found("train/searched-0-1")
    assert {"eer", "per_attack", "model"} <= found.keys()
    assert set(study.found("tune/mel_fixed")["dev_eers"]) == {"0.001", "0.003"}
    unit = tmp_path / "study" / "train/searched-0-1" / "unit.json"
    before = unit.stat().st_mtime_ns
    study.run("train/searched-0-1")
    assert unit.stat().st_mtime_ns == before
    assert json.loads(unit.read_text())["seconds"] > 0
    shares = study.operations(["search/mel_fixed-0"])["search/mel_fixed-0"]
    assert all(len(shares[kind]) == 2 and min(shares[kind]) >= 0 for kind in ("normal", "expand"))
    results = json.loads(study.results(list(study.units)))
    assert sorted(results) == ["search/mel_fixed-0", "train/searched-0-1", "tune/mel_fixed"]
    told = results["train/searched-0-1"]
    for attacks in ("seen", "unseen"):
        low, high = told[f"eer_{attacks}_interval"]
        assert low <= told[f"eer_{attacks}"] <= high
    assert str(tmp_path) not in json.dumps(results)


def test_every_system_of_the_study_is_declared(corpus: Path, tmp_path: Path) -> None:
    study = Study(corpus, tmp_path / "study", "small", tmp_path)
    assert all(need in study.units for unit in study.units.values() for need in unit.needs)
    for name in ("train/searched-2-1", "train/random-4", "train/aasist", "frontend/linear_fixed-same", "one-shot"):
        assert name in study.units
    assert sum(name.startswith("real/") for name in study.units) == 15
