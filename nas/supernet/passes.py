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


def prepare(x: Tensor, out: Tensor, pools: Sequence[Pool], reach: int) -> tuple[Tensor, Tensor, Tensor]:
    """What a state gives before its statistics are known.

    Args:
        x: active channels [B, C', T].
        out: [B, C', T + 4 H], becomes p (`folding.py`) with H more zeros on both sides.
        pools: the pool primitives.
        reach: H.

    Returns:
        The mean of LeakyReLU(x) [C']; mean and variance of the pools [pools, C'].
    """
    u = F.leaky_relu(x, LEAKY_SLOPE)
    shift = u.mean((0, 2))
    out.copy_(F.pad(F.pad(u, (reach, reach)) - shift[:, None], (reach, reach)))
    means, variances = [], []
    for primitive in pools:
        pooled = pool(x, primitive)
        mean = pooled.mean((0, 2))
        means.append(mean)
        variances.append((pooled - mean[:, None]).square().mean((0, 2)))
    empty = x.new_zeros(0, x.shape[1])
    return shift, torch.stack(means) if means else empty, torch.stack(variances) if variances else empty


def mix_node(
    mix: Tensor,
    states: Sequence[Tensor],
    weights: Tensor,
    means: Tensor,
    scales: Tensor,
    bypass: Tensor,
    node: Tensor,
    pools: Sequence[Pool],
) -> None:
    """Write the state of a node.

    Args:
        mix: what its convolution gave, [B, C', T].
        states: the states of its sources, [B, C, T] each.
        weights: b * a of the identity and of each pool, [sources, 1 + pools].
        means, scales: of the pools, [sources, pools, C']; the scale is one over the standard deviation.
        bypass: b of its edges, [sources].
        node: [B, C, T], is written: channel g of the active ones to K_C g, the bypassed ones between (channel shuffle).
        pools: the pool primitives.
    """
    active = mix.shape[1]
    total = mix
    for s, state in enumerate(states):
        x = state[:, :active]
        total = total + weights[s, 0] * x
        for n, primitive in enumerate(pools):
            gain = weights[s, 1 + n] * scales[s, n]
            total = total + gain[:, None] * (pool(x, primitive) - means[s, n][:, None])
    partial = node.shape[1] // active
    interleaved = node.unflatten(1, (active, partial))
    interleaved[:, :, 0] = total
    if partial > 1:
        terms = [bypass[s] * state[:, active:] for s, state in enumerate(states)]
        rest = sum(terms[1:], start=terms[0])
        interleaved[:, :, 1:] = rest.unflatten(1, (partial - 1, active)).transpose(1, 2)


def project(
    x: Tensor, gradients: Tensor, means: Tensor, scales: Tensor, rest: Tensor, pools: Sequence[Pool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Inner products of a state, its normalised pools and its bypass with the gradients of its J targets.

    Args:
        x: a state [B, C, T].
        gradients: of the targets' active channels, [B, J, C', T].
        means, scales: of the pools, [pools, C'].
        rest: gradients of the targets' bypassed channels, [B, J, C - C', T].

    Returns:
        Per channel [J, 1 + pools, C']; the gradients' sums [J, C']; the bypass' products [J].
    """
    active = gradients.shape[2]
    rows = [x[:, :active]]
    for n, primitive in enumerate(pools):
        rows.append((pool(rows[0], primitive) - means[n][:, None]) * scales[n][:, None])
    products = torch.stack([(gradients * row.unsqueeze(1)).sum((0, 3)) for row in rows], dim=1)
    return products, gradients.sum((0, 3)), (rest * x[:, None, active:]).sum((0, 2, 3))


def collect(
    x: Tensor,
    du: Tensor,
    gradients: Tensor,
    weights: Tensor,
    products: Tensor,
    sums: Tensor,
    means: Tensor,
    scales: Tensor,
    rest: Tensor,
    bypass: Tensor,
    out: Tensor,
    pools: Sequence[Pool],
) -> None:
    """Add to `out` [B, C, T] the gradient of a state x from its J targets.

    Args:
        x: the state [B, C, T].
        du: gradient of LeakyReLU of its active channels, [B, C', T].
        gradients, means, scales, rest: as of `project`.
        weights: b * a of the identity and of each pool, [J, 1 + pools].
        products, sums: of `project`.
        bypass: b of the edges, [J].
    """
    active, targets = du.shape[1], gradients.shape[1]
    count = x.shape[0] * x.shape[2]
    head = x[:, :active]

    def combined(column: int) -> Tensor:
        terms = [weights[j, column] * gradients[:, j] for j in range(targets)]
        return sum(terms[1:], start=terms[0])

    total = torch.where(head > 0, du, LEAKY_SLOPE * du) + combined(0)
    for n, primitive in enumerate(pools):
        pooled = pool(head, primitive)
        normal = (pooled - means[n][:, None]) * scales[n][:, None]
        mean = (weights[:, 1 + n, None] * sums).sum(0) / count
        slope = (weights[:, 1 + n, None] * products[:, 1 + n]).sum(0) / count
        through_norm = (combined(1 + n) - mean[:, None] - normal * slope[:, None]) * scales[n][:, None]
        total = total + pool_backward(through_norm, head, pooled, primitive)
    out[:, :active] += total
    if out.shape[1] > active:
        terms = [bypass[j] * rest[:, j] for j in range(targets)]
        out[:, active:] += sum(terms[1:], start=terms[0])


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


def normalise(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalisation of x [B, C, T] without affine parameters; also the mean and the biased variance [C]."""
    mean = x.mean((0, 2))
    centred = x - mean[:, None]
    variance = centred.square().mean((0, 2))
    return centred * (variance + eps).rsqrt()[:, None], mean, variance


def normalise_backward(gradient: Tensor, normal: Tensor, scale: Tensor) -> Tensor:
    """Gradient of `normalise` with respect to x; `normal` is its output, `scale` [C] one over the deviation."""
    slope = (gradient * normal).mean((0, 2))
    return scale[:, None] * (gradient - gradient.mean((0, 2))[:, None] - slope[:, None] * normal)
