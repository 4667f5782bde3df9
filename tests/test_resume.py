"""A run that is stopped and resumed ends as one that never was: to the bit."""

from __future__ import annotations

import csv
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import nas
from experiments.kill_study import differences
from nas.errors import Interrupted
from nas.training.checkpoint import CURRENT, PREVIOUS, Watch, read_checkpoint, write_checkpoint
from nas.training.run import read_tensors
from nas.training.scoring import score_partition

SCORED = ["data.samples=300", "engine.pictures=0", "engine.evaluation_batch_size=8", "search.batch_size=8"]
"""Saved when an epoch's steps are taken and at its end alone; the development set is four batches."""
TOY = ["data.samples=1000", "engine.pictures=0", "engine.checkpoint_minutes=0.0001"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy search and a training that were never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    recipe = nas.load_recipe("raw_pcdarts/toy", TOY)
    nas.search(recipe, folder / "search", progress=False)
    nas.train(recipe, folder / "search" / "genotype.json", folder / "train", progress=False)
    nas.search(nas.load_recipe("raw_pcdarts/toy", SCORED), folder / "scored", progress=False)
    return folder


class StopAfter(Watch):
    """Asks to stop after so many looks."""

    looks = 0

    @property
    def due(self) -> bool:
        StopAfter.looks -= 1
        self.stopping = self.stopping or StopAfter.looks <= 0
        return self.stopping


@pytest.mark.parametrize("looks", [1, 4, 7, 12])
def test_a_stop_at_any_step_changes_nothing(
    looks: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = nas.load_recipe("raw_pcdarts/toy", TOY)
    genotype = whole / "search" / "genotype.json"
    start = {
        "search": lambda: nas.search(recipe, tmp_path / "search", progress=False),
        "train": lambda: nas.train(recipe, genotype, tmp_path / "train", progress=False),
    }
    for kind in ("search", "train"):
        with monkeypatch.context() as patch:
            patch.setattr("nas.training.loop.Watch", StopAfter)
            StopAfter.looks = looks
            with pytest.raises(Interrupted, match="nas resume"):
                start[kind]()
        torch.manual_seed(99)  # whatever was drawn in between
        nas.resume(tmp_path / kind, progress=False)
        assert differences(whole / kind, tmp_path / kind) == []


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve of TensorBoard but the one that says how fast it went."""
    events = EventAccumulator(str(run / "tensorboard"), {"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("throughput")]
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in tags}


@pytest.mark.parametrize("batches", [1, 4, 6])
def test_a_stop_while_the_development_set_is_scored_is_heeded_between_batches(
    batches: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three epochs, each with four batches to score; the curves too are those of a run that was never stopped."""
    scored = [0]

    def stopped(*arguments: Any) -> Any:
        *others, stop_if_asked = arguments

        def between() -> None:
            scored[0] += 1
            stop_if_asked.__self__.watch.stopping = scored[0] >= batches
            stop_if_asked()

        return score_partition(*others, between)

    recipe = nas.load_recipe("raw_pcdarts/toy", SCORED)
    with monkeypatch.context() as patch:
        patch.setattr("nas.training.loop.score_partition", stopped)
        with pytest.raises(Interrupted):
            nas.search(recipe, tmp_path / "search", progress=False)
    found = read_checkpoint(tmp_path / "search" / "checkpoints")
    assert found is not None
    assert (found[1]["values"]["epoch"], found[1]["values"]["step"]) == (-(-batches // 4), 4)
    nas.resume(tmp_path / "search", progress=False)
    assert differences(whole / "scored", tmp_path / "search") == []
    assert curves(tmp_path / "search") == curves(whole / "scored")


def test_weights_are_averaged_over_the_best_epochs_and_survive_a_stop(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = nas.load_recipe("raw_pcdarts/toy", [*TOY, "train.average=true", "train.epochs=4"])
    genotype, epochs = whole / "search" / "genotype.json", tmp_path / "epochs"
    epochs.mkdir()

    def keep(epoch: int, row: dict[str, Any]) -> None:
        shutil.copy(tmp_path / "whole/checkpoints/last.safetensors", epochs / str(epoch))

    nas.train(recipe, genotype, tmp_path / "whole", progress=False, on_epoch=keep)
    with open(tmp_path / "whole" / "history.csv", newline="") as stream:
        eers = [float(row["dev_eer"]) for row in csv.DictReader(stream)]
    best = [n for n, eer in enumerate(eers) if eer <= min(eers[:n], default=math.inf)]
    assert len(best) > 1, "the test needs an average of several epochs"
    found = read_tensors(tmp_path / "whole/checkpoints/averaged.safetensors")
    kept = [read_tensors(epochs / str(n + 1)) for n in best]
    for name, parameter in nas.load(tmp_path / "whole").named_parameters():
        torch.testing.assert_close(found[name], torch.stack([k[name] for k in kept]).mean(0), msg=name)
        assert parameter.shape == found[name].shape
    with monkeypatch.context() as patch:
        patch.setattr("nas.training.loop.Watch", StopAfter)
        StopAfter.looks = 20
        with pytest.raises(Interrupted):
            nas.train(recipe, genotype, tmp_path / "stopped", progress=False)
    nas.resume(tmp_path / "stopped", progress=False)
    assert differences(tmp_path / "whole", tmp_path / "stopped") == []
    left = read_tensors(tmp_path / "stopped/checkpoints/averaged.safetensors")
    assert all(torch.equal(left[name], tensor) for name, tensor in found.items())


def test_a_finished_run_resumes_to_its_result(whole: Path) -> None:
    before = (whole / "search" / "history.csv").read_text()
    assert nas.resume(whole / "search", progress=False).genotype == nas.Genotype.load(whole / "search/genotype.json")
    assert (whole / "search" / "history.csv").read_text() == before


@pytest.mark.slow
def test_a_killed_process_resumes(whole: Path, tmp_path: Path) -> None:
    search = [sys.executable, "-m", "nas", "search", "raw_pcdarts/toy", *TOY, "--quiet", "-o", str(tmp_path / "search")]
    go_on = [sys.executable, "-m", "nas", "resume", "--quiet", str(tmp_path / "search")]
    waits = random.Random(0)
    command, kills = search, 0
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        checkpoint = tmp_path / "search" / "checkpoints" / CURRENT
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(waits.uniform(0.2, 3))
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
        kills += process.returncode != 0
        if number is signal.SIGTERM and process.returncode:
            assert process.returncode == 143 or "Traceback" not in errors
        command = go_on
    assert kills
    subprocess.run(go_on, check=True, capture_output=True, timeout=300)
    assert differences(whole / "search", tmp_path / "search") == []


def test_a_changed_recipe_is_refused_with_the_difference(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "search", tmp_path / "search")
    recipe = tmp_path / "search" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 3", "epochs: 4"))
    with pytest.raises(nas.NasError, match=r"search\.epochs was 3, is 4"):
        nas.resume(tmp_path / "search", progress=False)


def test_another_number_of_processes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.training.loop.Watch", StopAfter)
    StopAfter.looks = 1
    with pytest.raises(Interrupted):
        nas.search(nas.load_recipe("raw_pcdarts/toy", TOY), tmp_path / "search", progress=False)
    monkeypatch.undo()
    found = read_checkpoint(tmp_path / "search" / "checkpoints")
    assert found is not None
    found[1]["values"]["processes"] = 2
    write_checkpoint(tmp_path / "search" / "checkpoints", *found)
    with pytest.raises(nas.NasError, match="a run of 2 processes and cannot go on with 1"):
        nas.resume(tmp_path / "search", progress=False)


def test_a_run_older_than_a_key_of_the_recipe_goes_on(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "search", tmp_path / "search")
    found = read_checkpoint(tmp_path / "search" / "checkpoints")
    del found[1]["values"]["recipe"]["data"]["leave_out"]
    write_checkpoint(tmp_path / "search" / "checkpoints", *found)
    assert nas.resume(tmp_path / "search", progress=False).folder == tmp_path / "search"


def tensors(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "module/a": torch.randn(5, 7, generator=generator),
        "step": torch.tensor(float(seed)),
        "bytes": torch.arange(9).byte(),
    }


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(folder, tensors(1), {"epoch": 1})
    write_checkpoint(folder, tensors(2), {"epoch": 2})
    assert read_checkpoint(folder)[1] == {"epoch": 2}
    content = bytearray((folder / CURRENT).read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    (folder / CURRENT).write_bytes(bytes(content))
    found, state = read_checkpoint(folder)
    # A flipped bit in what no one reads (padding of the header) may leave the content as it was.
    assert state in ({"epoch": 1}, {"epoch": 2})
    expected = tensors(state["epoch"])
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    (folder / PREVIOUS).write_bytes(b"")
    if state == {"epoch": 1}:
        with pytest.raises(nas.NasError, match="damaged"):
            read_checkpoint(folder)


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None
    with pytest.raises(nas.NasError, match="not a run directory"):
        nas.resume(tmp_path)


def test_the_second_signal_acts_as_usual() -> None:
    watch = Watch(10)
    # A test run in the background of a shell has this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with watch.listening():
        signal.raise_signal(signal.SIGINT)
        assert watch.stopping
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)
