"""Mutations of a file: of its bytes, its words, its lines, and of the values that it holds."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

import yaml

NASTY_WORDS = [
    *("-1", "0", "1", "2", "1e999", "-1e999", "nan", "NaN", "inf", "Infinity", "1e-400", "0.5", "1_000", "0x1f"),
    *("9" * 30, "-" + "9" * 30, "0x" + "f" * 300, "9" * 5000, "18446744073709551616", "9223372036854775807"),
    *(
        "true",
        "false",
        "null",
        "~",
        "[]",
        "{}",
        '""',
        "''",
        "[[1]]",
        "{a: 1}",
        "*a",
        "&a",
        "<<",
        "!!python/name:os",
        "!!int",
    ),
    *("1:59:59", "2020-99-99", '"\\ud800"', "\ud83d\ude00", "é", "\u202e", "\x1b[31m", "\x00", "\ufeff", "\r", "\t"),
    *("../../etc/passwd", "/dev/zero", "a/" * 300, "x" * 400, "x" * 5000, "-", "--help", "%s%n", "<script>", "#", ":"),
    *("[" * 50, "[" * 5000, "{" * 50, "- " * 300, "(" * 300, '"', "'", ",", "bonafide", "spoof", "A01"),
]
NASTY_VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 3, 7, 1.5, -0.5, 1e308, 1e-308, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63)),
    *(float("nan"), float("inf"), 10**30, "", "x", "x" * 5000, "é", "\ud800", "\x00", "../..", "/dev/zero", "1"),
    *([], {}, [[]], [1], ["x"], {"x": 1}, [None], [[[]]], {"": {}}, ["x"] * 50, list(range(100))),
]
_WORD = re.compile(r"[^\s,:\[\]{}()\"'=]+")


def mutate(content: bytes, chance: random.Random, structure: str | None = None) -> bytes:
    """One to three mutations of a file. `structure` is "json" or "yaml" where values can be changed as such."""
    kinds: list[Callable[[bytes, random.Random], bytes]] = [_bytes, _word, _word, _line, _encoding]
    for _ in range(chance.choice((1, 1, 2, 3))):
        if structure is not None and chance.random() < 0.5:
            content = _structured(content, chance, structure)
        else:
            content = chance.choice(kinds)(content, chance)
    return content


def mutate_values(values: Any, chance: random.Random) -> Any:
    """A copy of nested values in which one is replaced, removed, renamed, added or doubled."""
    values = copy.deepcopy(values)
    places = list(_places(values))
    if not places:
        return chance.choice(NASTY_VALUES)
    container, key = chance.choice(places)
    action = chance.choice(("replace", "replace", "replace", "remove", "rename", "double", "swap"))
    if action == "remove":
        del container[key]
    elif action == "rename" and isinstance(container, dict):
        container[chance.choice(("x", "", str(key) + "s", str(key).upper()))] = container.pop(key)
    elif action == "double" and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif action == "swap":
        other, place = chance.choice(places)
        container[key] = copy.deepcopy(other[place])
    else:
        container[key] = copy.deepcopy(chance.choice(NASTY_VALUES))
    return values


def _places(values: Any) -> list[tuple[Any, Any]]:
    places, waiting = [], [values]
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            places.append((container, key))
            if isinstance(container[key], dict | list):
                waiting.append(container[key])
    return places


def _structured(content: bytes, chance: random.Random, structure: str) -> bytes:
    try:
        values = json.loads(content) if structure == "json" else yaml.safe_load(content)
    except (ValueError, yaml.YAMLError, RecursionError, OverflowError, LookupError, AttributeError):
        return _word(content, chance)
    if not isinstance(values, dict | list) or len(content) > 100_000:
        return _word(content, chance)
    changed = mutate_values(values, chance)
    if structure == "json":
        return json.dumps(changed, indent=1).encode()
    return yaml.safe_dump(changed, sort_keys=False).encode("utf-8", "surrogatepass")


def _bytes(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) + 1)
    until = min(len(content), at + chance.choice((1, 2, 8, 64, 1000)))
    action = chance.choice(("flip", "cut", "end", "insert", "double"))
    if action == "flip" and at < len(content):
        return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]
    if action == "cut":
        return content[:at] + content[until:]
    if action == "end":
        return content[:at]
    if action == "double":
        return content[:until] + content[at:]
    return content[:at] + chance.randbytes(chance.choice((1, 2, 8))) + content[at:]


def _word(content: bytes, chance: random.Random) -> bytes:
    text = content.decode("utf-8", "surrogateescape")
    words = list(_WORD.finditer(text))
    nasty = chance.choice(NASTY_WORDS)
    if not words:
        return nasty.encode("utf-8", "surrogatepass")
    word = chance.choice(words)
    # Another word of the file, in its place, is the subtler fault.
    new = nasty if chance.random() < 0.6 else chance.choice(words)[0]
    return _encoded(text[: word.start()]) + new.encode("utf-8", "surrogatepass") + _encoded(text[word.end() :])


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _line(content: bytes, chance: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = chance.randrange(len(lines))
    action = chance.choice(("remove", "double", "swap", "blank", "indent"))
    if action == "remove":
        del lines[at]
    elif action == "double":
        lines.insert(at, lines[at])
    elif action == "swap":
        other = chance.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif action == "blank":
        lines[at] = b""
    else:
        lines[at] = chance.choice((b" ", b"  ", b"\t")) + lines[at]
    return b"\n".join(lines)


def _encoding(content: bytes, chance: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    action = chance.choice(("bom", "utf-16", "utf-32", "latin", "crlf", "cr", "empty", "zero"))
    if action in ("utf-16", "utf-32"):
        return text.encode(action)
    changed = {
        "bom": b"\xef\xbb\xbf" + content,
        "latin": "é".encode("latin-1") + content,
        "crlf": content.replace(b"\n", b"\r\n"),
        "cr": content.replace(b"\n", b"\r"),
        "empty": b"",
        "zero": content + b"\0",
    }
    return changed[action]
