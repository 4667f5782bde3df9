"""nas report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.errors import NasError


def report(
    table: Annotated[str, typer.Argument(help="table2, table3 or finetuning: the papers' tables.")],
    measured: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ROW=FILE]...", help="Measured values: JSON of an evaluation or of a result card."),
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="What our values were measured on, where it is not the paper's data.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write: .md, .csv or .json.", metavar="FILE")
    ] = None,
) -> None:
    """A table of the papers with our measured values beside the published ones; cells are empty where none is given.

    Example: nas report table2 mel_fixed=runs/mel_fixed/train/card.json
    """
    from nas.files import write_text
    from nas.metrics import read_measured, report_table

    values = {}
    for item in measured or []:
        row, separator, path = item.partition("=")
        if not separator:
            raise NasError(f"{item!r}: expected ROW=FILE, for example mel_fixed=runs/train/card.json")
        values[row] = read_measured(table, path)
    result = report_table(table, values, corpus)
    if output is None:
        typer.echo(result.to_markdown())
        return
    forms = {".md": result.to_markdown, ".csv": result.to_csv, ".json": result.to_json}
    if output.suffix not in forms:
        raise NasError(f"{output}: a table is written as .md, .csv or .json")
    typer.echo(f"table: {write_text(output, forms[output.suffix]())}")
