"""Reading recipes: YAML, changed by `key.path=value`; what is wrong is told with file, line and nearest right name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from nas import imports
from nas.config import NETWORK_TAGS, Recipe
from nas.errors import NasError, nearest
from nas.text_files import Lines, parse_yaml, parse_yaml_lines, read_text

PACKAGED = Path(__file__).resolve().parent.parent / "experiments"


def find_recipe(recipe: str | Path) -> Path:
    """A recipe file: a path, a run directory for the recipe that it ran, or the name of a packaged one such as
    `raw_pcdarts/mel_fixed`.

    Raises:
        NasError: neither exists; the nearest packaged name is given.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    if is_run(path):
        return path / "recipe.yaml"
    packaged, name = _packaged(), str(recipe).removesuffix(".yaml")
    if name in packaged:
        return packaged[name]
    raise NasError(f"there is no recipe {str(recipe)!r}, as a file or packaged{nearest(name, list(packaged))}")


def is_run(recipe: str | Path) -> bool:
    """Whether a recipe is named by the run directory, or study, that ran it."""
    return (Path(recipe) / "recipe.yaml").is_file()


def _packaged() -> dict[str, Path]:
    """The packaged recipes by name; found by where this file is, since the current folder may have an `experiments`."""
    files = sorted(PACKAGED.rglob("*.yaml"))
    return {file.relative_to(PACKAGED).with_suffix("").as_posix(): file for file in files}


def packaged_recipes() -> dict[str, str]:
    """Names of the packaged recipes, each with the first line of its comment."""
    return {
        name: file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for name, file in _packaged().items()
    }


def load_recipe(recipe: str | Path, overrides: tuple[str, ...] | list[str] = ()) -> Recipe:
    """Read a recipe and apply `key.path=value` overrides, whose values are YAML.

    A relative path in the file is relative to the file, one in an override to the current folder. What the recipe
    imports is run: of a run directory its own copies, where they are trusted (nas.imports).

    Raises:
        NasError: no such recipe, not YAML, an unknown key (the nearest is named), a value out of range or of the wrong
            type; with file and line, or the override.
    """
    path = find_recipe(recipe)
    content, lines = parse_yaml_lines(read_text(path, "recipe"), path)
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise NasError(f"recipe {path}: expected keys such as data, network, search and train")
    _resolve_paths(content, path.parent)
    changed = set()
    for override in overrides:
        changed.add(_apply(content, override))
    _import(content, path, lines, of_run=is_run(recipe))
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise NasError(_explain(error, path, lines, changed)) from None


def recipe_from(values: dict[str, Any]) -> Recipe:
    """A recipe from plain values, as `recipe.yaml` of a run directory holds them.

    Raises:
        NasError: an unknown key or an invalid value.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise NasError(_explain(error, Path("recipe"), {}, set())) from None


def _import(content: dict[str, Any], path: Path, lines: Lines, of_run: bool) -> None:
    """Run what the recipe imports, those of the command line last, and make their paths absolute."""
    try:
        names = imports.resolve(content.get("imports") or [], Path.cwd())
    except NasError as error:
        line = _line_of(lines, ("imports",))
        raise NasError(f"{path}:{line}: {error}" if line else f"{path}: {error}") from None
    content["imports"] = list(dict.fromkeys([*names, *imports.given()]))
    if of_run:
        imports.open_imports(path.parent, names)
    else:
        imports.run_imports(names)


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
    if isinstance(content.get("imports"), list):
        content["imports"] = [_absolute(name, folder) for name in content["imports"]]


def _absolute(name: Any, folder: Path) -> Any:
    return imports.resolve([name], folder)[0] if isinstance(name, str) and name else name


def _apply(content: dict[str, Any], override: str) -> tuple[str, ...]:
    """Set one `key.path=value` in place; returns the path."""
    key, separator, value = override.partition("=")
    path = tuple(key.strip().split("."))
    if not separator or not all(path):
        raise NasError(f"override {override!r}: expected key.path=value, for example train.epochs=10")
    parsed = parse_yaml(value, f"override {override!r}")
    section: Any = content
    for name in path[:-1]:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            raise NasError(f"override {override!r}: {name} is a value, not a section")
    if path in _PATHS and isinstance(parsed, str):
        parsed = str(Path(parsed).absolute())
    section[path[-1]] = parsed
    return path


def _explain(error: ValidationError, path: Path, lines: Lines, changed: set[tuple[str, ...]]) -> str:
    """One sentence for the first thing that is wrong: where, what, and what would be right."""
    first, *others = error.errors()
    location = tuple(str(part) for part in first["loc"] if part not in NETWORK_TAGS)
    key = ".".join(location) or "recipe"
    line = _line_of(lines, location)
    where = "override" if location in changed else f"{path}:{line}" if line else str(path)
    if first["type"] == "extra_forbidden":
        what = f"unknown key{nearest(location[-1], _keys(tuple(map(str, first['loc'][:-1]))))}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        what = f"{message[0].lower()}{message[1:]}"
        if not isinstance(first["input"], dict | BaseModel) and repr(first["input"]) not in what:
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


def _line_of(lines: Lines, location: tuple[str, ...]) -> int | None:
    """Line of a key in the file, counted from 1; None where it is not written there."""
    written = location
    while written and written not in lines:
        written = written[:-1]
    # Pydantic names the kind of value below a key that may have several; a key that is missing in a section is no such.
    is_section = any(path[:-1] == written for path in lines)
    return lines.get(written) if written == location or not is_section else None
