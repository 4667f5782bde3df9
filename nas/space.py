"""A search space: primitives, the topology of a cell, and the types of cells in a network."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from nas.errors import NasError, nearest
from nas.primitive_checks import check_primitives
from nas.primitives import (
    KINDS_OF_PRIMITIVES,
    LEAKY_SLOPE,
    Complexity,
    Computed,
    Identity,
    Linear,
    Pool,
    Primitive,
    Zero,
    ZeroOperation,
)

__all__ = [
    "LEAKY_SLOPE",
    "RAW_CELLS",
    "CellTopology",
    "CellType",
    "Complexity",
    "Computed",
    "Identity",
    "Linear",
    "Pool",
    "Primitive",
    "SearchSpace",
    "SpaceMark",
    "Zero",
    "ZeroOperation",
    "get_space",
    "register",
]


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


_SPACES: dict[str, SearchSpace] = {}


PACKAGED = Path(__file__).resolve().parent.parent / "search_spaces"
"""Where the spaces of this package are; the current folder may have a package of the same name."""


def register(space: SearchSpace) -> SearchSpace:
    """Make a space known by its name, for recipes, genotypes and the command line.

    Raises:
        NasError: a primitive of it does not do what every primitive must (nas.primitive_checks).
    """
    if any(type(primitive) not in KINDS_OF_PRIMITIVES for primitive in space.primitives):
        check_primitives(space.primitives)
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
