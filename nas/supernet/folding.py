"""The identity behind the folded supernet, on small tensors: statistics of candidates that are never computed.

A linear candidate k of an edge is y = W_k * u, u = LeakyReLU(x), then batch normalisation without affine parameters.
With g_k = a_k / sqrt(var_k + eps) the candidates of an edge sum to ONE convolution,

    sum_k a_k BN_k(W_k * u) = (sum_k g_k W_k) * u - sum_k g_k mean_k.

One output value is w . v, where v are the n C' values that the n taps read; so over all frames

    mean = w . mean(v),     var = w^T cov(v) w,

and cov(v) is shared by all edges leaving a state and all primitives of one dilation (a smaller kernel reads the middle
taps of a larger one). It comes of autocorrelations. The frames of a state are shifted by their mean and padded by the
reach H of the farthest tap on both sides (a padded zero becomes minus the mean),

    p[c, t] = u[c, t] - mean_c,   t = -H ... T + H - 1,   u = 0 outside 0 ... T - 1,

so a convolution of p without padding is that of u with zero padding, minus a constant that batch normalisation takes
out. The sum of p[t + o] p[t + q]^T over ALL t, p being zero beyond its ends, depends on the lag q - o alone; the frames
outside 0 ... T - 1 are few, and are taken off:

    sum over t in 0 ... T - 1 of p[t + o] p[t + q]^T  =  r_{q - o}  -  sum over t outside of p[t + o] p[t + q]^T,
    r_d = sum over t of p[t] p[t + d]^T.

Every function is plain tensor operations that autograd can follow; `Folded.backward` is the same gradient by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

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
    primitives: int
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
            primitives=len(numbered),
            taps=tuple(sorted({tap for _, p in linear for tap in p.offsets})),
            lags=tuple(sorted({abs(q - o) for _, p in linear for o in p.offsets for q in p.offsets})),
        )

    @property
    def reach(self) -> int:
        """H: frames that the farthest tap looks ahead."""
        return max(self.taps, default=0)

    @cached_property
    def widest(self) -> dict[int, Linear]:
        """For each dilation its linear primitive with the largest kernel."""
        return {p.dilation: p for _, p in sorted(self.linear, key=lambda pair: pair[1].kernel)}

    @cached_property
    def planes(self) -> tuple[slice, ...]:
        """Where each linear primitive's taps stand when those of all stand side by side."""
        ends = [sum(p.kernel for _, p in self.linear[: n + 1]) for n in range(len(self.linear))]
        return tuple(slice(end - p.kernel, end) for end, (_, p) in zip(ends, self.linear, strict=True))


