"""Regularised evolution (Real et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.samplers import BaseSampler

from nas.searching.strategies.strategy import STRATEGIES, BlackBox

if TYPE_CHECKING:
    from nas.config import BlackBox as BlackBoxSettings
    from nas.tuning.encoding import Encoding


@STRATEGIES.entry("evolution")
class Evolution(BlackBox):
    """The oldest of a population dies; the best of a tournament has a mutated child."""

    def sampler(self, seed: int, encoding: Encoding, settings: BlackBoxSettings) -> BaseSampler:
        from nas.tuning.samplers import RegularizedEvolution

        tournament = min(settings.tournament, settings.population)
        return RegularizedEvolution(encoding, settings.population, tournament, seed=seed)
