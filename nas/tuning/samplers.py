"""Samplers of Optuna: regularised evolution over genotypes, and a seed for every trial."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas.errors import NasError
from nas.tuning.encoding import Encoding

Parameters = dict[str, Any]


def mutate(parameters: Mapping[str, Any], encoding: Encoding, chance: random.Random) -> Parameters:
    """A neighbour: one parameter (a node's inputs, or the primitive on one of them) takes another of its choices."""
    choices = encoding.choices
    name = chance.choice([name for name in choices if len(choices[name]) > 1])
    other = [choice for choice in choices[name] if choice != parameters[name]]
    return {**parameters, name: chance.choice(other)}


def cross(one: Mapping[str, Any], other: Mapping[str, Any], encoding: Encoding, chance: random.Random) -> Parameters:
    """A child of two: every node comes whole, its inputs with their primitives, from one of the parents."""
    taken: dict[str, Mapping[str, Any]] = {}
    child = {}
    for name in encoding.choices:
        node = name.rpartition(".")[0]
        child[name] = taken.setdefault(node, chance.choice((one, other)))[name]
    return child


class RegularizedEvolution(BaseSampler):
    """Regularised (aging) evolution of Real et al. 2019, Algorithm 1, over genotypes.

    The population is the last `population` finished trials: the oldest dies, not the worst. The best of `tournament`
    members drawn at random is mutated; with probability `crossover` (not in the paper: 0 by default) it is first
    crossed with the best of a second tournament. The first `population` trials are random.

    Args:
        encoding: which parameters make a genotype; children are genotypes by construction.
        population, tournament: P and S of the paper.
        crossover: share of children with two parents.
        seed: of all random choices.
    """

    def __init__(
        self, encoding: Encoding, population: int = 20, tournament: int = 5, crossover: float = 0.0, seed: int = 0
    ) -> None:
        if not 1 <= tournament <= population:
            raise NasError(f"a tournament has 1 to {population} members (the population), not {tournament}")
        self.encoding, self.population, self.tournament, self.crossover = encoding, population, tournament, crossover
        self.chance = random.Random(seed)
        self.fallback = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.encoding.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Parameters:
        self._raise_error_if_multi_objective(study)
        alive = self.alive(study)
        if len(alive) < self.population:
            return {name: self.chance.choice(choices) for name, choices in self.encoding.choices.items()}
        parameters = self.parent(alive, study)
        if self.chance.random() < self.crossover:
            parameters = cross(parameters, self.parent(alive, study), self.encoding, self.chance)
        return mutate(parameters, self.encoding, self.chance)

    def alive(self, study: Study) -> list[FrozenTrial]:
        """The youngest `population` finished trials, in the order in which they finished."""
        wanted = set(self.encoding.choices)
        finished = [
            trial
            for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if wanted <= set(trial.params) and trial.datetime_complete
        ]
        finished.sort(key=lambda trial: (trial.datetime_complete, trial.number))
        return finished[-self.population :]

    def parent(self, alive: Sequence[FrozenTrial], study: Study) -> Parameters:
        """Parameters of the best of a tournament."""
        sign = 1 if study.direction.name == "MINIMIZE" else -1
        entrants = self.chance.sample(list(alive), self.tournament)
        best = min(entrants, key=lambda trial: sign * float(trial.value or 0.0))
        return {name: best.params[name] for name in self.encoding.choices}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Parameters that are no part of the genotype are drawn at random."""
        return self.fallback.sample_independent(study, trial, param_name, param_distribution)


class SeededByTrial(BaseSampler):
    """A fresh sampler for every trial, seeded by the study's seed and the trial's number.

    A sampler that is seeded once draws the same trials again when a study is resumed, and in every worker of a
    cluster. Seeded so, a study that was stopped goes on as it would have, and no two workers draw alike. A trial that
    was killed while it was sampled has some of its values; for them the sampler draws once more, and goes on with the
    others from the same random state.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self.make, self.seed, self.inner = make, seed, make(seed % 2**32)  # Optuna's own take 32 bits
        self.drawn: dict[str, BaseDistribution] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        digest = hashlib.sha256(f"{self.seed} {trial.number}".encode()).digest()
        self.inner = self.make(int.from_bytes(digest[:4], "big"))
        self.drawn = dict(trial.distributions) if "fixed_params" not in trial.system_attrs else {}
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Parameters:
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        drawn, self.drawn = self.drawn, {}
        for name, distribution in drawn.items():
            self.inner.sample_independent(study, trial, name, distribution)
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self.inner.after_trial(study, trial, state, values)


def make_sampler(name: str, seed: int) -> BaseSampler:
    """The sampler of hyper-parameters of a name, `tpe` or `random`."""
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "random": lambda seed: RandomSampler(seed=seed),
        "tpe": lambda seed: TPESampler(seed=seed),
    }
    return SeededByTrial(makers[name], seed)
