"""docs/fidelity.md against the recipes: every setting has a row, and the row has the recipe's value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.recipe_file import load_recipe

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
COLUMNS = 5
ELSEWHERE = {"name", "data.layout", "network.name", "network.frontend", "network.learnable"}
"""What a recipe is of, or what its name says."""


def tables() -> dict[str, dict[str, Any]]:
    """For each recipe the column "ours" by setting."""
    found: dict[str, dict[str, Any]] = {}
    for section in TEXT.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"]
        rows = [row for row in cells if row[0].startswith("`")]
        assert all(len(row) == COLUMNS for row in rows)
        values = {row[0].strip("`"): load_yaml(row[3].strip("`")) for row in rows}
        assert len(values) == len(rows), "a setting has two rows"
        for name in re.findall(r"`([^`]+)`", title):
            assert name not in found
            found[name] = values
    return found


def load_yaml(text: str) -> Any:
    """A value as recipes have it: YAML 1.1 takes 5e-5 for text."""
    value = yaml.safe_load(text)
    return float(value) if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?e-?\d+", value) else value


def leaves(section: Any, before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in section.items():
        found |= leaves(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return found


def value_at(recipe: Any, key: str) -> Any:
    value = recipe.model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return value


RECIPES = sorted(
    f"{folder}/{path.stem}"
    for folder in ("baselines", "finetuning", "raw_pcdarts")
    for path in (ROOT / "experiments" / folder).glob("*.yaml")
    if path.stem != "toy"
)


def test_every_recipe_after_a_publication_has_a_table() -> None:
    assert sorted(tables()) == RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_the_table_says_what_the_recipe_has(name: str) -> None:
    table, recipe = tables()[name], load_recipe(name)
    for key, value in table.items():
        assert value_at(recipe, key) == value, key
    stated = leaves(yaml.safe_load((ROOT / "experiments" / f"{name}.yaml").read_text(encoding="utf-8")))
    assert set(stated) - ELSEWHERE <= set(table), "a setting without a row"
