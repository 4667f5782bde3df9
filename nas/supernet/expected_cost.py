"""The cost of the genotype that alpha and beta stand for: its expectation, a penalty on it, and a derivation within it.

The cost of a genotype (parameters, MACs, measured latency) is a constant plus a term for every kept edge that depends
on the primitive and on the cell type. alpha and beta are read as a distribution over genotypes: the kept inputs of a
node are drawn one after the other by softmax(beta), without replacement; the primitive of each by softmax(alpha), zero
primitives left out. The expected cost then has a closed form, with gradients:

    E = constant + sum over edges e of  P(e is kept) * sum over primitives o of  a'_eo * cost_o
    P(e is kept) = b_e + sum over f != e of  b_f * b_e / (1 - b_f)        (two kept inputs; b_e for one)

The penalty weight * log(E / budget)^2 is added to the loss of the architecture. It draws the expectation to the budget
from both sides and does not depend on the unit.

The expectation of a spread-out distribution says little about its mode, so the genotype is not simply derived and hoped
to fit: of all genotypes that cost between 90 % and 100 % of the budget, the one with the largest product of strengths
a_eo * b_e is taken, exactly, by dynamic programming over costs. Without the limit that product is maximised by the
published derivation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import torch
from torch import Tensor

from nas.errors import NasError
from nas.genotype import FIRST_NODE, Cell, Edge, Genotype, Nodes
from nas.space import SearchSpace, Zero
from nas.supernet.architecture import Architecture

SLACK = 0.1
"""Share of the budget that a derived genotype may leave unused, where any genotype does not."""


@dataclass(frozen=True)
class CostModel:
    """Cost of a genotype = `reference` + for every edge the difference that its primitive makes.

    Attributes:
        space: what is searched.
        reference: cost of the genotype whose edges all carry the first primitive that is not zero.
        differences: for each cell type the difference of each primitive of the space; 0 for zero primitives.
    """

    space: SearchSpace
    reference: float
    differences: dict[str, tuple[float, ...]]

    @classmethod
    def of(cls, space: SearchSpace, cost: Callable[[Genotype], float]) -> CostModel:
        """Measured on genotypes that carry one primitive in all cells of a type; exact where `cost` is a sum."""
        names = [primitive.name for primitive in space.primitives if not isinstance(primitive, Zero)]
        edges = space.topology.intermediate * space.topology.kept_inputs

        def uniform(primitives: dict[str, str]) -> Genotype:
            return Genotype(
                {
                    cell_type: Cell(
                        tuple(
                            tuple(Edge(name, source) for source in range(space.topology.kept_inputs))
                            for _ in range(space.topology.intermediate)
                        )
                    )
                    for cell_type, name in primitives.items()
                }
            )

        everywhere = dict.fromkeys(space.types, names[0])
        reference = cost(uniform(everywhere))
        differences = {}
        for cell_type in space.types:
            found = {name: (cost(uniform({**everywhere, cell_type: name})) - reference) / edges for name in names[1:]}
            differences[cell_type] = tuple(found.get(primitive.name, 0.0) for primitive in space.primitives)
        return cls(space, reference, differences)

    def cost(self, genotype: Genotype) -> float:
        """Cost of one genotype."""
        names = self.space.primitive_names
        return self.reference + sum(
            self.differences[cell_type][names.index(edge.primitive)]
            for cell_type in self.space.types
            for edge in genotype.cells[cell_type].edges
        )

    def expected(self, architecture: Architecture) -> Tensor:
        """Expected cost under alpha and beta, a scalar with gradients."""
        total = torch.tensor(self.reference, dtype=torch.float64, device=architecture.alpha(self.space.types[0]).device)
        for cell_type in self.space.types:
            a, b = (weights.double() for weights in architecture.weights(cell_type))
            kept = torch.cat(
                [inclusion(b[e], self.space.topology.kept_inputs) for e in self.space.topology.edge_slices]
            )
            carried = a[:, [not isinstance(primitive, Zero) for primitive in self.space.primitives]].sum(1)
            total = total + (kept * (a @ a.new_tensor(self.differences[cell_type])) / carried).sum()
        return total


def inclusion(b: Tensor, kept: int) -> Tensor:
    """Probability of each input of a node to be among the `kept` (1 or 2) drawn by b [E], without replacement."""
    if kept == 1:
        return b
    others = 1 - torch.eye(len(b), dtype=b.dtype, device=b.device)
    # 1 - b_f as the sum of the others, which does not vanish when beta is all but decided.
    rest = (others @ b).clamp_min(torch.finfo(b.dtype).tiny)
    return b * (1 + others @ (b / rest))


@dataclass(frozen=True)
class CostBudget:
    """A budget for the genotype of a bi-level search, in the unit of the model."""

    model: CostModel
    budget: float
    weight: float

    def penalty(self, architecture: Architecture) -> Tensor:
        """weight * log(expected cost / budget)^2."""
        return (self.weight * (self.model.expected(architecture) / self.budget).log().square()).float()

    @torch.no_grad()
    def genotype(self, architecture: Architecture) -> Genotype:
        """The genotype of largest strength that costs 90 % to 100 % of the budget; where none does, the dearest below.

        Raises:
            NasError: even the cheapest genotype is above the budget.
        """
        space, tables = self.model.space, {}
        for cell_type in space.types:
            a, b = architecture.weights(cell_type)
            strength = (a * b.unsqueeze(1)).double().cpu().clamp_min(1e-300).log().numpy()
            tables[cell_type] = _cells(space, strength, self.model.differences[cell_type], self.budget)
        costs = [np.array(sorted(table)) for table in tables.values()]
        scores = [
            np.array([table[cost][0] for cost in rising]) for table, rising in zip(tables.values(), costs, strict=True)
        ]
        # One axis for each cell type.
        total = sum(np.ix_(*costs), start=np.array(self.model.reference))
        strength_of = sum(np.ix_(*scores), start=np.array(0.0))
        allowed = total <= self.budget * (1 + 1e-9)
        if not allowed.any():
            raise NasError(
                f"search.cost.budget: {self.budget:,g} is less than the cheapest genotype costs, {total.min():,.6g}"
            )
        window = allowed & (total >= (1 - SLACK) * self.budget)
        if not window.any():
            window = allowed & (total == total[allowed].max())
        best = np.unravel_index(int(np.where(window, strength_of, -np.inf).argmax()), total.shape)
        chosen = zip(tables.items(), costs, best, strict=True)
        return Genotype({cell_type: Cell(table[float(rising[at])][1]) for (cell_type, table), rising, at in chosen})


def _cells(
    space: SearchSpace, strength: np.ndarray, differences: tuple[float, ...], budget: float
) -> dict[float, tuple[float, Nodes]]:
    """For every cost that a cell may have the strongest cell of that cost.

    Args:
        strength: log of strengths, [E, K].
        differences: of the primitives.
        budget: sets how finely costs are told apart: to a millionth of it, so that measured ones stay few.
    """
    grain = 1e-6 * budget
    best: dict[float, tuple[float, Nodes]] = {0.0: (0.0, ())}
    usable = [k for k, primitive in enumerate(space.primitives) if not isinstance(primitive, Zero)]
    # Of primitives that cost the same, only the strongest on an edge can be part of the strongest cell.
    classes: dict[float, list[int]] = {}
    for k in usable:
        classes.setdefault(round(differences[k] / grain) * grain, []).append(k)
    for node, edges in enumerate(space.topology.edge_slices, start=FIRST_NODE):
        options: dict[float, tuple[float, tuple[Edge, ...]]] = {}
        for sources in combinations(range(node), space.topology.kept_inputs):
            for choice in product(classes, repeat=len(sources)):
                picked = [
                    max((float(strength[edges.start + source, k]), -k) for k in classes[cost])
                    for source, cost in zip(sources, choice, strict=True)
                ]
                cost, score = round(sum(choice) / grain) * grain, sum(value for value, _ in picked)
                if cost not in options or score > options[cost][0]:
                    # As in the published derivation, the stronger input comes first.
                    order = sorted(range(len(sources)), key=lambda place: -picked[place][0])
                    kept = tuple(Edge(space.primitives[-picked[i][1]].name, sources[i]) for i in order)
                    options[cost] = (score, kept)
        grown: dict[float, tuple[float, Nodes]] = {}
        for (cost, (score, cell)), (more, (gain, kept)) in product(best.items(), options.items()):
            total = round((cost + more) / grain) * grain
            if total not in grown or score + gain > grown[total][0]:
                grown[total] = (score + gain, (*cell, kept))
        best = grown
    return best
