"""A genotype as the parameters of an Optuna trial, and back.

Every intermediate node of a searched cell has one categorical parameter for the set of earlier nodes that it keeps
(left out where there is only one set) and one for the primitive on each kept input, in the order of the sources:

    normal.node2.primitive0 = "std_conv_3"     normal.node3.sources = "0 2"     normal.node3.primitive0 = ...

The parameters are independent of one another, so that every combination is a genotype and every sampler of Optuna works
as it is. Genotypes that differ only in the order of a node's inputs are one network and have one encoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import prod
from typing import Any

from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution

from nas.errors import NasError
from nas.genotype import FIRST_NODE, Cell, Edge, Genotype
from nas.space import SearchSpace, Zero


@dataclass(frozen=True)
class Encoding:
    """The genotypes of a search space as independent categorical parameters.

    Args:
        space: what can be searched.
        types: the cell types that vary, by default all; the others have the cell of the first that does.
    """

    space: SearchSpace
    types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", self.types or self.space.types)

    @property
    def primitives(self) -> tuple[str, ...]:
        """Names that an edge may carry: zero primitives are never derived."""
        return tuple(primitive.name for primitive in self.space.primitives if not isinstance(primitive, Zero))

    @property
    def nodes(self) -> range:
        return range(FIRST_NODE, FIRST_NODE + self.space.topology.intermediate)

    def source_sets(self, node: int) -> tuple[str, ...]:
        """All sets of inputs that a node may keep, e.g. ("0 1", "0 2", "1 2") for node 3."""
        return tuple(" ".join(map(str, s)) for s in combinations(range(node), self.space.topology.kept_inputs))

    @cached_property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """Every parameter with its choices; the parameters of a node stand together."""
        choices: dict[str, tuple[str, ...]] = {}
        for cell_type in self.types:
            for node in self.nodes:
                if len(self.source_sets(node)) > 1:
                    choices[f"{cell_type}.node{node}.sources"] = self.source_sets(node)
                for place in range(self.space.topology.kept_inputs):
                    choices[f"{cell_type}.node{node}.primitive{place}"] = self.primitives
        return choices

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        return {name: CategoricalDistribution(choices) for name, choices in self.choices.items()}

    @property
    def size(self) -> int:
        """How many genotypes there are."""
        return prod(len(choices) for choices in self.choices.values())

    def suggest(self, trial: Trial) -> Genotype:
        """The genotype that a trial is to evaluate."""
        return self.genotype({name: trial.suggest_categorical(name, c) for name, c in self.choices.items()})

    def genotype(self, parameters: Mapping[str, Any]) -> Genotype:
        """The genotype of a trial's parameters.

        Raises:
            NasError: a parameter is missing or is none of its choices.
        """
        for name, choices in self.choices.items():
            if parameters.get(name) not in choices:
                raise NasError(
                    f"parameter {name!r} is {parameters.get(name)!r}; in search space {self.space.name!r} it is one of "
                    f"{', '.join(choices)}"
                )

        def cell(cell_type: str) -> Cell:
            nodes = []
            for node in self.nodes:
                sources = parameters.get(f"{cell_type}.node{node}.sources", self.source_sets(node)[0])
                nodes.append(
                    tuple(
                        Edge(parameters[f"{cell_type}.node{node}.primitive{place}"], int(source))
                        for place, source in enumerate(sources.split())
                    )
                )
            return Cell(tuple(nodes))

        found = {name: cell(name) for name in self.types}
        genotype = Genotype({name: found.get(name, found[self.types[0]]) for name in self.space.types})
        return genotype.validate(self.space)

    def parameters(self, genotype: Genotype) -> dict[str, str]:
        """The parameters of a genotype, whatever the order of its nodes' inputs.

        Raises:
            NasError: the genotype is not one that this space derives.
        """
        genotype.validate(self.space)
        parameters = {}
        for cell_type in self.types:
            if genotype.cells[cell_type].concat != tuple(self.nodes):
                raise NasError(
                    f"genotype: the {cell_type} cell does not concatenate all its nodes; such cells are not searched"
                )
            for node, edges in zip(self.nodes, genotype.cells[cell_type].nodes, strict=True):
                ordered = sorted(edges, key=lambda edge: edge.source)
                sources = " ".join(str(edge.source) for edge in ordered)
                if sources not in self.source_sets(node):
                    raise NasError(
                        f"genotype: node {node} of the {cell_type} cell has the inputs {sources}; a searched node "
                        f"keeps {self.space.topology.kept_inputs} different ones"
                    )
                parameters[f"{cell_type}.node{node}.sources"] = sources
                for place, edge in enumerate(ordered):
                    parameters[f"{cell_type}.node{node}.primitive{place}"] = edge.primitive
        choices = self.choices
        for name, value in parameters.items():
            if name in choices and value not in choices[name]:
                raise NasError(f"genotype: {name} is {value!r}, which is never derived")
        return {name: value for name, value in parameters.items() if name in choices}