@lru_cache(maxsize=64)
def _sorting(kinds: Kinds, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """0-1 matrices: which tap [taps, N] and which linear primitive [linear, N] each of the N planes belongs to."""
    offsets = [offset for _, p in kinds.linear for offset in p.offsets]
    taps = [[float(offset == tap) for offset in offsets] for tap in kinds.taps]
    owners = [[float(s.start <= n < s.stop) for n in range(len(offsets))] for s in kinds.planes]
    return torch.tensor(taps, dtype=dtype, device=device), torch.tensor(owners, dtype=dtype, device=device)


@dataclass(frozen=True)
class Moments:
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
    """The mean that was subtracted, [C']; it has no gradient, because no result depends on it."""
    count: int
    """Frames in all: B * T."""


def autocorrelations(padded: Tensor, lags: Sequence[int]) -> Tensor:
    """r_d = sum over utterances and t of p[t] p[t + d]^T for p [B, C', T] and each lag d: [lags, C', C']."""
    frames = padded.shape[2]
    return torch.stack(
        [torch.matmul(padded[:, :, : frames - lag], padded[:, :, lag:].transpose(1, 2)).sum(0) for lag in lags]
    )


def moments(padded: Tensor, shift: Tensor, kinds: Kinds) -> Moments:
    """Moments of p [B, C', T + 2 H]."""
    reach = kinds.reach
    return Moments(
        autocorrelations=autocorrelations(padded, kinds.lags),
        total=padded.sum((0, 2)),
        head=padded[:, :, : 2 * reach],
        tail=padded[:, :, padded.shape[2] - 2 * reach :],
        shift=shift,
        count=padded.shape[0] * (padded.shape[2] - 2 * reach),
    )


@dataclass(frozen=True)
class Windows:
    """Of the n C' values that a kernel of n taps reads, over all frames; tap by tap, C' channels each."""

    covariance: Tensor
    """[n C', n C']."""
    mean: Tensor
    """[n C']."""
    outside: Tensor
    """The values at the frames outside 0 ... T - 1 that p reaches, [n C', 4 H B]."""


def windows(kinds: Kinds, state: Moments, synchronised: bool) -> tuple[dict[int, Windows], int]:
    """What the widest kernel of each dilation reads, and how many frames that is; of all processes if asked.

    Processes must hold equally many frames and have shifted them by the same mean; head and tail are each one's own.
    """
    lagged = dict(zip(kinds.lags, state.autocorrelations, strict=True))
    # The ends of p side by side, [C', 2 B, 4 H]: output frame t outside, t = -2 H ... -1 and T ... T + 2 H - 1,
    # reads at offset o what stands at H + o and the 2 H - 1 frames after it.
    reach = kinds.reach
    ends = torch.cat([F.pad(state.head, (2 * reach, 0)), F.pad(state.tail, (0, 2 * reach))]).transpose(0, 1)
    grams, sums, outsides = [], [], []
    for dilation, widest in kinds.widest.items():
        n = widest.kernel
        starts = [reach + offset for offset in widest.offsets]
        outside = torch.stack([ends[:, :, start : start + 2 * reach] for start in starts]).flatten(0, 1).flatten(1)
        # From lag -(n - 1) to n - 1: each row of the block Toeplitz matrix is n neighbours of these.
        blocks = [lagged[abs(lag) * dilation] for lag in range(1 - n, n)]
        blocks = [block.t() if lag < 0 else block for lag, block in zip(range(1 - n, n), blocks, strict=True)]
        rows = [torch.cat(blocks[n - 1 - row : 2 * n - 1 - row], dim=1) for row in range(n)]
        grams.append(torch.cat(rows).addmm(outside, outside.t(), alpha=-1))
        sums.append(state.total.repeat(n) - outside.sum(1))
        outsides.append(outside)
    count = state.count
    if synchronised:
        grams, sums = _totals(grams, sums)
        count *= processes.count()
    read = {}
    for dilation, gram, summed, outside in zip(kinds.widest, grams, sums, outsides, strict=True):
        mean = summed / count
        read[dilation] = Windows(torch.addr(gram, mean, mean, beta=1 / count, alpha=-1), mean, outside)
    return read, count


def _totals(matrices: list[Tensor], vectors: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Sums over all processes, in one exchange."""
    tensors = [*matrices, *vectors]
    parts = processes.total(torch.cat([t.flatten() for t in tensors])).split([t.numel() for t in tensors])
    tensors = [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]
    return tensors[: len(matrices)], tensors[len(matrices) :]


def narrowed(kinds: Kinds, primitive: Linear, channels: int) -> tuple[int, slice]:
    """The dilation whose windows hold what a linear primitive reads, and where: the middle taps."""
    taken = (kinds.widest[primitive.dilation].kernel - primitive.kernel) // 2
    return primitive.dilation, slice(taken * channels, (taken + primitive.kernel) * channels)


def dense(kinds: Kinds, weights: Sequence[Sequence[Tensor]]) -> Tensor:
    """The dense kernels of all linear primitives of J edges, side by side: [J C', N, C'] (output, plane, input).

    Args:
        kinds: of the space.
        weights: of each linear primitive, stacked over the edges: [J, C', C', taps], or depthwise [J, C', 1, taps] and
            pointwise [J, C', C', 1].
    """
    parts = []
    for (_, primitive), stack in zip(kinds.linear, weights, strict=True):
        if primitive.depthwise:
            depthwise, pointwise = stack[0].squeeze(2), stack[1].squeeze(3)
            parts.append(depthwise.transpose(1, 2).unsqueeze(1) * pointwise.unsqueeze(2))
        else:
            parts.append(stack[0].transpose(2, 3))
    return torch.cat(parts, dim=2).flatten(0, 1)


def dense_backward(kinds: Kinds, weights: Sequence[Sequence[Tensor]], gradient: Tensor) -> list[Tensor]:
    """Gradients of the weights of `dense`, in their order, from that of its kernels."""
    found = []
    for (_, primitive), planes, stack in zip(kinds.linear, kinds.planes, weights, strict=True):
        part = gradient[:, planes].unflatten(0, (stack[0].shape[0], -1))
        if primitive.depthwise:
            depthwise, pointwise = stack[0].squeeze(2), stack[1].squeeze(3)
            found.append((part * pointwise.unsqueeze(2)).sum(1).transpose(1, 2).unsqueeze(2))
            found.append((part * depthwise.transpose(1, 2).unsqueeze(1)).sum(2).unsqueeze(3))
        else:
            found.append(part.transpose(2, 3))
    return found


def merge(kinds: Kinds, kernels: Tensor, gains: Tensor) -> Tensor:
    """One kernel per edge out of all linear candidates: kernels [M, N, C'], gains [M, linear] -> [M, taps, C']."""
    return torch.bmm(_shares(kinds, gains), kernels)


def _shares(kinds: Kinds, gains: Tensor) -> Tensor:
    """What each plane gives to each tap of the merged kernel: gains [M, linear] -> [M, taps, N]."""
    taps, owners = _sorting(kinds, gains.dtype, gains.device)
    return taps * (gains @ owners).unsqueeze(1)


@dataclass(frozen=True)
class Folded:
    """The linear candidates of the J edges that leave one state, as one convolution; M = J C'."""

    kinds: Kinds
    kernels: Tensor
    """Dense kernels of the candidates, [M, N, C']."""
    read: dict[int, Windows]
    count: int
    images: tuple[Tensor, ...]
    """Covariance times kernel, of each primitive [M, n C']."""
    mean: Tensor
    """Of the outputs on u, [M, linear]."""
    variance: Tensor
    """Biased, [M, linear]."""
    offset: Tensor
    """Mean of the outputs on p, [M, linear]."""
    roots: Tensor
    """1 / sqrt(var + eps), [M, linear]."""
    gains: Tensor
    """[M, linear]."""
    merged: Tensor
    """[M, taps, C']."""
    bias: Tensor
    """[M]."""

    @classmethod
    def of(
        cls, kinds: Kinds, state: Moments, kernels: Tensor, weight: Tensor, eps: float, synchronised: bool
    ) -> Folded:
        """Fold.

        Args:
            kinds: of the space.
            state: moments of the state.
            kernels: [M, N, C'], of `dense`.
            weight: b * a of each linear primitive at each edge, [J, linear].
            eps: of batch normalisation.
            synchronised: whether statistics are those of all processes' utterances.
        """
        channels = kernels.shape[2]
        read, count = windows(kinds, state, synchronised)
        images, variances, means = [], [], []
        for (_, primitive), planes in zip(kinds.linear, kinds.planes, strict=True):
            dilation, part = narrowed(kinds, primitive, channels)
            kernel, window = kernels[:, planes].flatten(1), read[dilation]
            image = kernel @ window.covariance[part, part]
            mean = window.mean[part]
            images.append(image)
            variances.append((image * kernel).sum(1))
            means.append(kernel @ torch.stack([mean, mean + state.shift.repeat(primitive.kernel)], dim=1))
        variance = torch.stack(variances, dim=1).clamp_min(0)
        offset, mean = torch.stack(means, dim=1).unbind(2)
        roots = (variance + eps).rsqrt()
        gains = weight.repeat_interleave(channels, dim=0) * roots
        return cls(
            kinds, kernels, read, count, tuple(images), mean, variance, offset, roots, gains,
            merge(kinds, kernels, gains), -(gains * offset).sum(1),
        )  # fmt: skip

    def by_primitive(self) -> list[Tensor]:
        """Mean and variance of each linear primitive in turn, [J, C'] each."""
        pair = torch.stack([self.mean.t(), self.variance.t()], dim=1).contiguous()
        return list(pair.unflatten(2, (-1, self.kernels.shape[2])).flatten(0, 1).unbind())

    def backward(
        self, merged: Tensor, bias: Tensor, weights: bool, state: bool, synchronised: bool
    ) -> tuple[Tensor, Tensor | None, list[Tensor] | None]:
        """From the gradients of `merged` and `bias` those of `weight` and, as asked, of `kernels` and of the state.

        Returns:
            [J, linear]; [M, N, C'] or None; None or those of autocorrelations, total, head and tail.
        """
        kinds, kernels, gains = self.kinds, self.kernels, self.gains
        channels = kernels.shape[2]
        taps, owners = _sorting(kinds, kernels.dtype, kernels.device)
        by_plane = torch.bmm(merged, kernels.transpose(1, 2)) * taps
        dgains = by_plane.sum(1) @ owners.t() - bias[:, None] * self.offset
        doffset = -gains * bias[:, None]
        # A variance that was clamped has no gradient.
        dvariance = -0.5 * dgains * gains * self.roots.square() * (self.variance > 0)
        dweight = (dgains * self.roots).unflatten(0, (-1, channels)).sum(1)
        dkernels = torch.bmm(_shares(kinds, gains).transpose(1, 2), merged) if weights else None
        dread = {d: (torch.zeros_like(w.covariance), torch.zeros_like(w.mean)) for d, w in self.read.items()}
        for n, ((_, primitive), planes) in enumerate(zip(kinds.linear, kinds.planes, strict=True)):
            dilation, part = narrowed(kinds, primitive, channels)
            kernel, slope = kernels[:, planes].flatten(1), dvariance[:, n, None]
            if dkernels is not None:
                own = dkernels[:, planes]
                own.addcmul_(self.images[n].view_as(own), 2 * slope.unsqueeze(2))
                own.addcmul_(self.read[dilation].mean[part].view(1, -1, channels), doffset[:, n, None, None])
            if state:
                dcovariance, dmean = dread[dilation]
                dcovariance[part, part].addmm_(kernel.t(), slope * kernel)
                dmean[part].addmv_(kernel.t(), doffset[:, n])
        return dweight, dkernels, self._state_backward(dread, synchronised) if state else None

    def _state_backward(self, dread: dict[int, tuple[Tensor, Tensor]], synchronised: bool) -> list[Tensor]:
        """Gradients of autocorrelations, total, head and tail from those of covariances and means."""
        kinds, reach, channels = self.kinds, self.kinds.reach, self.kernels.shape[2]
        grams, sums = [], []
        for (dcovariance, dmean), window in zip(dread.values(), self.read.values(), strict=True):
            # Both are symmetric: cov = gram / count - mean mean^T.
            sums.append(torch.addmv(dmean, dcovariance, window.mean, alpha=-2) / self.count)
            grams.append(dcovariance / self.count)
        if synchronised:
            grams, sums = _totals(grams, sums)
        lagged: dict[int, list[Tensor]] = {lag: [] for lag in kinds.lags}
        utterances = next(iter(self.read.values())).outside.shape[1] // max(2 * reach, 1)
        ends = grams[0].new_zeros(channels, utterances, 4 * reach)
        total = torch.zeros_like(sums[0][:channels])
        for (dilation, widest), gram, summed in zip(kinds.widest.items(), grams, sums, strict=True):
            blocks = gram.view(widest.kernel, channels, widest.kernel, channels)
            for n in range(widest.kernel):
                block = torch.diagonal(blocks, n, 0, 2).sum(2)
                lagged[n * dilation].append(2 * block if n else block)
            total += summed.view(-1, channels).sum(0)
            outside = -torch.addmm(summed[:, None], gram, self.read[dilation].outside, alpha=2)
            parts = outside.view(widest.kernel, channels, utterances, 2 * reach)
            for offset, part in zip(widest.offsets, parts, strict=True):
                ends[:, :, reach + offset : 3 * reach + offset] += part
        head, tail = ends.transpose(0, 1).chunk(2)
        correlations = torch.stack([sum(terms[1:], start=terms[0]) for terms in lagged.values()])
        return [correlations, total, head[:, :, 2 * reach :], tail[:, :, : 2 * reach]]
