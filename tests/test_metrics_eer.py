"""The equal error rate: the official definition, its properties, the points of the curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import NasError
from nas.metrics import eer, hter
from nas.metrics.eer import det_points, detection_curve, error_rates, roc_area, roc_points

# Few distinct values, so that ties within and between the classes are common.
tied = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=25)
distinct = st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=40, unique=True)


def official_eer(bonafide: list[float], spoof: list[float]) -> tuple[float, float]:
    """The definition, one trial at a time."""
    trials = sorted([(score, 0, 1) for score in bonafide] + [(score, 1, 0) for score in spoof], key=lambda t: t[:2])
    points = [(trials[0][0] - 0.001, 0.0, 1.0)]
    rejected_bonafide = rejected_spoof = 0
    for score, _, is_bonafide in trials:
        rejected_bonafide += is_bonafide
        rejected_spoof += 1 - is_bonafide
        points.append((score, rejected_bonafide / len(bonafide), (len(spoof) - rejected_spoof) / len(spoof)))
    best = min(points, key=lambda point: abs(point[1] - point[2]))
    return (best[1] + best[2]) / 2, best[0]


@given(tied, tied)
def test_is_the_official_definition_with_ties(bonafide: list[float], spoof: list[float]) -> None:
    value, threshold = official_eer(bonafide, spoof)
    assert eer(bonafide, spoof) == (pytest.approx(value, abs=1e-12), threshold)


@given(distinct, st.data())
def test_both_rules_of_ties_agree_without_ties(scores: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(scores) - 1))
    assert eer(scores[:cut], scores[cut:]) == eer(scores[:cut], scores[cut:], ties="joined")


@given(tied, tied)
def test_invariant_under_strictly_monotone_transforms(bonafide: list[float], spoof: list[float]) -> None:
    for transform in (lambda x: 3 * x - 7, lambda x: x**3 + x, np.exp, np.arctan):
        moved = eer(transform(np.array(bonafide)), transform(np.array(spoof)))
        assert moved.value == eer(bonafide, spoof).value


@given(tied, tied)
def test_symmetric_under_class_swap_with_negated_scores(bonafide: list[float], spoof: list[float]) -> None:
    forward = eer(bonafide, spoof).value
    backward = eer([-s for s in spoof], [-s for s in bonafide]).value
    curve = detection_curve(bonafide, spoof)
    gaps = np.sort(np.abs(curve.frr - curve.far))
    if gaps[1] - gaps[0] > 1e-9:
        assert backward == pytest.approx(forward, abs=1e-12)
    else:  # Two thresholds are equally good and the first is taken, which is the other one from behind.
        assert abs(backward - forward) <= gaps[0] + 1e-12


@given(tied, tied)
def test_symmetric_with_joined_ties(bonafide: list[float], spoof: list[float]) -> None:
    curve = detection_curve(bonafide, spoof, "joined")
    gaps = np.sort(np.abs(curve.frr - curve.far))
    forward = eer(bonafide, spoof, "joined").value
    backward = eer([-s for s in spoof], [-s for s in bonafide], "joined").value
    if gaps[1] - gaps[0] > 1e-9:
        assert backward == pytest.approx(forward, abs=1e-12)


@given(tied, tied)
def test_independent_of_the_order_of_trials(bonafide: list[float], spoof: list[float]) -> None:
    assert eer(bonafide[::-1], spoof[::-1]) == eer(bonafide, spoof)


@pytest.mark.parametrize(
    ("bonafide", "spoof", "official", "joined"),
    [
        ([1.0], [0.0], 0.0, 0.0),
        ([0.0], [1.0], 1.0, 1.0),
        ([2.0], [2.0], 1.0, 0.5),  # one trial a class, tied
        ([3.0] * 5, [3.0] * 7, 1.0, 0.5),  # every score equal
        ([1.0, 2.0], [0.0, 1.0], 0.5, 0.25),  # one tie between the classes
        ([1.0, 1.0, 4.0, 5.0], [0.0, 2.0, 3.0, 3.0], 0.5, 0.5),  # ties within classes only
        ([5.0, 6.0, 7.0, 8.0], [1.0, 2.0, 3.0, 5.5], 0.25, 0.25),
    ],
)
def test_ties_constant_scores_and_single_trials(
    bonafide: list[float], spoof: list[float], official: float, joined: float
) -> None:
    assert eer(bonafide, spoof).value == pytest.approx(official)
    assert eer(bonafide, spoof, ties="joined").value == pytest.approx(joined)


@given(tied, tied)
def test_curve_runs_from_accepting_to_rejecting_all(bonafide: list[float], spoof: list[float]) -> None:
    for ties in ("official", "joined"):
        curve = detection_curve(bonafide, spoof, ties)
        assert (curve.frr[0], curve.far[0]) == (0, 1)
        assert (curve.frr[-1], curve.far[-1]) == (1, 0)
        assert (np.diff(curve.frr) >= 0).all()
        assert (np.diff(curve.far) <= 0).all()
        assert (np.diff(curve.threshold) >= 0).all()


@given(tied, tied)
def test_roc_area_is_the_share_of_pairs_in_order(bonafide: list[float], spoof: list[float]) -> None:
    pairs = [(b > s) + 0.5 * (b == s) for b in bonafide for s in spoof]
    assert roc_area(bonafide, spoof) == pytest.approx(sum(pairs) / len(pairs))
    far, accepted = roc_points(bonafide, spoof)
    assert (far[0], accepted[0], far[-1], accepted[-1]) == (0, 0, 1, 1)


def test_det_points_leave_out_what_a_normal_axis_cannot_show() -> None:
    far, frr = det_points([1.0, 3.0, 4.0], [0.0, 2.0, 0.5])
    assert far.tolist() == [pytest.approx(1 / 3)]
    assert frr.tolist() == [pytest.approx(1 / 3)]
    assert det_points([1.0], [0.0])[0].size == 0


@given(tied, tied, st.integers(-6, 6))
def test_hter_at_a_threshold_from_elsewhere(bonafide: list[float], spoof: list[float], threshold: int) -> None:
    frr = sum(score < threshold for score in bonafide) / len(bonafide)
    far = sum(score >= threshold for score in spoof) / len(spoof)
    assert error_rates(bonafide, spoof, threshold) == (pytest.approx(frr), pytest.approx(far))
    assert hter(bonafide, spoof, threshold) == pytest.approx((frr + far) / 2)


@pytest.mark.parametrize(
    ("bonafide", "spoof", "said"),
    [
        ([], [1.0], "no bona fide trials"),
        ([1.0], [], "no spoofed trials"),
        ([1.0, np.nan], [1.0], "1 of 2 bona fide scores are not finite"),
        ([1.0], [np.inf, -np.inf, 0.0], "2 of 3 spoofed scores are not finite"),
    ],
)
def test_refuses_what_has_no_error_rate(bonafide: list[float], spoof: list[float], said: str) -> None:
    with pytest.raises(NasError, match=said):
        eer(bonafide, spoof)


def test_refuses_a_threshold_that_is_no_score() -> None:
    with pytest.raises(NasError, match="finite"):
        hter([1.0], [0.0], float("nan"))
