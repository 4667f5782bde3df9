"""nas corpus build"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Make a training corpus: spoofed copies of human speech.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def corpus() -> None:
    """Make a training corpus: spoofed copies of human speech."""


@app.command()
def build(
    bonafide: Annotated[list[Path], typer.Option("--bonafide", "-b", help="Folder of human speech; repeatable.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the corpus.")],
    attacks: Annotated[str, typer.Option(help="Attacks, separated by commas.")] = "world,griffin_lim",
    seed: Annotated[int, typer.Option(help="Decides partitions, parameters and excitation.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes; 0 for one per core.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Spoofed copies of human speech by real engines, with a manifest split by speaker.

    Example: nas corpus build --bonafide speech/ --attacks world,griffin_lim --output corpus/
    """
    from nas.data.corpus import build_corpus

    manifest = build_corpus(
        bonafide=bonafide, output=output, attacks=tuple(attacks.split(",")), seed=seed, workers=workers or None
    )
    typer.echo(f"manifest: {manifest}")
