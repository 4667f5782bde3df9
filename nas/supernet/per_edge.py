"""The supernet as the paper defines it, edge by edge. Read this first; `folded.py` computes the same, faster.

    node j = sum over i < j of  b_ij * shuffle(concat(mix_ij(x_i[:C / K_C]), x_i[C / K_C:]))
    mix_ij(x) = sum over primitives o of  a_ijo * o(x)

with a = softmax(alpha) over primitives (Eq. 2), b = softmax(beta) over the edges into j, and only the first C / K_C
channels passing through the candidates (partial channel connections, Eq. 4).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.cells.preprocess import Preprocess
from nas.cells.skeleton import CellPlan
from nas.errors import NasError
from nas.space import SearchSpace


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """[B, C, T] -> [B, C, T]: channel g * (C / groups) + c moves to c * groups + g, so that groups interleave."""
    batch, channels, frames = x.shape
    return x.view(batch, groups, channels // groups, frames).transpose(1, 2).reshape(batch, channels, frames)


class MixedOperation(nn.Module):
    """One edge: all candidates of the space on the first `channels / partial` channels, the rest passed by."""

    def __init__(self, space: SearchSpace, channels: int, partial: int) -> None:
        super().__init__()
        self.partial, self.active = partial, channels // partial
        self.candidates = nn.ModuleList(primitive.candidate(self.active) for primitive in space.primitives)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        """x [B, C, T], a [K] -> [B, C, T]."""
        active, bypass = x[:, : self.active], x[:, self.active :]
        mixed = sum(weight * candidate(active) for weight, candidate in zip(a, self.candidates, strict=True))
        return channel_shuffle(torch.cat([mixed, bypass], dim=1), self.partial)


class SearchCell(nn.Module):
    """A cell with every edge and every candidate alive.

    s0 [B, C_before, 2 T], s1 [B, C_previous, T] -> [B, nodes * C, T // 2]

    Raises:
        NasError: the partial-channel factor K_C does not divide C.
    """

    def __init__(self, space: SearchSpace, plan: CellPlan, partial: int) -> None:
        super().__init__()
        if partial < 1 or plan.channels % partial:
            raise NasError(f"K_C = {partial} does not divide the {plan.channels} channels of a cell")
        self.space, self.plan, self.partial = space, plan, partial
        self.preprocess = Preprocess(plan)
        self.edges = nn.ModuleList(MixedOperation(space, plan.channels, partial) for _ in space.topology.edges)

    def forward(self, s0: Tensor, s1: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """a [E, K] and b [E] are the weights of `Architecture.weights`."""
        nodes = self.nodes(list(self.preprocess(s0, s1)), a, b)
        return F.max_pool1d(torch.cat(nodes, dim=1), 2)

    def nodes(self, states: list[Tensor], a: Tensor, b: Tensor) -> list[Tensor]:
        """The intermediate nodes' states from the two inputs' states, [B, C, T] each."""
        for edges in self.space.topology.edge_slices:
            terms = [
                b[edge] * self.edges[edge](states[source], a[edge])
                for source, edge in enumerate(range(edges.start, edges.stop))
            ]
            states.append(sum(terms[1:], start=terms[0]))
        return states[self.space.topology.inputs :]
