"""Recipes: every packaged one loads; every mistake is one sentence with its place and the nearest valid word."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.config import Recipe
from nas.errors import NasError
from nas.recipe_file import load_recipe, recipe_from

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
TABLE_2 = {
    "mel_fixed": ("mel", False),
    "mel_learnable": ("mel", True),
    "inverse_mel_fixed": ("inverse-mel", False),
    "inverse_mel_learnable": ("inverse-mel", True),
    "linear_fixed": ("linear", False),
    "linear_learnable": ("linear", True),
    "conv0": ("conv0", True),
}


@pytest.mark.parametrize("name", TABLE_2)
def test_table_2_has_the_papers_settings(name: str) -> None:
    recipe = load_recipe(f"raw_pcdarts/{name}")
    assert (recipe.network.frontend, recipe.network.learnable) == TABLE_2[name]
    defaults = Recipe()
    changed = {"name", "network", "search", "train", "supernet", "engine"}
    assert recipe.model_dump(exclude=changed) == defaults.model_dump(exclude=changed)
    # The published code computes in float32, and every mixed operation twice, which moves its statistics twice.
    assert recipe.supernet == defaults.supernet.model_copy(update={"published_statistics": True})
    assert recipe.engine == defaults.engine.model_copy(update={"precision": "float32"})
    assert recipe.network.model_dump(exclude={"frontend", "learnable"}) == defaults.network.model_dump(
        exclude={"frontend", "learnable"}
    )
    # The paper selects by accuracy, and its architecture steps move the running statistics too.
    published = {"select": "dev_accuracy", "update_statistics": True}
    assert recipe.search == defaults.search.model_copy(update=published)
    assert recipe.train == defaults.train.model_copy(update={"select": "dev_accuracy"})


def test_the_recipe_of_a_run_reads_back() -> None:
    import yaml

    recipe = load_recipe("raw_pcdarts/conv0", ["seed=7", "train.learning_rate=1e-3"])
    assert recipe_from(yaml.safe_load(recipe.to_yaml())) == recipe


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.bach_size=3", "train.bach_size: unknown key; did you mean 'batch_size'"),
        ("trian.epochs=3", "trian: unknown key; did you mean 'train'"),
        ("train.batch_size=many", "train.batch_size: input should be a valid integer, not 'many'"),
        ("train.batch_size=true", "valid integer"),
        ("train.learning_rate=.nan", "finite"),
        ("train.learning_rate=-1", "greater than 0"),
        ("data.samples=0", "data.samples: input should be greater than 0"),
        ("network.frontend=mell", "frontend: there is no front-end 'mell'; did you mean 'mel'"),
        ("search.epochs=5", "warmup_epochs"),
        ("search.split.method=protocols", "weights_protocol"),
        ("seed=-1", "seed"),
        (f"seed={2**63}", "seed: .*9223372036854775807"),
        ("seed=" + "9" * 5000, "seed"),
        ("seed=0x" + "f" * 4000, "seed"),
        ("seed=1e20", "seed"),
        (f"data.subset_seed={2**64}", "subset_seed"),
        ("seed", "expected key.path=value"),
        ("=3", "expected key.path=value"),
        ("seed.x=3", "seed: input should be|seed is a value"),
        ("train={", "not valid YAML"),
        ("train.epochs=!!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_a_wrong_override_gets_one_sentence(override: str, words: str) -> None:
    with pytest.raises(NasError, match=words) as caught:
        load_recipe("raw_pcdarts/mel_fixed", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\ntrain:\n  epochs: 5\n  batch_sizes: 3\n", r"recipe\.yaml:4: train\.batch_sizes: unknown key"),
        ("seed: 1\nseed: 2\n", r"recipe\.yaml:2: .*given twice"),
        ("seed: [\n", "not valid YAML"),
        ("- 1\n", "expected keys"),
        ("seed: !!python/name:os.system\n", "not valid YAML"),
        ("data: embedded\n", "data"),
        ("? [1]\n: 2\n", "YAML|unknown key|expected"),
    ],
)
def test_a_wrong_file_gets_its_line(tmp_path, text: str, words: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(NasError, match=words):
        load_recipe(path)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(NasError, match="did you mean 'raw_pcdarts/mel_fixed'"):
        load_recipe("raw_pcdarts/mel_fixd")


def test_numbers_in_exponent_form_are_numbers(tmp_path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("train: {learning_rate: 5e-5, final_learning_rate: 1E-6}\n")
    assert load_recipe(path).train.learning_rate == 5e-5


def test_relative_paths_of_a_file_belong_to_its_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "recipe.yaml").write_text("data: {root: LA}\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("sub/recipe.yaml").data.root == str(tmp_path / "sub" / "LA")
    assert load_recipe("sub/recipe.yaml", ["data.root=LA"]).data.root == str(tmp_path / "LA")


_LISTS = st.lists(st.integers(), max_size=3)
_VALUES = st.one_of(st.none(), st.booleans(), st.integers(-5, 100), st.floats(), st.text(max_size=8), _LISTS)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_mutated_recipes_are_valid_or_one_sentence(data: st.DataObject) -> None:
    values = Recipe().model_dump(mode="json")
    section = values
    while True:
        key = data.draw(st.sampled_from(sorted(section)))
        if isinstance(section[key], dict) and section[key] and data.draw(st.booleans()):
            section = section[key]
            continue
        break
    action = data.draw(st.sampled_from(["value", "rename", "remove", "nest"]))
    if action == "value":
        section[key] = data.draw(_VALUES)
    elif action == "rename":
        section[data.draw(st.text(max_size=12))] = section.pop(key)
    elif action == "remove":
        section.pop(key)
    else:
        section[key] = {key: section[key]}
    try:
        recipe_from(values)
    except NasError as error:
        assert "\n" not in str(error)
