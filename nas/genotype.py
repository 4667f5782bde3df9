"""The genotype: what a search finds, as text that people keep, compare and publish.

A genotype has a cell for each cell type of its search space, and says for each intermediate node of a cell which
primitives it applies to which earlier nodes. Node 0 and 1 are the outputs of the two cells before; the first
intermediate node is 2.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from nas.errors import NasError, nearest
from nas.files import write_text
from nas.genotype_text import EXAMPLE, FLAT_INPUTS, choose_genotype, find_genotypes, read_published, write_published
from nas.space import RAW_CELLS, SearchSpace, SpaceMark, Zero
from nas.text_files import parse_json_or_yaml, read_text

PUBLISHED_SECOND = "reduce"
"""What the published text calls the second of two cell types, after its ancestor in DARTS."""


class Edge(NamedTuple):
    """One kept input of a node: the primitive applied to the state of node `source`."""

    primitive: str
    source: int


Nodes = tuple[tuple[Edge, ...], ...]
"""For each intermediate node its kept edges."""

LARGEST_GENOTYPE = 16 * 2**20
"""Bytes of a genotype file, which may be a log."""
FIRST_NODE = 2
MOST_NODES = 1000
"""Nodes of a cell are numbered below this."""


@dataclass(frozen=True)
class Cell:
    """For each intermediate node its kept edges, and the nodes that the output concatenates (by default all)."""

    nodes: Nodes
    concat: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.concat:
            object.__setattr__(self, "concat", tuple(range(FIRST_NODE, FIRST_NODE + len(self.nodes))))

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All kept edges, node by node."""
        return tuple(edge for edges in self.nodes for edge in edges)


