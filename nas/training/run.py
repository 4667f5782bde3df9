"""The run directory: what every search and training leaves behind, and what every later step reads (docs/runs.md).

recipe.yaml        as run, overrides included
environment.json   versions, hardware, code state, command
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

import csv
import io
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from nas import imports, processes
from nas.config import Recipe
from nas.errors import NasError
from nas.files import write_bytes, write_text
from nas.genotype import Genotype
from nas.recipe_file import recipe_from
from nas.space import get_space
from nas.text_files import read_json, read_text, read_yaml
from nas.training.checkpoint import read_checkpoint
from nas.training.environment import describe_environment

Kind = Literal["search", "train"]


@dataclass
class Run:
    """One run directory, open for writing or read back."""

    folder: Path
    kind: Kind
    recipe: Recipe
    history: list[dict[str, Any]] = field(default_factory=list)
    on_epoch: Callable[[int, dict[str, Any]], None] | None = None
    """Called with the epoch and its row after it is recorded; what it raises ends the run."""

    @classmethod
    def create(cls, folder: str | Path, kind: Kind, recipe: Recipe) -> Run:
        """Make the directory and write what is known at the start.

        Of several processes the first one writes.

        Raises:
            NasError: the folder holds something already, or cannot be written to.
        """
        run = cls(Path(folder), kind, recipe)
        processes.first_does(run._begin)
        return run

    def _begin(self) -> None:
        folder, environment = self.folder, {"kind": self.kind, **describe_environment()}
        try:
            taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
            # Processes that torchrun started anew find what those before them began.
            if taken and not processes.restarted():
                raise NasError(f"{folder} is not empty; choose another --output, or remove it")
            write_text(folder / "recipe.yaml", f"# {self.kind} run, as run\n{self.recipe.to_yaml()}")
            write_text(folder / "environment.json", json.dumps(environment, indent=2) + "\n")
            imports.write_record(folder, self.recipe.imports)
            for name in ("checkpoints", "scores", "tensorboard"):
                (folder / name).mkdir(exist_ok=True)
        except OSError as error:
            raise NasError(f"cannot write to {folder}: {error.strerror}") from error
        self.log(f"{self.kind} {self.recipe.name!r}, seed {self.recipe.seed}")

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
            raise NasError(f"{folder} holds another run; choose another --output, or remove it")
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
        recipe = recipe_from(values)
        imports.open_imports(folder, recipe.imports)
        run = cls(folder, kind, recipe)
        if (folder / "history.csv").exists():
            try:
                text = io.StringIO(read_text(folder / "history.csv", "history"), newline="")
                run.history = list(csv.DictReader(text))
            except csv.Error as error:
                raise NasError(f"{folder}: history.csv is damaged") from error
        return run

    def continue_history(self, rows: list[dict[str, Any]]) -> None:
        """Take up the rows of a checkpoint; later ones, of an epoch that is run again, are dropped."""
        self.history = list(rows)

    def log(self, message: str) -> None:
        """Append a line to log.txt and pass it to the logger `nas`; of several processes the first one speaks."""
        if not processes.is_first():
            return
        with open(self.folder / "log.txt", "a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")
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


def read_settings(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain values of recipe.yaml and of environment.json.

    Raises:
        NasError: the folder is not a run directory, or one of them is damaged.
    """
    recipe, environment = folder / "recipe.yaml", folder / "environment.json"
    for path in (recipe, environment):
        # os.path takes a path that is too long for the file system for one that is not there.
        if not os.path.isfile(path):
            raise NasError(f"{folder} is not a run directory: {path.name} is missing")
    try:
        values = read_yaml(recipe, "recipe"), read_json(environment, "description of a run")
    except NasError as error:
        raise NasError(f"{folder} is damaged: {error}") from error
    for path, value in zip((recipe, environment), values, strict=True):
        if not isinstance(value, dict):
            raise NasError(f"{path} is damaged: it is not a table of keys and values")
    return values


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        NasError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError as error:
        raise NasError(f"there is no file {path}") from error
    except (SafetensorError, OSError) as error:
        raise NasError(f"{path} is not a complete safetensors file") from error
