"""Batch normalisation over the utterances of all processes.

PyTorch's own SyncBatchNorm works on a GPU alone and cannot be differentiated twice; this one works anywhere, and second
order searches need it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas import processes


class SynchronisedBatchNorm(_BatchNorm):
    """As nn.BatchNorm1d and 2d, on x [B, C] or [B, C, ...], with the statistics of all processes' batches together.

    The processes must hold batches of one size.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions from two on."""

    def forward(self, input: Tensor) -> Tensor:
        x = input
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        over = (0, *range(2, x.dim()))
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        mean, variance = processes.mean_and_variance(wide, over, True)
        if self.track_running_stats:
            self._move(mean.detach().flatten(), variance.detach().flatten(), x.numel() // x.shape[1])
        y = (wide - mean) * (variance + self.eps).rsqrt()
        if self.weight is not None:
            shape = [1, -1, *[1] * (x.dim() - 2)]
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    @torch.no_grad()
    def _move(self, mean: Tensor, variance: Tensor, values: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        values *= processes.count()
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (values / (values - 1)), share)


def synchronise_norms(module: nn.Module) -> None:
    """Make every batch normalisation below a module one over all processes, in place; names and weights stay.

    A module that normalises in a way of its own has a method `synchronise`.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, _BatchNorm):
            setattr(module, name, _synchronised(child))
        else:
            synchronise_norms(child)
    own: Any = getattr(module, "synchronise", None)
    if own is not None:
        own()


def _synchronised(norm: _BatchNorm) -> SynchronisedBatchNorm:
    new = SynchronisedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    new.training = norm.training
    for name, parameter in norm.named_parameters(recurse=False):
        new.register_parameter(name, parameter)
    for name, buffer in norm.named_buffers(recurse=False):
        new.register_buffer(name, buffer)
    return new


@torch.no_grad()
def average_statistics(module: nn.Module) -> None:
    """Give all processes the mean of their running statistics, where each has normalised by its own."""
    if processes.count() == 1:
        return
    found = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    statistics: list[Any] = [buffer for norm in found for buffer in (norm.running_mean, norm.running_var)]
    for buffer, mean in zip(statistics, processes.average_all(statistics), strict=True):
        buffer.copy_(mean)
