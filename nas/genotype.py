"""The genotype: what a search finds, as text that people keep, compare and publish.

A genotype says, for each intermediate node of the normal and of the expand cell, which primitives it applies to which
earlier nodes. Node 0 and 1 are the outputs of the two cells before; the first intermediate node is 2.
"""

from __future__ import annotations

import ast
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nas.errors import NasError
from nas.files import write_text
from nas.space import SearchSpace, Zero

KINDS = ("normal", "expand")
"""The kinds of cell."""


class Edge(NamedTuple):
    """One kept input of a node: the primitive applied to the state of node `source`."""

    primitive: str
    source: int


Cell = tuple[tuple[Edge, ...], ...]
"""For each intermediate node its kept edges."""

FIRST_NODE = 2
PUBLISHED_INPUTS = 2
"""Inputs a node keeps in the flat, published form, where the edges of all nodes stand in one list."""


@dataclass(frozen=True)
class Genotype:
    """Normal and expand cell of an architecture, with the nodes that each cell's output concatenates.

    The published text calls the expand cell "reduce" (its ancestor in DARTS); both names are read.

    Raises:
        NasError: an edge that comes from the node itself or a later one, a node without edges, a concatenation of
            nodes that do not exist.
    """

    normal: Cell
    expand: Cell
    normal_concat: tuple[int, ...] = ()
    expand_concat: tuple[int, ...] = ()

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
    def parse(cls, text: str) -> Genotype:
        """Read JSON, YAML, or the published `Genotype(normal=[('dil_conv_5', 1), ...], ...)`; nothing is evaluated.

        Raises:
            NasError: the text is none of these, or not a genotype.
        """
        text = text.strip()
        if not text:
            raise NasError("genotype: the text is empty")
        fields = _published_fields(text) if text.startswith("Genotype") else _structured_fields(text)
        return cls._from_fields(fields)

    @classmethod
    def load(cls, path: str | Path) -> Genotype:
        """Read a genotype file of any of the three forms.

        Raises:
            NasError: the file is missing, is not text, or holds no genotype; the file is named.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise NasError(f"genotype file {path}: {_reason(error)}") from error
        try:
            return cls.parse(text)
        except NasError as error:
            raise NasError(f"{path}: {error}") from error

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
            raise NasError("genotype: expected the keys normal and expand (published: reduce)")
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
        )

    def validate(self, space: SearchSpace) -> Genotype:
        """Return self if the space can build it.

        Raises:
            NasError: an unknown primitive (the nearest is named) or another number of nodes than the space has.
        """
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
        return self

    def to_json(self) -> str:
        """JSON with one line a node."""
        rows = []
        for kind in KINDS:
            nodes = ",\n    ".join(json.dumps([list(edge) for edge in edges]) for edges in getattr(self, kind))
            rows.append(f'  "{kind}": [\n    {nodes}\n  ],\n  "{kind}_concat": {list(getattr(self, f"{kind}_concat"))}')
        return "{\n" + ",\n".join(rows) + "\n}\n"

    def save(self, path: str | Path) -> Path:
        """Write JSON, atomically; returns the path."""
        return write_text(path, self.to_json())

    def __str__(self) -> str:
        """The published text form, e.g. `Genotype(normal=[('dil_conv_5', 1), ...], normal_concat=range(2, 6), ...)`."""
        parts = []
        for kind, published in (("normal", "normal"), ("expand", "reduce")):
            edges = [tuple(edge) for node in getattr(self, kind) for edge in node]
            concat: tuple[int, ...] = getattr(self, f"{kind}_concat")
            contiguous = concat == tuple(range(concat[0], concat[-1] + 1))
            text = f"range({concat[0]}, {concat[-1] + 1})" if contiguous else str(list(concat))
            parts.append(f"{published}={edges}, {published}_concat={text}")
        return f"Genotype({', '.join(parts)})"


def _structured_fields(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    except RecursionError as error:
        raise NasError("genotype: nested too deeply") from error
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise NasError(f"genotype: neither JSON, YAML nor the published text ({reason})") from error


def _published_fields(text: str) -> dict[str, Any]:
    try:
        call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NasError(f"genotype: the published text does not parse ({type(error).__name__})") from error
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"):
        raise NasError("genotype: expected Genotype(normal=[...], normal_concat=..., reduce=[...], reduce_concat=...)")
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise NasError("genotype: the published text names its parts (normal=..., reduce=...)")
    return {str(keyword.arg): _literal(keyword.value) for keyword in call.keywords}


def _literal(node: ast.expr) -> Any:
    """A literal, or range(a, b) of two whole numbers."""
    try:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
            first, last = (ast.literal_eval(argument) for argument in node.args)
            if isinstance(first, int) and isinstance(last, int) and last - first < 1000:
                return list(range(first, last))
        else:
            return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError):
        pass
    raise NasError(f"genotype: {ast.unparse(node)[:60]!r} is not a list of edges nor a range")


def _cell(value: Any, kind: str) -> Cell:
    """Nodes with their edges, from nested form, or from the flat published form (two edges a node)."""
    if not isinstance(value, list | tuple) or not value:
        raise NasError(f"genotype: the {kind} cell is not a list of edges")
    if _is_edge(value[0]):
        if len(value) % PUBLISHED_INPUTS:
            raise NasError(f"genotype: the {kind} cell lists {len(value)} edges; every node has {PUBLISHED_INPUTS}")
        value = [value[start : start + PUBLISHED_INPUTS] for start in range(0, len(value), PUBLISHED_INPUTS)]
    nodes = []
    for number, edges in enumerate(value, start=FIRST_NODE):
        if not isinstance(edges, list | tuple) or not all(_is_edge(edge) for edge in edges):
            raise NasError(f"genotype: node {number} of the {kind} cell is not a list of (primitive, node) pairs")
        nodes.append(tuple(Edge(edge[0], edge[1]) for edge in edges))
    return tuple(nodes)


def _is_edge(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    )


def _concat(value: Any, kind: str) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not value or not all(type(node) is int for node in value):
        raise NasError(f"genotype: {kind}_concat is not a list of node numbers")
    return tuple(value)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "is not UTF-8 text"
