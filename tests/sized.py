"""A supernet and the cost of a genotype of the raw waveform space, or another, by the sizes around the cells."""

from __future__ import annotations

from typing import Any

from nas.config import SearchedNetwork
from nas.cost import GenotypeCost, genotype_cost
from nas.genotype import Genotype
from nas.space import SearchSpace, get_space
from nas.supernet.architecture import Architecture
from nas.supernet.network import Supernet

OPTIONS = ("partial", "implementation", "compile", "recompute", "published_statistics")


def make_supernet(space: str = "raw_waveform", **values: Any) -> Supernet:
    """A freshly initialised supernet; `values` are options of `Supernet` and sizes of the network."""
    options = {name: values.pop(name) for name in OPTIONS if name in values}
    return Supernet(Architecture(get_space(space)), SearchedNetwork(**values), **options)


def stated_cost(
    genotype: Genotype, space: SearchSpace | str = "raw_waveform", samples: int = 64_000, **sizes: Any
) -> GenotypeCost:
    """What the network of a genotype is stated to cost."""
    return genotype_cost(genotype, space, SearchedNetwork(**sizes), samples)
