"""Backward passes written by hand that do not fall under autocast."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor


def full_precision(backward: Callable[..., Any]) -> Callable[..., Any]:
    """The backward of an autograd function, in the types of its tensors also where `.backward()` runs under autocast.

    Autocast would round the matrix products of statistics, which the forward pass takes in float32.
    """

    @wraps(backward)
    def run(ctx: Any, gradient: Tensor, *others: Any) -> Any:
        with torch.autocast(gradient.device.type, enabled=False):
            return backward(ctx, gradient, *others)

    return run
