"""The elementwise work of a folded cell, one function a pass over memory, forward and by hand backward.

Everything here is small arithmetic on large tensors [B, C', T]: what is left once the candidates are folded into matrix
products. Written as plain functions of tensors so that `torch.compile` can fuse each into one or two loops.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.space import LEAKY_SLOPE, Pool


def pool(x: Tensor, primitive: Pool) -> Tensor:
    """Pooling with stride 1 of x [B, C, T] as a running maximum or sum of shifts; padding takes no part."""
    half, frames = primitive.kernel // 2, x.shape[2]
    padded = F.pad(x, (half, half), value=-torch.inf if primitive.kind == "max" else 0.0)
    out = padded[:, :, :frames]
    for shift in range(1, primitive.kernel):
        shifted = padded[:, :, shift : shift + frames]
        out = torch.maximum(out, shifted) if primitive.kind == "max" else out + shifted
    return out if primitive.kind == "max" else out * _inverse_width(x, primitive)


def pool_backward(gradient: Tensor, x: Tensor, pooled: Tensor, primitive: Pool) -> Tensor:
    """Gradient of `pool` with respect to x. Of equal maxima the first takes it all, as in `torch.max_pool1d`."""
    half, frames = primitive.kernel // 2, x.shape[2]
    if primitive.kind == "average":
        spread = F.pad(gradient * _inverse_width(x, primitive), (half, half))
        out = spread[:, :, :frames]
        for shift in range(1, primitive.kernel):
            out = out + spread[:, :, shift : shift + frames]
        return out
    # Frame t was read at window position p by the output t + half - p; it won there if no earlier position equals.
    xs = F.pad(x, (2 * half, 2 * half), value=-torch.inf)
    outs = F.pad(pooled, (half, half), value=torch.inf)
    gradients = F.pad(gradient, (half, half))
    total: Tensor | None = None
    for position in range(primitive.kernel):
        start = 2 * half - position
        won = x == outs[:, :, start : start + frames]
        for earlier in range(position):
            first = 2 * half - position + earlier
            won = won & (xs[:, :, first : first + frames] != outs[:, :, start : start + frames])
        term = torch.where(won, gradients[:, :, start : start + frames], 0.0)
        total = term if total is None else total + term
    assert total is not None
    return total


def _inverse_width(x: Tensor, primitive: Pool) -> Tensor:
    """One over the frames that each window holds, [T]: fewer at the two ends."""
    half, frames = primitive.kernel // 2, x.shape[2]
    t = torch.arange(frames, device=x.device)
    width = torch.clamp(t + half, max=frames - 1) - torch.clamp(t - half, min=0) + 1
    return 1.0 / width.to(x.dtype)


def prepare(x: Tensor, pools: Sequence[Pool], reach: int, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What a state gives before its statistics are known.

    Args:
        x: active channels [B, C', T].
        pools: the pool primitives.
        reach: H.
        eps: of batch normalisation.

    Returns:
        p with H more zeros on both sides, [B, C', T + 4 H] (`folding.py`); x and its normalised pools
        [B, 1 + pools, C', T]; the mean of LeakyReLU(x) [C']; mean and variance of the pools [pools, C'].
    """
    u = F.leaky_relu(x, LEAKY_SLOPE)
    shift = u.mean((0, 2))
    padded = F.pad(F.pad(u, (reach, reach)) - shift[:, None], (reach, reach))
    rows, means, variances = [x], [], []
    for primitive in pools:
        pooled = pool(x, primitive)
        mean = pooled.mean((0, 2))
        centred = pooled - mean[:, None]
        variance = centred.square().mean((0, 2))
        rows.append(centred * (variance + eps).rsqrt()[:, None])
        means.append(mean)
        variances.append(variance)
    empty = x.new_zeros(0, x.shape[1])
    return (
        padded,
        torch.stack(rows, dim=1),
        shift,
        torch.stack(means) if means else empty,
        torch.stack(variances) if variances else empty,
    )


def project(
    x: Tensor, gradients: Tensor, pools: Sequence[Pool], means: Tensor, scales: Tensor
) -> tuple[Tensor, Tensor]:
    """Inner products, channel by channel, of the targets' gradients with a state and its normalised pools.

    Args:
        x: active channels [B, C', T].
        gradients: of the J targets, [B, J, C', T].
        means, scales: of the pools, [pools, C']; the scale is one over the standard deviation.

    Returns:
        [J, 1 + pools, C'], and the gradients' sums [J, C'].
    """
    rows = [x]
    for n, primitive in enumerate(pools):
        rows.append((pool(x, primitive) - means[n][:, None]) * scales[n][:, None])
    products = torch.stack([(gradients * row.unsqueeze(1)).sum((0, 3)) for row in rows], dim=1)
    return products, gradients.sum((0, 3))


def collect(
    x: Tensor,
    du: Tensor,
    gradients: Tensor,
    weights: Tensor,
    products: Tensor,
    sums: Tensor,
    pools: Sequence[Pool],
    means: Tensor,
    scales: Tensor,
) -> Tensor:
    """Gradient of a state's active channels, [B, C', T].

    Args:
        x: active channels [B, C', T].
        du: gradient of LeakyReLU(x), [B, C', T].
        gradients: of the J targets, [B, J, C', T].
        weights: b * a of the identity and of each pool, [J, 1 + pools].
        products, sums: of `project`.
        means, scales: of the pools, [pools, C'].
    """
    count = x.shape[0] * x.shape[2]

    def combined(column: int) -> Tensor:
        terms = [weights[j, column] * gradients[:, j] for j in range(gradients.shape[1])]
        return sum(terms[1:], start=terms[0])

    out = torch.where(x > 0, du, LEAKY_SLOPE * du) + combined(0)
    for n, primitive in enumerate(pools):
        pooled = pool(x, primitive)
        normal = (pooled - means[n][:, None]) * scales[n][:, None]
        mean = (weights[:, 1 + n, None] * sums).sum(0) / count
        slope = (weights[:, 1 + n, None] * products[:, 1 + n]).sum(0) / count
        through_norm = (combined(1 + n) - mean[:, None] - normal * slope[:, None]) * scales[n][:, None]
        out = out + pool_backward(through_norm, x, pooled, primitive)
    return out


def halve(nodes: Tensor) -> Tensor:
    """Max-pool 2 over frames: [B, C, T] -> [B, C, T // 2]."""
    whole = nodes.shape[2] // 2 * 2
    return torch.maximum(nodes[:, :, 0:whole:2], nodes[:, :, 1:whole:2])


def halve_backward(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradient of `halve` with respect to x [B, C, T]; of two equal frames the first takes it."""
    pairs = x[:, :, : gradient.shape[2] * 2].unflatten(2, (-1, 2))
    first = pairs[..., 0] >= pairs[..., 1]
    both = torch.stack([torch.where(first, gradient, 0.0), torch.where(first, 0.0, gradient)], dim=3).flatten(2)
    return F.pad(both, (0, x.shape[2] - both.shape[2]))
