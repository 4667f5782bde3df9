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

import pytest

import nas
from experiments.kill_study import differences
from nas import folder_lock
from nas.errors import NasError
from nas.folder_lock import require_idle, working_on
from nas.training import loop
from nas.training.run import FORMAT, Run, read_history

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
