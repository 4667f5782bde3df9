"""nas corpus build, nas corpus attacks"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def corpus() -> None:
    """Make a training corpus: spoofed copies of human speech by real engines."""


@app.command()
def build(
    bonafide: Annotated[list[Path], typer.Option("--bonafide", "-b", help="Folder of human speech; repeatable.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the corpus; a build goes on where it stopped.")
    ],
    attacks: Annotated[
        str,
        typer.Option(help="Attacks that every partition gets, separated by commas (`nas corpus attacks` lists them)."),
    ] = "world_copy,griffin_lim",
    evaluation_only: Annotated[str, typer.Option(help="Attacks that only the evaluation partition gets.")] = "",
    spoofs_per_utterance: Annotated[
        int | None, typer.Option(help="How many of the attacks an utterance gets, in rotation; all by default.")
    ] = None,
    speaker_pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression on the file's path whose first group is the speaker.", metavar="REGEX"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides partitions, parameters and excitation.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; one per core by default.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Copy human speech through vocoders and other engines, and write a manifest split by speaker.

    Both classes go through the same edge trim, level and format, so that nothing but the engine tells them apart. Train
    on it with data.layout=manifest data.root=OUTPUT/manifest.csv.

    Example: nas corpus build --bonafide speech/ --attacks world_copy,griffin_lim --output corpus/
    """
    from nas.data.corpus import build_corpus

    manifest = build_corpus(
        bonafide,
        output,
        attacks=_names(attacks),
        evaluation_only=_names(evaluation_only),
        spoofs_per_utterance=spoofs_per_utterance,
        speaker_pattern=speaker_pattern,
        seed=seed,
        workers=workers,
        progress=not quiet,
    )
    typer.echo(f"manifest: {manifest}")


@app.command()
def attacks() -> None:
    """List the attacks and the engine of each."""
    from nas.cli.options import print_table
    from nas.data.attacks import attack_names, get_attack

    print_table(["attack", "engine"], [[name, get_attack(name).engine] for name in attack_names()])


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
