"""nas search"""

from __future__ import annotations

from nas.cli.options import Output, Overrides, Quiet, RecipeArgument, SpaceFile, import_space, show_log


def search(
    recipe: RecipeArgument,
    output: Output,
    overrides: Overrides = None,
    space_file: SpaceFile = None,
    quiet: Quiet = False,
) -> None:
    """Search an architecture: bi-level optimisation of a supernet on the training partition.

    Writes a run directory with the genotype taken (genotype.json), the genotype, alphas and betas of every epoch,
    curves for TensorBoard and a log.

    Example: nas search raw_pcdarts/mel_fixed data.root=/data/LA --output runs/search
    """
    import nas

    import_space(space_file)
    show_log()
    result = nas.search(nas.load_recipe(recipe, overrides or ()), output, progress=not quiet)
    print(f"genotype of epoch {result.epoch}, dev EER {result.eer:.2f} %: {result.genotype_file}")
    print(f"retrain it: nas train {recipe} --genotype {result.genotype_file} --output DIR")
