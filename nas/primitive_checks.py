"""What every primitive of a search space must do, tried on small tensors.

A search mixes all primitives on every edge, and an earlier node is read by several of them. So each one keeps the shape
[B, C, T] and the dtype, leaves its input as it is, can be differentiated, and works from a single frame on: the last
cells of a short utterance have no more. A search space is registered only if its primitives do.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.primitives import Primitive

CHANNELS = (2, 4, 8, 12, 64)
"""Numbers of channels that are tried; a primitive may refuse some of them, but not all."""
FRAMES = (32, 7, 3, 2, 1)
BATCH = 2


def check_primitives(primitives: Iterable[Primitive]) -> None:
    """Check every primitive; random states are left as they were.

    Raises:
        NasError: naming the first primitive that fails, and what it did.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for primitive in primitives:
            check_primitive(primitive)


def check_primitive(primitive: Primitive) -> None:
    """Check one primitive, in both forms (candidate of a supernet, operation of a network), training and evaluating.

    Raises:
        NasError: it cannot be built for any of `CHANNELS`, fails, or does not do what every primitive must.
    """
    refusal: Exception | None = None
    built = 0
    for channels in CHANNELS:
        try:
            forms = (primitive.candidate(channels), primitive.operation(channels))
        except Exception as error:
            refusal = refusal or error
            continue
        built += 1
        for module in forms:
            for frames in FRAMES:
                for training in (True, False):
                    _check_forward(primitive.name, module.train(training), channels, frames)
    if built or refusal is None:
        return
    if isinstance(refusal, NasError):
        raise refusal
    raise NasError(f"primitive {primitive.name} cannot be built: {type(refusal).__name__}: {refusal}") from refusal


def _check_forward(name: str, module: nn.Module, channels: int, frames: int) -> None:
    given = torch.randn(BATCH, channels, frames)
    leaf = given.clone().requires_grad_()
    x = leaf * 1.0  # not a leaf, as between the operations of a cell: changing it in place raises nothing by itself
    before = x._version
    where = f"primitive {name} on [{BATCH}, {channels}, {frames}]"
    try:
        y = module(x)
    except Exception as error:
        raise NasError(f"{where} fails: {type(error).__name__}: {error}") from error
    if x._version != before or not torch.equal(x.detach(), given):
        raise NasError(
            f"{where} changes its input in place; other operations read the same input, so leave out inplace=True, or "
            "work on a copy"
        )
    if not isinstance(y, Tensor):
        raise NasError(f"{where} gives a {type(y).__name__}, not a tensor")
    if y.shape != x.shape:
        raise NasError(f"{where} makes [B, C, T] into {_shape(x, y)}; it must keep the shape")
    if y.dtype != x.dtype:
        raise NasError(f"{where} gives {y.dtype} for {x.dtype}; a primitive must keep the dtype")
    if not y.isfinite().all():
        raise NasError(f"{where} gives values that are not finite")
    if y.requires_grad:
        try:
            y.sum().backward()
        except RuntimeError as error:
            raise NasError(f"{where} cannot be differentiated: {str(error).splitlines()[0]}") from error


def _shape(x: Tensor, y: Tensor) -> str:
    """The shape of y in terms of that of x, e.g. [B, C, T - 2]."""
    if y.dim() != x.dim():
        return str(list(y.shape))
    parts = []
    for letter, before, after in zip("BCT", x.shape, y.shape, strict=True):
        parts.append(letter if before == after else f"{letter} {'+' if after > before else '-'} {abs(after - before)}")
    return f"[{', '.join(parts)}]"
