"""The nodes of a folded cell in plain tensor operations, differentiable any number of times.

This is the folded cell at its most readable, and what runs where `fused.py` does not reach: evaluation mode, second
derivatives, and spaces with primitives that have to be computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas import processes
from nas.space import LEAKY_SLOPE
from nas.supernet.folding import Folded, Kernels, merge
from nas.supernet.fused import Layout, Weights
from nas.supernet.moments import Moments
from nas.supernet.passes import halve, pool
from nas.supernet.per_edge import channel_shuffle

Running = dict[int, tuple[Tensor, Tensor]]
"""For each linear and pool primitive (its index) the running means and variances of all edges in `Layout.order`,
[E, C'] each."""

Computed = Callable[[int, int, Tensor], Tensor]
"""(edge, primitive, x [B, C', T]) -> the output of a candidate that has to be computed."""


@dataclass(frozen=True)
class Given:
    """What does not come from the inputs: running statistics in evaluation mode, candidates that must be computed."""

    running: Running | None = None
    computed: Computed | None = None


def nodes(
    layout: Layout, x0: Tensor, x1: Tensor, a: Tensor, b: Tensor, weights: Weights, given: Given
) -> tuple[Tensor, list[Tensor]]:
    """x0, x1 [B, C, T]; a [E, K], b [E] and weights stacked in `Layout.order` -> nodes after max-pool 2
    [B, N C, T // 2], and the statistics as `fused.run` lists them (none in evaluation mode)."""
    states, statistics = [x0, x1], list[Tensor]()
    mixed: list[list[Tensor]] = [[] for _ in range(layout.nodes)]
    bypassed: list[list[Tensor]] = [[] for _ in range(layout.nodes)]
    for source in range(layout.nodes + 1):
        x, span = states[source], layout.span(source)
        outputs, moved = _leave(layout, source, x[:, : layout.active], a[span], b[span], weights, given)
        statistics += moved
        for position, target in enumerate(range(max(0, source - 1), layout.nodes)):
            mixed[target].append(outputs[:, position])
            bypassed[target].append(b[span][position] * x[:, layout.active :])
        if source >= 1:
            parts = [sum(terms[1:], start=terms[0]) for terms in (mixed[source - 1], bypassed[source - 1])]
            states.append(channel_shuffle(torch.cat(parts, dim=1), layout.partial))
    return halve(torch.cat(states[2:], dim=1)), statistics


def _leave(
    layout: Layout, source: int, x: Tensor, a: Tensor, b: Tensor, weights: Weights, given: Given
) -> tuple[Tensor, list[Tensor]]:
    """What the active channels x [B, C', T] of one state give to its J targets, [B, J, C', T]; its statistics."""
    kinds, span = layout.kinds, layout.span(source)
    weight = a * b[:, None]
    identity = weight[:, list(kinds.identity)].sum(1)
    out = identity[:, None, None] * x.unsqueeze(1)
    linear, moved = _linear(layout, source, x, weight, weights, given) if kinds.linear else (None, list[Tensor]())
    out = out if linear is None else out + linear
    means, variances = [], []
    for k, primitive in kinds.pools:
        pooled = pool(x, primitive)
        if given.running is None:
            mean, variance = _statistics(layout, pooled)
            means.append(mean)
            variances.append(variance)
        else:
            mean, variance = (t[span] for t in given.running[k])
        gain = weight[:, k, None] * (variance + layout.eps).rsqrt()
        out = out + gain[:, :, None] * pooled.unsqueeze(1) - (gain * mean)[:, :, None]
    for k in kinds.computed:
        assert given.computed is not None
        outputs = [weight[n, k] * given.computed(edge, k, x) for n, edge in enumerate(layout.leaving[source])]
        out = out + torch.stack(outputs, dim=1)
    if given.running is None:
        empty = x.new_zeros(0, x.shape[1])
        moved = [*moved, torch.stack(means) if means else empty, torch.stack(variances) if variances else empty]
    return out, moved


def _linear(
    layout: Layout, source: int, x: Tensor, weight: Tensor, weights: Weights, given: Given
) -> tuple[Tensor, list[Tensor]]:
    """All linear candidates of the J edges leaving a state: one convolution, [B, J, C', T]."""
    kinds, span, frames = layout.kinds, layout.span(source), x.shape[2]
    u = F.leaky_relu(x, LEAKY_SLOPE)
    own = [[w[span] for w in stack] for stack in weights]
    chosen = torch.stack([weight[:, k] for k, _ in kinds.linear], dim=1)
    if given.running is None:
        shift = u.detach().mean((0, 2))
        shift = processes.average(shift) if layout.synchronised else shift
        padded = F.pad(u, (kinds.reach, kinds.reach)) - shift[:, None]
        folded = Folded.of(Moments.of(kinds, padded, shift, layout.synchronised), own, chosen, layout.eps)
        merged, bias, moved = folded.merged, folded.bias, [s.detach() for s in folded.by_primitive()]
    else:
        padded, moved = F.pad(u, (kinds.reach, kinds.reach)), []
        means, variances = (
            torch.stack([given.running[k][n][span].flatten() for k, _ in kinds.linear], dim=1) for n in (0, 1)
        )
        gains = chosen.repeat_interleave(x.shape[1], dim=0) * (variances + layout.eps).rsqrt()
        kernels = [Kernels.of(primitive, stack) for (_, primitive), stack in zip(kinds.linear, own, strict=True)]
        merged, bias = merge(kinds, kernels, gains), -(gains * means).sum(1)
    out = convolve(padded, merged, [kinds.reach + tap for tap in kinds.taps], frames)
    return (out + bias[:, None]).unflatten(1, (weight.shape[0], x.shape[1])), moved


def _statistics(layout: Layout, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over utterances (first) and frames (last dimension)."""
    mean, variance = processes.mean_and_variance(x, (0, x.dim() - 1), layout.synchronised)
    return mean.squeeze(-1).squeeze(0), variance.squeeze(-1).squeeze(0)


def convolve(padded: Tensor, kernels: Tensor, starts: Sequence[int], frames: int) -> Tensor:
    """Sum over taps of matrix products: padded [B, C', W], kernels [taps, M, C'] -> [B, M, frames]."""
    terms = [
        torch.matmul(kernel, padded[:, :, start : start + frames])
        for kernel, start in zip(kernels, starts, strict=True)
    ]
    return sum(terms[1:], start=terms[0])
