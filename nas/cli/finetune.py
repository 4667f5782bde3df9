"""nas finetune"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Output, Overrides, Quiet, RecipeArgument, show_log


def finetune(
    recipe: RecipeArgument,
    weights: Annotated[
        Path,
        typer.Option(
            "--weights", "-w", help="Published weights (.pth, .safetensors), weights of ours, or a train run."
        ),
    ],
    output: Output,
    overrides: Overrides = None,
    genotype: Annotated[
        Path | None,
        typer.Option("--genotype", "-g", help="Genotype file, where the weights are not those of a run with one."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a network on from weights, all of it or parts, and keep the best epoch.

    Example: nas finetune finetuning/aasist data.root=/data/LA --weights AASIST-L.pth --output runs/finetuned

    Example: nas finetune finetuning/lcnn data.root=/data/LA -w runs/lcnn -o runs/head 'train.freeze=[encoder.*]'
    """
    import nas
    from nas.commands import after_training

    show_log()
    result = nas.finetune(nas.load_recipe(recipe, overrides or ()), weights, output, genotype, progress=not quiet)
    print(f"best epoch {result.epoch}, dev EER {result.eer:.2f} %: {result.folder}")
    print(after_training(result.folder))
