"""nas data inspect"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Quiet

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def data() -> None:
    """Look at a corpus before anything is trained on it."""


@app.command()
def inspect(
    root: Annotated[Path, typer.Argument(help="Folder of the corpus, or the CSV file of a manifest.")],
    layout: Annotated[str, typer.Option(help="How it is laid out (`nas data layouts` lists them).")] = "manifest",
    workers: Annotated[int | None, typer.Option(help="Threads; one per core by default.")] = None,
    longest: Annotated[
        float | None, typer.Option(help="Longest file that is decoded; 3600 by default.", metavar="SECONDS")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Counts, durations, rates, damaged files, speakers in two partitions, duplicates, and the shortcut report.

    The shortcut report says whether level, edge silence, bandwidth, duration or codec alone tell the classes apart:
    what a model could cheat with.

    Example: nas data inspect /data/LA --layout asvspoof2019_la
    """
    from nas.data.decode import LONGEST_SECONDS
    from nas.data.inspect import inspect as inspect_utterances
    from nas.data.readers import read

    limit = LONGEST_SECONDS if longest is None else longest
    typer.echo(inspect_utterances(read(layout, root), workers, progress=not quiet, longest_seconds=limit).text())


@app.command()
def layouts() -> None:
    """List the corpus layouts that can be read."""
    from nas.data.readers import layouts as known

    typer.echo("\n".join(known()))
