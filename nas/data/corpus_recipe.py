"""A corpus from a recipe: the settings of `build_corpus` in a YAML file."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from nas.data.chain import Chain
from nas.data.corpus import build_corpus
from nas.errors import NasError, nearest
from nas.text_files import parse_yaml_lines, read_text

_GIVEN = ("bonafide", "output", "workers", "progress", "corrupt")
"""Arguments of `build_corpus` that say where and how to work, and so belong to the command and not to the recipe."""


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    """The keyword arguments of `build_corpus` that a recipe gives.

    Raises:
        NasError: the recipe cannot be read or has a key or value that `build_corpus` does not take.
    """
    path = Path(recipe)
    settings, lines = parse_yaml_lines(read_text(path, "corpus recipe"), path)
    parameters = inspect.signature(build_corpus).parameters
    valid = tuple(name for name in parameters if name not in _GIVEN)
    if not isinstance(settings, dict):
        raise NasError(f"{path}: the recipe must be a mapping of keys to values")

    def refuse(key: str, reason: str) -> NoReturn:
        raise NasError(f"{path}:{lines.get(tuple(key.split('.')), 1)}: {key} {reason}")

    for key, value in settings.items():
        if key not in valid:
            where = f"{path}:{lines.get((str(key),), 1)}"
            raise NasError(f"{where}: a corpus recipe has no key {key!r}{nearest(str(key), valid)}")
        what, fits = _VALUES[key]
        if not fits(value):
            refuse(key, f"must be {what}, not {str(value)[:60]!r}")
    chain = settings.get("chain", {})
    fields = tuple(field.name for field in dataclasses.fields(Chain))
    for key, value in chain.items():
        if key not in fields:
            refuse(f"chain.{key}", f"is no key of the chain{nearest(str(key), fields)}")
        what, fits = ("a list of names", _are_names) if key == "codecs" else ("a number", _is_number)
        if not fits(value):
            refuse(f"chain.{key}", f"must be {what}, not {str(value)[:60]!r}")
    try:
        arguments: dict[str, Any] = {key: tuple(value) if key == "codecs" else value for key, value in chain.items()}
        made = Chain(**arguments)
    except NasError as error:
        refuse("chain", str(error))
    return {**settings, "chain": made} if "chain" in settings else dict(settings)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(least: int, most: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _are_options(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(options, dict) and all(isinstance(key, str) for key in options)
        for name, options in value.items()
    )


_VALUES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "attacks": ("a list of names", _are_names),
    "evaluation_only": ("a list of names", _are_names),
    "spoofs_per_utterance": ("a whole number from 1", lambda value: value is None or _is_whole(1, 10_000)(value)),
    "shares": (
        "a mapping of partitions to numbers",
        lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    ),
    "seed": ("a whole number, 0 to 2**63 - 1", _is_whole(0, 2**63 - 1)),
    "chain": ("a mapping of settings", lambda value: isinstance(value, dict)),
    "options": ("a mapping of attacks to their settings", _are_options),
    "speaker_pattern": ("a regular expression", lambda value: value is None or isinstance(value, str)),
}
"""What a value of the recipe must be, and whether one is."""
