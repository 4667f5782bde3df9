"""The folder of a study: new, or gone on with; it remembers where its study is."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.study import Study

from nas import processes
from nas.config import Recipe
from nas.errors import NasError
from nas.files import write_text
from nas.recipe_file import recipe_from
from nas.redaction import hide_secrets
from nas.text_files import read_json, read_yaml
from nas.training.environment import this_command
from nas.training.run import STUDY_FILE
from nas.training.standing import differences
from nas.tuning.identity import comparable
from nas.tuning.storage import JOURNAL, locked


def require_one_process(verb: str) -> None:
    """Refuse a study whose processes would each draw trials of their own.

    Raises:
        NasError: torchrun started several.
    """
    if max(processes.count(), processes.launched()) > 1:
        raise NasError(
            f"{verb} runs a trial in one process, not under torchrun: start it several times with one --output (and "
            "one --storage), as docs/tuning.md has it"
        )


@contextmanager
def beginning(output: str | Path) -> Iterator[Path]:
    """The folder, made where it is missing, held against workers that begin at the same moment.

    An empty one is gone again where what is begun is refused.

    Raises:
        NasError: it cannot be made.
    """
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NasError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        with locked(folder):
            yield folder
    except NasError:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


def require_folder(folder: Path, recipe: Recipe) -> None:
    """Refuse a folder that holds something else than this study, as far as it has begun.

    Args:
        folder: new, empty, or that of a study with the same recipe; some keys may differ (`identity.FREE`), such as the
            number of trials, so that a study can be prolonged.

    Raises:
        NasError: the folder holds something else, or a study with another recipe; the keys that differ are named.
    """
    file = folder / "recipe.yaml"
    if not file.exists():
        if folder.exists() and (not folder.is_dir() or any(p.name != JOURNAL for p in folder.glob("[!.]*"))):
            raise NasError(f"{folder} is not empty and holds no study; choose another --output")
        return
    try:
        before = recipe_from(read_yaml(file, "recipe"))
    except NasError as error:
        raise NasError(f"{file} is damaged: {error}") from error
    changed = differences(comparable(before), comparable(recipe))
    if changed:
        raise NasError(f"{folder} holds a study of another recipe: {'; '.join(changed)}")


def note(folder: Path, recipe: Recipe, storage: str | None) -> None:
    """Write what study the folder is of, and where that is, without its password; once."""
    if not (folder / "recipe.yaml").exists():
        write_text(folder / "recipe.yaml", f"# study, as begun\n{recipe.to_yaml()}")
    if not (folder / STUDY_FILE).exists():
        content = {"storage": _named(storage), "command": this_command()}
        write_text(folder / STUDY_FILE, json.dumps(content, indent=2) + "\n")


def _named(storage: str | None) -> str:
    return JOURNAL if storage is None else hide_secrets(storage)


def choose_storage(folder: Path, storage: str | None) -> str | Path:
    """Where the study of a folder is.

    Raises:
        NasError: it is elsewhere.
    """
    here = _named(storage)
    noted = noted_storage(folder) or here
    if noted != here:
        give = "leave --storage out" if noted == JOURNAL else f"give --storage {noted}"
        raise NasError(f"the study of {folder} is on {folder / JOURNAL if noted == JOURNAL else noted}; {give}")
    return folder / JOURNAL if storage is None else storage


def noted_storage(folder: Path) -> str | None:
    """Where the study of a folder is, by its own word; None where nothing is said.

    Raises:
        NasError: what is said cannot be read.
    """
    file = folder / STUDY_FILE
    if not file.exists():
        # A study of before this file was written.
        return JOURNAL if (folder / JOURNAL).exists() else None
    try:
        return str(read_json(file, "note of a study")["storage"])
    except (KeyError, TypeError) as error:
        raise NasError(f"{file} is damaged: it does not say where the study is") from error


def require_trials(study: Study, folder: Path, storage: str | Path) -> None:
    """Refuse an empty study in a folder that has trials: it is not theirs, and would go on with their runs.

    Raises:
        NasError: saying so.
    """
    # In this order: a worker that begins at the same moment makes the trial before its folder.
    there = (folder / "trials").is_dir() and any((folder / "trials").iterdir())
    if there and not study.get_trials(deepcopy=False):
        raise NasError(
            f"{folder} has trials, and the study on {storage} has none: it is another one, or a file that was moved; "
            "give the storage on which these were run, or choose another --output"
        )


def say_random(recipe: Recipe, ranges: Any, weights: object) -> None:
    """Say that trials start from random weights, where the recipe reads as one of fine-tuning."""
    train = recipe.train
    keys = [
        key
        for key, is_set in (
            ("load", train.load != ["*"]),
            ("reinitialise", bool(train.reinitialise)),
            ("freeze", bool(train.freeze)),
            ("freeze_norms", bool(train.freeze_norms)),
        )
        if is_set or f"train.{key}" in ranges
    ]
    if keys and weights is None and recipe.tune.of == "train":
        names = ", ".join(f"train.{key}" for key in keys)
        logging.getLogger("nas").warning(
            f"no --weights: every trial trains from random weights, although the recipe is of fine-tuning ({names})"
        )


@contextmanager
def disk_faults(folder: Path) -> Iterator[None]:
    """A full disk or a folder that is gone as one sentence.

    Raises:
        NasError: naming the file.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise NasError(
            f"cannot write to {error.filename or folder}: {error.strerror}; the study is intact, go on with: "
            f"{this_command()}"
        ) from error
