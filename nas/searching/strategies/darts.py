"""DARTS (Liu et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.searching.strategies.strategy import STRATEGIES, Differentiable
from nas.supernet.architecture import Architecture

if TYPE_CHECKING:
    from nas.config import Recipe


@STRATEGIES.entry("darts")
class Darts(Differentiable):
    """All channels pass through the candidates, and the edges into a node weigh alike: a mean of them in place of the
    published sum, so that the two strategies differ in nothing else."""

    def adapt(self, recipe: Recipe) -> Recipe:
        return recipe.model_copy(update={"supernet": recipe.supernet.model_copy(update={"partial": 1})})

    def begin(self, architecture: Architecture) -> None:
        architecture.hold_edges()
