"""nas demo"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Quiet, print_table, show_log

RECIPE = "demo/embedded"


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; new or empty.")] = Path("nas-demo"),
    seed: Annotated[int, typer.Option(help="Seed of the search and of the training.")] = 0,
    quiet: Quiet = False,
) -> None:
    """The whole job in a few minutes on a CPU: search, draw, retrain, evaluate, on a synthetic corpus made in process.

    The figures show that the parts work together; they say nothing about real spoofed speech.

    Example: nas demo --output demo/
    """
    import nas
    from nas.errors import NasError
    from nas.visual.genotype import draw_genotype

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise NasError(f"{output} is not empty; choose another --output, or remove it")
    show_log()
    recipe = nas.load_recipe(RECIPE, [f"seed={seed}"])
    typer.echo("The corpus of this demonstration is synthetic: speech-like sounds and resynthesised copies of them.")
    started = time.perf_counter()
    found = nas.search(recipe, output / "search", progress=not quiet)
    searched = time.perf_counter()
    picture = draw_genotype(found.genotype, output / "genotype.svg")
    trained = nas.train(recipe, found.genotype_file, output / "train", progress=not quiet)
    retrained = time.perf_counter()
    evaluation = nas.evaluate(output / "train", progress=not quiet)
    network = nas.load(output / "train")

    typer.echo("\nResults on the synthetic corpus (not a measure of real spoofing detection)\n")
    rows = [
        ["search", f"{found.eer:.1f}", "dev", f"{searched - started:.0f} s"],
        ["retrained", f"{trained.eer:.1f}", "dev", f"{retrained - searched:.0f} s"],
        ["retrained", f"{evaluation.eer:.1f}", "eval", f"{time.perf_counter() - retrained:.0f} s"],
        *([f"  {name}", f"{attack.eer:.1f}", "eval", ""] for name, attack in evaluation.per_attack.items()),
    ]
    print_table(["network", "EER %", "partition", "time"], rows)
    typer.echo(f"\nparameters: {sum(p.numel() for p in network.parameters()):,}")
    for what, path in (
        ("genotype", found.genotype_file),
        ("picture", picture),
        ("search", found.folder),
        ("network", trained.folder),
        ("scores", trained.folder / "scores" / "eval.txt"),
    ):
        typer.echo(f"{what}: {path}")
    typer.echo(f"curves: tensorboard --logdir {output}")
