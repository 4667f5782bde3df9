"""The folded supernet cell: `per_edge.SearchCell` without computing the candidate operations. Same mathematics.

Parameters, buffers and their names are those of `SearchCell`; only the forward differs. What folds follows from the
kind that each primitive declares (`nas.space`): linear candidates become one convolution per node (`folding.py`),
pools and their normalisation are computed once per state, identity and bypass are weighted sums, zero costs nothing,
and any other primitive is computed as it is. docs/folded-supernet.md derives it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from nas import processes
from nas.cells.skeleton import CellPlan
from nas.space import SearchSpace
from nas.supernet.differentiable import Given, Running, nodes
from nas.supernet.fused import FusedNodes, Layout, regroup
from nas.supernet.pass_set import Passes
from nas.supernet.per_edge import SearchCell
from nas.supernet.pointwise import PointwiseNorm


class FoldedCell(SearchCell):
    """A cell with every edge and every candidate alive, folded.

    s0 [B, C_before, 2 T], s1 [B, C_previous, T] -> [B, nodes * C, T // 2]

    Args:
        space, plan, partial: as of `SearchCell`.
        passes: what runs the elementwise passes (`pass_set.Passes`).
        recompute: keep only the two inputs for the backward pass and compute the rest again.

    Raises:
        NasError: the partial-channel factor K_C does not divide C.
    """

    pays_from: float = 2.5
    """Frames (utterances times frames of a cell) per active channel from which folding is cheaper than the definition,
    as measured in docs/folded-supernet.md: it adds a cost that grows with C' alone, in matrices of C' x C'."""

    def __init__(
        self,
        space: SearchSpace,
        plan: CellPlan,
        partial: int,
        passes: Passes = "auto",
        recompute: bool = False,
    ) -> None:
        super().__init__(space, plan, partial)
        norms = [module for module in self.edges.modules() if isinstance(module, nn.BatchNorm1d)]
        eps = norms[0].eps if norms else 1e-5
        self.layout = Layout.of(space, plan.channels, partial, eps, passes=passes, recompute=recompute)

    def forward(self, s0: Tensor, s1: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """a [E, K] and b [E] are the weights of `Architecture.weights`.

        Under autocast the merged convolutions take its type; statistics and small mathematics stay float32.
        """
        device = s0.device.type
        if not torch.is_autocast_enabled(device):
            return self._forward(self.layout, s0, s1, a, b)
        layout = replace(self.layout, product=torch.get_autocast_dtype(device))
        with torch.autocast(device, enabled=False):
            return self._forward(layout, s0.float(), s1.float(), a.float(), b.float())

    def _forward(self, layout: Layout, s0: Tensor, s1: Tensor, a: Tensor, b: Tensor) -> Tensor:
        if self.training and not self.folds(s1):
            return super().forward(s0, s1, a, b)
        x0, x1 = self._inputs(s0, s1)
        order = list(layout.order)
        a, b, weights = a[order], b[order], self._weights()
        if self.training and not layout.kinds.computed:
            pooled, *statistics = FusedNodes.apply(layout, self._plain, x0, x1, a, b, *weights)
        else:
            given = Given(None if self.training else self._running(), self._computed)
            pooled, statistics = nodes(layout, x0, x1, a, b, regroup(layout, weights), given)
        if self.training:
            self._settle(statistics, self._count(x0))
        return pooled

    def synchronise(self) -> None:
        """Normalise by the statistics of all processes' utterances together from now on."""
        self.layout = replace(self.layout, synchronised=True)

    def _count(self, x: Tensor) -> int:
        """Values that a statistic of x [B, C, T] is made of."""
        return x.shape[0] * x.shape[2] * (processes.count() if self.layout.synchronised else 1)

    def folds(self, s1: Tensor) -> bool:
        """Whether a cell with the input s1 [B, C_previous, T] is folded. Statistics of all processes always are."""
        return self.layout.synchronised or s1.shape[0] * s1.shape[2] >= self.pays_from * self.layout.active

    def _inputs(self, s0: Tensor, s1: Tensor) -> tuple[Tensor, Tensor]:
        """`Preprocess` as two functions with short backward passes."""
        if not self.training:
            return self.preprocess(s0, s1)
        frames = min(s0.shape[2] // 2, s1.shape[2])
        first: Any = self.preprocess.first
        second: Any = self.preprocess.second
        kernels = [first.conv_1.weight, first.conv_2.weight] if self.plan.after_widening else [first.conv.weight]
        outputs = []
        for norm, halved, x, weight in (
            (first.norm, True, s0[:, :, : 2 * frames], torch.cat(kernels)),
            (second[2], False, s1[:, :, :frames], second[1].weight),
        ):
            y, mean, variance = PointwiseNorm.apply(self.layout, norm.eps, halved, x, weight.squeeze(2))
            move_statistics([norm], [mean], [variance], self._count(y))
            outputs.append(y)
        return outputs[0], outputs[1]

    def _plain(self, x0: Tensor, x1: Tensor, a: Tensor, b: Tensor, *weights: Tensor) -> Tensor:
        return nodes(self.layout, x0, x1, a, b, regroup(self.layout, weights), Given())[0]

    def _candidate(self, edge: int, k: int) -> Any:
        mixed: Any = self.edges[edge]
        return mixed.candidates[k]

    def _computed(self, edge: int, k: int, x: Tensor) -> Tensor:
        output: Tensor = self._candidate(edge, k)(x)
        return output

    def _weights(self) -> list[Tensor]:
        """Every convolution of the linear candidates, stacked over the edges in `Layout.order`."""
        stacks = []
        for k, primitive in self.layout.kinds.linear:
            candidates = [self._candidate(edge, k) for edge in self.layout.order]
            for n in range(1, 3 if primitive.depthwise else 2):
                stacks.append(torch.stack([candidate[n].weight for candidate in candidates]))
        return stacks

    def _norms(self, edges: tuple[int, ...], k: int) -> list[Any]:
        """The nn.BatchNorm1d of a primitive at each of some edges."""
        return [self._candidate(edge, k)[-1] for edge in edges]

    def _running(self) -> Running:
        """Running statistics of every normalised candidate, [E, C'] in `Layout.order`."""
        running = {}
        for k, _ in (*self.layout.kinds.linear, *self.layout.kinds.pools):
            norms = self._norms(self.layout.order, k)
            means, variances = [norm.running_mean for norm in norms], [norm.running_var for norm in norms]
            running[k] = torch.stack(means), torch.stack(variances)
        return running

    def _settle(self, statistics: list[Tensor], count: int) -> None:
        """Move the running statistics as batch normalisation does, once a forward in training mode."""
        found = iter(statistics)
        norms: list[Any] = []
        means: list[Tensor] = []
        variances: list[Tensor] = []
        for edges in self.layout.leaving:
            for k, _ in self.layout.kinds.linear:
                norms += self._norms(edges, k)
                means += next(found).unbind()
                variances += next(found).unbind()
            pool_means, pool_variances = next(found), next(found)
            for n, (k, _) in enumerate(self.layout.kinds.pools):
                norms += self._norms(edges, k)
                means += [pool_means[n]] * len(edges)
                variances += [pool_variances[n]] * len(edges)
        move_statistics(norms, means, variances, count)


@torch.no_grad()
def move_statistics(norms: list[Any], means: list[Tensor], variances: list[Tensor], count: int) -> None:
    """Update running statistics as batch normalisation does, from means and biased variances over `count` values."""
    kept = [n for n, norm in enumerate(norms) if norm.track_running_stats]
    if not kept:
        return
    momentum = norms[0].momentum
    torch._foreach_add_([norms[n].num_batches_tracked for n in kept], 1)
    torch._foreach_lerp_([norms[n].running_mean for n in kept], [means[n] for n in kept], momentum)
    unbiased = torch._foreach_mul([variances[n] for n in kept], count / (count - 1))
    torch._foreach_lerp_([norms[n].running_var for n in kept], unbiased, momentum)
