"""Pages of the reference, made from the code while the site is built: recipe keys, command line, Python."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator

import mkdocs_gen_files
import typer.main
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer._click import Context
from typer.cli import get_docs_for_click

import nas
from nas.cli import app
from nas.config import Recipe


def recipe_page() -> str:
    """A table for each section of the recipe: key, type, default, meaning."""
    parts = [
        "# Recipe keys\n\nEvery key of a recipe, from the code. On the command line a key is changed by its path, "
        "`search.epochs=5`; an unknown key is refused, and the nearest one is named. See [Recipes](../recipes.md).\n"
    ]
    for path, section in sections(Recipe):
        parts.append(f"## `{path}`\n" if path else "## The recipe\n")
        if section.__doc__:
            parts.append(f"{typing.cast(str, section.__doc__).strip()}\n")
        parts.append("| key | type | default | meaning |\n|---|---|---|---|")
        for name, field in section.model_fields.items():
            if inner(field.annotation):
                continue
            default = "" if field.default is PydanticUndefined else f"`{shown(field.default)}`"
            meaning = " ".join((field.description or "").split())
            parts.append(f"| `{name}` | {kind(field.annotation)} | {default} | {meaning} |".replace("\n", " "))
        parts.append("")
    return "\n".join(parts)


def sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """(path, section) of a section and of all sections in it."""
    yield path, model
    for name, field in model.model_fields.items():
        for section in inner(field.annotation):
            yield from sections(section, f"{path}.{name}".lstrip("."))


def inner(annotation: object) -> list[type[BaseModel]]:
    """The sections that a type may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in typing.get_args(annotation) for section in inner(part)]


def kind(annotation: object) -> str:
    """A type in plain words."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kind(parts[0])
    if origin is typing.Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind(part) for part in parts))
    names = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
    if annotation in names:
        return names[annotation]  # type: ignore[index]
    if origin is list:
        return f"list of {kind(parts[0])}"
    return {dict: "mapping", tuple: "list"}.get(origin, "any")  # type: ignore[call-overload,no-any-return]


def shown(value: object) -> str:
    """A default as a recipe would write it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]  # type: ignore[index]
    return str(list(value) if isinstance(value, tuple) else value)


def command_line_page() -> str:
    """What `nas VERB --help` says, of every verb."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=Context(command, info_name="nas"), name="nas", title="Command line")
    return text.replace("\n* `--help`: Show this message and exit.", "")


def python_page() -> str:
    """The public names."""
    parts = ["# Python\n\nWhat `import nas` gives. Every other module is documented in its own text.\n"]
    for name in nas.__all__:
        home, _, attribute = nas._HOMES.get(name, "nas.errors").partition(":")
        parts.append(f"::: {home}.{attribute or name}\n")
    return "\n".join(parts)


for page, text in {"recipe": recipe_page(), "cli": command_line_page(), "api": python_page()}.items():
    with mkdocs_gen_files.open(f"reference/{page}.md", "w") as stream:
        stream.write(text)
