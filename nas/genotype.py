"""The genotype: what a search finds, as text that people keep, compare and publish.

A genotype says, for each intermediate node of the normal and of the expand cell, which primitives it applies to which
earlier nodes. Node 0 and 1 are the outputs of the two cells before; the first intermediate node is 2.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from nas.errors import NasError
from nas.files import write_text
from nas.genotype_text import EXAMPLE, FLAT_INPUTS, choose_genotype, find_genotypes, read_published, write_published
from nas.space import SearchSpace, SpaceMark, Zero
from nas.text_files import parse_json_or_yaml, read_text

KINDS = ("normal", "expand")
"""The kinds of cell."""


class Edge(NamedTuple):
    """One kept input of a node: the primitive applied to the state of node `source`."""

    primitive: str
    source: int


Cell = tuple[tuple[Edge, ...], ...]
"""For each intermediate node its kept edges."""

LARGEST_GENOTYPE = 16 * 2**20
"""Bytes of a genotype file, which may be a log."""
FIRST_NODE = 2
MOST_NODES = 1000
"""Nodes of a cell are numbered below this."""


@dataclass(frozen=True)
class Genotype:
    """Normal and expand cell of an architecture, with the nodes that each cell's output concatenates.

    The published text calls the expand cell "reduce" (its ancestor in DARTS); both names are read.

    Attributes:
        mark: the search space that it is of, where it is known; the published text has no place for it. It has no part
            in whether two genotypes are equal.

    Raises:
        NasError: an edge that comes from the node itself or a later one, a node without edges, a concatenation of
            nodes that do not exist.
    """

    normal: Cell
    expand: Cell
    normal_concat: tuple[int, ...] = ()
    expand_concat: tuple[int, ...] = ()
    mark: SpaceMark | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for kind in KINDS:
            nodes = getattr(self, kind)
            if not nodes:
                raise NasError(f"genotype: the {kind} cell has no nodes")
            last = FIRST_NODE + len(nodes) - 1
            for node, edges in enumerate(nodes, start=FIRST_NODE):
                if not edges:
                    raise NasError(f"genotype: node {node} of the {kind} cell has no input")
                for edge in edges:
                    if not 0 <= edge.source < node:
                        raise NasError(
                            f"genotype: {edge.primitive!r} into node {node} of the {kind} cell comes from node "
                            f"{edge.source}; an edge comes from an earlier node, 0 to {node - 1}"
                        )
            concat = getattr(self, f"{kind}_concat") or tuple(range(FIRST_NODE, last + 1))
            if not all(FIRST_NODE <= node <= last for node in concat) or len(set(concat)) != len(concat):
                raise NasError(
                    f"genotype: the {kind} cell concatenates nodes {list(concat)}; its intermediate nodes are "
                    f"{FIRST_NODE} to {last}"
                )
            object.__setattr__(self, f"{kind}_concat", concat)

    @classmethod
    def parse(cls, text: str, name: str | None = None) -> Genotype:
        """Read JSON, YAML, or the published `Genotype(normal=[('dil_conv_5', 1), ...], ...)`; nothing is evaluated.

        Args:
            text: of the published form also a file of assignments (genotypes.py) or of log lines.
            name: which of several in such a text: the name that it is assigned to, or its number from 1.

        Raises:
            NasError: the text is none of these, holds several, or is not a genotype.
        """
        text = text.removeprefix("\ufeff").strip()
        if not text:
            raise NasError("genotype: the text is empty")
        if found := find_genotypes(text):
            return cls._from_fields(read_published(choose_genotype(found, name).text))
        if name is not None:
            raise NasError(f"genotype: the text holds none called {name!r}")
        return cls._from_fields(parse_json_or_yaml(text, "genotype"))

    @classmethod
    def load(cls, path: str | Path) -> Genotype:
        """Read a genotype file of any of the three forms.

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
            return cls.parse(text, name)
        except NasError as error:
            raise NasError(f"{file}: {error}") from error

    @classmethod
    def random(cls, space: SearchSpace, chance: random.Random) -> Genotype:
        """A genotype drawn uniformly: distinct earlier nodes and a primitive (not zero) for each kept input."""
        names = [primitive.name for primitive in space.primitives if not isinstance(primitive, Zero)]
        topology = space.topology

        def cell() -> Cell:
            return tuple(
                tuple(Edge(chance.choice(names), source) for source in chance.sample(range(node), topology.kept_inputs))
                for node in range(FIRST_NODE, FIRST_NODE + topology.intermediate)
            )

        return cls(normal=cell(), expand=cell())

    @classmethod
    def _from_fields(cls, fields: Any) -> Genotype:
        if not isinstance(fields, dict):
            raise NasError(f"genotype: expected the keys normal and expand, or the published text {EXAMPLE}")
        fields = {str(key).replace("reduce", "expand"): value for key, value in fields.items()}
        surplus = sorted(set(fields) - {"normal", "expand", "normal_concat", "expand_concat", "space"})
        if surplus:
            raise NasError(f"genotype: unknown key {surplus[0]!r}; valid are normal, expand and their _concat")
        missing = [key for key in KINDS if key not in fields]
        if missing:
            raise NasError(f"genotype: the {missing[0]} cell is missing")
        return cls(
            normal=_cell(fields["normal"], "normal"),
            expand=_cell(fields["expand"], "expand"),
            normal_concat=_concat(fields.get("normal_concat"), "normal"),
            expand_concat=_concat(fields.get("expand_concat"), "expand"),
            mark=_mark(fields.get("space")),
        )

    @property
    def primitive_names(self) -> tuple[str, ...]:
        """The primitives that it uses, each once, in alphabetical order."""
        cells: list[Cell] = [getattr(self, kind) for kind in KINDS]
        return tuple(sorted({edge.primitive for nodes in cells for edges in nodes for edge in edges}))

    def validate(self, space: SearchSpace) -> Genotype:
        """The genotype as one of the space: with its mark, if the space can build it.

        Raises:
            NasError: it was found in another space, or in one of this name whose primitives were other ones; an unknown
                primitive (the nearest is named); another number of nodes than the space has; or a cell without a path
                from its inputs to its output.
        """
        if self.mark is not None and self.mark.name != space.name:
            raise NasError(
                f"genotype: it is of the search space {self.mark.name!r}, not of {space.name!r}: equal names of "
                "primitives can mean other operations there"
            )
        for kind in KINDS:
            nodes: Cell = getattr(self, kind)
            if len(nodes) != space.topology.intermediate:
                raise NasError(
                    f"genotype: the {kind} cell has {len(nodes)} intermediate nodes, search space {space.name!r} "
                    f"has {space.topology.intermediate}"
                )
            for edges in nodes:
                for edge in edges:
                    space.primitive(edge.primitive)
            if not _carries_signal(nodes, getattr(self, f"{kind}_concat"), space):
                raise NasError(
                    f"genotype: no path through the {kind} cell carries a signal, every one has a {_zeros(space)} in "
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
        for kind in KINDS:
            nodes = ",\n    ".join(json.dumps([list(edge) for edge in edges]) for edges in getattr(self, kind))
            rows.append(f'  "{kind}": [\n    {nodes}\n  ],\n  "{kind}_concat": {list(getattr(self, f"{kind}_concat"))}')
        return "{\n" + ",\n".join(rows) + "\n}\n"

    def save(self, path: str | Path) -> Path:
        """Write JSON, atomically; returns the path."""
        return write_text(path, self.to_json())

    def __str__(self) -> str:
        """The published text form, e.g. `Genotype(normal=[('dil_conv_5', 1), ...], normal_concat=range(2, 6), ...)`."""
        return write_published(
            [("normal", self.normal, self.normal_concat), ("reduce", self.expand, self.expand_concat)]
        )


def genotype_file(path: str | Path) -> Path:
    """The file of a genotype: the path itself, or genotype.json where it is a run directory."""
    path = Path(path)
    return path / "genotype.json" if path.is_dir() else path


def _cell(value: Any, kind: str) -> Cell:
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


def _carries_signal(nodes: Cell, concat: tuple[int, ...], space: SearchSpace) -> bool:
    """Whether a concatenated node is reached from an input of the cell past primitives that are not zero."""
    reached = set(range(FIRST_NODE))
    for number, edges in enumerate(nodes, start=FIRST_NODE):
        if any(e.source in reached and not isinstance(space.primitive(e.primitive), Zero) for e in edges):
            reached.add(number)
    return not reached.isdisjoint(concat)


def _zeros(space: SearchSpace) -> str:
    return " or ".join(repr(primitive.name) for primitive in space.primitives if isinstance(primitive, Zero))
