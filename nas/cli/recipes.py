"""nas recipes"""

from __future__ import annotations

from typing import Annotated

import typer


def recipes(
    pattern: Annotated[str, typer.Argument(help="Only names that contain this.", metavar="[WORD]")] = "",
) -> None:
    """The packaged recipes, a name and what it is in each line.

    Example: nas recipes raw_pcdarts
    """
    from nas.recipe_file import packaged_recipes

    titles = {name: title for name, title in packaged_recipes().items() if pattern in name}
    width = max(map(len, titles), default=0) + 2
    for name, title in titles.items():
        typer.echo(f"{name:<{width}}{title}")