@dataclass(frozen=True)
class Genotype:
    """A cell for each cell type, by the name of the type; never changed after it is made.

    Attributes:
        mark: the search space that it is of, where it is known; the published text has no place for it. It has no part
            in whether two genotypes are equal.

    Raises:
        NasError: no cell, an edge that comes from the node itself or a later one, a node without edges, a concatenation
            of nodes that do not exist.
    """

    cells: Mapping[str, Cell]
    mark: SpaceMark | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", dict(self.cells))
        if not self.cells:
            raise NasError("genotype: it has no cells")
        for name, cell in self.cells.items():
            if not cell.nodes:
                raise NasError(f"genotype: the {name} cell has no nodes")
            last = FIRST_NODE + len(cell.nodes) - 1
            for node, edges in enumerate(cell.nodes, start=FIRST_NODE):
                if not edges:
                    raise NasError(f"genotype: node {node} of the {name} cell has no input")
                for edge in edges:
                    if not 0 <= edge.source < node:
                        raise NasError(
                            f"genotype: {edge.primitive!r} into node {node} of the {name} cell comes from node "
                            f"{edge.source}; an edge comes from an earlier node, 0 to {node - 1}"
                        )
            if not all(FIRST_NODE <= node <= last for node in cell.concat) or len(set(cell.concat)) != len(cell.concat):
                raise NasError(
                    f"genotype: the {name} cell concatenates nodes {list(cell.concat)}; its intermediate nodes are "
                    f"{FIRST_NODE} to {last}"
                )

    def __hash__(self) -> int:
        return hash(frozenset(self.cells.items()))

    @classmethod
    def parse(cls, text: str, name: str | None = None, space: SearchSpace | None = None) -> Genotype:
        """Read JSON, YAML, or the published `Genotype(normal=[('dil_conv_5', 1), ...], ...)`; nothing is evaluated.

        Args:
            text: of the published form also a file of assignments (genotypes.py) or of log lines.
            name: which of several in such a text: the name that it is assigned to, or its number from 1.
            space: whose second cell type the published name `reduce` stands for; None: as in Raw PC-DARTS.

        Raises:
            NasError: the text is none of these, holds several, or is not a genotype.
        """
        text = text.removeprefix("\ufeff").strip()
        if not text:
            raise NasError("genotype: the text is empty")
        if found := find_genotypes(text):
            return cls._from_fields(read_published(choose_genotype(found, name).text), space)
        if name is not None:
            raise NasError(f"genotype: the text holds none called {name!r}")
        return cls._from_fields(parse_json_or_yaml(text, "genotype"), space)

    @classmethod
    def load(cls, path: str | Path, space: SearchSpace | None = None) -> Genotype:
        """Read a genotype file of any of the three forms; `space` as of `parse`.

        Args:
            path: the file, FILE:NAME for one of several in it, or a run directory for its genotype.json.

        Raises:
            NasError: the file is missing, is not text, or holds no genotype; the file is named.
        """
        file, name = genotype_file(path), None
        if not file.exists() and ":" in str(path):
            before, _, after = str(path).rpartition(":")
            file, name = (Path(before), after) if Path(before).is_file() else (file, None)
        text = read_text(file, "genotype file", LARGEST_GENOTYPE)
        try:
            return cls.parse(text, name, space)
        except NasError as error:
            raise NasError(f"{file}: {error}") from error

    @classmethod
    def random(cls, space: SearchSpace, chance: random.Random) -> Genotype:
        """A genotype drawn uniformly: distinct earlier nodes and a primitive (not zero) for each kept input."""
        names = [primitive.name for primitive in space.primitives if not isinstance(primitive, Zero)]
        topology = space.topology

        def cell() -> Cell:
            return Cell(
                tuple(
                    tuple(
                        Edge(chance.choice(names), source)
                        for source in chance.sample(range(node), topology.kept_inputs)
                    )
                    for node in range(FIRST_NODE, FIRST_NODE + topology.intermediate)
                )
            )

        return cls({name: cell() for name in space.types})

    @classmethod
    def _from_fields(cls, fields: Any, space: SearchSpace | None) -> Genotype:
        types = tuple(cell_type.name for cell_type in (space.cell_types if space else RAW_CELLS))
        if not isinstance(fields, dict):
            raise NasError(f"genotype: expected the keys {' and '.join(types)}, or the published text {EXAMPLE}")
        fields = {str(key): value for key, value in fields.items()}
        mark = _mark(fields.pop("space", None))
        if PUBLISHED_SECOND not in types and len(types) > 1:
            fields = {_ours(key, types[1]): value for key, value in fields.items()}
        concats = {key.removesuffix("_concat"): fields.pop(key) for key in list(fields) if key.endswith("_concat")}
        for key, value in fields.items():
            if not isinstance(value, list | tuple) and key not in types:
                raise NasError(f"genotype: unknown key {key!r}; valid are the names of cells and their _concat")
        if stray := sorted(set(concats) - set(fields)):
            raise NasError(f"genotype: the {stray[0]} cell is missing, whose {stray[0]}_concat is given")
        cells = {key: Cell(_nodes(value, key), _concat(concats.get(key), key)) for key, value in fields.items()}
        return cls(cells, mark)

    @property
    def primitive_names(self) -> tuple[str, ...]:
        """The primitives that it uses, each once, in alphabetical order."""
        return tuple(sorted({edge.primitive for cell in self.cells.values() for edge in cell.edges}))

    def validate(self, space: SearchSpace) -> Genotype:
        """The genotype as one of the space: with its mark, if the space can build it.

        Raises:
            NasError: it was found in another space, or in one of this name whose primitives were other ones; a cell
                type that is missing or unknown; an unknown primitive (the nearest is named); another number of nodes
                than the space has; or a cell without a path from its inputs to its output.
        """
        if self.mark is not None and self.mark.name != space.name:
            raise NasError(
                f"genotype: it is of the search space {self.mark.name!r}, not of {space.name!r}: equal names of "
                "primitives can mean other operations there"
            )
        for name in self.cells:
            if name not in space.types:
                raise NasError(f"genotype: search space {space.name!r} has no {name} cell{nearest(name, space.types)}")
        for name in space.types:
            if name not in self.cells:
                raise NasError(f"genotype: the {name} cell is missing")
        for name, cell in self.cells.items():
            if len(cell.nodes) != space.topology.intermediate:
                raise NasError(
                    f"genotype: the {name} cell has {len(cell.nodes)} intermediate nodes, search space {space.name!r} "
                    f"has {space.topology.intermediate}"
                )
            for edge in cell.edges:
                space.primitive(edge.primitive)
            if not _carries_signal(cell, space):
                raise NasError(
                    f"genotype: no path through the {name} cell carries a signal, every one has a {_zeros(space)} in "
                    "it, so the scores would not depend on the audio"
                )
        mark = space.mark(self.primitive_names)
        if self.mark is not None and self.mark.primitives not in (None, mark.primitives):
            raise NasError(
                f"genotype: it was found in a search space {space.name!r} whose primitives of the same names were "
                'other ones; take the key "space" out of the file where that is meant'
            )
        return self if self.mark == mark else replace(self, mark=mark)

    def to_json(self) -> str:
        """JSON with one line a node."""
        rows = [] if self.mark is None else [f'  "space": {json.dumps(self.mark.to_values())}']
        for name, cell in self.cells.items():
            nodes = ",\n    ".join(json.dumps([list(edge) for edge in edges]) for edges in cell.nodes)
            rows.append(f'  "{name}": [\n    {nodes}\n  ],\n  "{name}_concat": {list(cell.concat)}')
        return "{\n" + ",\n".join(rows) + "\n}\n"

    def save(self, path: str | Path) -> Path:
        """Write JSON, atomically; returns the path."""
        return write_text(path, self.to_json())

    def __str__(self) -> str:
        """The published text form, e.g. `Genotype(normal=[('dil_conv_5', 1), ...], normal_concat=range(2, 6), ...)`."""
        names = tuple(self.cells)
        published = (names[0], PUBLISHED_SECOND) if len(names) == 2 else names
        return write_published(
            [(name, cell.nodes, cell.concat) for name, cell in zip(published, self.cells.values(), strict=True)]
        )


