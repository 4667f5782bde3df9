"""Every recipe on disk: it loads, its network builds, its data settings hold, and it says what its values do."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from nas.config import SearchedNetwork
from nas.data.augment import Augmentation
from nas.data.readers import layouts
from nas.genotype import Genotype
from nas.recipe_file import load_recipe
from nas.searching.supernet_search import build_supernet
from nas.space import get_space
from nas.training.train import build_network, make_schedule

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
CORPUS_RECIPES = {"proxy/la_proxy"}
"""Recipes of the corpus builder, which has tests of its own."""

RECIPES = sorted(
    str(path.relative_to(EXPERIMENTS).with_suffix(""))
    for folder in EXPERIMENTS.iterdir()
    if folder.is_dir() and folder.name != "results"
    for path in folder.rglob("*.yaml")
    if str(path.relative_to(EXPERIMENTS).with_suffix("")) not in CORPUS_RECIPES
)


def test_every_recipe_on_disk_is_checked() -> None:
    on_disk = {str(path.relative_to(EXPERIMENTS).with_suffix("")) for path in EXPERIMENTS.rglob("*.yaml")}
    assert on_disk == set(RECIPES) | CORPUS_RECIPES
    assert len(RECIPES) == len(on_disk) - len(CORPUS_RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.data.layout in ("embedded", *layouts())
    Augmentation.from_recipe(recipe.data.augment)
    searched = isinstance(recipe.network, SearchedNetwork)
    genotype = Genotype.random(get_space(recipe.space), random.Random(0))
    network = build_network(recipe, genotype if searched else None)
    assert network.eval()(torch.zeros(1, min(recipe.data.samples, 16_000)) + 0.01).shape == (1, 2)
    if searched:
        build_supernet(load_recipe(name, ["network.gru_hidden=8"]))
    optimizer = torch.optim.Adam(network.parameters(), recipe.train.learning_rate)
    schedule = make_schedule(optimizer, recipe.train, 3)
    for _ in range(recipe.train.epochs):
        for _ in range(3 if recipe.train.schedule == "cosine_steps" else 1):
            optimizer.step()
            schedule.step()
    if recipe.train.schedule.startswith("cosine"):
        assert schedule.get_last_lr()[0] == pytest.approx(recipe.train.final_learning_rate)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_explains_itself(name: str) -> None:
    lines = (EXPERIMENTS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    if not name.endswith("toy"):
        assert sum(" # " in line for line in lines) >= 3
