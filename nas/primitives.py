"""Primitives: the operations that an edge of a cell may carry.

A primitive is built in two forms: as a *candidate* of the supernet
(batch normalisation without affine parameters, also after pools) and as an *operation* of a derived network (batch
normalisation with affine parameters, none after pools), as Raw PC-DARTS does (Section 3.2 and the published code).

Every primitive is one of five kinds. The kind is what the folded supernet needs to know:

=========  =====================================================================  ==========================
kind       what it computes on x [B, C, T]                                        example
=========  =====================================================================  ==========================
Zero       nothing                                                                none
Identity   x                                                                      skip_connect
Pool       a pooling of x (as a candidate: followed by batch normalisation)       max_pool_3
Linear     LeakyReLU, a convolution that is linear in its input, normalisation    std_conv_3, dil_conv_5
Computed   anything else, length-preserving                                       a user's own module
=========  =====================================================================  ==========================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from nas.errors import NasError

FARTHEST_REACH = 1025
"""Frames on which the reach of a primitive that does not state its cost is measured."""
LEAKY_SLOPE = 0.3
"""Negative slope of every LeakyReLU in Raw PC-DARTS."""


class ZeroOperation(nn.Module):
    """x [B, C, T] -> zeros of the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@dataclass(frozen=True)
class Complexity:
    """What an operation costs on [1, C, T], and how far it looks.

    Attributes:
        parameters: values of its weights.
        macs: multiply-accumulates of its convolutions.
        activations: values that its convolutions put out (Radosavovic et al. 2020, Section 3.1).
        reach: frames that it reads on each side of the frame that it computes.
    """

    parameters: int = 0
    macs: int = 0
    activations: int = 0
    reach: int = 0


