"""The stated cost against networks that are built, and the stated receptive field against a NaN that spreads."""

from __future__ import annotations

import random

import pytest
import torch
from sized import stated_cost

from nas.cost import longest_path
from nas.errors import NasError
from nas.genotype import Cell, Edge, Genotype
from nas.networks.cost import measure_cost
from nas.networks.raw_pcdarts import raw_pcdarts
from nas.space import Complexity, Computed, Linear, SearchSpace, get_space

SPACE = get_space("raw_waveform")
FIGURE_3 = Genotype.parse(
    "Genotype(normal=[('dil_conv_5', 1), ('dil_conv_3', 0), ('dil_conv_5', 1), ('dil_conv_5', 2), ('std_conv_5', 2), "
    "('skip_connect', 3), ('std_conv_5', 2), ('skip_connect', 4)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3', 0), ('std_conv_3', 1), ('dil_conv_3', 0), ('dil_conv_3', 2), ('skip_connect', 0), "
    "('dil_conv_5', 2), ('dil_conv_3', 0), ('avg_pool_3', 1)], reduce_concat=range(2, 6))"
)


@pytest.mark.slow
def test_100_random_genotypes_cost_what_the_built_networks_cost():
    chance = random.Random(0)
    for _ in range(100):
        genotype = Genotype.random(SPACE, chance)
        if chance.random() < 0.3:
            genotype = Genotype(
                {
                    name: Cell(genotype.cells[name].nodes, concat)
                    for name, concat in (("normal", (3, 5)), ("expand", (5, 2, 4)))
                }
            )
        sizes = {
            "channels": chance.choice([2, 4, 6, 8]),
            "cells": chance.choice([1, 2, 3, 4, 8]),
            "gru_hidden": chance.choice([3, 16]),
            "gru_layers": chance.randint(1, 3),
            "frontend": chance.choice(["mel", "inverse-mel", "linear", "conv0"]),
            "kernel": chance.choice([64, 128, 129]),
        }
        samples = chance.randint(2_000, 9_000)
        stated = stated_cost(genotype, samples=samples, **sizes)
        built = measure_cost(raw_pcdarts(genotype, mask=0, **sizes), samples)
        assert (stated.parameters, stated.macs, stated.activations) == (
            built.parameters,
            built.macs,
            built.activations,
        ), (genotype, sizes, samples)


def test_parts_are_those_of_the_built_network():
    network = raw_pcdarts(FIGURE_3, channels=4, gru_hidden=8, mask=0)
    stated = {part.name: part.parameters for part in stated_cost(FIGURE_3, channels=4, gru_hidden=8).parts}

    def count(module: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    cells = [value for name, value in stated.items() if name.startswith("cell ")]
    assert cells == [count(cell) for cell in network.cells]
    assert stated["GRU"] == count(network.head.gru)
    assert stated["front-end"] + stated["max-pool 3"] + stated["stem"] == count(network.stem)


def test_the_published_network():
    """Counts of the published code (parameters of cells, GRU, classifier)."""
    cost = stated_cost(FIGURE_3)
    assert cost.parameters == 24_478_344
    assert sum(part.parameters for part in cost.parts if part.name.startswith("cell")) == 4_521_216
    assert next(part for part in cost.parts if part.name == "GRU").parameters == 18_892_800
    assert cost.parts[-4].frames == 41
    assert "| GRU | 1024 x 41 | 18,892,800 |" in cost.to_markdown()


@pytest.mark.parametrize("seed", range(6))
def test_receptive_field_is_where_a_nan_spreads(seed):
    """A frame is NaN if and only if it sees the sample that is."""
    chance = random.Random(seed)
    genotype = Genotype.random(SPACE, chance)
    channels, cells, samples = 2, 2, 1_500
    network = raw_pcdarts(genotype, channels=channels, cells=cells, gru_hidden=2, gru_layers=1, mask=0).eval()
    clean = torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    spoilt = clean.repeat(samples, 1).fill_diagonal_(float("nan"))
    with torch.no_grad():
        s0, s1 = network.stem(spoilt)
        for cell in network.cells:
            s0, s1 = s1, cell(s0, s1)
    seen = s1[:, :, s1.shape[2] // 2].isnan().any(dim=1).nonzero().flatten().tolist()
    stated = stated_cost(genotype, channels=channels, cells=cells, samples=samples)
    field = next(part for part in stated.parts if part.name.startswith(f"cell {cells - 1}")).receptive_field
    assert field == stated.receptive_field
    assert seen[-1] - seen[0] + 1 == field
    assert stated.receptive_field_ms == pytest.approx(field / 16)


def test_a_primitive_of_ones_own_states_its_cost_or_is_counted():
    linear = Linear("mine", 3)
    silent = SearchSpace("silent", (Computed("mine", build=linear.operation),))
    stating = SearchSpace("stating", (Computed("mine", build=linear.operation, cost=linear.complexity),))
    cell = tuple((Edge("mine", 0), Edge("mine", 1)) for _ in range(4))
    genotype = Genotype({"normal": Cell(cell), "expand": Cell(cell)})
    stated = stated_cost(genotype, stating, channels=4, gru_hidden=4, samples=4_000)
    assert stated_cost(genotype, silent, channels=4, gru_hidden=4, samples=4_000) == stated
    built = measure_cost(raw_pcdarts(genotype, stating, channels=4, gru_hidden=4, mask=0), 4_000)
    assert (stated.parameters, stated.macs) == (built.parameters, built.macs)
    assert linear.complexity(4, 10) == Complexity(parameters=56, macs=480, activations=40, reach=1)


def test_too_short_an_utterance_is_refused_where_the_network_refuses_it():
    least = 3 * 2**9 + 124
    stated_cost(FIGURE_3, samples=least)
    with pytest.raises(NasError, match="too short"):
        stated_cost(FIGURE_3, samples=least - 1)


def test_longest_path_counts_operations_with_weights():
    assert longest_path(FIGURE_3.cells["normal"].nodes, SPACE) == 2
    assert longest_path(FIGURE_3.cells["expand"].nodes, SPACE) == 2


def test_random_genotypes_belong_to_their_space_and_repeat():
    drawn = [Genotype.random(SPACE, random.Random(7)).validate(SPACE) for _ in range(2)]
    assert drawn[0] == drawn[1]
    for seed in range(50):
        genotype = Genotype.random(SPACE, random.Random(seed))
        for edges in (*genotype.cells["normal"].nodes, *genotype.cells["expand"].nodes):
            assert len({edge.source for edge in edges}) == 2
            assert all(edge.primitive != "none" for edge in edges)
