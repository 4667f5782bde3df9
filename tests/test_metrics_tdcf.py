"""The tandem detection cost and the costs of ASVspoof 5, against their definitions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import NasError
from nas.metrics import ASVErrors, OperatingPoint, act_dcf, cllr, min_dcf, min_tdcf, read_asv_scores
from nas.metrics.tdcf import tandem_costs

scores = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20)
LA_EVAL = ASVErrors(miss=0.024581006, false_alarm=0.024604675, miss_spoof=0.239347547)


def brute_tdcf(bonafide: list[float], spoof: list[float], asv: ASVErrors, edition: int) -> float:
    """Every threshold between, below and above the scores, in the words of the evaluation plans."""
    p_spoof, p_target, p_nontarget, c_miss, c_fa = 0.05, 0.9405, 0.0095, 1, 10
    c0 = p_target * c_miss * asv.miss + p_nontarget * c_fa * asv.false_alarm
    c1 = p_target * c_miss - c0
    c2 = p_spoof * c_fa * (1 - asv.miss_spoof)
    offset = c0 if edition == 2021 else 0.0
    best = math.inf
    ranked = sorted([(s, 0) for s in bonafide] + [(s, 1) for s in spoof])
    for rejected in range(len(ranked) + 1):
        miss = sum(kind == 0 for _, kind in ranked[:rejected]) / len(bonafide)
        accept = sum(kind == 1 for _, kind in ranked[rejected:]) / len(spoof)
        best = min(best, (offset + c1 * miss + c2 * accept) / (offset + min(c1, c2)))
    return best


def test_published_constants_of_la_eval() -> None:
    costs = tandem_costs(LA_EVAL)
    assert costs.c1 == pytest.approx(0.9150441201, abs=1e-8)
    assert costs.c2 == pytest.approx(0.3803262265, abs=1e-8)
    assert costs.c0 == 0
    assert costs.c1 / costs.c2 == pytest.approx(2.4059453606, abs=1e-7)
    assert tandem_costs(LA_EVAL, 2021).c0 == pytest.approx(0.0254558799, abs=1e-8)


@pytest.mark.parametrize("edition", [2019, 2021])
@given(bonafide=scores, spoof=scores, miss=st.floats(0, 0.4), accept=st.floats(0, 0.4), missed=st.floats(0, 0.95))
def test_is_the_definition_and_within_its_bounds(
    edition: int, bonafide: list[float], spoof: list[float], miss: float, accept: float, missed: float
) -> None:
    asv = ASVErrors(miss, accept, missed)
    found = min_tdcf(bonafide, spoof, asv, edition).value
    assert found == pytest.approx(brute_tdcf(bonafide, spoof, asv, edition), abs=1e-9)
    costs = tandem_costs(asv, edition)
    assert costs.c0 / costs.default - 1e-9 <= found <= 1 + 1e-9


@pytest.mark.parametrize("edition", [2019, 2021])
def test_perfect_and_useless_countermeasures(edition: int) -> None:
    floor = 0.0 if edition == 2019 else 0.0254558799 / (0.0254558799 + 0.3803262265)
    assert min_tdcf([1.0, 2.0], [-1.0, 0.0], LA_EVAL, edition).value == pytest.approx(floor, abs=1e-7)
    assert min_tdcf([0.0], [1.0], LA_EVAL, edition).value == pytest.approx(1.0)


def test_asv_errors_are_those_at_the_equal_error_point() -> None:
    asv = ASVErrors.from_scores([1.0, 4.0, 5.0, 6.0], [0.0, 0.5, 2.0, 3.0], [0.0, 1.0, 3.0, 7.0], ["A", "A", "B", "B"])
    assert asv.threshold == 2.0
    assert (asv.miss, asv.false_alarm, asv.miss_spoof) == (0.25, 0.5, 0.5)
    assert asv.eer == pytest.approx(0.25)
    assert dict(asv.miss_spoof_of) == {"A": 1.0, "B": 0.0}
    of_attack = asv.of_attack("B")
    assert of_attack is not None
    assert of_attack.miss_spoof == 0.0
    assert asv.of_attack("unheard of") is None
    untold = asv.of_attack("-")
    assert untold is not None
    assert untold.miss_spoof == 0.5


def test_reads_three_columns(tmp_path: Path) -> None:
    path = tmp_path / "asv.txt"
    path.write_text("bonafide target 7.9\nbonafide nontarget -3\nA07 spoof -4e0\n\n")
    assert read_asv_scores(path).miss_spoof_of["A07"] == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("bonafide target\n", "line 1.*three columns.*not 2"),
        ("bonafide target 1\nbonafide imposter 1\n", "line 2.*not 'imposter'"),
        ("bonafide target one\n", "line 1.*'one' is not a number"),
        ("bonafide spoof 1\n", "contradict"),
        ("A07 target 1\n", "contradict"),
        ("bonafide target 1\nbonafide nontarget 0\n", "no spoof ones"),
        ("bonafide target 1\nA07 spoof 0\n", "no nontarget ones"),
        ("bonafide target nan\nbonafide nontarget 0\nA07 spoof 0\n", "not finite"),
    ],
)
def test_malformed_asv_files(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "asv.txt"
    path.write_text(text)
    with pytest.raises(NasError, match=said):
        read_asv_scores(path)


def test_refuses_asv_systems_without_a_tandem_cost() -> None:
    with pytest.raises(NasError, match="undefined"):
        tandem_costs(ASVErrors(0, 0, 1.0))
    with pytest.raises(NasError, match="undefined"):
        tandem_costs(ASVErrors(1.0, 1.0, 0.0))
    with pytest.raises(NasError, match="between 0 and 1"):
        ASVErrors(2.4, 0, 0)
    with pytest.raises(NasError, match="2019 and a 2021 edition"):
        tandem_costs(LA_EVAL, 2023)  # type: ignore[arg-type]


@given(scores, scores)
def test_detection_costs_of_asvspoof5(bonafide: list[float], spoof: list[float]) -> None:
    beta = 1 * 0.95 / (10 * 0.05)

    def cost(threshold: float) -> float:
        miss = sum(s < threshold for s in bonafide) / len(bonafide)
        accept = sum(s >= threshold for s in spoof) / len(spoof)
        return (beta * miss + accept) / min(beta, 1)

    thresholds = [*bonafide, *spoof, 1e9]
    joined = min(cost(t) for t in thresholds)
    found = min_dcf(bonafide, spoof)
    assert 0 <= found <= 1
    if not set(bonafide) & set(spoof):
        assert found == pytest.approx(joined, abs=1e-9)
    else:  # the official order of ties splits a tie in the countermeasure's disfavour
        assert found >= joined - 1e-9
    actual = act_dcf(bonafide, spoof)
    assert actual == pytest.approx(cost(-math.log(beta)), abs=1e-9)
    assert actual >= joined - 1e-9


def test_cllr_of_known_ratios() -> None:
    assert cllr([0.0], [0.0, 0.0]) == pytest.approx(1.0)
    assert cllr([1000.0], [-1000.0]) == 0.0
    assert cllr([math.log(3)], [-math.log(3)]) == pytest.approx(math.log2(4 / 3))
    assert np.isfinite(cllr([-1e4], [1e4]))


def test_operating_point_says_what_is_wrong() -> None:
    assert OperatingPoint().threshold == pytest.approx(-math.log(1.9))
    with pytest.raises(NasError, match="prior"):
        OperatingPoint(p_spoof=0)
    with pytest.raises(NasError, match="positive"):
        OperatingPoint(cost_miss=-1)


@pytest.mark.shared
def test_official_asv_scores(shared: Path) -> None:
    asv = read_asv_scores(shared / "data/scores/ASVspoof2019.LA.asv.eval.gi.trl.scores.txt")
    assert round(100 * asv.eer, 4) == 2.4578
    assert asv.threshold == -5.680051
    assert asv.false_alarm == pytest.approx(0.024604675, abs=5e-10)
    assert asv.miss == pytest.approx(0.024581006, abs=5e-10)
    assert asv.miss_spoof == pytest.approx(0.239347547, abs=5e-10)
    costs = tandem_costs(asv)
    assert costs.c1 == pytest.approx(0.9150441201, abs=5e-11)
    assert costs.c2 == pytest.approx(0.3803262265, abs=5e-11)
