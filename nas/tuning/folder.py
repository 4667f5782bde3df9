"""The folder of a study: new, or gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.config import Recipe
from nas.errors import NasError
from nas.files import write_text
from nas.recipe_file import recipe_from
from nas.text_files import read_yaml
from nas.training.standing import differences
from nas.tuning.ranges import apply


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
        before = recipe_from(read_yaml(file, "recipe"))
    except NasError as error:
        raise NasError(f"{file} is damaged: {error}") from error
    now: Any = recipe.model_dump(mode="json")
    allowed = now
    for name in free:
        allowed = allowed[name]
    changed = differences(apply(before, {".".join(free): allowed}).model_dump(mode="json"), now)
    if changed:
        raise NasError(f"{folder} holds a study of another recipe: {'; '.join(changed)}")
    return folder
