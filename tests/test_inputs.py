"""Which utterances a recipe takes: subsets by partition, attacks left out of training."""

from __future__ import annotations

from collections import Counter

import pytest

from nas.config import Recipe
from nas.errors import NasError
from nas.recipe_file import recipe_from
from nas.training.inputs import open_inputs

ALL = ("train", "dev", "eval")


def recipe(**data: object) -> Recipe:
    return recipe_from({"data": {"layout": "embedded", "samples": 16_000, **data}})


def attacks(chosen: Recipe, partition: str, partitions: tuple[str, ...] = ALL) -> Counter[str]:
    inputs = open_inputs(chosen, partitions)
    return Counter(inputs.store.utterances[row].attack for row in inputs.partitions[partition])


def test_a_number_takes_a_balanced_subset_of_training_only() -> None:
    whole = attacks(recipe(), "dev")
    taken = attacks(recipe(subset=20), "train")
    assert taken["-"] == 10
    assert taken.total() == 20
    assert attacks(recipe(subset=20), "dev") == whole


def test_subsets_by_partition() -> None:
    chosen = recipe(subset={"dev": 12, "eval": 16})
    assert [attacks(chosen, name).total() for name in ALL[1:]] == [12, 16]
    assert attacks(chosen, "train") == attacks(recipe(), "train")
    assert attacks(chosen, "eval", ("eval",)) == attacks(chosen, "eval")


def test_runs_of_several_seeds_share_their_utterances() -> None:
    def utterances(seed: int, subset_seed: int) -> list[str]:
        chosen = recipe(subset={"train": 12}, subset_seed=subset_seed).model_copy(update={"seed": seed})
        inputs = open_inputs(chosen, ("train",))
        return [inputs.store.utterances[row].utterance for row in inputs.partitions["train"]]

    assert utterances(0, 0) == utterances(7, 0) != utterances(0, 1)


def test_an_attack_left_out_is_in_evaluation_only() -> None:
    chosen = recipe(leave_out=["griffin_lim"])
    assert ["griffin_lim" in attacks(chosen, name) for name in ALL] == [False, False, True]
    assert attacks(chosen, "eval", ("eval",)) == attacks(recipe(), "eval")


def test_wrong_choices_are_told() -> None:
    with pytest.raises(NasError, match="no attack 'A99'"):
        open_inputs(recipe(leave_out=["A99"]), ALL)
    with pytest.raises(NasError, match="a balanced subset of 9000 needs"):
        open_inputs(recipe(subset=9000), ALL)
    with pytest.raises(NasError, match=r"data\.subset"):
        recipe(subset={"training": 5})
