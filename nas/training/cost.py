"""What the network that a recipe builds of a genotype costs: parameters and MACs are stated, latency is measured."""

from __future__ import annotations

import statistics

from nas.config import Recipe
from nas.cost import GenotypeCost, genotype_cost
from nas.genotype import Genotype
from nas.networks.benchmark import measure_scoring
from nas.training.train import build_network

UNITS = {"parameters": "parameters", "macs": "MACs", "latency": "CPU latency, ms"}


def cost_of(genotype: Genotype, recipe: Recipe) -> GenotypeCost:
    """Cost of the network that the recipe builds of a genotype, for one utterance."""
    return genotype_cost(genotype, recipe.space, recipe.require_searched(), recipe.data.samples)


def measure(objective: str, genotype: Genotype, recipe: Recipe) -> float:
    """Value of "parameters", "macs", or "latency" in milliseconds."""
    if objective == "latency":
        return latency(genotype, recipe)
    cost = cost_of(genotype, recipe)
    return float(cost.parameters if objective == "parameters" else cost.macs)


def latency(genotype: Genotype, recipe: Recipe, rounds: int = 9) -> float:
    """Milliseconds in which one utterance is scored on one CPU thread: the median of `rounds`, after two more."""
    times = measure_scoring(build_network(recipe, genotype), recipe.data.samples, rounds=rounds)
    return 1000 * statistics.median(times.prepared)
