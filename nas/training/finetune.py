"""Fine-tuning: a training that starts from weights (docs/finetuning.md)."""

from __future__ import annotations

from pathlib import Path

from nas.config import Recipe
from nas.genotype import Genotype
from nas.training.train import TrainResult, train


def finetune(
    recipe: Recipe,
    weights: str | Path,
    output: str | Path,
    genotype: Genotype | str | Path | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train a network on from weights; everything is written to the run directory `output`.

    The recipe says which weights are taken (`train.load`, `reinitialise`), which are not trained (`train.freeze`),
    which normalisations keep their statistics (`train.freeze_norms`), and when it ends early (`train.patience`).

    Args:
        recipe: on what and how (`nas.load_recipe`).
        weights: a train run, whose best epoch is taken, or a file of weights, published or ours.
        output: a folder that does not exist yet or is empty.
        genotype: a genotype or its file; by default that of the run that the weights come from.
        progress: whether to show progress bars.

    Raises:
        NasError: bad input; nothing is written then.
    """
    if genotype is None:
        genotype = genotype_of_weights(recipe, weights)
    return train(recipe, genotype, output, weights=weights, progress=progress)


def genotype_of_weights(recipe: Recipe, weights: str | Path) -> Path | None:
    """The genotype's file of the run that weights come from, where the network needs one and the run has one."""
    file = Path(weights) / "genotype.json"
    return file if recipe.searched and file.is_file() else None
