"""The one door for text, YAML and JSON from files: bounded in every respect, so that no file hangs or fills a machine.

A file has to be UTF-8 (with or without a byte order mark), or UTF-16, which PowerShell writes when output is redirected
with >, and no larger than `LARGEST_TEXT`; only files of lines may be larger, which are read line by line. What it holds
is plain:
mappings, lists, texts, numbers, true, false and null. Bounds are on the depth, on the number of values (a YAML alias
counts all that it stands for) and on the digits of a whole number; a key given twice, a merge key, a YAML tag and half
of a surrogate pair are refused. Every sentence says the file and the line, where there is one.

YAML is read as version 1.1 has it, but for three things that surprise: 5e-5 is a number, 1:30 and 2020-01-01 are texts.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml

from nas.errors import NasError

LARGEST_TEXT = 128 * 2**20
"""Bytes of a text file: a protocol or a score file of a million trials."""
LARGEST_LINES = 4 * 2**30
"""Bytes of a file that is read line by line: score files of a hundred million trials."""
LONGEST_LINE = 2**20
"""Characters of a line of such a file."""
LARGEST_YAML = 256 * 2**10
"""Characters of a YAML text; PyYAML reads some 100,000 a second."""
LARGEST_JSON = 16 * 2**20
DEEPEST = 32
"""Levels of mappings and lists."""
MOST_YAML_VALUES = 20_000
MOST_JSON_VALUES = 2_000_000
INTEGERS = range(-(2**63), 2**64)
"""Whole numbers that are read: those of 64 bits, with a sign or without."""
_LONGEST_INTEGER = 70
"""Characters of a whole number that are looked at: 64 bits in any base, with sign and prefix."""


class _Fault(Exception):
    """What is wrong with a text, and in which line, counted from 1."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


class _Twice(Exception):
    """A JSON mapping has a key twice."""


class _TooLarge(Exception):
    """A whole number of a JSON text, which is the message, has more than 64 bits."""


def read_text(path: str | Path, kind: str, largest: int = LARGEST_TEXT) -> str:
    """The whole text of a UTF-8 or UTF-16 file, without its byte order mark, every line end being a line feed.

    Args:
        kind: what the file is, for the sentences: "recipe", "score file".
        largest: bytes that such a file may have.

    Raises:
        NasError: no such file, a folder, no permission, larger than that, not such text, or a zero byte in it.
    """
    content = _content(Path(path), kind, largest + 1)
    if len(content) > largest:
        raise NasError(f"{path} is larger than a {kind} may be ({largest:,} bytes)")
    try:
        text = content.decode(_encoding(content))
    except UnicodeDecodeError:
        _refuse_encoding(content, path, kind)
    if "\0" in text:
        _refuse_zero(path, kind, _line(text, text.index("\0")))
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_lines(path: str | Path, kind: str) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end) of every line that is not blank, read as they are asked for.

    Raises:
        NasError: as `read_text`; nothing but blank lines, or a line beyond `LONGEST_LINE`.
    """
    path = Path(path)
    encoding, filled = _encoding(_content(path, kind, _LOOKED_AT)), False
    try:
        if path.stat().st_size > LARGEST_LINES:
            raise NasError(f"{path} is larger than a {kind} may be ({LARGEST_LINES:,} bytes)")
        with open(path, encoding=encoding) as stream:
            for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), ""), start=1):
                if "\0" in line:
                    _refuse_zero(path, kind, number)
                if len(line) == LONGEST_LINE:
                    raise NasError(f"{path}, line {number}: the line is longer than {LONGEST_LINE:,} characters")
                if not line.isspace():
                    filled = True
                    yield number, line.rstrip("\n")
    except UnicodeDecodeError:
        _refuse_encoding(_content(path, kind, LARGEST_TEXT), path, kind)
    except OSError as error:
        raise NasError(f"cannot read the {kind} {path}: {error.strerror or error}") from error
    if not filled:
        raise NasError(f"{path}: the {kind} is empty")


_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_LOOKED_AT = 4096
"""Bytes by which an encoding is told."""


def _content(path: Path, kind: str, most: int) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(most)
    except FileNotFoundError as error:
        raise NasError(f"there is no {kind} {path}") from error
    except IsADirectoryError as error:
        raise NasError(f"{path} is a folder, not a {kind}") from error
    except (OSError, ValueError) as error:
        # ValueError: a zero byte in the path.
        raise NasError(f"cannot read the {kind} {path}: {getattr(error, 'strerror', None) or error}") from error


def _encoding(content: bytes) -> str:
    """By the byte order mark; without one, UTF-16 shows in every other byte being zero, as Latin letters have it."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    start = content[:_LOOKED_AT]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if 10 * max(even, odd) > 4 * len(start) and 10 * min(even, odd) < len(start):
        return "utf-16-be" if even > odd else "utf-16-le"
    return "utf-8-sig"


