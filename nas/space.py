"""The vocabulary that a search space is written in: primitives, the topology of a cell, and the space itself.

A primitive is an operation that an edge of a cell may carry. It is built in two forms: as a *candidate* of the supernet
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

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import torch
from torch import Tensor, nn

from nas.errors import NasError

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


@dataclass(frozen=True)
class Pool(Primitive):
    """Pooling with stride 1 and an odd `kernel`; padding never enters the average nor the maximum."""

    kind: Literal["max", "average"]
    kernel: int

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

    `cost(channels, frames)` states what it costs; without it the cost of a genotype that uses it cannot be told.
    """

    build: Callable[[int, bool], nn.Module]
    cost: Callable[[int, int], Complexity] | None = None

    def operation(self, channels: int, affine: bool = True) -> nn.Module:
        return self.build(channels, affine)

    def complexity(self, channels: int, frames: int) -> Complexity:
        if self.cost is None:
            raise NasError(f"primitive {self.name!r} does not state its cost: give Computed(..., cost=...)")
        return self.cost(channels, frames)


@dataclass(frozen=True)
class CellTopology:
    """Nodes of a cell: `inputs` + `intermediate` + one output that concatenates the intermediate nodes.

    Every intermediate node sees all earlier nodes in the supernet and keeps `kept_inputs` of them in a genotype.
    """

    inputs: int = 2
    intermediate: int = 4
    kept_inputs: int = 2

    def __post_init__(self) -> None:
        if self.inputs != 2:
            raise NasError(f"a cell takes the outputs of the two cells before it: inputs must be 2, not {self.inputs}")
        if self.intermediate < 1:
            raise NasError(f"a cell needs at least one intermediate node, not {self.intermediate}")
        if not 1 <= self.kept_inputs <= self.inputs:
            raise NasError(f"a node keeps 1 or 2 of its inputs (the first node has only two), not {self.kept_inputs}")

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """All edges (source, target), grouped by target, e.g. (0, 2), (1, 2), (0, 3), (1, 3), (2, 3), ..."""
        first = self.inputs
        return tuple((i, j) for j in range(first, first + self.intermediate) for i in range(j))

    @property
    def edge_slices(self) -> tuple[slice, ...]:
        """For each intermediate node the slice of `edges` that enters it."""
        slices, start = [], 0
        for j in range(self.inputs, self.inputs + self.intermediate):
            slices.append(slice(start, start + j))
            start += j
        return tuple(slices)


@dataclass(frozen=True)
class SearchSpace:
    """What can be searched: the primitives of an edge and the topology of a cell.

    Raises:
        NasError: two primitives of one name, or only Zero primitives.
    """

    name: str
    primitives: tuple[Primitive, ...]
    topology: CellTopology = CellTopology()

    def __post_init__(self) -> None:
        names = self.primitive_names
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise NasError(f"search space {self.name!r} names a primitive twice: {', '.join(repeated)}")
        if all(isinstance(primitive, Zero) for primitive in self.primitives):
            raise NasError(f"search space {self.name!r} has no primitive that carries a signal")

    @property
    def primitive_names(self) -> tuple[str, ...]:
        return tuple(primitive.name for primitive in self.primitives)

    def primitive(self, name: str) -> Primitive:
        """The primitive of that name.

        Raises:
            NasError: the space has none; the nearest name is given.
        """
        for primitive in self.primitives:
            if primitive.name == name:
                return primitive
        raise NasError(f"search space {self.name!r} has no primitive {name!r}{nearest(name, self.primitive_names)}")


def nearest(word: str, words: tuple[str, ...] | list[str]) -> str:
    """The end of a sentence that names the closest valid word, and all of them where none is close."""
    close = get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid are: {', '.join(sorted(words))}"


_SPACES: dict[str, SearchSpace] = {}


def register(space: SearchSpace) -> SearchSpace:
    """Make a space known by its name, for recipes, genotypes and the command line."""
    _SPACES[space.name] = space
    return space


def get_space(name: str) -> SearchSpace:
    """A registered space, or the one that `search_spaces/NAME.py` registers.

    Raises:
        NasError: there is no such space.
    """
    if name not in _SPACES and re.fullmatch(r"[a-z][a-z0-9_]*", name):
        try:
            importlib.import_module(f"search_spaces.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"search_spaces.{name}":
                raise
    if name not in _SPACES:
        known = ", ".join(sorted({*_SPACES, "raw_waveform"}))
        raise NasError(f"there is no search space {name!r}; known are: {known} (a space is a file in search_spaces/)")
    return _SPACES[name]
