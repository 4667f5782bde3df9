"""nas tune"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Overrides, Quiet, RecipeArgument, show_log


def tune(
    recipe: RecipeArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the study; run again to go on.")],
    overrides: Overrides = None,
    trials: Annotated[int | None, typer.Option(help="Trials that the study is to have; tune.trials.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Where the study is, for several machines: postgresql+psycopg://..., grpc://HOST:PORT."),
    ] = None,
    genotype: Annotated[Path | None, typer.Option("--genotype", "-g", help="Genotype file, as of nas train.")] = None,
    frontend: Annotated[Path | None, typer.Option(help="Learnt front-end, as of nas train.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights to fine-tune, as of nas finetune.")] = None,
    quiet: Quiet = False,
) -> None:
    """Try hyper-parameters of a training, a fine-tuning or a search: the ranges of the recipe's section tune.

    A trial that looks hopeless after an epoch is ended early. Run again with the same output to go on; several
    processes, or machines with one --storage, share the work.

    Example: nas tune tuning/lcnn data.root=/data/LA --weights LCNN.pt --output runs/tune_lcnn

    Example: optuna-dashboard runs/tune_lcnn/study.journal
    """
    import nas
    from nas.commands import beside, command
    from nas.tuning.tune import tune as tune_recipe

    show_log()
    changes = [*(overrides or ()), *([f"tune.trials={trials}"] if trials is not None else [])]
    changed = nas.load_recipe(recipe, changes)
    result = tune_recipe(changed, output, genotype, frontend, weights, storage, progress=not quiet)
    counts = f"{result.pruned} ended early, {result.failed} failed"
    typer.echo(f"best of {result.trials} trials ({counts}), dev EER {result.eer:.2f} %:")
    for key, value in result.values.items():
        typer.echo(f"  {key}={value}")
    best = result.folder / "best.yaml"
    typer.echo(f"its recipe: {best}; plots: {result.folder / 'plots'}")
    options = {"--genotype": genotype, "--frontend": frontend, "--weights": weights}
    words = [word for option, path in options.items() if path is not None for word in (option, path)]
    verb = "search" if changed.tune.of == "search" else "train" if weights is None else "finetune"
    typer.echo(f"run it: {command(verb, best, *words, '--output', beside(result.folder, verb))}")
