"""Genotypes as parameters of trials, the samplers over them, proxies, Pareto fronts."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from optuna.trial import Trial

import nas
from nas.cells.skeleton import Skeleton
from nas.config import BlackBox as BlackBoxSettings
from nas.config import SearchedNetwork
from nas.errors import NasError
from nas.genotype import Genotype
from nas.searching.strategies import STRATEGIES, BlackBox
from nas.space import CellTopology, Identity, Linear, SearchSpace, Zero
from nas.tuning.encoding import Encoding
from nas.tuning.pareto import Point, pareto_front, write_front
from nas.tuning.samplers import RegularizedEvolution, SeededByTrial, cross, mutate
from nas.tuning.study import open_study, run_study

FULL = Encoding(nas.get_space("raw_waveform"))
SMALL_SPACE = SearchSpace(
    "small", (Zero("none"), Identity("skip_connect"), Linear("std_conv_3", 3)), CellTopology(intermediate=2)
)
SMALL = Encoding(SMALL_SPACE, ("expand",))


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_every_genotype_has_one_encoding(seed: int) -> None:
    chance = random.Random(seed)
    genotype = Genotype.random(FULL.space, chance)
    parameters = FULL.parameters(genotype)
    assert list(parameters) == [name for name in FULL.choices if name in parameters]
    assert set(parameters) == set(FULL.choices)
    again = FULL.genotype(parameters).validate(FULL.space)
    # The same edges; only their order within a node may differ, which the network does not see.
    for kind in ("normal", "expand"):
        for before, after in zip(genotype.cells[kind].nodes, again.cells[kind].nodes, strict=True):
            assert sorted(before) == sorted(after)
    assert FULL.parameters(again) == parameters


def test_a_small_space_is_enumerated_exactly() -> None:
    names = list(SMALL.choices)
    found = [SMALL.genotype(dict(zip(names, v, strict=True))) for v in product(*SMALL.choices.values())]
    # Node 2 keeps both inputs, node 3 two of three; two primitives on each of the four edges.
    assert len(found) == SMALL.size == 2**2 * 3 * 2**2
    assert len({str(genotype) for genotype in found}) == len(found)
    assert all(genotype.cells["normal"].nodes == genotype.cells["expand"].nodes for genotype in found)


def test_stacks_know_their_cell_types() -> None:
    skeletons = [Skeleton.of(nas.get_space("raw_waveform"), SearchedNetwork(cells=cells)) for cells in (1, 2, 3, 8)]
    assert [skeleton.types for skeleton in skeletons] == [("expand",), ("expand",), *[("normal", "expand")] * 2]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[['none', 0], ['skip_connect', 1]], [['skip_connect', 0], ['skip_connect', 1]]", "never derived"),
        ("[['skip_connect', 1], ['skip_connect', 1]], [['skip_connect', 0], ['skip_connect', 1]]", "different ones"),
        ("[['skip_connect', 1]], [['skip_connect', 0], ['skip_connect', 1]]", "different ones"),
    ],
)
def test_a_genotype_that_is_not_searched_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(NasError, match=sentence):
        SMALL.parameters(Genotype.parse(f"normal: [{text}]\nexpand: [{text}]"))


def test_parameters_of_another_space_are_refused() -> None:
    with pytest.raises(NasError, match="is one of"):
        FULL.genotype(dict.fromkeys(FULL.choices, "std_conv_99"))


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_mutation_changes_one_parameter_and_crossover_takes_whole_nodes(seed: int) -> None:
    chance = random.Random(seed)
    one, other = (FULL.parameters(Genotype.random(FULL.space, chance)) for _ in range(2))
    mutated = mutate(one, FULL, chance)
    FULL.genotype(mutated)
    assert sum(mutated[name] != one[name] for name in FULL.choices) == 1
    child = cross(one, other, FULL, chance)
    FULL.genotype(child)
    nodes = {name.rpartition(".")[0] for name in child}
    for node in nodes:
        parts = [{n: v for n, v in p.items() if n.startswith(f"{node}.")} for p in (child, one, other)]
        assert parts[0] in parts[1:]


def distance(genotype: Genotype) -> float:
    """A landscape without traps: edges that are not std_conv_5."""
    return sum(
        edge.primitive != "std_conv_5"
        for node in (*genotype.cells["normal"].nodes, *genotype.cells["expand"].nodes)
        for edge in node
    )


def sampler(name: str, seed: int, encoding: Encoding, population: int = 20, tournament: int = 5) -> SeededByTrial:
    """The sampler of a strategy, as a search makes it."""
    strategy, settings = STRATEGIES[name](), BlackBoxSettings(population=population, tournament=tournament)
    assert isinstance(strategy, BlackBox)
    return SeededByTrial(lambda drawn: strategy.sampler(drawn, encoding, settings), seed)


def run(sampler: optuna.samplers.BaseSampler, trials: int) -> optuna.Study:
    study = open_study("test", InMemoryStorage(), sampler)

    def objective(trial: Trial) -> float:
        return distance(FULL.suggest(trial))

    run_study(study, objective, trials)
    return study


def test_evolution_beats_random_where_neighbours_are_alike() -> None:
    best = {
        name: sum(run(sampler(name, seed, FULL, 10, 5), 150).best_value for seed in range(3))
        for name in ("evolution", "random")
    }
    assert best["evolution"] < best["random"]


def test_the_oldest_dies_and_children_are_neighbours_of_the_living() -> None:
    study = run(sampler("evolution", 0, FULL, 6, 6), 20)
    trials = study.get_trials()
    for trial in trials[6:]:
        living = trials[trial.number - 6 : trial.number]
        # The tournament is the whole population, so the parent is its best.
        lowest = min(t.value for t in living)
        parents = [t for t in living if t.value == lowest]
        assert any(sum(t.params[n] != trial.params[n] for n in trial.params) == 1 for t in parents)


def test_evolution_refuses_what_cannot_be() -> None:
    with pytest.raises(NasError, match="1 to 5 members"):
        RegularizedEvolution(FULL, population=5, tournament=6)
    with pytest.raises(ValueError, match="multi-objective"):
        open_study("x", InMemoryStorage(), RegularizedEvolution(FULL, 1, 1), objectives=2).ask(FULL.distributions)


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(NasError, match="did you mean 'evolution'"):
        STRATEGIES["evoluton"]


@pytest.mark.parametrize("name", ["random", "evolution", "tpe"])
def test_a_study_that_was_stopped_goes_on_as_it_would_have(name: str) -> None:
    whole = [trial.params for trial in run(sampler(name, 3, FULL, 4, 2), 16).get_trials()]
    storage = InMemoryStorage()
    for trials in (7, 16):
        # A new sampler each time, as in a new process.
        study = open_study("test", storage, sampler(name, 3, FULL, 4, 2))
        run_study(study, lambda trial: distance(FULL.suggest(trial)), trials)
    assert [trial.params for trial in study.get_trials()] == whole
    assert len({str(parameters) for parameters in whole}) > 10


def test_trials_are_seeded_by_their_number() -> None:
    seeds: list[int] = []

    def make(seed: int) -> optuna.samplers.BaseSampler:
        seeds.append(seed)
        return optuna.samplers.RandomSampler(seed=seed)

    run(SeededByTrial(make, 0), 5)
    assert len(set(seeds[1:])) == 5


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30))
def test_the_front_is_what_nothing_dominates(values: list[tuple[int, int]]) -> None:
    points = [Point(number, (float(x), float(y))) for number, (x, y) in enumerate(values)]
    front = pareto_front(points)
    brute = {(x, y) for x, y in values if not any((a <= x and b <= y) and (a, b) != (x, y) for a, b in values)}
    assert {point.values for point in front} == brute
    assert len(front) == len(brute)
    assert [point.values for point in front] == sorted(point.values for point in front)


def test_a_front_writes_genotypes_that_can_be_read(tmp_path: Path) -> None:
    study = open_study("test", InMemoryStorage(), sampler("nsga2", 0, SMALL, 6), objectives=2)

    def objective(trial: Trial) -> tuple[float, float]:
        genotype = SMALL.suggest(trial)
        convolutions = sum(edge.primitive == "std_conv_3" for node in genotype.cells["expand"].nodes for edge in node)
        return float(4 - convolutions), float(convolutions)

    run_study(study, objective, 30)
    front = write_front(study, SMALL, ["parameters"], "recipe.yaml", tmp_path)
    assert 2 <= len(front) <= 5
    for point in front:
        genotype = Genotype.load(tmp_path / "pareto" / f"trial_{point.trial:04d}.json").validate(SMALL_SPACE)
        assert SMALL.parameters(genotype) == study.get_trials()[point.trial].params
    text = (tmp_path / "pareto.md").read_text()
    assert f"nas train recipe.yaml --genotype {tmp_path / 'pareto'}" in text
    assert (tmp_path / "pareto_parameters.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "pareto.csv").read_text().splitlines()) == 1 + len(front)
