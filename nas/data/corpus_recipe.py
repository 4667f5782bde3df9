"""A corpus from a recipe: the settings of `build_corpus` in a YAML file."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.data.chain import Chain
from nas.data.corpus import build_corpus
from nas.errors import NasError
from nas.space import nearest
from nas.text_files import read_yaml

_GIVEN = ("bonafide", "output", "workers", "progress", "corrupt")
"""Arguments of `build_corpus` that say where and how to work, and so belong to the command and not to the recipe."""


def read_recipe(recipe: str | Path) -> dict[str, Any]:
    """The keyword arguments of `build_corpus` that a recipe gives.

    Raises:
        NasError: the recipe cannot be read or has a key or value that `build_corpus` does not take.
    """
    path = Path(recipe)
    settings = read_yaml(path, "corpus recipe")
    parameters = inspect.signature(build_corpus).parameters
    valid = tuple(name for name in parameters if name not in _GIVEN)
    kinds = {"attacks": list, "evaluation_only": list, "shares": dict, "options": dict, "chain": dict, "seed": int}
    for key, value in _mapping(settings, path, "the recipe").items():
        if key not in valid:
            raise NasError(f"{path}: a corpus recipe has no key {key!r}{nearest(str(key), valid)}")
        if key in kinds and not isinstance(value, kinds[key]):
            raise NasError(f"{path}: {key} must be a {kinds[key].__name__}, not {value!r}")
    if "chain" in settings:
        settings["chain"] = _chain(settings["chain"], path)
    return dict(settings)


def _chain(values: dict[str, Any], path: Path) -> Chain:
    fields = {field.name for field in dataclasses.fields(Chain)}
    for key, value in values.items():
        if key not in fields:
            raise NasError(f"{path}: chain has no key {key!r}{nearest(str(key), tuple(fields))}")
        expected: type | tuple[type, ...] = list if key == "codecs" else (int, float)
        if not isinstance(value, expected) or isinstance(value, bool):
            raise NasError(f"{path}: chain.{key} must be a {'list' if key == 'codecs' else 'number'}, not {value!r}")
    arguments: dict[str, Any] = {key: tuple(value) if key == "codecs" else value for key, value in values.items()}
    return Chain(**arguments)


def _mapping(value: Any, path: Path, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise NasError(f"{path}: {what} must be a mapping of keys to values")
    return value
