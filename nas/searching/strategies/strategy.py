"""What a search strategy is: an object that a search asks, made anew for every search.

There are two families. A *differentiable* strategy trains a supernet whose candidates alpha and beta weigh; it says how
they weigh it, what happens at epochs and steps, and how a genotype is derived. A *black-box* strategy proposes
genotypes, which are judged one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from optuna.samplers import BaseSampler

from nas.genotype import Genotype
from nas.registry import Registry
from nas.supernet.architecture import Architecture, Weighing

if TYPE_CHECKING:
    from nas.config import BlackBox as BlackBoxSettings
    from nas.config import Recipe, Search
    from nas.tuning.encoding import Encoding

Level = Literal["weights", "architecture"]
"""The two levels of the optimisation (Eq. 3): whose step is taken."""


class Differentiable(Weighing):
    """A strategy that trains a supernet. As it stands it is PC-DARTS; others override what they do differently.

    `weights` and `draw` say how alpha and beta weigh the candidates (`nas.supernet.architecture.Weighing`), `penalty`
    what the loss of the architecture gets besides.
    """

    def adapt(self, recipe: Recipe) -> Recipe:
        """The recipe with what the strategy asks of it."""
        return recipe

    def begin(self, architecture: Architecture) -> None:
        """Before the first epoch, and again when a search is resumed, before its state is restored."""

    def begin_epoch(self, architecture: Architecture, epoch: int, settings: Search) -> None:
        """Before the steps of an epoch, counted from 1; again where a search is resumed within one."""

    def begin_step(self, level: Level) -> None:
        """Before the forward pass of a step."""

    def after_epoch(self, architecture: Architecture, epoch: int, settings: Search) -> None:
        """After the last step of an epoch, before its genotype is derived. Edges that are decided are fixed here."""

    def derive(self, architecture: Architecture) -> Genotype:
        """The genotype that the architecture stands for now."""
        return architecture.genotype()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed search needs besides alpha, beta, decided edges and the random states: plain values of
        JSON, lists of the same lengths at any time."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""


class Progress:
    """What a resumed search needs besides alpha, beta and the random states: the edges that are decided, and what the
    strategy itself keeps. Saved and restored as a schedule is."""

    def __init__(self, strategy: Differentiable, architecture: Architecture) -> None:
        self.strategy, self.architecture = strategy, architecture

    def state_dict(self) -> dict[str, Any]:
        edges = range(len(self.architecture.space.topology.edges))
        # For every edge its primitive, or -1: of one length whatever is decided, and the same after JSON.
        fixed = {name: [decided.get(edge, -1) for edge in edges] for name, decided in self.architecture.fixed.items()}
        return {"fixed": fixed, "strategy": self.strategy.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: a decided primitive that the space does not have.
        """
        primitives = len(self.architecture.space.primitives)
        for name, decided in state["fixed"].items():
            if not all(-1 <= primitive < primitives for primitive in decided):
                raise ValueError("a decided edge has no such primitive")
            self.architecture.fixed[name] = {edge: p for edge, p in enumerate(decided) if p >= 0}
        self.strategy.load_state_dict(state["strategy"])


class BlackBox:
    """A strategy that tries genotypes, by a sampler of Optuna.

    Attributes:
        several: whether it searches for several objectives at once.
    """

    several = False

    def sampler(self, seed: int, encoding: Encoding, settings: BlackBoxSettings) -> BaseSampler:
        """A sampler of the parameters of genotypes, seeded; one is made for every trial."""
        raise NotImplementedError


Strategy = Differentiable | BlackBox

STRATEGIES: Registry[type[Strategy]] = Registry("search strategy")
"""Called without arguments for every search."""
