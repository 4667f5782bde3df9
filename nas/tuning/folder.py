"""The folder of a study: new, or gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from nas.config import Recipe
from nas.errors import NasError
from nas.files import write_text


def open_folder(output: str | Path, recipe: Recipe, free: tuple[str, ...]) -> Path:
    """Make the folder of a study with its recipe.yaml, or find there the one that is gone on with.

    Args:
        output: new, empty, or the folder of a study with the same recipe.
        recipe: what is written to recipe.yaml.
        free: the key, section by section, that may differ: the number of trials, so that a study can be prolonged.

    Raises:
        NasError: the folder holds something else, or a study with another recipe; the keys that differ are named.
    """
    folder = Path(output)
    file = folder / "recipe.yaml"
    if not file.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise NasError(f"{folder} is not empty and holds no study; choose another --output, or remove it")
        write_text(file, f"# study, as begun\n{recipe.to_yaml()}")
        return folder
    try:
        before = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise NasError(f"{file} is damaged") from error
    old, new = (_flat(_without(values, free)) for values in (before, recipe.model_dump(mode="json")))
    changed = [f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    if changed:
        raise NasError(f"{folder} holds a study of another recipe: {'; '.join(changed)}")
    return folder


def _without(values: Any, key: tuple[str, ...]) -> Any:
    if not isinstance(values, dict) or key[0] not in values:
        return values
    if len(key) == 1:
        return {name: value for name, value in values.items() if name != key[0]}
    return {**values, key[0]: _without(values[key[0]], key[1:])}


def _flat(values: Any, key: str = "") -> dict[str, Any]:
    """`key.path` to value, for every value of nested sections."""
    if not isinstance(values, dict) or not values:
        return {key: values}
    return {k: v for name, value in values.items() for k, v in _flat(value, f"{key}.{name}" if key else name).items()}
