"""LeakyReLU, 1 x 1 convolution, optional max-pool 2, normalisation by batch statistics: the inputs of a folded cell.

`nas.cells.preprocess.Preprocess` as one function that keeps two tensors for its backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas import processes
from nas.space import LEAKY_SLOPE
from nas.supernet.fused import Layout
from nas.supernet.precision import full_precision


def plain(x: Tensor, weight: Tensor, eps: float, halved: bool, synchronised: bool) -> Tensor:
    """x [B, C_in, T], weight [C, C_in] -> [B, C, T or T // 2], in operations that autograd follows."""
    y = torch.matmul(weight, F.leaky_relu(x, LEAKY_SLOPE))
    y = F.max_pool1d(y, 2) if halved else y
    if not synchronised:
        return F.batch_norm(y, None, None, training=True, eps=eps)
    mean, variance = processes.mean_and_variance(y, (0, 2), True)
    return (y - mean) * (variance + eps).rsqrt()


class PointwiseNorm(torch.autograd.Function):
    """x [B, C_in, T], weight [C, C_in] -> normalised [B, C, T or T // 2], then mean and biased variance [C]."""

    @staticmethod
    def forward(ctx: Any, layout: Layout, eps: float, halved: bool, x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        y = torch.bmm(weight.expand(x.shape[0], -1, -1), F.leaky_relu(x, LEAKY_SLOPE))
        runs = layout.runs(x)
        normal, mean, variance = runs.normalise(runs.halve(y) if halved else y, eps)
        if layout.synchronised:
            own_mean, own_variance = mean, variance
            mean = processes.average(own_mean)
            variance = processes.average(own_variance + (own_mean - mean).square())
            scale = (variance + eps).rsqrt()
            normal = normal * ((own_variance + eps).sqrt() * scale)[:, None] + ((own_mean - mean) * scale)[:, None]
        ctx.layout, ctx.eps, ctx.halved = layout, eps, halved
        ctx.save_for_backward(x, weight)
        # The normalised output is returned, so it is kept by whoever reads it; its own graph is not.
        ctx.kept = normal.detach(), (variance + eps).rsqrt(), y if halved else None
        ctx.mark_non_differentiable(mean, variance)
        ctx.set_materialize_grads(False)
        return normal, mean, variance

    @staticmethod
    @full_precision
    def backward(ctx: Any, gradient: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            wanted = [t for t in (x, weight) if t.requires_grad]
            again = plain(x, weight, ctx.eps, ctx.halved, ctx.layout.synchronised)
            found = iter(torch.autograd.grad(again, wanted, gradient, create_graph=True))
            return (None, None, None, *(next(found) if t.requires_grad else None for t in (x, weight)))
        normal, scale, y = ctx.kept
        if ctx.layout.synchronised:
            means = [gradient.mean((0, 2)), (gradient * normal).mean((0, 2))]
            level, slope = (mean[:, None] for mean in processes.average_all(means))
            dy = scale[:, None] * (gradient - level - slope * normal)
        else:
            dy = ctx.layout.runs(x).normalise_backward(gradient, normal, scale)
        if y is not None:
            dy = ctx.layout.runs(x).halve_backward(dy, y)
        dx = dweight = None
        if ctx.needs_input_grad[4]:
            dweight = torch.bmm(dy, F.leaky_relu(x, LEAKY_SLOPE).transpose(1, 2)).sum(0)
        if ctx.needs_input_grad[3]:
            du = torch.bmm(weight.t().expand(x.shape[0], -1, -1), dy)
            dx = torch.ops.aten.leaky_relu_backward(du, x, LEAKY_SLOPE, False)
        return None, None, None, dx, dweight
