"""The folded supernet cell: `per_edge.SearchCell` without computing the candidate operations. Same mathematics.

Parameters, buffers and their names are those of `SearchCell`; only the forward differs. What folds follows from the
kind that each primitive declares (`nas.space`): linear candidates become one convolution per node (`folding.py`),
pools and their normalisation are computed once per state, identity and bypass are scaled sums, zero costs nothing,
and any other primitive is computed as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.networks.raw_pcdarts import CellPlan
from nas.space import LEAKY_SLOPE, Linear, SearchSpace
from nas.supernet.folding import Kinds, StateMoments, Statistics, dense_kernel, merge, moments, output_statistics
from nas.supernet.per_edge import SearchCell, channel_shuffle


class FoldedCell(SearchCell):
    """A cell with every edge and every candidate alive, folded.

    s0 [B, C_before, 2 T], s1 [B, C_previous, T] -> [B, nodes * C, T // 2]

    Raises:
        NasError: the partial-channel factor K_C does not divide C.
    """

    def __init__(self, space: SearchSpace, plan: CellPlan, partial: int) -> None:
        super().__init__(space, plan, partial)
        self.kinds = Kinds.of(space)
        edges = space.topology.edges
        self.leaving = tuple(
            tuple(edge for edge, (source, _) in enumerate(edges) if source == state)
            for state in range(space.topology.inputs + space.topology.intermediate - 1)
        )
        """For each state the edges that leave it, by rising target."""

    def nodes(self, states: list[Tensor], a: Tensor, b: Tensor) -> list[Tensor]:
        """The intermediate nodes' states from the two inputs' states, [B, C, T] each."""
        topology = self.space.topology
        active = self.plan.channels // self.partial
        first = topology.inputs
        mixed: list[list[Tensor]] = [[] for _ in range(topology.intermediate)]
        bypassed: list[list[Tensor]] = [[] for _ in range(topology.intermediate)]
        for source in range(first + topology.intermediate - 1):
            if source >= first:
                target = source - first
                mix = sum(mixed[target][1:], start=mixed[target][0])
                bypass = sum(bypassed[target][1:], start=bypassed[target][0])
                states.append(channel_shuffle(torch.cat([mix, bypass], dim=1), self.partial))
            x, rest = states[source][:, :active], states[source][:, active:]
            edges = list(self.leaving[source])
            outputs = self._leave(x, edges, a[edges], b[edges])
            for position, edge in enumerate(edges):
                target = topology.edges[edge][1] - first
                mixed[target].append(outputs[:, position])
                bypassed[target].append(b[edge] * rest)
        mix, bypass = sum(mixed[-1][1:], start=mixed[-1][0]), sum(bypassed[-1][1:], start=bypassed[-1][0])
        states.append(channel_shuffle(torch.cat([mix, bypass], dim=1), self.partial))
        return states[first:]

    def _leave(self, x: Tensor, edges: Sequence[int], a: Tensor, b: Tensor) -> Tensor:
        """What the active channels x [B, C', T] of one state give to J edges with a [J, K], b [J]: [B, J, C', T]."""
        weight = a * b[:, None]
        out = x.new_zeros(x.shape[0], len(edges), x.shape[1], x.shape[2])
        for k in self.kinds.identity:
            out = out + weight[:, k, None, None] * x.unsqueeze(1)
        for k, primitive in self.kinds.pools:
            pooled = primitive.operation(x.shape[1])(x)
            mean, variance = pooled.mean((0, 2)), pooled.var((0, 2), unbiased=False)
            count = x.shape[0] * x.shape[2]
            norms = self._norms(edges, k)
            statistics = self._settle(norms, Statistics(mean, variance, mean), count, shared=True)
            gain = weight[:, k, None] * (statistics.variance + norms[0].eps).rsqrt()
            bias = (gain * statistics.mean)[:, :, None]
            out = out + gain[:, :, None] * pooled.unsqueeze(1) - bias
        for k in self.kinds.computed:
            outputs = [weight[n, k] * self.edges[edge].candidates[k](x) for n, edge in enumerate(edges)]
            out = out + torch.stack(outputs, dim=1)
        if self.kinds.linear:
            out = out + self._linear(F.leaky_relu(x, LEAKY_SLOPE), edges, weight)
        return out

    def _linear(self, u: Tensor, edges: Sequence[int], weight: Tensor) -> Tensor:
        kinds, frames = self.kinds, u.shape[2]
        shift = u.detach().mean((0, 2)) if self.training else torch.zeros_like(u[0, :, 0])
        padded = F.pad(u, (kinds.reach, kinds.reach)) - shift[:, None]
        state = moments(padded, shift, kinds) if self.training else None
        kernels, gains = [], []
        bias: Tensor | float = 0.0
        for k, primitive in kinds.linear:
            weights = self._weights(edges, k)
            norms = self._norms(edges, k)
            statistics = self._linear_statistics(primitive, weights, norms, state)
            gain = weight[:, k, None] * (statistics.variance + norms[0].eps).rsqrt()
            bias = bias - gain * statistics.offset
            kernels.append(dense_kernel(primitive, weights))
            gains.append(gain)
        merged = merge(kinds, kernels, gains)
        out = u.new_zeros(())
        for kernel, tap in zip(merged, kinds.taps, strict=True):
            start = kinds.reach + tap
            out = out + torch.matmul(kernel.flatten(0, 1), padded[:, :, start : start + frames])
        return out.unflatten(1, (len(edges), u.shape[1])) + bias[:, :, None]

    def _linear_statistics(
        self, primitive: Linear, weights: Sequence[Tensor], norms: list[nn.BatchNorm1d], state: StateMoments | None
    ) -> Statistics:
        if state is None:
            mean = torch.stack([norm.running_mean for norm in norms])
            return Statistics(mean, torch.stack([norm.running_var for norm in norms]), mean)
        statistics = output_statistics(primitive, weights, state, self.kinds)
        return self._settle(norms, statistics, state.count)

    def _settle(
        self, norms: list[nn.BatchNorm1d], statistics: Statistics, count: int, shared: bool = False
    ) -> Statistics:
        if not self.training:
            mean = torch.stack([norm.running_mean for norm in norms])
            return Statistics(mean, torch.stack([norm.running_var for norm in norms]), mean)
        if norms[0].track_running_stats:
            with torch.no_grad():
                unbiased = statistics.variance * (count / (count - 1))
                for n, norm in enumerate(norms):
                    norm.num_batches_tracked += 1
                    norm.running_mean.lerp_(statistics.mean if shared else statistics.mean[n], norm.momentum)
                    norm.running_var.lerp_(unbiased if shared else unbiased[n], norm.momentum)
        return statistics

    def _weights(self, edges: Sequence[int], k: int) -> list[Tensor]:
        """Convolutions of linear primitive k, stacked over the edges."""
        candidates = [self.edges[edge].candidates[k] for edge in edges]
        return [torch.stack([c[n].weight for c in candidates]) for n in range(1, len(candidates[0]) - 1)]

    def _norms(self, edges: Sequence[int], k: int) -> list[nn.BatchNorm1d]:
        return [self.edges[edge].candidates[k][-1] for edge in edges]
