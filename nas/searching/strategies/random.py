"""Random search: genotypes drawn uniformly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.samplers import BaseSampler, RandomSampler

from nas.searching.strategies.strategy import STRATEGIES, BlackBox

if TYPE_CHECKING:
    from nas.config import BlackBox as BlackBoxSettings
    from nas.tuning.encoding import Encoding


@STRATEGIES.entry("random")
class Random(BlackBox):
    """What every other strategy has to beat."""

    several = True

    def sampler(self, seed: int, encoding: Encoding, settings: BlackBoxSettings) -> BaseSampler:
        return RandomSampler(seed=seed)
