"""nas corpus build, nas corpus attacks"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nas.cli.options import Quiet
from nas.errors import NasError

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
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Corpus recipe: a YAML file, or a packaged one by name, e.g. proxy/la_proxy. It takes the place of "
            "the five options below."
        ),
    ] = None,
    attacks: Annotated[
        str | None,
        typer.Option(
            help="Attacks that every partition gets, separated by commas (`nas corpus attacks` lists them); "
            "world_copy,griffin_lim by default."
        ),
    ] = None,
    evaluation_only: Annotated[
        str | None, typer.Option(help="Attacks that only the evaluation partition gets.")
    ] = None,
    spoofs_per_utterance: Annotated[
        int | None, typer.Option(help="How many of the attacks an utterance gets, in rotation; all by default.")
    ] = None,
    speaker_pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression on the file's path whose first group is the speaker.", metavar="REGEX"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Decides partitions, parameters and excitation; 0 by default.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; one per core by default.")] = None,
    corrupt: Annotated[
        Literal["skip", "strict"],
        typer.Option(help="What a source that cannot be used does: skip leaves it out, strict ends with the list."),
    ] = "skip",
    quiet: Quiet = False,
) -> None:
    """Copy human speech through vocoders and other engines, and write a manifest split by speaker.

    Both classes go through the same edge trim, level and format, so that nothing but the engine tells them apart. Train
    on it with data.layout=manifest data.root=OUTPUT/manifest.csv.

    Examples:

    nas corpus build --bonafide speech/ --attacks world_copy,griffin_lim --output corpus/

    nas corpus build --recipe proxy/la_proxy --bonafide LA/ --bonafide librispeech/ --output proxy/
    """
    from nas.data.corpus import build_corpus
    from nas.data.corpus_recipe import read_recipe
    from nas.recipe_file import find_recipe

    given = {
        "attacks": None if attacks is None else _names(attacks),
        "evaluation_only": None if evaluation_only is None else _names(evaluation_only),
        "spoofs_per_utterance": spoofs_per_utterance,
        "speaker_pattern": speaker_pattern,
        "seed": seed,
    }
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if recipe is not None:
        if settings:
            option = next(iter(settings)).replace("_", "-")
            raise NasError(
                f"--{option} and --recipe do not go together; write {option.replace('-', '_')} in the recipe"
            )
        settings = read_recipe(find_recipe(recipe))
    manifest = build_corpus(bonafide, output, workers=workers, progress=not quiet, corrupt=corrupt, **settings)
    typer.echo(f"manifest: {manifest}")


@app.command()
def attacks() -> None:
    """List the attacks and the engine of each."""
    from nas.cli.options import print_table
    from nas.data.attacks import attack_names, get_attack

    print_table(["attack", "engine"], [[name, get_attack(name).engine] for name in attack_names()])


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
