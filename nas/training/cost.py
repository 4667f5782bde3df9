"""What the network that a recipe builds of a genotype costs: parameters and MACs are stated, latency is measured."""

from __future__ import annotations

import statistics
import time

import torch

from nas.config import RawPCDartsNetwork, Recipe
from nas.cost import GenotypeCost, genotype_cost
from nas.genotype import Genotype
from nas.networks.inference import prepare_for_inference
from nas.training.train import build_network

UNITS = {"parameters": "parameters", "macs": "MACs", "latency": "CPU latency, ms"}


def cost_of(genotype: Genotype, recipe: Recipe) -> GenotypeCost:
    """Cost of the network that the recipe builds of a genotype, for one utterance."""
    assert isinstance(recipe.network, RawPCDartsNetwork)
    network = recipe.network.model_dump(exclude={"name", "learnable", "mask"})
    return genotype_cost(genotype, recipe.space, samples=recipe.data.samples, **network)


def measure(objective: str, genotype: Genotype, recipe: Recipe) -> float:
    """Value of "parameters", "macs", or "latency" in milliseconds."""
    if objective == "latency":
        return latency(genotype, recipe)
    cost = cost_of(genotype, recipe)
    return float(cost.parameters if objective == "parameters" else cost.macs)


def latency(genotype: Genotype, recipe: Recipe, rounds: int = 9) -> float:
    """Milliseconds in which one utterance is scored on one CPU thread: the median of `rounds`, after two more."""
    network = prepare_for_inference(build_network(recipe, genotype).eval())
    waveform = 0.1 * torch.randn(1, recipe.data.samples, generator=torch.Generator().manual_seed(0))
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(rounds + 2):
                start = time.perf_counter()
                network(waveform)
                times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return 1000 * statistics.median(times[2:])