@dataclass(frozen=True)
class Primitive:
    """A named operation that preserves the shape [B, C, T]. Subclasses are the five kinds."""

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isprintable() or not self.name:
            raise NasError(f"the name of a primitive is a word, not {self.name!r}")

    def candidate(self, channels: int) -> nn.Module:
        """The module that the supernet mixes, for `channels` active channels."""
        return self.operation(channels, affine=False)

    def operation(self, channels: int, affine: bool = True) -> nn.Module:
        """The module that a derived network carries."""
        raise TypeError(f"primitive {self.name!r} does not say how it is built: use one of the kinds of nas.space")

    def complexity(self, channels: int, frames: int) -> Complexity:
        """What `operation(channels)` costs on [1, channels, frames], without building it."""
        return Complexity()

    @property
    def definition(self) -> dict[str, Any]:
        """What tells it from another of the same name, in JSON-able values."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"kind": type(self).__name__} | {k: v for k, v in plain.items() if not callable(v)}

    @property
    def parameter_free(self) -> bool:
        """Whether the operation has no weights (the operations that a collapsed search drifts to)."""
        return not isinstance(self, Linear | Computed)


@dataclass(frozen=True)
class Zero(Primitive):
    def operation(self, channels: int, affine: bool = True) -> nn.Module:
        return ZeroOperation()


@dataclass(frozen=True)
class Identity(Primitive):
    def operation(self, channels: int, affine: bool = True) -> nn.Module:
        return nn.Identity()


_PoolKind = Literal["max", "average"]


@dataclass(frozen=True)
class Pool(Primitive):
    """Pooling with stride 1 and an odd `kernel`; padding never enters the average nor the maximum."""

    kind: _PoolKind
    kernel: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_kernel(self.name, self.kernel)
        if self.kind not in (kinds := get_args(_PoolKind)):
            raise NasError(f"primitive {self.name}: kind is {' or '.join(map(repr, kinds))}, not {self.kind!r}")

    def candidate(self, channels: int) -> nn.Module:
        return nn.Sequential(self.operation(channels), nn.BatchNorm1d(channels, affine=False))

    def operation(self, channels: int, affine: bool = True) -> nn.Module:
        if self.kind == "max":
            return nn.MaxPool1d(self.kernel, stride=1, padding=self.kernel // 2)
        return nn.AvgPool1d(self.kernel, stride=1, padding=self.kernel // 2, count_include_pad=False)

    def complexity(self, channels: int, frames: int) -> Complexity:
        return Complexity(reach=self.kernel // 2)


@dataclass(frozen=True)
class Linear(Primitive):
    """LeakyReLU -> convolution (dense, or depthwise then pointwise with nothing in between) -> batch normalisation.

    Zero padding keeps the length. The modules are an nn.Sequential in that order, so the convolutions are `[1:-1]`
    and the normalisation is `[-1]`.
    """

    kernel: int
    dilation: int = 1
    depthwise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_kernel(self.name, self.kernel)
        if type(self.dilation) is not int or self.dilation < 1:
            raise NasError(f"primitive {self.name}: the dilation is a whole number from 1, not {self.dilation!r}")

    @property
    def offsets(self) -> tuple[int, ...]:
        """Input offset of each tap in frames, e.g. (-4, -2, 0, 2, 4) for kernel 5, dilation 2."""
        half = self.kernel // 2
        return tuple(self.dilation * tap for tap in range(-half, half + 1))

    def operation(self, channels: int, affine: bool = True) -> nn.Module:
        groups = channels if self.depthwise else 1
        convolutions: list[nn.Module] = [
            nn.Conv1d(
                channels,
                channels,
                self.kernel,
                padding=self.dilation * (self.kernel // 2),
                dilation=self.dilation,
                groups=groups,
                bias=False,
            )
        ]
        if self.depthwise:
            convolutions.append(nn.Conv1d(channels, channels, 1, bias=False))
        return nn.Sequential(nn.LeakyReLU(LEAKY_SLOPE), *convolutions, nn.BatchNorm1d(channels, affine=affine))

    def complexity(self, channels: int, frames: int) -> Complexity:
        convolutions = 2 if self.depthwise else 1
        weights = channels * (self.kernel + channels) if self.depthwise else channels * channels * self.kernel
        return Complexity(
            parameters=weights + 2 * channels,  # and scale and shift of the normalisation
            macs=weights * frames,
            activations=convolutions * channels * frames,
            reach=self.dilation * (self.kernel // 2),
        )


@dataclass(frozen=True)
class Computed(Primitive):
    """Any length-preserving module: `build(channels, affine)` makes it. The folded supernet computes it as it is.

    `cost(channels, frames)` states what it costs; without it a module is built and its cost counted.
    """

    build: Callable[[int, bool], nn.Module]
    cost: Callable[[int, int], Complexity] | None = None

    def operation(self, channels: int, affine: bool = True) -> nn.Module:
        """What `build` makes.

        Raises:
            NasError: it fails for this number of channels, or makes no module.
        """
        try:
            module = self.build(channels, affine)
        except Exception as error:
            raise NasError(
                f"primitive {self.name} cannot be built for {channels} channels: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(module, nn.Module):
            raise NasError(f"primitive {self.name}: build makes a {type(module).__name__}, not a torch.nn.Module")
        return module

    def complexity(self, channels: int, frames: int) -> Complexity:
        return _counted(self, channels, frames) if self.cost is None else self.cost(channels, frames)


@lru_cache(maxsize=1024)
def _counted(primitive: Primitive, channels: int, frames: int) -> Complexity:
    """What an operation costs, counted on one that is built for it."""
    from nas.networks.cost import measure_module, measure_reach

    with torch.random.fork_rng(devices=[]):
        module = primitive.operation(channels)
        cost = measure_module(module, 1, channels, frames)
        reach = measure_reach(module, channels, min(frames, FARTHEST_REACH))
    return Complexity(cost.parameters, cost.macs, cost.activations, reach)


def _require_kernel(name: str, kernel: int) -> None:
    if type(kernel) is not int or kernel < 1:
        raise NasError(f"primitive {name}: the kernel is a whole number from 1, not {kernel!r}")
    if kernel % 2 == 0:
        raise NasError(
            f"primitive {name}: the kernel must be odd, to keep the length; {kernel} is even, use {kernel - 1} or "
            f"{kernel + 1}"
        )


KINDS_OF_PRIMITIVES = (Zero, Identity, Pool, Linear)
"""Those that keep shape and input by their construction; others are tried when they are registered."""
