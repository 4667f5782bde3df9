"""The identity behind the folded supernet, on small tensors: statistics of candidates that are never computed.

A linear candidate k of an edge is y = W_k * u, u = LeakyReLU(x), then batch normalisation without affine parameters.
With g_k = a_k / sqrt(var_k + eps) the candidates of an edge sum to ONE convolution,

    sum_k a_k BN_k(W_k * u) = (sum_k g_k W_k) * u - sum_k g_k mean_k.

One output value is w . v, where v are the values that it reads; so over all frames

    mean = w . mean(v),     var = w^T cov(v) w.

For a dense kernel of n taps v are n C' values, and cov(v) is shared by all edges leaving a state and all primitives of
one dilation (a smaller kernel reads the middle taps of a larger one). For a depthwise kernel d followed by a pointwise
one v are the C' values between the two, whose covariance is that of the state weighted by products of two taps of d.
Both come of autocorrelations. The frames of a state are shifted by their mean and padded by the reach H of the farthest
tap on both sides (a padded zero becomes minus the mean),

    p[c, t] = u[c, t] - mean_c,   t = -H ... T + H - 1,   u = 0 outside 0 ... T - 1,

so a convolution of p without padding is that of u with zero padding, minus a constant that batch normalisation takes
out. The sum of p[t + o] p[t + q]^T over ALL t, p being zero beyond its ends, depends on the lag q - o alone; the frames
outside 0 ... T - 1 are few, and are taken off:

    sum over t in 0 ... T - 1 of p[t + o] p[t + q]^T  =  r_{q - o}  -  sum over t outside of p[t + o] p[t + q]^T,
    r_d = sum over t of p[t] p[t + d]^T.

Every function is plain tensor operations that autograd can follow; each `backward` is the same gradient by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.space import Linear
from nas.supernet.moments import Gradients, Kinds, Moments


@dataclass(frozen=True)
class Windows:
    """The n C' values that a dense kernel of n taps reads, over all frames; tap by tap, C' channels each."""

    state: Moments
    primitive: Linear
    covariance: Tensor
    """[1, n C', n C']."""
    mean: Tensor
    """[1, n C']."""
    outside: Tensor
    """The values at the frames outside 0 ... T - 1, [n C', 4 H B]."""

    @classmethod
    def of(cls, state: Moments, primitive: Linear) -> Windows:
        n, count = primitive.kernel, state.count
        outside = state.outside(primitive.offsets).flatten(0, 1)
        # Each row of the block Toeplitz matrix is n neighbours of these.
        blocks = state.lagged(primitive)
        rows = [torch.cat(blocks[n - 1 - row : 2 * n - 1 - row], dim=1) for row in range(n)]
        gram = torch.cat(rows).addmm(outside, outside.t(), alpha=-1)
        mean = (state.total.repeat(n) - outside.sum(1)) / count
        covariance = torch.addr(gram, mean, mean, beta=1 / count, alpha=-1)
        return cls(state, primitive, covariance.unsqueeze(0), mean.unsqueeze(0), outside)

    def narrowed(self, primitive: Linear) -> Windows:
        """Of a smaller kernel of this dilation: the middle taps."""
        channels = self.state.channels
        taken = (self.primitive.kernel - primitive.kernel) // 2
        part = slice(taken * channels, (taken + primitive.kernel) * channels)
        return Windows(
            self.state, primitive, self.covariance[:, part, part], self.mean[:, part], self.outside[part]
        )  # fmt: skip

    @property
    def shift(self) -> Tensor:
        """What the mean is on u more than on p, [1, n C']."""
        return self.state.shift.repeat(1, self.primitive.kernel)

    def backward(self, covariance: Tensor, mean: Tensor, to: Gradients | None, weights: bool) -> None:
        """Gradients of the state from those of covariance (symmetric) and mean."""
        if to is None:
            return
        # cov = gram / count - mean mean^T, mean = sum / count.
        n, count, channels = self.primitive.kernel, self.state.count, self.state.channels
        summed = torch.addmv(mean[0], covariance[0], self.mean[0], alpha=-2) / count
        gram = covariance[0] / count
        blocks = gram.view(n, channels, n, channels)
        to.add_lagged(self.primitive, [torch.diagonal(blocks, lag, 0, 2).sum(2) for lag in range(n)])
        to.total += summed.view(n, channels).sum(0)
        outside = -torch.addmm(summed[:, None], gram, self.outside, alpha=2)
        to.add_outside(self.primitive.offsets, outside.view(n, channels, -1))


@dataclass(frozen=True)
class Between:
    """The C' values between the depthwise and the pointwise convolution of J edges, over all frames."""

    state: Moments
    primitive: Linear
    depthwise: Tensor
    """[J, C', n]."""
    covariance: Tensor
    """[J, C', C']."""
    mean: Tensor
    """[J, C']."""
    outside: Tensor
    """The values at the frames outside 0 ... T - 1, [J, C', 4 H B]."""

    @classmethod
    def of(cls, state: Moments, primitive: Linear, depthwise: Tensor) -> Between:
        read = state.outside(primitive.offsets)
        outside = (depthwise.movedim(2, 1).unsqueeze(3) * read).sum(1)
        products = torch.matmul(depthwise, _shifted(depthwise).transpose(2, 3))
        lagged = (products * torch.stack(state.lagged(primitive)).unsqueeze(1)).sum(0)
        gram = torch.baddbmm(lagged, outside, outside.transpose(1, 2), alpha=-1)
        mean = (depthwise.sum(2) * state.total - outside.sum(2)) / state.count
        covariance = gram / state.count - mean.unsqueeze(2) * mean.unsqueeze(1)
        return cls(state, primitive, depthwise, covariance, mean, outside)

    @property
    def shift(self) -> Tensor:
        """What the mean is on u more than on p, [J, C']."""
        return self.depthwise.sum(2) * self.state.shift

    def backward(self, covariance: Tensor, mean: Tensor, to: Gradients | None, weights: bool) -> Tensor | None:
        """Gradients of the state and, as asked, of the depthwise kernels from those of covariance (symmetric) and
        mean."""
        n, count, d = self.primitive.kernel, self.state.count, self.depthwise
        summed = torch.baddbmm(mean.unsqueeze(2), covariance, self.mean.unsqueeze(2), alpha=-2) / count
        gram = covariance / count
        outside = -torch.baddbmm(summed, gram, self.outside, alpha=2)
        if to is not None:
            products = torch.matmul(d, _shifted(d)[n - 1 :].transpose(2, 3))
            to.add_lagged(self.primitive, (gram * products).sum(1).unbind())
            to.total += (summed.squeeze(2) * d.sum(2)).sum(0)
            to.add_outside(self.primitive.offsets, (d.movedim(2, 0).unsqueeze(3) * outside).sum(1))
        if not weights:
            return None
        read = self.state.outside(self.primitive.offsets)
        own = (outside.unsqueeze(1) * read).sum(3).transpose(1, 2) + summed * self.state.total[:, None]
        lagged = gram * torch.stack(self.state.lagged(self.primitive)).unsqueeze(1)
        return own.add_(torch.matmul(lagged, _shifted(d)).sum(0), alpha=2)


def _shifted(depthwise: Tensor) -> Tensor:
    """d[j, c, o + lag], zero where there is no such tap, for lags from 1 - n to n - 1: [2 n - 1, J, C', n]."""
    taps = depthwise.shape[2]
    return F.pad(depthwise, (taps - 1, taps - 1)).unfold(2, taps, 1).movedim(2, 0)


Stack = Sequence[Tensor]
"""A linear primitive's weights at J edges: [J, C', C', n], or depthwise [J, C', 1, n] and pointwise [J, C', C', 1]."""


@dataclass(frozen=True)
class Kernels:
    """The weights of one linear primitive at J edges, as they are multiplied."""

    primitive: Linear
    rows: Tensor
    """What the outputs are products of: dense kernels [1, J C', n C'], tap by tap; or pointwise [J, C', C']."""
    depthwise: Tensor | None
    """[J, C', n]."""

    @classmethod
    def of(cls, primitive: Linear, stack: Stack) -> Kernels:
        if primitive.depthwise:
            return cls(primitive, stack[1].squeeze(3), stack[0].squeeze(2))
        return cls(primitive, stack[0].transpose(2, 3).flatten(2).flatten(0, 1).unsqueeze(0), None)

    def scaled(self, gain: Tensor) -> list[Tensor]:
        """Per tap the dense kernels times gain [J C'], [J C', C']."""
        if self.depthwise is None:
            planes = self.rows.view(gain.shape[0], self.primitive.kernel, -1)
            return [gain[:, None] * plane for plane in planes.unbind(1)]
        rows = gain.view(self.rows.shape[0], -1, 1) * self.rows
        return [(rows * tap.unsqueeze(1)).flatten(0, 1) for tap in self.depthwise.unbind(2)]

    def backward(self, gradients: list[Tensor], gain: Tensor, weights: bool) -> tuple[Tensor, list[Tensor]]:
        """Gradients of gain and, if asked, of rows and depthwise, from those of `scaled`."""
        if self.depthwise is None:
            found = torch.stack(gradients, dim=1).view_as(self.rows)
            dgain = (found * self.rows).sum(2).flatten()
            return dgain, [found.mul_(gain[:, None])] if weights else []
        parts = [gradient.view_as(self.rows) for gradient in gradients]
        found = torch.zeros_like(self.rows)
        for part, tap in zip(parts, self.depthwise.unbind(2), strict=True):
            found.addcmul_(part, tap.unsqueeze(1))
        dgain = (found * self.rows).sum(2).flatten()
        if not weights:
            return dgain, []
        scale = gain.view(self.rows.shape[0], -1, 1)
        rows = scale * self.rows
        return dgain, [found.mul_(scale), torch.stack([(part * rows).sum(1) for part in parts], dim=2)]

    def stacked(self, gradients: list[Tensor]) -> list[Tensor]:
        """Gradients of rows and depthwise as those of the weights they come from, a `Stack`."""
        if self.depthwise is None:
            channels = self.rows.shape[2] // self.primitive.kernel
            return [gradients[0].view(-1, channels, self.primitive.kernel, channels).transpose(2, 3)]
        return [gradients[1].unsqueeze(2), gradients[0].unsqueeze(3)]


def merge(kinds: Kinds, kernels: Sequence[Kernels], gains: Tensor) -> Tensor:
    """One kernel per edge out of all linear candidates: gains [J C', linear] -> [taps, J C', C']."""
    terms: dict[int, list[Tensor]] = {tap: [] for tap in kinds.taps}
    for own, gain in zip(kernels, gains.unbind(1), strict=True):
        for offset, term in zip(own.primitive.offsets, own.scaled(gain), strict=True):
            terms[offset].append(term)
    return torch.stack([sum(parts[1:], start=parts[0]) for parts in terms.values()])


@dataclass(frozen=True)
class Folded:
    """The linear candidates of the J edges that leave one state, as one convolution; M = J C'."""

    state: Moments
    kernels: tuple[Kernels, ...]
    read: tuple[Windows | Between, ...]
    """What the rows of each primitive's kernels read."""
    images: tuple[Tensor, ...]
    """The rows times the covariance of what they read."""
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
    """[taps, M, C']."""
    bias: Tensor
    """[M]."""

    @classmethod
    def of(cls, state: Moments, weights: Sequence[Stack], weight: Tensor, eps: float) -> Folded:
        """Fold.

        Args:
            state: moments of the state.
            weights: of each linear primitive at the J edges.
            weight: b * a of each linear primitive at each edge, [J, linear].
            eps: of batch normalisation.
        """
        kinds = state.kinds
        windows = {dilation: Windows.of(state, widest) for dilation, widest in kinds.widest.items()}
        kernels, read, images, variances, means = [], [], [], [], []
        for (_, primitive), stack in zip(kinds.linear, weights, strict=True):
            own = Kernels.of(primitive, stack)
            if own.depthwise is None:
                reads: Windows | Between = windows[primitive.dilation].narrowed(primitive)
            else:
                reads = Between.of(state, primitive, own.depthwise)
            image = torch.bmm(own.rows, reads.covariance)
            pair = torch.stack([reads.mean, reads.mean + reads.shift], dim=2)
            kernels.append(own)
            read.append(reads)
            images.append(image)
            variances.append((image * own.rows).sum(2).flatten())
            means.append(torch.bmm(own.rows, pair).flatten(0, 1))
        variance = torch.stack(variances, dim=1).clamp_min(0)
        offset, mean = torch.stack(means, dim=1).unbind(2)
        roots = (variance + eps).rsqrt()
        gains = weight.repeat_interleave(state.channels, dim=0) * roots
        return cls(
            state, tuple(kernels), tuple(read), tuple(images), mean, variance, offset, roots, gains,
            merge(kinds, kernels, gains), -(gains * offset).sum(1),
        )  # fmt: skip

    def by_primitive(self) -> list[Tensor]:
        """Mean and variance of each linear primitive in turn, [J, C'] each."""
        pair = torch.stack([self.mean.t(), self.variance.t()], dim=1).contiguous()
        return list(pair.unflatten(2, (-1, self.state.channels)).flatten(0, 1).unbind())

    def backward(
        self, merged: Tensor, bias: Tensor, weights: bool, state: bool
    ) -> tuple[Tensor, list[Tensor], Gradients | None]:
        """From the gradients of `merged` and `bias` those of `weight` and, as asked, of the weights and of the state.

        Returns:
            [J, linear]; those of all weights in their order, or none; those of the state's moments, or None.
        """
        by_tap = dict(zip(self.state.kinds.taps, merged, strict=True))
        to = Gradients(self.state) if state else None
        doffset = -self.gains * bias[:, None]
        dweight, dweights = [], list[Tensor]()
        for n, (own, read, image) in enumerate(zip(self.kernels, self.read, self.images, strict=True)):
            gain, root = self.gains[:, n], self.roots[:, n]
            dgain, drows = own.backward([by_tap[offset] for offset in own.primitive.offsets], gain, weights)
            dgain = dgain - bias * self.offset[:, n]
            dweight.append((dgain * root).view(-1, self.state.channels).sum(1))
            # A variance that was clamped has no gradient.
            slope = -0.5 * dgain * gain * root.square() * (self.variance[:, n] > 0)
            dvariance, dmean = slope.view(own.rows.shape[0], -1, 1), doffset[:, n].reshape(own.rows.shape[0], -1, 1)
            if drows:
                drows[0].addcmul_(image, 2 * dvariance).addcmul_(read.mean.unsqueeze(1), dmean)
            columns = own.rows.transpose(1, 2)
            covariance = torch.bmm(columns, dvariance * own.rows)
            ddepthwise = read.backward(covariance, torch.bmm(columns, dmean).squeeze(2), to, weights)
            if ddepthwise is not None:
                drows[1] += ddepthwise
            dweights += own.stacked(drows) if weights else []
        return torch.stack(dweight, dim=1), dweights, to
