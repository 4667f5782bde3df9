"""The tree-structured Parzen estimator (Bergstra et al. 2011), of Optuna."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.samplers import BaseSampler, TPESampler

from nas.searching.strategies.strategy import STRATEGIES, BlackBox

if TYPE_CHECKING:
    from nas.config import BlackBox as BlackBoxSettings
    from nas.tuning.encoding import Encoding


@STRATEGIES.entry("tpe")
class TPE(BlackBox):
    """The tree-structured Parzen estimator (Bergstra et al. 2011), of Optuna."""

    def sampler(self, seed: int, encoding: Encoding, settings: BlackBoxSettings) -> BaseSampler:
        return TPESampler(seed=seed)
