"""Reading recipes: YAML, changed by `key.path=value`; what is wrong is told with file, line and nearest right name."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from nas.config import NETWORK_TAGS, Recipe
from nas.errors import NasError
from nas.space import nearest


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 5e-5 as the number it is, and refuses a key given twice and aliases: a few of them, each of
    many others, would fill any memory."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, f"*{event.anchor}: aliases are not read", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not a word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def read_yaml(text: str) -> Any:
    """Plain values of a YAML text.

    Raises:
        yaml.YAMLError, RecursionError, ValueError: it is none.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506 (_Loader is a SafeLoader)


def find_recipe(recipe: str | Path) -> Path:
    """A recipe file: a path, or the name of a packaged one such as `raw_pcdarts/mel_fixed`.

    Raises:
        NasError: neither exists; the nearest packaged name is given.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    packaged, name = _packaged(), str(recipe).removesuffix(".yaml")
    if name in packaged:
        return packaged[name]
    raise NasError(f"there is no recipe {str(recipe)!r}, as a file or packaged{nearest(name, list(packaged))}")


def _packaged() -> dict[str, Path]:
    """The packaged recipes by name."""
    home = Path(str(files("experiments")))
    return {file.relative_to(home).with_suffix("").as_posix(): file for file in sorted(home.rglob("*.yaml"))}


def packaged_recipes() -> dict[str, str]:
    """Names of the packaged recipes, each with the first line of its comment."""
    return {
        name: file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for name, file in _packaged().items()
    }


def load_recipe(recipe: str | Path, overrides: tuple[str, ...] | list[str] = ()) -> Recipe:
    """Read a recipe and apply `key.path=value` overrides, whose values are YAML.

    A relative path in the file is relative to the file, one in an override to the current folder.

    Raises:
        NasError: no such recipe, not YAML, an unknown key (the nearest is named), a value out of range or of the wrong
            type; with file and line, or the override.
    """
    path = find_recipe(recipe)
    try:
        text = path.read_text(encoding="utf-8")
        content = read_yaml(text)
    except (OSError, UnicodeDecodeError) as error:
        raise NasError(f"recipe {path}: {getattr(error, 'strerror', None) or 'is not UTF-8 text'}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise NasError(
            f"{where}: not valid YAML ({getattr(error, 'problem', None) or type(error).__name__})"
        ) from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise NasError(f"recipe {path}: expected keys such as data, network, search and train")
    _resolve_paths(content, path.parent)
    changed = set()
    for override in overrides:
        changed.add(_apply(content, override))
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise NasError(_explain(error, path, text, changed)) from None


def recipe_from(values: dict[str, Any]) -> Recipe:
    """A recipe from plain values, as `recipe.yaml` of a run directory holds them.

    Raises:
        NasError: an unknown key or an invalid value.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise NasError(_explain(error, Path("recipe"), "", set())) from None


_PATHS = (
    ("data", "root"),
    ("data", "cache"),
    ("data", "asv_scores"),
    ("search", "split", "weights_protocol"),
    ("search", "split", "architecture_protocol"),
    ("search", "black_box", "supernet"),
)


def _resolve_paths(content: dict[str, Any], folder: Path) -> None:
    """Make relative paths of the file absolute, so that a run never depends on the current folder."""
    for *sections, key in _PATHS:
        section: Any = content
        for name in sections:
            section = section.get(name) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = str((folder / section[key]).absolute())


def _apply(content: dict[str, Any], override: str) -> tuple[str, ...]:
    """Set one `key.path=value` in place; returns the path."""
    key, separator, value = override.partition("=")
    path = tuple(key.strip().split("."))
    if not separator or not all(path):
        raise NasError(f"override {override!r}: expected key.path=value, for example train.epochs=10")
    try:
        parsed = read_yaml(value)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise NasError(f"override {override!r}: the value is not valid YAML") from None
    section: Any = content
    for name in path[:-1]:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            raise NasError(f"override {override!r}: {name} is a value, not a section")
    if path in _PATHS and isinstance(parsed, str):
        parsed = str(Path(parsed).absolute())
    section[path[-1]] = parsed
    return path


def _explain(error: ValidationError, path: Path, text: str, changed: set[tuple[str, ...]]) -> str:
    """One sentence for the first thing that is wrong: where, what, and what would be right."""
    first, *others = error.errors()
    location = tuple(str(part) for part in first["loc"] if part not in NETWORK_TAGS)
    key = ".".join(location) or "recipe"
    line = _line_of(text, location)
    where = "override" if location in changed else f"{path}:{line}" if line else str(path)
    if first["type"] == "extra_forbidden":
        what = f"unknown key{nearest(location[-1], _keys(tuple(map(str, first['loc'][:-1]))))}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        what = f"{message[0].lower()}{message[1:]}"
        if not isinstance(first["input"], dict | BaseModel):
            what += f", not {_shown(first['input'])}"
    more = f" (and {len(others)} more)" if others else ""
    return f"{where}: {key}: {what}{more}"


def _shown(value: Any) -> str:
    try:
        return repr(str(value)[:60])
    except ValueError:  # Python writes no whole number of more than some 4,300 digits
        return "one of thousands of digits"


def _keys(location: tuple[str, ...]) -> list[str]:
    """The valid keys of the section at this place."""
    model: Any = Recipe
    for name in location:
        model = NETWORK_TAGS.get(name) or model.model_fields[name].annotation
        # A section that may be left out is `Section | None`.
        model = next((part for part in get_args(model) if hasattr(part, "model_fields")), model)
    return list(model.model_fields)


def _line_of(text: str, location: tuple[str, ...]) -> int | None:
    """Line of a key in the YAML text, counted from 1; None where it is not written there."""
    node = yaml.compose(text, Loader=_Loader) if text else None
    line = None
    for name in location:
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == name:
                node, line = value, key.start_mark.line + 1
                break
        else:
            return None
    return line
