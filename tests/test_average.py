"""Which epochs enter the average of weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nas.networks import registry
from nas.recipe_file import load_recipe
from nas.training.average import WeightAverage


def averaged(eers: list[float], below: float) -> tuple[list[int], float]:
    """The epochs that enter, and the mean of a weight that epoch n sets to n."""
    network: Any = registry.create("lcnn-lfcc-lstmsum", width=4)
    average = WeightAverage(network, below)
    found = []
    for epoch, eer in enumerate(eers, start=1):
        torch.nn.init.constant_(network.output.weight, epoch)
        if average.offer(network, eer, eer):
            found.append(epoch)
    assert int(average.n_averaged) == len(found)
    module: Any = average.module
    return found, module.output.weight.mean().item()


@pytest.mark.parametrize(
    ("eers", "below", "expected"),
    [
        ([3.0, 0.9, 1.2, 0.9, 0.95, 0.5, 0.5, 0.7], 1.0, [2, 4, 6, 7]),
        ([1.5, 1.0, 1.0], 1.0, [2, 3]),
        ([40.0, 30.0, 30.0, 35.0, 20.0], 100.0, [1, 2, 3, 5]),
        ([1.2, 1.1], 1.0, []),
    ],
)
def test_epochs_as_good_as_the_best_and_good_enough(eers: list[float], below: float, expected: list[int]) -> None:
    """The published rule of AASIST: a bar of 1 % that every epoch at or below it lowers to its own EER."""
    found, mean = averaged(eers, below)
    assert found == expected
    if expected:
        assert mean == pytest.approx(sum(expected) / len(expected))
    bar, published = below, []
    for epoch, eer in enumerate(eers, start=1):
        if bar >= eer:
            bar = eer
            published.append(epoch)
    assert found == published


def test_the_bar_survives_a_checkpoint() -> None:
    network: Any = registry.create("lcnn-lfcc-lstmsum", width=4)
    first, second = WeightAverage(network), WeightAverage(network)
    first.offer(network, 2.0, 2.0)
    second.load_state_dict(first.state_dict())
    assert not second.offer(network, 2.5, 2.5)
    assert second.offer(network, 2.0, 2.0)


@pytest.mark.parametrize("name", ["baselines/aasist", "baselines/aasist_l"])
def test_aasist_averages_as_published(name: str) -> None:
    train = load_recipe(name).train
    assert (train.average, train.average_below, train.select) == (True, 1.0, "dev_eer")
