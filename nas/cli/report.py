"""nas report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.errors import NasError


def report(
    what: Annotated[str, typer.Argument(metavar="RUN|TABLE", help="A run directory; or table2, table3, finetuning.")],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|ROW=FILE]...",
            help="More runs to compare; for a table, measured values: JSON of an evaluation or of a result card.",
        ),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(help="What our values were measured on, where their files do not say it."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write: .html for runs; .md, .csv or .json for a table.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """One self-contained page about a run, or about several compared; or a table of the papers beside our values.

    Example: nas report runs/train

    Example: nas report table2 mel_fixed=runs/mel_fixed/train/card.json
    """
    if Path(what).is_dir():
        from nas.visual.report import write_report

        runs = [Path(what), *map(Path, more or [])]
        typer.echo(f"report: {write_report(runs, output or runs[0] / 'report.html')}")
        return
    from nas.metrics.published import TABLES

    if what not in TABLES:
        raise NasError(
            f"{what!r} is neither a run directory nor a table of the papers ({', '.join(sorted(TABLES))}); "
            "give the folder that nas search or nas train wrote"
        )
    _table(what, more or [], corpus, output)


def _table(table: str, measured: list[str], corpus: str | None, output: Path | None) -> None:
    from nas.files import write_text
    from nas.metrics import read_measured, report_table
    from nas.metrics.published import foreign_corpus

    values, paths = {}, []
    for item in measured:
        row, separator, path = item.partition("=")
        if not separator:
            raise NasError(f"{item!r}: expected ROW=FILE, for example mel_fixed=runs/train/card.json")
        values[row] = read_measured(table, path)
        paths.append(path)
    result = report_table(table, values, corpus or foreign_corpus(table, paths))
    if output is None:
        typer.echo(result.to_markdown())
        return
    forms = {".md": result.to_markdown, ".csv": result.to_csv, ".json": result.to_json}
    if output.suffix not in forms:
        raise NasError(f"{output}: a table is written as .md, .csv or .json")
    typer.echo(f"table: {write_text(output, forms[output.suffix]())}")
