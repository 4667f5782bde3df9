"""nas show"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    genotype: Annotated[str, typer.Argument(help="Genotype file, or a run directory.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Picture to write: .svg, .png or .pdf.", metavar="FILE")
    ] = None,
) -> None:
    """Print a genotype in the published text form, and draw its cells.

    Example: nas show runs/search/genotype.json -o cells.svg
    """
    from nas.genotype import Genotype

    path = Path(genotype)
    found = Genotype.load(path / "genotype.json" if path.is_dir() else path)
    typer.echo(str(found))
    if output is not None:
        from nas.visual.genotype import draw_genotype

        typer.echo(f"drawn: {draw_genotype(found, output)}")
