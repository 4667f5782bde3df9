"""Several processes end where one would; a lost one loses nothing.

`two_processes.py` holds the checks that two processes make of each other; the runs here are the commands as typed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

import nas
from experiments.kill_study import differences
from nas import processes
from nas.data.store import WaveformStore
from nas.data.utterance import Utterance
from nas.training.checkpoint import CURRENT, read_checkpoint
from nas.training.inputs import TrainingBatches
from nas.training.run import read_tensors

SMALL = ["data.samples=1000", "engine.pictures=0", "engine.checkpoint_minutes=0.0001"]
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def together(*arguments: str, launch: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A command in two processes."""
    command = [*LAUNCH, "--master-port", str(free_port()), *launch, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=ENVIRONMENT)


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def succeeded(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_compute_what_one_computes() -> None:
    succeeded(together(str(Path(__file__).with_name("two_processes.py"))))


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """[rank, how many] that this process takes itself for."""
    own = [0, 1]
    monkeypatch.setattr(processes, "rank", lambda: own[0])
    monkeypatch.setattr(processes, "count", lambda: own[1])
    return own


@pytest.mark.parametrize("count", [2, 3])
def test_the_parts_of_all_processes_are_the_epoch(ranks: list[int], count: int) -> None:
    table = [Utterance(Path("x.wav"), f"U{n}", "-", "-", "bonafide", "train") for n in range(40)]
    store = WaveformStore.from_arrays(table, [np.zeros(60 + n, np.int16) for n in range(40)])
    recipe = nas.load_recipe("raw_pcdarts/toy", ["data.samples=50", "data.crop=random"])

    def epoch(rank: int, count: int, size: int) -> list[list[int]]:
        ranks[:] = rank, count
        batches = TrainingBatches(recipe, store, np.arange(40), size, 0, torch.device("cpu"))
        found = list(batches.epoch(3))
        assert len(found) == len(batches)
        return [batch.indices.tolist() for batch in found]

    whole = epoch(0, 1, 6 * count)
    parts = [epoch(rank, count, 6) for rank in range(count)]
    assert all(len(batch) == 6 for part in parts for batch in part)
    assert [sorted(chain.from_iterable(step)) for step in zip(*parts, strict=True)] == [sorted(step) for step in whole]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search, a training and an evaluation by two processes."""
    folder = tmp_path_factory.mktemp("pair")
    search = ["-m", "nas", "search", "raw_pcdarts/toy", *SMALL, "search.epochs=2", "search.batch_size=4", "-q"]
    succeeded(together(*search, "-o", str(folder / "search")))
    train = ["-m", "nas", "train", "raw_pcdarts/toy", *SMALL, "train.batch_size=4", "-q"]
    train += ["-g", str(folder / "search" / "genotype.json")]
    succeeded(together(*train, "-o", str(folder / "train")))
    succeeded(together("-m", "nas", "evaluate", "-q", str(folder / "train")))
    return folder


@pytest.mark.slow
def test_two_processes_end_where_one_with_the_doubled_batch_ends(pair: Path, tmp_path: Path) -> None:
    recipe = nas.load_recipe(
        "raw_pcdarts/toy", [*SMALL, "search.epochs=2", "search.batch_size=8", "train.batch_size=8"]
    )
    nas.search(recipe, tmp_path / "search", progress=False)
    nas.train(recipe, tmp_path / "search" / "genotype.json", tmp_path / "train", progress=False)
    for kind in ("search", "train"):
        found, expected = (read_tensors(home / kind / "checkpoints" / "last.safetensors") for home in (pair, tmp_path))
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            # Adam divides by the root of squared gradients: where those are rounding, so is a part of the step.
            near = 1e-6 if name.startswith("architecture.") else 1e-4
            torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=near, msg=lambda m, n=name: f"{n}: {m}")
    assert (pair / "search" / "genotype.json").read_text() == (tmp_path / "search" / "genotype.json").read_text()


@pytest.mark.slow
def test_scores_and_metrics_of_two_processes_are_those_of_one_to_the_bit(pair: Path) -> None:
    found = [(pair / "train" / "scores" / name).read_bytes() for name in ("eval.txt", "eval.json")]
    nas.evaluate(pair / "train", progress=False)
    assert found == [(pair / "train" / "scores" / name).read_bytes() for name in ("eval.txt", "eval.json")]


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [0, 1])
def test_a_process_that_is_killed_loses_nothing(restarts: int, pair: Path, tmp_path: Path) -> None:
    """Without restarts the run is resumed; with them torchrun starts the processes anew and they go on."""
    run = tmp_path / "search"
    search = ["-m", "nas", "search", "raw_pcdarts/toy", *SMALL, "search.epochs=2", "search.batch_size=4", "-q"]
    launch = [*LAUNCH, "--master-port", str(free_port()), "--max-restarts", str(restarts)]
    process = subprocess.Popen(
        [*launch, *search, "-o", str(run)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    deadline = time.monotonic() + 300
    while not (run / "checkpoints" / CURRENT).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    ranks = {child.environ()["RANK"]: child for child in psutil.Process(process.pid).children()}
    ranks["1"].send_signal(signal.SIGKILL)
    errors = process.communicate(timeout=600)[1]
    if restarts:
        assert process.returncode == 0, errors[-3000:]
        assert "going on at epoch" in (run / "log.txt").read_text()
    else:
        assert process.returncode != 0
        found = read_checkpoint(run / "checkpoints")
        assert found is not None
        assert found[1]["values"]["epoch"] <= 2
        succeeded(together("-m", "nas", "resume", "-q", str(run)))
    assert differences(pair / "search", run) == []
