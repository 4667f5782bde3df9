"""Arguments that several verbs share, and how results are printed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from importlib import util
from pathlib import Path
from typing import Annotated

import typer

from nas.errors import NasError

RecipeArgument = Annotated[
    str, typer.Argument(help="Recipe: a YAML file, or a packaged one by name, e.g. raw_pcdarts/mel_fixed.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY.PATH=VALUE]...", help="Changes to the recipe, e.g. data.root=/data/LA search.epochs=5"
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Run directory to write; new or empty.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
SpaceFile = Annotated[
    Path | None,
    typer.Option("--space-file", help="A Python file of yours that registers a search space; it is run, so trust it."),
]


def show_log() -> None:
    """Pass the run's log lines to the terminal."""
    logging.getLogger("nas").setLevel(logging.INFO)


def import_space(path: Path | None) -> None:
    """Run a user's file, which registers its search space.

    Raises:
        NasError: there is no such file, or it fails.
    """
    if path is None:
        return
    spec = util.spec_from_file_location(f"nas_user_space_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise NasError(f"--space-file {path}: there is no such Python file")
    try:
        spec.loader.exec_module(util.module_from_spec(spec))
    except NasError:
        raise
    except Exception as error:
        raise NasError(f"--space-file {path} fails: {type(error).__name__}: {error}") from error


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their longest cell; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    for row in [list(header), ["-" * width for width in widths], *cells]:
        columns = (
            cell.rjust(width) if cell[:1].isdigit() or (cell[:1] == "-" and cell[1:2].isdigit()) else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        )
        typer.echo("  ".join(columns).rstrip())
