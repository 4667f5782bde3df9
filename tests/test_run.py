"""The run directory: what a run begins in, goes on with, and who works on it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

import nas
from experiments.kill_study import differences
from nas import cli, folder_lock
from nas.errors import NasError
from nas.folder_lock import require_idle, working_on
from nas.training import loop
from nas.training.checkpoint import read_checkpoint, write_checkpoint
from nas.training.run import FORMAT, Run, read_history, read_tensors

SMALL = ["data.samples=300", "engine.pictures=0", "train.epochs=1", "search.epochs=2", "search.batch_size=16"]
CELL = [["skip_connect", 0], ["std_conv_3", 1]] * 4


@pytest.fixture(scope="module")
def genotype(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("genotype") / "genotype.json"
    file.write_text(json.dumps({"normal": CELL, "expand": CELL}))
    return file


@pytest.fixture(scope="module")
def whole(genotype: Path) -> Path:
    """A search, a training, and a fine-tuning that starts from its weights; none was stopped."""
    folder, recipe = genotype.parent / "whole", nas.load_recipe("raw_pcdarts/toy", SMALL)
    nas.search(recipe, folder / "search", progress=False)
    nas.train(recipe, genotype, folder / "train", progress=False)
    nas.finetune(recipe, folder / "train", folder / "finetune", progress=False)
    return folder


def start(kind: str, whole: Path, genotype: Path, output: Path) -> Any:
    recipe = nas.load_recipe("raw_pcdarts/toy", SMALL)
    if kind == "search":
        return nas.search(recipe, output, progress=False)
    if kind == "train":
        return nas.train(recipe, genotype, output, progress=False)
    return nas.finetune(recipe, whole / "train", output, progress=False)


class Killed(BaseException):
    """A kill: nothing is caught."""


@pytest.mark.parametrize("again", ["resume", "the same command"])
@pytest.mark.parametrize("kind", ["search", "train", "finetune"])
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(
    kind: str, again: str, whole: Path, genotype: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with mock.patch.object(loop.Snapshot, "save", side_effect=Killed), pytest.raises(Killed):
        start(kind, whole, genotype, run)
    (run / "checkpoints" / ".resume.next.safetensors.abc.tmp").write_bytes(b"x")
    (run / ".lock").write_text('{"host": "elsewhere", "pid": 1}')
    if again == "resume":
        nas.resume(run, progress=False)
    else:
        start(kind, whole, genotype, run)
    assert differences(whole / kind, run) == []
    assert not [path for path in run.rglob("*") if path.name.startswith(".") or path.name.endswith(".tmp")]


@pytest.mark.parametrize("written", range(4))
def test_a_run_that_was_killed_before_it_had_begun_begins_by_the_same_command(
    written: int, genotype: Path, whole: Path, tmp_path: Path
) -> None:
    run, calls = tmp_path / "run", [0]

    def killed(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] > written:
            raise Killed
        return write(*arguments)

    from nas import files

    write = files.os.fsync
    with mock.patch.object(files.os, "fsync", killed), pytest.raises(Killed):
        start("train", whole, genotype, run)
    if written in (1, 2):
        with pytest.raises(NasError, match="stopped before it had begun; give the command"):
            nas.resume(run)
    start("train", whole, genotype, run)
    assert differences(whole / "train", run) == []


def test_what_holds_work_is_neither_begun_anew_nor_to_be_deleted(whole: Path, genotype: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole / "train", tmp_path / "run"))
    with pytest.raises(NasError, match="go on with it by nas resume"):
        start("train", whole, genotype, run)
    for checkpoint in (run / "checkpoints").glob("resume*"):
        checkpoint.unlink()
    for attempt in (lambda: nas.resume(run), lambda: start("train", whole, genotype, run)):
        with pytest.raises(NasError, match=r"choose another --output") as sentence:
            attempt()
        assert "remove" not in str(sentence.value)
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(NasError, match="is not empty"):
        start("train", whole, genotype, other)


def test_one_process_works_on_a_run_and_the_other_is_told_which(whole: Path, genotype: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole / "train", tmp_path / "run"))
    holder = "import sys, time\nfrom nas.folder_lock import working_on\nfrom pathlib import Path\n"
    holder += "with working_on(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", holder, str(run)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    refused = rf"is being worked on by process {process.pid} of this machine, since 20"
    with pytest.raises(NasError, match=refused):
        nas.resume(run, progress=False)
    with pytest.raises(NasError, match=refused):
        start("train", whole, genotype, run)
    process.kill()
    process.communicate()
    assert nas.resume(run, progress=False).folder == run
    assert not (run / ".lock").exists()


def test_where_there_are_no_locks_the_file_says_who_works(tmp_path: Path) -> None:
    unlocked = mock.patch.object(folder_lock.fcntl, "flock", side_effect=OSError("no locks"))
    with unlocked:
        with working_on(tmp_path):
            require_idle(tmp_path)
        (tmp_path / ".lock").write_text(json.dumps({"host": os.uname().nodename, "pid": os.getppid(), "began": None}))
        require_idle(tmp_path)  # another process has this number now
        holder = {"host": os.uname().nodename, "pid": os.getppid(), "began": folder_lock._began(os.getppid())}
        (tmp_path / ".lock").write_text(json.dumps(holder))
        with pytest.raises(NasError, match=f"by process {os.getppid()} of this machine"):
            require_idle(tmp_path)
        (tmp_path / ".lock").write_text("[" * 3)
        with working_on(tmp_path):
            pass
    assert fcntl.LOCK_EX
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_another_version_is_refused_with_the_version(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole / "train", tmp_path / "run"))
    environment = json.loads((run / "environment.json").read_text())
    assert environment["format"] == FORMAT
    for found, words in ((None, r"made by version 0\.1"), (FORMAT + 1, "newer version"), ("<b>", "not those")):
        changed = {**environment, "format": found}
        if found is None:
            del changed["format"]
        (run / "environment.json").write_text(json.dumps(changed))
        for attempt in (nas.load, nas.resume, nas.evaluate, Run.open):
            with pytest.raises(NasError, match=words):
                attempt(run)


def test_a_row_of_history_that_was_cut_short_is_named_and_stops_no_run(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole / "search", tmp_path / "run"))
    text = (run / "history.csv").read_text()
    (run / "history.csv").write_text(text.rstrip().rpartition(",")[0] + "\n")
    with pytest.raises(NasError, match=r"history\.csv, line 3: \d values, where the header names"):
        read_history(run)
    assert nas.resume(run, progress=False).folder == run


def test_an_output_that_is_not_text_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    output = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    recipe = nas.load_recipe("raw_pcdarts/toy", ["data.layout=manifest", "data.root=/nowhere"])
    for attempt in (lambda: nas.search(recipe, output), lambda: nas.train(recipe, None, output)):
        with pytest.raises(NasError, match="is not UTF-8 text"):
            attempt()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def stopped(whole: Path, genotype: Path) -> Path:
    """A training on a corpus of files, stopped when its first epoch was trained; beside it the same run to its end."""
    home = genotype.parent / "here"
    chance = np.random.default_rng(0)
    (home / "corpus").mkdir(parents=True)
    lines = ["path,key,attack,speaker,partition"]
    for number in range(40):
        key, partition = ("bonafide", "spoof")[number % 2], ("train", "dev", "eval")[min(number // 16, 2)]
        soundfile.write(home / "corpus" / f"{number}.wav", 0.05 * chance.standard_normal(400), 16_000)
        lines.append(f"{number}.wav,{key},{'-' if key == 'bonafide' else 'A01'},s{number % 4},{partition}")
    (home / "corpus" / "manifest.csv").write_text("\n".join(lines) + "\n")
    given = ["data.layout=manifest", f"data.root={home / 'corpus' / 'manifest.csv'}", "data.subset={}"]
    recipe = nas.load_recipe("raw_pcdarts/toy", [*SMALL, *given, "train.epochs=3"])
    nas.train(recipe, genotype, home / "whole", progress=False)
    with mock.patch.object(loop.Loop, "score_development", side_effect=Killed), pytest.raises(Killed):
        nas.train(recipe, genotype, home / "run", progress=False)
    return home


@pytest.mark.parametrize("way", ["--data-root", "recipe.yaml"])
def test_a_run_goes_on_where_its_corpus_has_moved(way: str, stopped: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(stopped, tmp_path / "there"))
    moved = str(tmp_path / "audio" / "manifest.csv")
    shutil.move(there / "corpus", tmp_path / "audio")
    recipe = there / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(stopped / "corpus"), str(there / "corpus")))
    with pytest.raises(NasError, match=r"there is no corpus at .*nas resume .*/there/run --data-root DIR"):
        nas.resume(there / "run", progress=False)
    if way == "recipe.yaml":
        recipe.write_text(recipe.read_text().replace(str(there / "corpus" / "manifest.csv"), moved))
    nas.resume(there / "run", progress=False, data_root=moved if way == "--data-root" else None)
    assert Run.open(there / "run").recipe.data.root == moved
    nas.evaluate(there / "run", progress=False)
    assert differences(stopped / "whole", there / "run") == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("audio", "other waveforms"),
        ("names", "other utterances"),
        ("fewer", "16 training and 16 development utterances then, 14 training"),
    ],
)
def test_another_corpus_is_refused(change: str, words: str, stopped: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(stopped, tmp_path / "there"))
    manifest = there / "corpus" / "manifest.csv"
    if change == "audio":
        soundfile.write(there / "corpus" / "3.wav", np.zeros(400), 16_000)
    elif change == "names":
        manifest.write_text(manifest.read_text().replace("s3", "s7"))
    else:
        lines = manifest.read_text().splitlines()
        manifest.write_text("\n".join([lines[0], *lines[3:]]) + "\n")
    with pytest.raises(NasError, match=rf"not the one that .*run began on: .*{words}"):
        nas.resume(there / "run", progress=False, data_root=str(manifest))
    assert str(there) not in (there / "run" / "recipe.yaml").read_text()


def test_a_finished_run_says_so_and_is_left_as_it_was(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ("search", "finetune"):
        run = Path(shutil.copytree(whole / kind, tmp_path / kind))
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        with caplog.at_level("INFO", "nas"):
            nas.resume(run, progress=False)
        assert f"{run} is finished" in caplog.text
        assert "going on" not in caplog.text
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


MOMENT = "optimizer/network/3/exp_avg"


def group(key: str, value: Any) -> Any:
    return lambda tensors, state: state["optimizers"]["network"][0].__setitem__(key, value)


def plan(key: str, value: Any) -> Any:
    return lambda tensors, state: state["schedules"]["learning_rate"].__setitem__(key, value)


def place(key: str, value: Any) -> Any:
    return lambda tensors, state: state["values"].__setitem__(key, value)


def tensor(name: str, apply: Any) -> Any:
    return lambda tensors, state: tensors.__setitem__(name, apply(tensors[name]))


def without(name: str, listed: bool) -> Any:
    def change(tensors: Any, state: Any) -> None:
        del tensors[name]
        if not listed:
            state["tensors"].remove(name)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without(MOMENT, listed=True), "lacks optimizer/network/3/exp_avg"),
        (without(MOMENT, listed=False), "optimizer/network/3 lacks exp_avg"),
        (tensor(MOMENT, lambda t: t[..., :-1]), "exp_avg has shape"),
        (tensor(MOMENT, lambda t: t.double()), "exp_avg is of type float64, and should be float32"),
        (tensor(MOMENT, lambda t: t * float("nan")), "exp_avg has values that are not finite"),
        (tensor(f"{MOMENT}_sq", lambda t: t - 1), "exp_avg_sq has negative values"),
        (tensor("optimizer/network/3/step", lambda t: -t), "step is -"),
        (tensor("module/network/head.fc.weight", lambda t: t.bool()), "is of type bool"),
        (tensor("module/network/head.fc.weight", lambda t: t * float("inf")), "not finite"),
        (tensor("random/torch", lambda t: t[:-1]), ""),
        (tensor("random/torch", lambda t: t.float()), ""),
        (group("lr", 0.5), "the learning rate is 0.5, and"),
        (group("weight_decay", 7.0), "weight_decay of the optimiser network is 7.0"),
        (group("betas", [0.1, 0.2]), "betas of the optimiser"),
        (plan("eta_min", 3.0), "eta_min of the schedule"),
        (plan("last_epoch", 2), "stands at step 2"),
        (place("epoch", 0), "not one of this version"),
        (place("epoch", 3), "not one of this version"),
        (place("step", 10_000), "an epoch has no step 10000"),
        (place("totals", [0.0, float("nan"), 0.0, 0.0]), "not one of this version"),
        (place("best", {"rank": [0.0, 0.0], "epoch": 9, "eer": 0.0}), "not one of this version"),
    ],
)
def test_what_a_run_cannot_have_written_is_refused(change: Any, words: str, stopped: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped / "run", tmp_path / "run"))
    found = read_checkpoint(run / "checkpoints")
    assert found is not None
    change(*found)
    write_checkpoint(run / "checkpoints", *found)
    with pytest.raises(NasError, match=rf"checkpoint .*{words}"):
        nas.resume(run, progress=False)


@pytest.mark.parametrize("kind", [torch.bool, torch.int32, torch.float64, torch.float16])
def test_weights_of_another_type_are_refused(kind: torch.dtype, whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole / "train", tmp_path / "run"))
    best = run / "checkpoints" / "best.safetensors"
    save_file({name: value.to(kind) for name, value in read_tensors(best).items()}, best)
    with pytest.raises(NasError, match=r"best\.safetensors does not hold the weights .* is of type"):
        nas.load(run)
    recipe = nas.load_recipe("raw_pcdarts/toy", SMALL)
    if kind in (torch.bool, torch.int32):
        with pytest.raises(NasError, match="of type"):
            nas.finetune(recipe, run, tmp_path / "finetune", progress=False)


def test_metrics_that_cannot_be_kept_are_told(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Path(shutil.copytree(whole / "train", tmp_path / "run"))
    full = NasError("cannot write run/scores/eval.txt: Read-only file system")
    with mock.patch("nas.training.evaluate.write_scores", side_effect=full):
        monkeypatch.setattr(sys, "argv", ["nas", "evaluate", str(run), "-q"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    said = capfd.readouterr().out
    assert not ended.value.code
    assert "EER" in said
    assert "scores:" not in said
    assert "Read-only file system; the metrics are not kept" in caplog.text
