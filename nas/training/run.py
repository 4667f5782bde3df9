"""The run directory: what every search and training leaves behind, and what every later step reads (docs/runs.md).

recipe.yaml        as run, overrides included
environment.json   format of the directory, versions, hardware, code state, command
history.csv        a row an epoch
genotype.json      the genotype taken (search) or trained
imports.json       digests of what the recipe imports, and imports/ with copies of its files (nas.imports)
genotypes/         of every epoch of a search, with alphas and betas beside
checkpoints/       best.safetensors, last.safetensors
scores/            score files and their metrics
tensorboard/       event files
log.txt            what was said
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import os
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors.torch import save as to_safetensors
from torch import Tensor

from nas import imports, processes
from nas.config import Recipe
from nas.errors import NasError
from nas.files import require_writable_name, write_bytes, write_text
from nas.folder_lock import NAME as LOCK
from nas.folder_lock import require_idle, working_on
from nas.genotype import Genotype
from nas.recipe_file import recipe_from
from nas.redaction import hide_secrets
from nas.space import get_space
from nas.temporary import sweep
from nas.tensor_files import read_safetensors
from nas.text_files import read_json, read_text, read_yaml
from nas.training.checkpoint import NEXT, read_checkpoint
from nas.training.environment import describe_environment

Kind = Literal["search", "train"]

FORMAT = 2
"""Of the run directory; the number goes up when a reader of it must know. Version 0.1 wrote none."""
BEGUN = {
    "recipe.yaml",
    "environment.json",
    "genotype.json",
    "genotype.frontend.safetensors",
    "imports",
    "imports.json",
    "log.txt",
    "checkpoints",
    "scores",
    "tensorboard",
}
"""What a run may hold that has come to no checkpoint."""
_HEADER = "# {} run, as run"

STUDY_FILE = "study.json"
"""In the folder of a study of nas tune: where the study is, and the command that began it."""


@dataclass
class Run:
    """One run directory, open for writing or read back."""

    folder: Path
    kind: Kind
    recipe: Recipe
    on_epoch: Callable[[int, dict[str, Any]], None] | None = None
    """Called with the epoch and its row after it is recorded; what it raises ends the run."""
    _history: list[dict[str, Any]] | None = field(default=None, repr=False)

    @property
    def history(self) -> list[dict[str, Any]]:
        """A row an epoch; read when it is asked for, since what goes on has it from its checkpoint.

        Raises:
            NasError: history.csv is damaged.
        """
        if self._history is None:
            self._history = list(read_history(self.folder))
        return self._history

    @classmethod
    def create(
        cls,
        folder: str | Path,
        kind: Kind,
        recipe: Recipe,
        genotype: Genotype | None = None,
        frontend: dict[str, Tensor] | None = None,
        weights: str | Path | None = None,
    ) -> Run:
        """Make the directory and write what is known at the start.

        Of several processes the first one writes.

        Args:
            genotype, frontend: of a training, as of `save_genotype`.
            weights: those that a fine-tuning starts from.

        Raises:
            NasError: the folder holds something already, or cannot be written to.
        """
        run = cls(Path(folder), kind, recipe)
        processes.first_does(lambda: run._begin(genotype, frontend, weights))
        return run

    def _begin(self, genotype: Genotype | None, frontend: dict[str, Tensor] | None, weights: str | Path | None) -> None:
        folder = self.folder
        # Processes that torchrun started anew find what those before them began.
        if not processes.restarted():
            require_free(folder)
        begun_from = {} if weights is None else {"weights": os.path.abspath(weights)}
        environment = {"kind": self.kind, "format": FORMAT, **begun_from, **describe_environment()}
        self.save_recipe()
        self.sweep()
        if genotype is not None:
            self.save_genotype("genotype", genotype, frontend)
        imports.write_record(folder, self.recipe.imports)
        # From here on it is a run, that can be resumed: all that it begins from is there.
        write_text(folder / "environment.json", json.dumps(environment, indent=2) + "\n")
        try:
            for name in ("checkpoints", "scores", "tensorboard"):
                (folder / name).mkdir(exist_ok=True)
        except OSError as error:
            raise NasError(f"cannot write to {folder}: {error.strerror}") from error
        self.log(f"{self.kind} {self.recipe.name!r}, seed {self.recipe.seed}")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory, so that one process (or one group of them) works on it; what killed ones left is swept.

        Raises:
            NasError: another one does, or it cannot be written to.
        """
        with holding(self.folder):
            if processes.is_first():
                self.sweep()
            yield

    def sweep(self) -> None:
        """Remove the temporary files that killed processes left."""
        for folder in (self.folder, *(self.folder / name for name in ("checkpoints", "scores", "genotypes"))):
            sweep(folder)
        with contextlib.suppress(OSError):
            (self.folder / "checkpoints" / NEXT).unlink()

    def require_no_work(self) -> None:
        """Refuse to begin a run anew, that has no checkpoint to go on from, where it has results.

        Raises:
            NasError: it has.
        """
        results = [f"checkpoints/{name}.safetensors" for name in ("best", "last", "averaged")]
        results += ["genotype.json"] if self.kind == "search" else []
        found = [name for name in results if (self.folder / name).exists()]
        if found:
            raise NasError(
                f"{self.folder} has no checkpoint to go on from, and is not begun anew because of its {found[0]}; "
                "choose another --output to run it again"
            )

    @classmethod
    def restarted(cls, folder: str | Path, kind: Kind, recipe: Recipe) -> Run | None:
        """The run that processes, which torchrun started anew, go on with; None where they begin.

        Raises:
            NasError: the folder holds another run.
        """
        folder = Path(folder)
        if not processes.restarted() or read_checkpoint(folder / "checkpoints") is None:
            return None
        run = cls.open(folder)
        if (run.kind, run.recipe) != (kind, recipe):
            raise NasError(f"{folder} holds another run; choose another --output")
        return run

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Read a run directory back.

        Raises:
            NasError: it is not one, or a file of it is damaged.
        """
        folder = Path(folder)
        values, environment = read_settings(folder)
        kind: Any = environment.get("kind")
        if kind not in get_args(Kind):
            raise NasError(f"{folder / 'environment.json'} is damaged: there is no kind {str(kind)[:40]!r} of run")
        require_format(folder, environment)
        recipe = recipe_from(values)
        imports.open_imports(folder, recipe.imports)
        return cls(folder, kind, recipe)

    def continue_history(self, rows: list[dict[str, Any]]) -> None:
        """Take up the rows of a checkpoint; later ones, of an epoch that is run again, are dropped."""
        self._history = list(rows)

    def log(self, message: str) -> None:
        """Append a line to log.txt and pass it to the logger `nas`; of several processes the first one speaks."""
        if not processes.is_first():
            return
        try:
            with open(self.folder / "log.txt", "a", encoding="utf-8") as stream:
                stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")
        except OSError as error:
            raise NasError(f"cannot write {self.folder / 'log.txt'}: {error.strerror}") from error
        logging.getLogger("nas").info(message)

    def record(self, row: dict[str, Any]) -> None:
        """Add an epoch's row to history.csv."""
        self.history.append(row)
        if not processes.is_first():
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_text(self.folder / "history.csv", text.getvalue())
        if self.on_epoch is not None:
            self.on_epoch(int(row["epoch"]), row)

    def save_genotype(self, stem: str, genotype: Genotype, frontend: dict[str, Tensor] | None = None) -> None:
        """Write STEM.json, which names the run's space, and STEM.frontend.safetensors where a front-end was learnt."""
        if not processes.is_first():
            return
        genotype.validate(get_space(self.recipe.space)).save(self.folder / f"{stem}.json")
        if frontend:
            self.save_tensors(f"{stem}.frontend", frontend)

    def save_recipe(self) -> None:
        """Write recipe.yaml."""
        self.save_text("recipe.yaml", f"{_HEADER.format(self.kind)}\n{self.recipe.to_yaml()}")

    def save_text(self, name: str, text: str) -> None:
        """Write a text file, atomically."""
        if processes.is_first():
            write_text(self.folder / name, text)

    def save_tensors(self, stem: str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
        """Write STEM.safetensors, atomically."""
        if not processes.is_first():
            return
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        write_bytes(self.folder / f"{stem}.safetensors", to_safetensors(plain, metadata))


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold a run directory; of several processes the first one does, for all.

    Raises:
        NasError: another process works on it, or it cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        processes.first_does(lambda: stack.enter_context(working_on(folder)))
        yield


def require_output(folder: str | Path) -> None:
    """`require_free`, before anything is read for the run; nor may another process work there.

    Raises:
        NasError: see `require_free`.
    """
    # Of several processes the first one may have begun it already, and those before them where torchrun starts anew.
    if processes.is_first() and not processes.restarted():
        require_idle(Path(folder))
        require_free(folder)


def require_free(folder: str | Path) -> None:
    """Refuse a folder that a run cannot begin in: it must be empty, or hold a run that had not come to a checkpoint.

    Raises:
        NasError: it holds something else, or no run can be called so.
    """
    folder = Path(folder)
    require_writable_name(folder)
    try:
        # os.path takes a path that is too long for the file system for one that is not there.
        if not os.path.lexists(folder):
            return
        if not folder.is_dir():
            raise NasError(f"{folder} is a file; choose another --output")
        held = {path.name for path in folder.iterdir() if not _passing(path)}
        if not held:
            return
        if held <= BEGUN and _is_begun(folder):
            return
        resumable = read_checkpoint(folder / "checkpoints") is not None
    except OSError as error:
        raise NasError(f"cannot read {folder}: {error.strerror}") from error
    if resumable:
        raise NasError(f"{folder} holds a run: go on with it by nas resume {folder}, or choose another --output")
    raise NasError(f"{folder} is not empty; choose another --output")


def _is_begun(folder: Path) -> bool:
    """Whether a folder is a run that was stopped before its first checkpoint: nothing is lost with it."""
    try:
        with open(folder / "recipe.yaml", encoding="utf-8", errors="replace") as stream:
            if stream.readline().rstrip("\n") not in [_HEADER.format(kind) for kind in get_args(Kind)]:
                return False
    except FileNotFoundError:
        return False
    left = [p for name in ("checkpoints", "scores") if (folder / name).is_dir() for p in (folder / name).iterdir()]
    return all(_passing(path) for path in left)


def _passing(path: Path) -> bool:
    """Whether a file is one that a killed process leaves."""
    return path.name in (LOCK, NEXT) or (path.name.startswith(".") and path.name.endswith(".tmp"))


def require_format(folder: Path, environment: dict[str, Any]) -> None:
    """Refuse a run directory that another version made otherwise.

    Raises:
        NasError: with the version that made it.
    """
    found, packages = environment.get("format", 1), environment.get("packages")
    if found == FORMAT:
        return
    version = packages.get("nas-antispoofing") if isinstance(packages, dict) else None
    made_by = f"version {str(version)[:40]} of nas" if version else "an early version of nas"
    newer = type(found) is int and found > FORMAT
    raise NasError(
        f"{folder} was made by {made_by}, whose run directories (format {str(found)[:10]}) are not those of this one "
        f"(format {FORMAT}); " + ("take a newer version" if newer else "take that version for it, or run it again")
    )


def read_history(folder: Path, strict: bool = True) -> list[dict[str, str]]:
    """The rows of a run's history.csv; none where there is no file.

    Args:
        strict: refuse rows that are shorter or longer than the header; else what they lack is empty.

    Raises:
        NasError: it is damaged.
    """
    path = folder / "history.csv"
    if not path.exists():
        return []
    try:
        rows = list(csv.reader(io.StringIO(read_text(path, "history"), newline=""), strict=True))
    except csv.Error as error:
        raise NasError(f"{path} is damaged: {error}") from error
    header = rows[0] if rows else []
    for number, row in enumerate(rows[1:], start=2):
        if strict and len(row) != len(header):
            raise NasError(f"{path}, line {number}: {len(row)} values, where the header names {len(header)}")
    return [dict(zip(header, [*row, *[""] * len(header)], strict=False)) for row in rows[1:]]


def read_settings(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain values of recipe.yaml and of environment.json.

    Raises:
        NasError: the folder is not a run directory, or one of them is damaged.
    """
    recipe, environment = folder / "recipe.yaml", folder / "environment.json"
    for path in (recipe, environment):
        # os.path takes a path that is too long for the file system for one that is not there.
        if not os.path.isfile(path):
            if path == environment and _is_begun(folder):
                raise NasError(f"{folder} was stopped before it had begun; give the command that began it once more")
            raise NasError(f"{folder} is {described(folder, path.name)}")
    try:
        values = read_yaml(recipe, "recipe"), read_json(environment, "description of a run")
    except NasError as error:
        raise NasError(f"{folder} is damaged: {error}") from error
    for path, value in zip((recipe, environment), values, strict=True):
        if not isinstance(value, dict):
            raise NasError(f"{path} is damaged: it is not a table of keys and values")
    command = values[1].get("command")
    if isinstance(command, list):
        # Runs of before passwords were hidden.
        values[1]["command"] = [hide_secrets(str(word)) for word in command]
    return values


def described(folder: Path, missing: str) -> str:
    """What a folder is that lacks a file of a run directory: "not a run directory", or a study of runs."""
    if (folder / "environment.json").exists() or not any((folder / n).exists() for n in (STUDY_FILE, "study.journal")):
        return f"not a run directory: {missing} is missing"
    command = f"nas tune RECIPE --output {shlex.quote(str(folder))}"
    with contextlib.suppress(NasError, KeyError, TypeError):
        command = str(read_json(folder / STUDY_FILE, "note of a study")["command"])
    return f"a study, not a run; its runs are {folder / 'trials' / 'NNNN'}, and it goes on with: {command}"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        NasError: the file is missing or damaged.
    """
    return read_safetensors(path)[0]
