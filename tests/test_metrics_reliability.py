"""What a table of trainings says about architectures: analytic values, simulations, a table without signal."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nas.errors import NasError
from nas.metrics.reliability import (
    architectures_needed,
    detectable_difference,
    reliability,
    require_signal,
)

TINY = Path(__file__).parent / "golden" / "tiny_space.csv"


def simulate(between: float, within: float, architectures: int, trainings: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    means = generator.normal(0, between, (architectures, 1))
    return means + generator.normal(0, within, (architectures, trainings))


def test_the_worked_example_of_shrout_and_fleiss():
    # Shrout and Fleiss 1979, tables 2 to 4: six targets, four judges; ICC(1,1) = 0.17, ICC(1,4) = 0.44, F = 1.79.
    table = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = reliability(table)
    assert found.icc == pytest.approx(0.166, abs=5e-4)
    assert found.of_mean() == pytest.approx(0.443, abs=5e-4)
    assert found.f == pytest.approx(stats.f_oneway(*table).statistic)
    assert found.icc_interval == (0.0, pytest.approx(0.72, abs=5e-3))


def test_a_table_with_signal_gives_back_what_it_was_drawn_from():
    found = reliability(simulate(2.0, 1.0, 400, 3))
    assert found.between == pytest.approx(2.0, rel=0.1)
    assert found.within == pytest.approx(1.0, rel=0.1)
    assert found.icc_interval[0] < 0.8 < found.icc_interval[1]
    assert found.significant
    means = simulate(2.0, 1.0, 400, 3).mean(1)
    truth = np.random.default_rng(0).normal(0, 2.0, (400, 1))[:, 0]
    assert np.corrcoef(means, truth)[0, 1] == pytest.approx(found.ceiling, abs=0.02)


def test_the_interval_of_the_icc_holds_the_truth_as_often_as_it_says():
    held = 0
    for seed in range(300):
        low, high = reliability(simulate(1.0, 1.0, 15, 3, seed), rounds=20).icc_interval
        held += low <= 0.5 <= high
    assert 0.92 <= held / 300 <= 0.98


def test_noise_is_called_significant_as_often_as_the_level_says():
    false = sum(reliability(simulate(0.0, 1.0, 12, 3, seed), rounds=200).significant for seed in range(300))
    assert false / 300 <= 0.08


def test_the_table_of_the_tiny_space_is_refused():
    table: dict[str, list[float]] = defaultdict(list)
    with TINY.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            table[" ".join(value for name, value in row.items() if name.startswith("expand"))].append(
                float(row["dev_eer"])
            )
    found = reliability(table)
    assert (found.architectures, found.trainings) == (96, 4)
    assert found.f == pytest.approx(1.035, abs=0.001)
    assert found.p == pytest.approx(0.40, abs=0.04)
    with pytest.raises(NasError, match="does not tell its architectures apart"):
        require_signal(table, "the tiny space")


def test_a_table_with_unequal_numbers_of_trainings():
    whole = simulate(3.0, 1.0, 60, 4)
    found = reliability([row[: 2 + i % 3] for i, row in enumerate(whole)])
    assert 2 < found.trainings < 4
    assert found.icc == pytest.approx(0.9, abs=0.05)


@given(st.floats(0.1, 100), st.floats(-1e3, 1e3))
def test_units_do_not_matter(scale: float, shift: float):
    table = simulate(1.0, 1.0, 6, 2)
    one, other = reliability(table, rounds=50), reliability(scale * table + shift, rounds=50)
    assert other.icc == pytest.approx(one.icc, abs=1e-6)
    assert other.p == one.p
    assert other.within == pytest.approx(scale * one.within, rel=1e-6)


def test_the_power_is_that_of_the_t_test():
    difference = detectable_difference((12, 9), trainings=2, between=2.0, within=1.5)
    generator = np.random.default_rng(1)
    spread = np.sqrt(4 + 1.5**2 / 2)
    found = sum(
        stats.ttest_ind(generator.normal(0, spread, 12), generator.normal(difference, spread, 9)).pvalue < 0.05
        for _ in range(4000)
    )
    assert found / 4000 == pytest.approx(0.8, abs=0.02)


def test_the_smallest_number_that_suffices_is_given():
    needed = architectures_needed(2.0, trainings=1, between=2.1, within=1.0)
    assert needed == 23  # 21 by the normal approximation
    assert detectable_difference((needed, needed), 1, 2.1, 1.0) <= 2.0
    assert detectable_difference((needed - 1, needed - 1), 1, 2.1, 1.0) > 2.0


@pytest.mark.parametrize("table", [[], [[1.0, 2.0]], [[1.0], [2.0]], [[1.0, 2.0], []], [[1.0, float("nan")], [2.0]]])
def test_too_little_is_refused(table: list[list[float]]):
    with pytest.raises(NasError):
        reliability(table)


@pytest.mark.parametrize("difference", [0.0, -1.0, 1e-9, float("nan")])
def test_a_difference_that_cannot_be_shown_is_refused(difference: float):
    with pytest.raises(NasError):
        architectures_needed(difference, 1, 2.0, 1.0)


def test_values_that_are_all_equal_have_no_signal_and_no_noise():
    found = reliability([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    assert (found.icc, found.within, found.between) == (0.0, 0.0, 0.0)
    assert not found.significant