def _refuse_encoding(content: bytes, path: str | Path, kind: str) -> NoReturn:
    """Name the line at which text that cannot be decoded breaks off."""
    encoding, start = _encoding(content), 0
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        start = error.start
    line = content.count(b"\n", 0, start) + 1
    found = "begins as UTF-16 and is not" if "16" in encoding else "is not"
    raise NasError(f"{path}, line {line}: a {kind} is plain UTF-8 text, but this file {found}") from None


def _refuse_zero(path: str | Path, kind: str, line: int) -> NoReturn:
    raise NasError(f"{path}, line {line}: a {kind} is plain text, but this file holds binary data (a zero byte)")


def read_yaml(path: str | Path, kind: str) -> Any:
    """Plain values of a YAML file. Raises NasError as `read_text` and `parse_yaml` do."""
    return parse_yaml(read_text(path, kind, LARGEST_YAML), Path(path))


def read_json(path: str | Path, kind: str) -> Any:
    """Plain values of a JSON file. Raises NasError as `read_text` and `parse_json` do."""
    return parse_json(read_text(path, kind, LARGEST_JSON), Path(path))


def parse_yaml(text: str, source: str | Path) -> Any:
    """Plain values of a YAML text; None where it is empty.

    Args:
        source: for the sentence: its file, or words for where it stands.

    Raises:
        NasError: it is not YAML, or beyond the bounds of this module.
    """
    return parse_yaml_lines(text, source)[0]


Lines = dict[tuple[str, ...], int]
"""Line of every key and list item of a text, counted from 1, by its path: ("train", "epochs"), ("freeze", "0")."""


def parse_yaml_lines(text: str, source: str | Path) -> tuple[Any, Lines]:
    """`parse_yaml`, and in which line each key stands."""
    try:
        return _yaml(text)
    except _Fault as fault:
        _refuse(source, text, fault.reason, fault.line)


def parse_json(text: str, source: str | Path) -> Any:
    """Plain values of a JSON text.

    Args:
        source: for the sentence: its file, or words for where it stands.

    Raises:
        NasError: it is not JSON, or beyond the bounds of this module.
    """
    try:
        return _json(text)
    except json.JSONDecodeError as error:
        _refuse(source, text, f"not valid JSON ({error.msg})", error.lineno)
    except _Fault as fault:
        _refuse(source, text, fault.reason, fault.line)


def parse_json_or_yaml(text: str, source: str | Path) -> Any:
    """Plain values of a text that is JSON, or else YAML. Raises NasError as these do."""
    try:
        return _json(text)
    except json.JSONDecodeError:
        pass
    except _Fault as fault:
        _refuse(source, text, fault.reason, fault.line)
    try:
        return _yaml(text)[0]
    except _Fault as fault:
        reason = fault.reason.replace("not valid YAML", "neither JSON nor valid YAML")
        _refuse(source, text, reason, fault.line)


def _refuse(source: str | Path, text: str, reason: str, line: int | None) -> NoReturn:
    if line is None:
        where = str(source)
    elif isinstance(source, Path):
        where = f"{source}:{line}"
    else:
        where = f"{source}, line {line}" if "\n" in text.strip() else source
    raise NasError(f"{where}: {reason}") from None


