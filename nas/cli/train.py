"""nas train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Output, Overrides, Quiet, RecipeArgument, SpaceFile, import_space, show_log


def train(
    recipe: RecipeArgument,
    output: Output,
    overrides: Overrides = None,
    genotype: Annotated[
        Path | None,
        typer.Option("--genotype", "-g", help="Genotype file: JSON, YAML or the published text."),
    ] = None,
    frontend: Annotated[
        Path | None,
        typer.Option(help="Learnt front-end, if it does not lie beside the genotype as *.frontend.safetensors."),
    ] = None,
    space_file: SpaceFile = None,
    quiet: Quiet = False,
) -> None:
    """Train the network of a genotype, or a hand-made network, from scratch, and keep the best epoch.

    Example: nas train raw_pcdarts/mel_fixed data.root=/data/LA --genotype runs/search/genotype.json --output runs/train

    Example: nas train baselines/aasist data.root=/data/LA --output runs/aasist
    """
    import nas

    import_space(space_file)
    show_log()
    changed = nas.load_recipe(recipe, overrides or ())
    result = nas.train(changed, genotype, output, frontend, progress=not quiet)
    print(f"best epoch {result.epoch}, dev EER {result.eer:.2f} %: {result.folder}")
    print(f"score it: nas evaluate {result.folder}")
