"""Arguments that several verbs share, and how results are printed."""

from __future__ import annotations

import functools
import inspect
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from nas import imports
from nas.errors import printable

RecipeArgument = Annotated[
    str,
    typer.Argument(help="Recipe: a YAML file, a packaged one by name, e.g. raw_pcdarts/mel_fixed, or a run directory."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY.PATH=VALUE]...", help="Changes to the recipe, e.g. data.root=/data/LA search.epochs=5"
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Run directory to write; new or empty.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
SPACE_FILE = Annotated[
    list[Path] | None,
    typer.Option(
        "--space-file",
        help="Python file of yours with a search space, network, reader ...; it is run. As the recipe key imports.",
        metavar="FILE",
    ),
]
TRUST_IMPORTS = Annotated[
    bool,
    typer.Option("--trust-imports", help="Run the code that a run directory keeps, though it is not yours."),
]


def import_space(path: Path) -> None:
    """Run a file as --space-file does, for scripts.

    Raises:
        NasError: there is no such file, or it fails.
    """
    imports.allow([path])


def with_imports(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with --space-file and --trust-imports, which are seen to before it begins."""
    signature = inspect.signature(verb, eval_str=True)

    @functools.wraps(verb)
    def run(*, space_file: list[Path] | None, trust_imports: bool, **arguments: Any) -> None:
        imports.allow(space_file or (), trust_imports)
        verb(**arguments)

    keyword = inspect.Parameter.KEYWORD_ONLY
    options = (
        inspect.Parameter("space_file", keyword, default=None, annotation=SPACE_FILE),
        inspect.Parameter("trust_imports", keyword, default=False, annotation=TRUST_IMPORTS),
    )
    parameters = [parameter.replace(kind=keyword) for parameter in signature.parameters.values()]
    run.__signature__ = signature.replace(parameters=[*parameters, *options])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*parameters, *options]}
    return run


def show_log() -> None:
    """Pass the run's log lines to the terminal."""
    logging.getLogger("nas").setLevel(logging.INFO)


@contextmanager
def warnings_told() -> Iterator[None]:
    """What Python code warns of, as sentences on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        typer.echo(f"nas: {printable(str(warning.message))}", err=True)


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