def _yaml(text: str) -> tuple[Any, Lines]:
    lines: Lines = {}
    if len(text) > LARGEST_YAML:
        raise _Fault(f"longer than {LARGEST_YAML:,} characters")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return (None if node is None else _Plain(loader, lines).value(node, ())), lines
    except yaml.reader.ReaderError as error:
        reason = f"not valid YAML (the character {chr(error.character)!r} is not allowed)"
        raise _Fault(reason, _line(text, error.position)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = f"not valid YAML ({error.problem or error.context})"
        raise _Fault(reason, mark.line + 1 if mark else None) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML passes on what chr() says about "\UFFFFFFFF".
        raise _Fault(f"not valid YAML ({error})") from None


def _json(text: str) -> Any:
    if len(text) > LARGEST_JSON:
        raise _Fault(f"longer than {LARGEST_JSON:,} characters")
    # Every value but the outermost follows one of these, so there are no more values than of these.
    if text.count(",") + text.count(":") + text.count("[") > MOST_JSON_VALUES:
        raise _Fault(f"holds more than {MOST_JSON_VALUES:,} values")
    _require_shallow(text)
    try:
        value = json.loads(text, object_pairs_hook=_mapping, parse_int=_json_integer)
    except _Twice:
        _name_key_given_twice(text)
    except _TooLarge as error:
        digits = str(error)
        reason = f"the whole number {_shortened(digits)} is beyond 64 bits"
        raise _Fault(reason, _line(text, text.index(digits))) from None
    _require_whole_characters(text)
    return value


_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def _require_whole_characters(text: str) -> None:
    """Refuse a JSON text that writes half of a surrogate pair as an escape."""
    if not re.search(r"\\u[dD][89a-fA-F]", text):
        return
    first_half: re.Match[str] | None = None
    for escape in [*_ESCAPE.finditer(text), None]:
        code = int(escape[1] or "0", 16) if escape else 0
        second = escape if 0xDC00 <= code < 0xE000 else None
        follows = first_half and second and first_half.end() == second.start()
        if not follows and (half := first_half or second):
            raise _Fault(f"{half[0]} is half of a surrogate pair, which is no character", _line(text, half.start()))
        first_half = escape if 0xD800 <= code < 0xDC00 else None


_JSON_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*\\?(?:"|\Z)|[\[{\]}]', re.DOTALL)
"""A text, ended or not, or a bracket."""


_COLON = re.compile(r"\s*:")


def _require_shallow(text: str) -> None:
    """Refuse a JSON text that is nested too deeply: json.loads goes as deep as Python's stack."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    depth = 0
    for token in _JSON_TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > DEEPEST:
                raise _Fault(f"nested more than {DEEPEST} deep", _line(text, token.start()))
        elif token[0] in "]}":
            depth -= 1


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _Twice
    return values


def _json_integer(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER or int(digits) not in INTEGERS:
        raise _TooLarge(digits)
    return int(digits)


def _name_key_given_twice(text: str) -> NoReturn:
    """Find the key and its line in a JSON text that has one twice in a mapping."""
    keys_of: list[set[str]] = []
    for token in _JSON_TOKEN.finditer(text):
        if token[0] in "[{":
            keys_of.append(set())
        elif token[0] in "]}":
            keys_of.pop()
        elif keys_of and _COLON.match(text, token.end()):
            key = json.loads(token[0])
            if key in keys_of[-1]:
                raise _Fault(f"{_shortened(key)!r} is given twice", _line(text, token.start()))
            keys_of[-1].add(key)
    raise _Fault("a key is given twice")


def _require_whole(text: str, line: int | None = None) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _Fault(
            f"the text {_shortened(text)!r} holds half of a surrogate pair, which is no character", line
        ) from None


class _Loader(yaml.SafeLoader):
    """PyYAML up to its nodes, with the depth bounded while they are made; `_Plain` takes them from there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.made = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1
        self.depth, self.made = self.depth + 1, self.made + 1
        if self.depth > DEEPEST:
            raise _Fault(f"nested more than {DEEPEST} deep", line)
        if self.made > MOST_YAML_VALUES:
            raise _Fault(f"holds more than {MOST_YAML_VALUES:,} values", line)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_INTEGER = r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*)"
_FLOAT = (
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
    r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] not in ("int", "float", "timestamp", "value")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(f"^(?:{_INTEGER})$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT})$"), list("-+0123456789."))

_SCALARS = {f"tag:yaml.org,2002:{name}": name for name in ("null", "bool", "int", "float", "str")}


class _Plain:
    """Nodes of YAML as plain values; the lines of the keys are noted."""

    def __init__(self, loader: _Loader, lines: Lines) -> None:
        self.loader, self.lines = loader, lines
        self.left = MOST_YAML_VALUES

    def value(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        line = node.start_mark.line + 1
        self.left -= 1
        # Aliases: a few of them, each of many others, would fill any memory, and one within itself has no end.
        if self.left < 0 or len(path) > DEEPEST:
            raise _Fault(f"holds more than {MOST_YAML_VALUES:,} values or {DEEPEST} levels, aliases followed", line)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.item(part, (*path, str(number))) for number, part in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self.scalar(node, path, line)
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise _Fault(f"{_key(path)}not valid YAML (the tag {_shortened(tag)} is not read)", line)

    def item(self, node: yaml.Node, path: tuple[str, ...]) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        return self.value(node, path)

    def mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[Any, Any]:
        values: dict[Any, Any] = {}
        seen: set[str] = set()
        for key, part in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _Fault(f"{_key(path)}not valid YAML (a key is not a word)", line)
            if key.tag == "tag:yaml.org,2002:merge":
                raise _Fault(f"{_key(path)}merge keys (<<) are not read; write the keys out", line)
            place = (*path, key.value)
            name = self.value(key, place)
            if key.value in seen or name in values:
                raise _Fault(f"{_key(path)}{_shortened(key.value)!r} is given twice", line)
            seen.add(key.value)
            self.lines.setdefault(place, line)
            values[name] = self.value(part, place)
        return values

    def scalar(self, node: yaml.ScalarNode, path: tuple[str, ...], line: int) -> Any:
        kind, text = _SCALARS[node.tag], node.value
        if kind == "str":
            _require_whole(text, line)
            return text
        too_long = kind == "int" and len(text) > _LONGEST_INTEGER
        try:
            # An explicit tag may stand before any text; of numbers, those in base 60 grow beyond all bounds.
            if ":" in text and kind in ("int", "float"):
                raise ValueError(text)
            value = None if too_long else self.loader.construct_object(node)
        except (ValueError, LookupError, OverflowError):
            raise _Fault(f"{_key(path)}{_shortened(text)!r} is not of the type {kind}", line) from None
        if too_long or (kind == "int" and value not in INTEGERS):
            raise _Fault(f"{_key(path)}the whole number {_shortened(text)} is beyond 64 bits", line)
        return value


def _key(path: tuple[str, ...]) -> str:
    return ".".join(map(_shortened, path)) + ": " if path else ""


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:24]}... ({len(text):,} characters)"
