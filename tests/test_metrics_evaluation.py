"""One evaluation: the numbers of the published systems, the form of the result, a small twin that always runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nas.errors import NasError
from nas.metrics import ASVErrors, Bootstrap, Trials, evaluate_trials, read_asv_scores, read_scores


def twin() -> Trials:
    """Eighty trials whose scores are whole-number arithmetic: 20 bona fide and three attacks of 20."""
    at = np.arange(80)
    label = (at % 4 == 0).astype(int)
    attack = np.array(["-", "A07", "A08", "A09"])[at % 4]
    score = (37 * at % 101) / 10 + np.array([6.0, 0.0, 4.0, -3.0])[at % 4]
    return Trials([f"T_{i:04d}" for i in at], attack, label, score, [f"S{i % 7}" for i in at])


ASV = ASVErrors(miss=0.025, false_alarm=0.025, miss_spoof=0.25, miss_spoof_of={"A07": 0.1, "A08": 1.0})
TWIN_POOLED = (24.166667, 0.45)
TWIN_EER = {"A07": 20.0, "A08": 40.0, "A09": 10.0}


def test_small_twin_of_the_published_evaluation() -> None:
    """The figures are those of the brute-force definitions in test_metrics_eer.py and test_metrics_tdcf.py."""
    result = evaluate_trials(twin(), ASV)
    found = {name: round(attack.eer, 6) for name, attack in result.per_attack.items()}
    assert (round(result.eer, 6), round(result.min_tdcf or 0, 6)) == TWIN_POOLED
    assert found == TWIN_EER
    assert result.worst_attack == "A08"
    assert result.worst_attack_eer == max(found.values())
    assert result.average_eer == pytest.approx(np.mean(list(found.values())))
    assert result.per_attack["A08"].min_tdcf is None  # the ASV system stops the whole attack
    assert (result.n_bonafide, result.n_spoof, result.per_attack["A09"].trials, result.n_speakers) == (20, 60, 20, 7)


def test_json_has_the_promised_keys() -> None:
    content = json.loads(evaluate_trials(twin(), ASV, bootstrap=20).to_json())
    assert {"eer", "min_tdcf", "worst_attack", "per_attack"} <= set(content)
    assert content["worst_attack"] == "A08"
    assert set(content["per_attack"]) == {"A07", "A08", "A09"}
    assert set(content["per_attack"]["A07"]) == {"eer", "min_tdcf", "trials"}
    low, high = content["intervals"]["eer"]
    assert low <= content["eer"] <= high
    assert content["bootstrap"] == {"unit": "speaker", "rounds": 20, "level": 0.95, "seed": 0}
    without = json.loads(evaluate_trials(twin()).to_json())
    assert without["min_tdcf"] is None
    assert "intervals" not in without


def test_speakers_from_a_mapping_or_an_array() -> None:
    trials = twin()
    bare = Trials(trials.utterance, trials.attack, trials.label, trials.score)
    plan = Bootstrap(30)
    assert evaluate_trials(bare, bootstrap=plan).bootstrap_unit == "trial"
    told = dict(zip(trials.utterance, trials.speaker, strict=True))
    expected = evaluate_trials(trials, bootstrap=plan).intervals
    assert evaluate_trials(bare, bootstrap=plan, speakers=told).intervals == expected
    assert evaluate_trials(bare, bootstrap=plan, speakers=trials.speaker).intervals == expected
    with pytest.raises(NasError, match="speaker is not told: 79 "):
        evaluate_trials(bare, speakers={"T_0000": "S0"})


def test_one_class_is_refused() -> None:
    with pytest.raises(NasError, match="of 2 trials none is bona fide"):
        evaluate_trials(Trials(["a", "b"], ["A", "A"], [0, 0], [1.0, 2.0]))
    with pytest.raises(NasError, match="of 1 trials none is spoofed"):
        evaluate_trials(Trials(["a"], ["-"], [1], [1.0]))


def test_remarks_on_ties_and_negated_scores(tmp_path: Path) -> None:
    constant = evaluate_trials(Trials(["a", "b"], ["-", "-"], [1, 0], [1.0, 1.0]))
    assert "a threshold on these scores reaches 50.0000 %" in constant.remarks[0]
    assert constant.worst_attack == "unknown"
    path = tmp_path / "scores.txt"
    path.write_text("a - bonafide 0\nb A spoof 1\n")
    with pytest.warns(UserWarning, match="negated"):
        assert "negated" in evaluate_trials(read_scores(path)).remarks[0]


def test_numbers_that_json_cannot_hold_are_null() -> None:
    huge = evaluate_trials(Trials(["a", "b", "c"], ["-", "-", "A"], [1, 1, 0], [-1.7e308, -1.7e308, 1.7e308]))
    assert json.loads(huge.to_json())["cllr"] is None


def test_summary_names_what_matters() -> None:
    text = evaluate_trials(twin(), ASV, bootstrap=20).summary()
    for part in ("EER", "min t-DCF", "95 % by speaker", "worst attack A08", "A09"):
        assert part in text


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "eer", "min_tdcf", "worst", "worst_eer"),
    [
        ("raw_pcdarts_fixed_mel", "1.7674", "0.05169", "A08", "4.964"),
        ("rawgat_st_mul", "1.0601", "0.03354", None, None),
    ],
)
def test_published_systems(
    shared: Path, name: str, eer: str, min_tdcf: str, worst: str | None, worst_eer: str | None
) -> None:
    asv = read_asv_scores(shared / "data/scores/ASVspoof2019.LA.asv.eval.gi.trl.scores.txt")
    result = evaluate_trials(read_scores(shared / f"data/scores/{name}.txt"), asv)
    assert f"{result.eer:.4f}" == eer
    assert f"{result.min_tdcf:.5f}" == min_tdcf
    assert f"{result.asv_eer:.4f}" == "2.4578"
    if worst is not None:
        assert (result.worst_attack, f"{result.worst_attack_eer:.3f}") == (worst, worst_eer)
    assert (result.n_bonafide, result.n_spoof) == (7_355, 63_882)
    assert result.remarks == ()
