"""nas train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Output, Overrides, Quiet, RecipeArgument, show_log


def train(
    recipe: RecipeArgument,
    output: Output,
    overrides: Overrides = None,
    genotype: Annotated[
        Path | None,
        typer.Option(
            "--genotype", "-g", help="Genotype: a file of JSON, YAML or the published text, FILE:NAME, or a run."
        ),
    ] = None,
    frontend: Annotated[
        Path | None,
        typer.Option(help="Learnt front-end, if it does not lie beside the genotype as *.frontend.safetensors."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train the network of a genotype, or a hand-made network, from scratch, and keep the best epoch.

    A run directory in place of the recipe gives its recipe, changes included, its genotype and its search space.

    Example: nas train runs/search --output runs/train

    Example: nas train raw_pcdarts/mel_fixed data.root=/data/LA -g genotypes.py:FOUND --output runs/train

    Example: nas train baselines/aasist data.root=/data/LA --output runs/aasist
    """
    import nas
    from nas.commands import after_training
    from nas.recipe_file import is_run

    show_log()
    changed = nas.load_recipe(recipe, overrides or ())
    if genotype is None and changed.searched and is_run(recipe):
        genotype = Path(recipe)
    result = nas.train(changed, genotype, output, frontend, progress=not quiet)
    print(f"best epoch {result.epoch}, dev EER {result.eer:.2f} %: {result.folder}")
    print(after_training(result.folder))