def genotype_file(path: str | Path) -> Path:
    """The file of a genotype: the path itself, or genotype.json where it is a run directory."""
    path = Path(path)
    return path / "genotype.json" if path.is_dir() else path


def _nodes(value: Any, kind: str) -> Nodes:
    """Nodes with their edges, from nested form, or from the flat published form (two edges a node)."""
    if not isinstance(value, list | tuple) or not value:
        raise NasError(f"genotype: the {kind} cell is not a list of edges")
    if _is_edge(value[0]):
        if len(value) % FLAT_INPUTS:
            raise NasError(f"genotype: the {kind} cell lists {len(value)} edges; every node has {FLAT_INPUTS}")
        value = [value[start : start + FLAT_INPUTS] for start in range(0, len(value), FLAT_INPUTS)]
    nodes = []
    for number, edges in enumerate(value, start=FIRST_NODE):
        if not isinstance(edges, list | tuple) or not all(_is_edge(edge) for edge in edges):
            raise NasError(f"genotype: node {number} of the {kind} cell is not a list of (primitive, node) pairs")
        nodes.append(tuple(Edge(edge[0], edge[1]) for edge in edges))
    return tuple(nodes)


def _ours(key: str, second: str) -> str:
    """A key of the published text with our name of the second cell type."""
    return second + key.removeprefix(PUBLISHED_SECOND) if key.startswith(PUBLISHED_SECOND) else key


def _is_edge(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str) and _is_node(value[1])


def _is_node(value: Any) -> bool:
    """Whether it may be the number of a node; numbers below 0 are refused later, with the place where they stand."""
    return type(value) is int and abs(value) < MOST_NODES


def _concat(value: Any, kind: str) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not value or not all(map(_is_node, value)):
        raise NasError(f"genotype: {kind}_concat is not a list of node numbers")
    return tuple(value)


def _mark(value: Any) -> SpaceMark | None:
    """The key "space": {"name": ..., "primitives": ...}, or only the name."""
    if value is None:
        return None
    values = {"name": value} if isinstance(value, str) else value
    if not isinstance(values, dict) or not isinstance(values.get("name"), str) or set(values) - {"name", "primitives"}:
        raise NasError("genotype: space is the name of a search space, or its name and primitives")
    primitives = values.get("primitives")
    if not isinstance(primitives, str | None):
        raise NasError("genotype: space.primitives is the digest that nas writes, or left out")
    return SpaceMark(values["name"], primitives)


def _carries_signal(cell: Cell, space: SearchSpace) -> bool:
    """Whether a concatenated node is reached from an input of the cell past primitives that are not zero."""
    reached = set(range(FIRST_NODE))
    for number, edges in enumerate(cell.nodes, start=FIRST_NODE):
        if any(e.source in reached and not isinstance(space.primitive(e.primitive), Zero) for e in edges):
            reached.add(number)
    return not reached.isdisjoint(cell.concat)


def _zeros(space: SearchSpace) -> str:
    return " or ".join(repr(primitive.name) for primitive in space.primitives if isinstance(primitive, Zero))
