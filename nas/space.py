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

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import lru_cache
from importlib import util
from pathlib import Path
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
class SpaceMark:
    """Which search space a genotype is of.

    Attributes:
        name: of the space.
        primitives: digest of the definitions of the primitives that the genotype uses; None where it is not known.
    """

    name: str
    primitives: str | None = None

    def to_values(self) -> dict[str, str]:
        return {"name": self.name} | ({} if self.primitives is None else {"primitives": self.primitives})


@dataclass(frozen=True)
class CellType:
    """A type of cell: all cells of a type share their architecture.

    Attributes:
        name: as genotypes and architecture parameters have it, e.g. "normal".
        widens: how many times the channels of the cells before it has.
        stride: of the operations on the cell's two inputs.
        pool: of the maximum over frames that the cell's output goes through; 1 for none.
        at: where its cells stand, as fractions of the depth: (1, 3) is cell number `cells // 3`, counted from 0. The
            first type of a space stands wherever no other does.
    """

    name: str
    widens: int = 1
    stride: int = 1
    pool: int = 2
    at: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or self.name.endswith("_concat") or self.name == "space":
            raise NasError(f"a cell type has a lower-case name such as normal, not {self.name!r}")
        for label, value in (("widens", self.widens), ("stride", self.stride), ("pool", self.pool)):
            if value < 1:
                raise NasError(f"cell type {self.name!r}: {label} is 1 or more, not {value}")
        if (self.stride, self.pool) != (1, 2):
            raise NasError(
                f"cell type {self.name!r}: only cells of stride 1 and max-pool 2 are built so far, not of stride "
                f"{self.stride} and pool {self.pool}"
            )
        for part, whole in self.at:
            if not 0 <= part < whole:
                raise NasError(f"cell type {self.name!r}: {part} / {whole} of the depth is not within it")

    @property
    def shrinks(self) -> int:
        """How many frames of its second input become one frame of its output."""
        return self.stride * self.pool


RAW_CELLS = (CellType("normal"), CellType("expand", widens=2, at=((1, 3), (2, 3))))
"""The two types of Raw PC-DARTS (Section 3.2), which a space has unless it says otherwise."""


@dataclass(frozen=True)
class SearchSpace:
    """What can be searched: the primitives of an edge, the topology of a cell, and the types of cells in a network.

    Raises:
        NasError: two primitives or cell types of one name, no cell type, or only Zero primitives.
    """

    name: str
    primitives: tuple[Primitive, ...]
    topology: CellTopology = CellTopology()
    cell_types: tuple[CellType, ...] = RAW_CELLS

    def __post_init__(self) -> None:
        if not self.cell_types or len(set(self.types)) < len(self.types):
            raise NasError(f"search space {self.name!r} needs cell types of different names, not {list(self.types)}")
        if self.cell_types[0].at:
            raise NasError(
                f"search space {self.name!r}: its first cell type stands wherever no other does; give no `at` for "
                f"{self.types[0]!r}"
            )
        names = self.primitive_names
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise NasError(f"search space {self.name!r} names a primitive twice: {', '.join(repeated)}")
        if all(isinstance(primitive, Zero) for primitive in self.primitives):
            raise NasError(f"search space {self.name!r} has no primitive that carries a signal")

    @property
    def types(self) -> tuple[str, ...]:
        """Names of the cell types."""
        return tuple(cell_type.name for cell_type in self.cell_types)

    def cell_type(self, name: str) -> CellType:
        """The cell type of that name.

        Raises:
            NasError: the space has none.
        """
        for cell_type in self.cell_types:
            if cell_type.name == name:
                return cell_type
        raise NasError(f"search space {self.name!r} has no {name!r} cell{nearest(name, self.types)}")

    def arrangement(self, cells: int) -> tuple[CellType, ...]:
        """The types of a stack of so many cells."""
        first, *others = self.cell_types
        types = [first] * cells
        for cell_type in others:
            for part, whole in cell_type.at:
                types[cells * part // whole] = cell_type
        return tuple(types)

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

    def mark(self, names: Iterable[str]) -> SpaceMark:
        """The mark of a genotype that uses the primitives of these names.

        A primitive that is computed by a module of the user's own counts with its name and kind only.
        """
        definitions = [self.primitive(name).definition for name in sorted(names)]
        text = json.dumps(definitions, sort_keys=True)
        return SpaceMark(self.name, hashlib.sha256(text.encode()).hexdigest()[:16])


def nearest(word: str, words: tuple[str, ...] | list[str]) -> str:
    """The end of a sentence that names the closest valid word, and all of them where none is close."""
    close = get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid are: {', '.join(sorted(words))}"


KINDS_OF_PRIMITIVES = (Zero, Identity, Pool, Linear)
"""Those that keep shape and input by their construction; others are tried when they are registered."""

_SPACES: dict[str, SearchSpace] = {}


PACKAGED = Path(__file__).resolve().parent.parent / "search_spaces"
"""Where the spaces of this package are; the current folder may have a package of the same name."""


def register(space: SearchSpace) -> SearchSpace:
    """Make a space known by its name, for recipes, genotypes and the command line.

    Raises:
        NasError: a primitive of it does not do what every primitive must (nas.testing.primitives).
    """
    if any(type(primitive) not in KINDS_OF_PRIMITIVES for primitive in space.primitives):
        from nas.testing.primitives import check_primitives

        check_primitives(space)
    _SPACES[space.name] = space
    return space


def get_space(name: str) -> SearchSpace:
    """A registered space, or the one that `search_spaces/NAME.py` of this package registers.

    Raises:
        NasError: there is no such space.
    """
    if name not in _SPACES and re.fullmatch(r"[a-z][a-z0-9_]*", name) and (PACKAGED / f"{name}.py").is_file():
        spec = util.spec_from_file_location(f"nas_search_space_{name}", PACKAGED / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    if name not in _SPACES:
        packaged = (file.stem for file in PACKAGED.glob("[a-z]*.py"))
        known = nearest(name, sorted({*_SPACES, *packaged}))
        raise NasError(f"there is no search space {name!r}{known} (one of your own: --space-file FILE)")
    return _SPACES[name]
