"""NSGA-II (Deb et al. 2002), of Optuna."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.samplers import BaseSampler, NSGAIISampler

from nas.searching.strategies.strategy import STRATEGIES, BlackBox

if TYPE_CHECKING:
    from nas.config import BlackBox as BlackBoxSettings
    from nas.tuning.encoding import Encoding


@STRATEGIES.entry("nsga2")
class NSGA2(BlackBox):
    """NSGA-II (Deb et al. 2002), of Optuna."""

    several = True

    def sampler(self, seed: int, encoding: Encoding, settings: BlackBoxSettings) -> BaseSampler:
        return NSGAIISampler(population_size=settings.population, seed=seed)
