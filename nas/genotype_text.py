"""Genotypes in the published text form, `Genotype(normal=[('dil_conv_5', 1), ...], ...)`, as files of people hold them.

The form is that of DARTS (Liu et al. 2019, cnn/genotypes.py). It is found in a file of assignments (genotypes.py), in a
line of a log, or alone. Nothing of a text is run: it is parsed, and only literals and `range(a, b)` are read.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from nas.errors import NasError

EXAMPLE = "Genotype(normal=[('std_conv_3', 0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=...)"
LONGEST_CALL = 100_000
"""Characters of one genotype's text."""
LONGEST_NAME = 200
"""Characters before it in which its name is looked for."""
FLAT_INPUTS = 2
"""Inputs of every node in the flat form, where the edges of all nodes stand in one list."""

_CALL = re.compile(r"(?<!\w)Genotype\s*\(")
_NAMED = re.compile(r"(\w+)\s*(?::\s*[\w.\"']+\s*)?[=:]\s*$")
_TOKEN = re.compile(r"""#[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|[()]""")


class Written(NamedTuple):
    """One genotype in a text: the name that it is assigned to ("" where there is none), its line, its own text."""

    name: str
    line: int
    text: str


def find_genotypes(text: str) -> tuple[Written, ...]:
    """Every `Genotype(...)` of a text, in order; comment lines are passed over."""
    found = list[Written]()
    end = line = counted = 0
    for match in _CALL.finditer(text):
        start = match.start()
        line, counted = line + text.count("\n", counted, start), start
        before = text[max(0, start - LONGEST_NAME) : start].rpartition("\n")[2]
        if start < end or before.lstrip().startswith("#"):
            continue
        end = _closing(text, match.end())
        named = _NAMED.search(before)
        found.append(Written(named[1] if named else "", line + 1, text[start:end]))
    return tuple(found)


def choose_genotype(found: Sequence[Written], name: str | None = None) -> Written:
    """The one of these that is meant: by its name, by its number (from 1), or the only one there is.

    Raises:
        NasError: there is none of that name, or there are several and none was named.
    """
    if name is None:
        if len({" ".join(written.text.split()) for written in found}) == 1:
            return found[0]
        raise NasError(
            f"genotype: the text holds {len(found)}, {_listed(found)}: name one, as FILE:NAME or FILE:NUMBER"
        )
    named = [written for written in found if written.name == name]
    if name.isdecimal() and 1 <= int(name[:6]) <= len(found):
        named = [found[int(name[:6]) - 1]]
    if not named:
        raise NasError(f"genotype: the text holds none called {name!r}; it holds {_listed(found)}")
    if len({written.text for written in named}) > 1:
        raise NasError(
            f"genotype: the text holds {len(named)} called {name!r}; name one by its number, 1 to {len(found)}"
        )
    return named[0]


def read_published(text: str) -> dict[str, Any]:
    """The parts of one `Genotype(...)` by their names, ranges as lists.

    Raises:
        NasError: the text does not parse, or a part is not a list of edges nor a range.
    """
    if len(text) > LONGEST_CALL:
        raise NasError(f"genotype: the published text is longer than {LONGEST_CALL:,} characters")
    try:
        call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NasError(f"genotype: the published text does not parse ({type(error).__name__})") from error
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype"):
        raise NasError(f"genotype: expected {EXAMPLE}")
    if call.args or any(keyword.arg is None for keyword in call.keywords):
        raise NasError("genotype: the published text names its parts (normal=..., reduce=...)")
    return {str(keyword.arg): _literal(str(keyword.arg), keyword.value) for keyword in call.keywords}


def write_published(parts: Iterable[tuple[str, Sequence[Sequence[tuple[str, int]]], Sequence[int]]]) -> str:
    """`Genotype(NAME=[...], NAME_concat=..., ...)` of (name, nodes with their edges, concatenated nodes).

    The edges stand in one list, as published, where every node of all cells has two; else in one list for each node.
    """
    parts = list(parts)
    flat = all(len(edges) == FLAT_INPUTS for _, nodes, _ in parts for edges in nodes)
    written = []
    for name, nodes, concat in parts:
        listed: list[Any] = [[(primitive, source) for primitive, source in edges] for edges in nodes]
        if flat:
            listed = [edge for edges in listed for edge in edges]
        contiguous = list(concat) == list(range(concat[0], concat[-1] + 1))
        nodes_text = f"range({concat[0]}, {concat[-1] + 1})" if contiguous else str(list(concat))
        written.append(f"{name}={listed}, {name}_concat={nodes_text}")
    return f"Genotype({', '.join(written)})"


def _closing(text: str, start: int) -> int:
    """Where the call ends whose bracket opened just before `start`; the end of the text where it is never closed."""
    depth = 1
    for token in _TOKEN.finditer(text, start, min(len(text), start + LONGEST_CALL)):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return len(text)


def _literal(name: str, node: ast.expr) -> Any:
    """A literal, or range(a, b) of two whole numbers as a list."""
    try:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
            first, last = (ast.literal_eval(argument) for argument in node.args)
            if isinstance(first, int) and isinstance(last, int) and last - first < 1000:
                return list(range(first, last))
        else:
            return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        pass
    raise NasError(f"genotype: {name[:60]} is not a list of edges nor a range")


def _listed(found: Sequence[Written]) -> str:
    shown: Iterator[str] = (f"{written.name or 'one'} (line {written.line})" for written in found[:5])
    return ", ".join(shown) + (" and more" if len(found) > 5 else "")
