"""Search strategies, a file each. One of your own is a class that registers itself, in a file of `imports`."""

from nas.searching.strategies import (  # each registers its strategy
    darts,
    drnas,
    evolution,
    gdas,
    nsga2,
    pcdarts,
    random,
    tpe,
)
from nas.searching.strategies.strategy import STRATEGIES, BlackBox, Differentiable, Progress, Strategy

__all__ = [
    "STRATEGIES",
    "BlackBox",
    "Differentiable",
    "Progress",
    "Strategy",
    "darts",
    "drnas",
    "evolution",
    "gdas",
    "nsga2",
    "pcdarts",
    "random",
    "tpe",
]
