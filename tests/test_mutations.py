"""Mutated files of every kind: each ends soon, in a valid result or in one sentence (the long form: docs/runs.md)."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from experiments.mutations.families import KINDS, families
from experiments.mutations.trials import run_trials
from nas.errors import NasError

Trials = dict[str, Callable[[random.Random, Path], None]]


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    torch.set_num_threads(1)
    return families(tmp_path_factory.mktemp("mutations"))


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_end_in_a_result_or_a_sentence(trials: Trials, tmp_path: Path, kind: str) -> None:
    # A resumed run takes the longest.
    count = run_trials(kind, trials[kind], range(12 if kind == "resume states" else 30), tmp_path)
    assert count.faults == []
    assert count.valid > 0
    assert count.refused > 0


def test_the_guards_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(chance: random.Random, folder: Path) -> None:
        while True:
            pass

    def fill(chance: random.Random, folder: Path) -> None:
        bytearray(2**31)

    def refuse(chance: random.Random, folder: Path) -> None:
        raise NasError("a sentence")

    def fail(chance: random.Random, folder: Path) -> None:
        raise KeyError("x")

    monkeypatch.setattr("experiments.mutations.trials.SECONDS", 0.2)
    assert "TooLong" in run_trials("", hang, range(1), tmp_path).faults[0]["error"]
    assert "MemoryError" in run_trials("", fill, range(1), tmp_path).faults[0]["error"]
    assert "KeyError" in run_trials("", fail, range(1), tmp_path).faults[0]["error"]
    assert run_trials("", refuse, range(3), tmp_path).refused == 3
