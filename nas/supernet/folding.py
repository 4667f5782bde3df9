"""The identity behind the folded supernet, on small tensors: statistics of candidates that are never computed.

A linear candidate k of an edge is y = W_k * u, u = LeakyReLU(x), then batch normalisation without affine parameters.
With g_k = a_k / sqrt(var_k + eps) the candidates of an edge sum to ONE convolution,

    sum_k a_k BN_k(W_k * u) = (sum_k g_k W_k) * u - sum_k g_k mean_k,

and mean_k, var_k follow from the autocorrelations of u, which all edges leaving a state share. Taps are offsets in
frames; `reach` H is the largest of them.

The frames of a state are shifted by their mean and padded by H on both sides (a padded zero becomes minus the mean),

    p[c, t] = u[c, t] - mean_c,   t = -H ... T + H - 1,   u = 0 outside 0 ... T - 1,

so a convolution of p without padding is that of u with zero padding, minus a constant that batch normalisation takes
out. The sum of squares of y over ALL frames, p being zero beyond its ends, needs only lags; the frames outside
0 ... T - 1 are few, are computed, and are taken off:

    sum over t in 0 ... T - 1 of y[t]^2  =  sum over taps o, q of  W_o r_{q - o} W_q^T  -  sum over t outside of y[t]^2,
    r_d = sum over t of p[t] p[t + d]^T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from nas import processes
from nas.space import Computed, Identity, Linear, Pool, SearchSpace


@dataclass(frozen=True)
class Kinds:
    """The primitives of a space sorted by kind (indices into `space.primitives`), and what the linear ones need."""

    linear: tuple[tuple[int, Linear], ...]
    pools: tuple[tuple[int, Pool], ...]
    identity: tuple[int, ...]
    computed: tuple[int, ...]
    taps: tuple[int, ...]
    """Offsets in frames that some linear primitive reads, rising, e.g. (-4, -2, -1, 0, 1, 2, 4)."""
    lags: tuple[int, ...]
    """Differences between two taps of one primitive, from 0, rising, e.g. (0, 1, 2, 3, 4, 6, 8)."""

    @classmethod
    def of(cls, space: SearchSpace) -> Kinds:
        numbered = list(enumerate(space.primitives))
        linear = tuple((k, p) for k, p in numbered if isinstance(p, Linear))
        return cls(
            linear=linear,
            pools=tuple((k, p) for k, p in numbered if isinstance(p, Pool)),
            identity=tuple(k for k, p in numbered if isinstance(p, Identity)),
            computed=tuple(k for k, p in numbered if isinstance(p, Computed)),
            taps=tuple(sorted({tap for _, p in linear for tap in p.offsets})),
            lags=tuple(sorted({abs(q - o) for _, p in linear for o in p.offsets for q in p.offsets})),
        )

    @property
    def reach(self) -> int:
        """H: frames that the farthest tap looks ahead."""
        return max(self.taps, default=0)


@dataclass(frozen=True)
class StateMoments:
    """What the statistics of every linear candidate that leaves a state are made of."""

    autocorrelations: Tensor
    """r_d for each lag of `Kinds.lags`, [lags, C', C']."""
    total: Tensor
    """Sum of p over utterances and frames, [C']."""
    head: Tensor
    """The first 2 H frames of p, [B, C', 2 H]."""
    tail: Tensor
    """The last 2 H frames of p, [B, C', 2 H]."""
    shift: Tensor
    """The mean that was subtracted, [C']."""
    count: int
    """Frames in all: B * T."""
    synchronised: bool = False
    """Whether sums and count are those of all processes; head and tail never are."""

    def across_processes(self) -> StateMoments:
        """The moments of all processes' utterances together, where all have shifted by the same mean."""
        sums = processes.total(torch.cat([self.autocorrelations.flatten(), self.total]))
        correlations, total = sums.split([self.autocorrelations.numel(), self.total.numel()])
        return replace(
            self,
            autocorrelations=correlations.view_as(self.autocorrelations),
            total=total,
            count=self.count * processes.count(),
            synchronised=True,
        )


def autocorrelations(padded: Tensor, lags: Sequence[int]) -> Tensor:
    """r_d = sum over utterances and t of p[t] p[t + d]^T for p [B, C', T] and each lag d: [lags, C', C']."""
    frames = padded.shape[2]
    return torch.stack(
        [torch.matmul(padded[:, :, : frames - lag], padded[:, :, lag:].transpose(1, 2)).sum(0) for lag in lags]
    )


def moments(padded: Tensor, shift: Tensor, kinds: Kinds) -> StateMoments:
    """Moments of p [B, C', T + 2 H]."""
    reach = kinds.reach
    return StateMoments(
        autocorrelations=autocorrelations(padded, kinds.lags),
        total=padded.sum((0, 2)),
        head=padded[:, :, : 2 * reach],
        tail=padded[:, :, padded.shape[2] - 2 * reach :],
        shift=shift,
        count=padded.shape[0] * (padded.shape[2] - 2 * reach),
    )


@dataclass(frozen=True)
class Statistics:
    """Mean (of the output on u) and biased variance per edge and channel, [J, C'] each; `offset` is the mean on p."""

    mean: Tensor
    variance: Tensor
    offset: Tensor


def by_tap(primitive: Linear, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Weights of J edges with the taps first, contiguous: dense [taps, J, C', C'], or depthwise [taps, J, C'] and
    pointwise [J, C', C']."""
    if primitive.depthwise:
        return weights[0].squeeze(2).permute(2, 0, 1).contiguous(), weights[1].squeeze(3)
    return (weights[0].permute(3, 0, 1, 2).contiguous(),)


def output_statistics(primitive: Linear, taps: Sequence[Tensor], state: StateMoments, kinds: Kinds) -> Statistics:
    """Statistics of a linear candidate of J edges that leave one state.

    Args:
        primitive: the candidate.
        taps: its weights, `by_tap`.
        state: moments of the state.
        kinds: of the space.
    """
    lagged = dict(zip(kinds.lags, state.autocorrelations, strict=True))
    count, half = len(primitive.offsets), primitive.kernel // 2
    # Pairs of taps that are n taps apart share a lag; the pairs (o, q) and (q, o) contribute the same.
    if primitive.depthwise:
        # The covariance of what the depthwise convolution gives, D r D^T, is made by elementwise products alone.
        depthwise, pointwise = taps
        inner: Tensor | None = None
        for n in range(count):
            pairs = torch.einsum("tjc,tjd->jcd", depthwise[: count - n], depthwise[n:])
            term = pairs * lagged[n * primitive.dilation]
            # Only the diagonal of P (.) P^T is wanted, where a matrix and its transpose count alike.
            term = 2 * term if n else term
            inner = term if inner is None else inner + term
        assert inner is not None
        square = ((pointwise @ inner) * pointwise).sum(2)
        summed = pointwise * depthwise.sum(0).unsqueeze(1)
    else:
        kernel = taps[0]
        terms = []
        for n in range(count):
            through = kernel[: count - n].flatten(0, 2) @ lagged[n * primitive.dilation]
            term = (through.view_as(kernel[n:]) * kernel[n:]).sum((0, 3))
            terms.append(2 * term if n else term)
        square = sum(terms[1:], start=terms[0])
        summed = kernel.sum(0)
    outside = _outside(primitive, taps, state, kinds.reach, half * primitive.dilation)
    around = torch.stack([outside.sum((0, 3)), outside.square().sum((0, 3))])
    around = processes.total(around) if state.synchronised else around
    offset = (summed @ state.total - around[0]) / state.count
    square = square - around[1]
    variance = (square / state.count - offset.square()).clamp_min(0)
    return Statistics(mean=offset + summed @ state.shift, variance=variance, offset=offset)


def _outside(primitive: Linear, taps: Sequence[Tensor], state: StateMoments, reach: int, half: int) -> Tensor:
    """Outputs at the frames before 0 and after T - 1 that p reaches, [2 B, J, C', H + h], h the primitive's reach."""
    kept = reach + half
    before = F.pad(state.head, (2 * half, 0))[:, :, : kept + 2 * half]
    after = F.pad(state.tail, (0, 2 * half))[:, :, 2 * reach - kept :]
    return apply_taps(primitive, taps, torch.cat([before, after]), kept)


def apply_taps(primitive: Linear, taps: Sequence[Tensor], padded: Tensor, frames: int) -> Tensor:
    """The candidate's convolution itself on [B, C', frames + 2 h], for J edges: [B, J, C', frames]."""
    windows = [padded[:, :, n * primitive.dilation :][:, :, :frames] for n in range(primitive.kernel)]
    if primitive.depthwise:
        depthwise, pointwise = taps
        terms = [depthwise[n][:, :, None] * window.unsqueeze(1) for n, window in enumerate(windows)]
        return torch.matmul(pointwise, sum(terms[1:], start=terms[0]))
    kernel = taps[0]
    flat = kernel.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)
    return torch.matmul(flat, torch.cat(windows, dim=1)).unflatten(1, tuple(kernel.shape[1:3]))


def merge(kinds: Kinds, taps: Sequence[Sequence[Tensor]], gains: Sequence[Tensor]) -> Tensor:
    """One kernel per edge out of all linear candidates, tap by tap: [taps, J, C', C'].

    Args:
        kinds: of the space.
        taps: weights of each linear primitive, `by_tap`.
        gains: g_k of each, [J, C'].
    """
    planes: dict[int, list[Tensor]] = {tap: [] for tap in kinds.taps}
    for (_, primitive), stack, gain in zip(kinds.linear, taps, gains, strict=True):
        scaled = stack[-1] * gain[:, :, None]
        for n, offset in enumerate(primitive.offsets):
            planes[offset].append(scaled * stack[0][n].unsqueeze(1) if primitive.depthwise else scaled[n])
    return torch.stack([sum(terms[1:], start=terms[0]) for terms in planes.values()])


def fold_edges(
    kinds: Kinds,
    state: StateMoments,
    weights: Sequence[Sequence[Tensor]],
    a: Tensor,
    b: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Everything that the J edges leaving one state need once its moments are known.

    Args:
        kinds: of the space.
        state: moments of the state.
        weights: of each linear primitive, stacked over the edges: [J, C', C', taps], or depthwise [J, C', 1, taps] and
            pointwise [J, C', C', 1].
        a: weights of the primitives, [J, K].
        b: weights of the edges, [J].
        eps: of batch normalisation.

    Returns:
        Merged kernels [taps, J, C', C'] and biases [J, C'] of the convolutions; weights b * a of the identity and of
        each pool, [J, 1 + pools]; and per linear primitive the mean and the variance of its outputs, [J, C'] each.
    """
    weight = a * b[:, None]
    identity = weight[:, list(kinds.identity)].sum(1, keepdim=True)
    scales = torch.cat([identity, weight[:, [k for k, _ in kinds.pools]]], dim=1)
    empty = state.shift.new_zeros(0)
    if not kinds.linear:
        return empty, empty, scales, []
    taps, gains, moved = [], [], []
    bias: Tensor = state.shift.new_zeros(1)
    for (k, primitive), stack in zip(kinds.linear, weights, strict=True):
        taps.append(by_tap(primitive, stack))
        statistics = output_statistics(primitive, taps[-1], state, kinds)
        gain = weight[:, k, None] * (statistics.variance + eps).rsqrt()
        bias = bias - gain * statistics.offset
        gains.append(gain)
        moved += [statistics.mean, statistics.variance]
    return merge(kinds, taps, gains), bias, scales, moved
