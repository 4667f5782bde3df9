"""The architecture parameters alpha and beta, and how a genotype is read from them."""

from __future__ import annotations

import json
from typing import Protocol

import torch
from torch import Tensor, nn

from nas.genotype import Cell, Edge, Genotype
from nas.space import SearchSpace, Zero


class Weighing:
    """How alpha and beta weigh the candidates of a supernet; as it stands, as in PC-DARTS. A search strategy is one."""

    def weights(self, architecture: Architecture, cell_type: str) -> tuple[Tensor, Tensor]:
        """What the architecture stands for: softmax of alpha over primitives [E, K] (Eq. 2), and softmax of beta over
        the edges into each node [E] (edge normalisation of PC-DARTS). Genotypes are derived from it."""
        beta = architecture.beta(cell_type)
        b = torch.cat([beta[edges].softmax(0) for edges in architecture.space.topology.edge_slices])
        return architecture.alpha(cell_type).softmax(1), b

    def draw(self, architecture: Architecture, cell_type: str) -> tuple[Tensor, Tensor]:
        """What a forward pass in training mode uses, [E, K] and [E]: here the same; others sample."""
        return self.weights(architecture, cell_type)

    def penalty(self, architecture: Architecture) -> Tensor | float:
        """What the loss of the architecture gets besides."""
        return 0.0


class Limit(Protocol):
    """A budget for the cost of the genotype (`nas.supernet.expected_cost.CostBudget`)."""

    def penalty(self, architecture: Architecture) -> Tensor: ...

    def genotype(self, architecture: Architecture) -> Genotype: ...


class Architecture(nn.Module):
    """alpha [E, K] weighs the K primitives of each of E edges, beta [E] the edges into each node; for each cell type.

    All start as 1e-3 * N(0, 1). They are ordinary parameters, alpha_TYPE and beta_TYPE: in the state_dict, moved with
    the module.

    Args:
        space: what is searched.
        weighing: how they weigh the candidates.

    Attributes:
        fixed: for each cell type the edges whose primitive is decided: {edge: primitive}, numbers of both.
        limit: a budget for the cost of the genotype, where there is one.
    """

    limit: Limit | None = None

    def __init__(self, space: SearchSpace, weighing: Weighing | None = None) -> None:
        super().__init__()
        self.space, self.weighing = space, weighing or Weighing()
        self.fixed: dict[str, dict[int, int]] = {name: {} for name in space.types}
        edges, primitives = len(space.topology.edges), len(space.primitives)
        for name in space.types:
            self.register_parameter(f"alpha_{name}", nn.Parameter(1e-3 * torch.randn(edges, primitives)))
        for name in space.types:
            self.register_parameter(f"beta_{name}", nn.Parameter(1e-3 * torch.randn(edges)))

    def alpha(self, cell_type: str) -> nn.Parameter:
        """alpha of a cell type, [E, K]."""
        return self.get_parameter(f"alpha_{cell_type}")

    def beta(self, cell_type: str) -> nn.Parameter:
        """beta of a cell type, [E]."""
        return self.get_parameter(f"beta_{cell_type}")

    def weights(self, cell_type: str) -> tuple[Tensor, Tensor]:
        """What the cells of a type stand for: weights of the primitives [E, K] and of the edges into a node [E]."""
        a, b = self.weighing.weights(self, cell_type)
        return self._decided(a, cell_type), b

    def drawn(self, cell_type: str) -> tuple[Tensor, Tensor]:
        """What a forward pass uses: in training mode the strategy's draw, else `weights`."""
        if not self.training:
            return self.weights(cell_type)
        a, b = self.weighing.draw(self, cell_type)
        return self._decided(a, cell_type), b

    def _decided(self, a: Tensor, cell_type: str) -> Tensor:
        """a [E, K] with 1 for the primitive of each fixed edge, and 0 for its others, without gradient."""
        fixed = self.fixed[cell_type]
        if not fixed:
            return a
        edges = torch.tensor(list(fixed), device=a.device)
        rows = torch.zeros(len(fixed), a.shape[1], dtype=a.dtype, device=a.device)
        rows[torch.arange(len(fixed)), list(fixed.values())] = 1.0
        return a.index_copy(0, edges, rows)

    def hold_edges(self) -> None:
        """Weigh the edges into a node alike and train no beta, as DARTS does (up to its sum in place of a mean)."""
        for name in self.space.types:
            beta = self.beta(name)
            with torch.no_grad():
                beta.zero_()
            beta.requires_grad_(False)

    def penalty(self) -> Tensor | float:
        """What the architecture's loss gets besides: of the strategy, and for an expected cost off the budget."""
        return self.weighing.penalty(self) + (0.0 if self.limit is None else self.limit.penalty(self))

    def to_json(self) -> str:
        """alpha and beta as they are, the weights a and b they stand for, and the names of edges and primitives."""
        values = {name: parameter.detach().cpu().tolist() for name, parameter in self.named_parameters()}
        names = {"edges": self.space.topology.edges, "primitives": self.space.primitive_names}
        with torch.no_grad():
            for name in self.space.types:
                values |= {f"{w}_{name}": part.cpu().tolist() for w, part in zip("ab", self.weights(name), strict=True)}
        return json.dumps({"space": self.space.name, **names, **values}, indent=1) + "\n"

    @torch.no_grad()
    def genotype(self) -> Genotype:
        """The genotype that alpha and beta stand for at this moment (`derive`), within the limit where there is one."""
        if self.limit is not None:
            return self.limit.genotype(self)
        return Genotype({name: derive(self.space, *self.weights(name)) for name in self.space.types})


def derive(space: SearchSpace, a: Tensor, b: Tensor) -> Cell:
    """Keep at each node the inputs whose best primitive is strongest, strength = a * b, zero primitives left out.

    Args:
        space: the search space.
        a: softmax of alpha, [E, K].
        b: softmax of beta per node, [E].
    """
    strength = (a * b.unsqueeze(1)).detach().float().cpu()
    zeros = [index for index, primitive in enumerate(space.primitives) if isinstance(primitive, Zero)]
    strength[:, zeros] = -1.0
    best = strength.max(dim=1)
    nodes = []
    for edges in space.topology.edge_slices:
        values = best.values[edges].tolist()
        # Stable: of two equally strong inputs the earlier node is kept first, as in the published code.
        kept = sorted(range(len(values)), key=lambda source: -values[source])[: space.topology.kept_inputs]
        chosen = best.indices[edges].tolist()
        nodes.append(tuple(Edge(space.primitives[chosen[source]].name, source) for source in kept))
    return Cell(tuple(nodes))
