"""What can go wrong around a run ends in one sentence, with the last checkpoint intact."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch

import nas
from experiments.kill_study import differences
from nas import files
from nas.data.readers import read
from nas.data.store import WaveformStore
from nas.data.utterance import Utterance
from nas.errors import NasError
from nas.losses import P2SGrad
from nas.training import inputs as training_inputs
from nas.training.checkpoint import read_checkpoint
from nas.training.faults import fitting_batch, told
from nas.training.finite import EVERY, FiniteWatch, StepSkipped
from nas.training.loop import Loop
from nas.training.run import read_tensors

SMALL = ["data.samples=300", "engine.pictures=0", "search.epochs=2", "search.batch_size=16"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    nas.search(nas.load_recipe("raw_pcdarts/toy", SMALL), run, progress=False)
    return run


def failing(at: int, fault: Callable[[], Any], then: Callable[..., Any]) -> Callable[..., Any]:
    """`then`, but for its call number `at` (from 1), whose result is that of `fault`."""
    calls = [0]

    def call(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        return fault() if calls[0] == at else then(*arguments, **options)

    return call


def throw(error: BaseException) -> Callable[[], Any]:
    def fault() -> None:
        raise error

    return fault


@pytest.mark.parametrize(
    ("target", "name", "at", "fault", "words"),
    [
        (P2SGrad, "loss", 5, lambda: torch.tensor(float("nan"), requires_grad=True), "is not finite on the batch of"),
        (files.os, "fsync", 8, throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))), "No space left on device"),
        (Loop, "backward", 4, throw(torch.OutOfMemoryError("x")), "about 8 would fit.*search.batch_size=8"),
    ],
    ids=["not finite", "disk full", "out of memory"],
)
def test_a_fault_in_the_second_epoch_is_told_and_the_run_goes_on_from_its_checkpoint(
    target: Any, name: str, at: int, fault: Callable[[], Any], words: str, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    broken = mock.patch.object(target, name, failing(at, fault, getattr(target, name)))
    with broken, pytest.raises(NasError, match=words) as sentence:
        nas.search(nas.load_recipe("raw_pcdarts/toy", SMALL), run, progress=False)
    assert "\n" not in str(sentence.value)
    found = read_checkpoint(run / "checkpoints")
    assert found is None or found[1]["values"]["epoch"] <= 2
    assert not list(run.rglob("*.tmp"))
    nas.resume(run, progress=False)
    assert differences(whole, run) == []


def test_a_step_that_is_not_finite_can_be_left_out(tmp_path: Path) -> None:
    nothing = lambda: torch.tensor(float("inf"), requires_grad=True)  # noqa: E731
    recipe = nas.load_recipe("raw_pcdarts/toy", [*SMALL, "engine.non_finite=skip"])
    with mock.patch.object(P2SGrad, "loss", failing(2, nothing, P2SGrad.loss)):
        nas.search(recipe, tmp_path / "run", progress=False)
    assert "1 steps skipped so far" in (tmp_path / "run" / "log.txt").read_text()
    assert all(t.isfinite().all() for t in read_tensors(tmp_path / "run" / "checkpoints" / "last.safetensors").values())


def test_an_epoch_without_a_finite_step_ends_the_run(tmp_path: Path) -> None:
    recipe = nas.load_recipe("raw_pcdarts/toy", [*SMALL, "engine.non_finite=skip"])
    nothing = mock.Mock(side_effect=lambda *_: torch.tensor(float("inf"), requires_grad=True))
    with (
        mock.patch.object(P2SGrad, "loss", nothing),
        pytest.raises(NasError, match="every step of epoch 1 was skipped"),
    ):
        nas.search(recipe, tmp_path / "run", progress=False)


def utterances() -> tuple[Any, ...]:
    return tuple(Utterance(Path("x.wav"), f"U{n}", "-", "-", "bonafide", "train") for n in range(8))


def test_on_a_gpu_the_flag_is_read_later_and_still_names_the_first_bad_batch() -> None:
    table = utterances()
    watch = FiniteWatch(table, skip=False, device=torch.device("meta"))
    good, bad = torch.tensor(1.0), torch.tensor(float("nan"))
    watch.look(good, [torch.ones(3)], torch.tensor([0, 1]))
    watch.look(good, [torch.ones(3), torch.tensor([1.0, float("inf")])], torch.tensor([2, 3]))
    watch.look(bad, [torch.ones(3)], torch.tensor([4, 5]))
    with pytest.raises(NasError, match=f"gradients are not finite .*{table[2].utterance}, {table[3].utterance};"):
        watch.read()
    for _ in range(2):
        watch.read()
    for step in range(EVERY - 1):
        watch.look(bad if step == 0 else good, [], torch.tensor([6 if step == 0 else 7]))
    with pytest.raises(NasError, match=table[6].utterance):
        watch.look(good, [], torch.tensor([7]))


def test_skipping_and_scaled_gradients() -> None:
    watch = FiniteWatch(utterances(), skip=True, device=CPU)
    with pytest.raises(StepSkipped):
        watch.look(torch.tensor(float("-inf")), [], torch.tensor([0]))
    assert watch.skipped == 1
    scaled = FiniteWatch(utterances(), skip=False, device=CPU, scaled=True)
    scaled.look(torch.tensor(1.0), [torch.tensor([float("inf")])], torch.tensor([0]))


@pytest.mark.parametrize(("asked", "room", "fits"), [(64, 1000, 42), (64, 10_000, 63), (64, 110, 2), (4, 50, 1)])
def test_the_batch_that_fits_is_read_off_a_straight_line(asked: int, room: int, fits: int) -> None:
    assert fitting_batch(lambda count: 50 + 20 * count, room, asked) == fits


def test_where_memory_fails_again_half_is_suggested() -> None:
    assert fitting_batch(mock.Mock(side_effect=torch.OutOfMemoryError("x")), 10, 14) == 7


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    for error in (ValueError("x"), RuntimeError("gloo"), OSError(errno.EINTR, "x")):
        with pytest.raises(type(error)), told(tmp_path, "train.batch_size", 8, lambda: 4):
            raise error


def test_an_output_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("/proc/nowhere/run", tmp_path / "file" / "run"):
        with pytest.raises(NasError, match=r"cannot write.*run"):
            nas.search(nas.load_recipe("raw_pcdarts/toy", SMALL), place, progress=False)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A few recordings of noise, a folder per class."""
    generator = np.random.default_rng(0)
    for partition, count in (("train", 12), ("dev", 4)):
        for key in ("bonafide", "spoof/A01"):
            folder = tmp_path / "corpus" / partition / key
            folder.mkdir(parents=True)
            for number in range(count):
                soundfile.write(folder / f"{number}.wav", generator.normal(0, 0.1, 900 + number), 16_000)
    return tmp_path / "corpus"


def recipe_of(corpus: Path, *overrides: str) -> Any:
    given = ["data.layout=folder_per_class", f"data.root={corpus}", "data.subset={}", "search.batch_size=4", *overrides]
    return nas.load_recipe("raw_pcdarts/toy", [*SMALL, *given])


def test_a_file_that_vanishes_before_it_is_decoded_is_named(corpus: Path, tmp_path: Path) -> None:
    victim = corpus / "train" / "spoof" / "A01" / "3.wav"

    def vanish(*arguments: Any, **options: Any) -> Any:
        table = read(*arguments, **options)
        victim.unlink()
        return table

    with mock.patch.object(training_inputs, "read", vanish), pytest.raises(NasError, match=r"3\.wav: no such audio"):
        nas.search(recipe_of(corpus), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_decoder_that_dies_names_its_file(corpus: Path) -> None:
    table = read("folder_per_class", corpus)
    fault = failing(5, throw(MemoryError("no room")), lambda *_: np.zeros(10, np.float32))
    with (
        mock.patch("nas.data.store.decode", fault),
        pytest.raises(NasError, match=r"decoding failed \(MemoryErr"),
    ):
        WaveformStore.open(table, None, workers=3, progress=False)


def test_a_batch_that_cannot_be_made_ends_in_a_sentence(whole: Path, tmp_path: Path) -> None:
    """The cache is mapped: a disk that goes away is met in the middle of an epoch, in another thread."""
    broken = failing(4, throw(OSError(errno.EIO, os.strerror(errno.EIO))), WaveformStore.batch)
    patch = mock.patch.object(WaveformStore, "batch", lambda self, *a: broken(self, *a))
    with patch, pytest.raises(NasError, match="Input/output error; the last checkpoint is intact"):
        nas.search(nas.load_recipe("raw_pcdarts/toy", SMALL), tmp_path / "run", progress=False)


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bits(corpus: Path, tmp_path: Path) -> None:
    for workers in (1, 5):
        recipe = recipe_of(corpus, f"engine.workers={workers}", "data.crop=random")
        nas.search(recipe, tmp_path / str(workers), progress=False)
    assert differences(tmp_path / "1", tmp_path / "5") == []
