"""Systems side by side, several seeds, calibration and thresholds for deployment."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import NasError
from nas.metrics import Bootstrap, OperatingPoint, Trials, act_dcf, cllr, eer, evaluate_trials, hter, min_dcf
from nas.metrics.calibration import Calibration, fit_calibration, fit_decision, read_decision, write_decision
from nas.metrics.comparison import compare, holm, markdown_table, name_systems, over_seeds
from nas.metrics.scores import scores_of_run


def trials_of(shift: float, noise: int = 0, n: int = 400) -> Trials:
    at = np.arange(n)
    label = at % 2
    shared = np.random.default_rng(7).normal(size=n)
    score = shared + 0.3 * np.random.default_rng(noise).normal(size=n) + shift * label
    attack = np.where(label == 1, "-", np.where(at % 4 == 0, "A01", "A02"))
    return Trials([f"u{i}" for i in at], attack, label, score, [f"s{i % 11}" for i in at])


def test_systems_side_by_side() -> None:
    good, poor = trials_of(3.0, 1), trials_of(1.5, 2)
    same = replace(poor, score=2 * poor.score + 1)
    bare = replace(good, speaker=None)  # speakers told by one system serve all
    found = compare({"poor": poor, "same": same, "good": bare}, bootstrap=Bootstrap(200))
    assert found.reference == "poor"
    better, equal = found.difference("good"), found.difference("same")
    assert better is not None
    assert equal is not None
    assert better.significant
    assert better.interval.high < 0
    assert better.value == pytest.approx(evaluate_trials(good).eer - evaluate_trials(poor).eer)
    assert (equal.value, equal.p_value, equal.significant) == (0, 1, False)
    assert found.difference("poor") is None
    assert [row[0] for row in found.rows()] == ["good", "poor", "same"]
    assert {len(row) for row in found.rows()} == {len(found.header())}
    alone = evaluate_trials(poor, bootstrap=Bootstrap(200)).intervals["eer"]
    assert found.evaluations["poor"].intervals["eer"] == alone
    assert "200 paired bootstrap rounds by speaker" in found.to_markdown()
    assert json.loads(found.to_json())["differences"][0]["system"] == "same"


def test_comparison_says_what_is_wrong() -> None:
    one = trials_of(1.0)
    with pytest.raises(NasError, match="at least two systems"):
        compare({"one": one})
    with pytest.raises(NasError, match="did you mean 'other'"):
        compare({"one": one, "other": one}, reference="othr")
    with pytest.raises(NasError, match="without a score"):
        compare({"one": one, "part": one.select(np.arange(10))})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_step_down_procedure(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for level in (0.01, 0.05, 0.2, 0.6):
        rejected = set()
        for rank, at in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if (len(p_values) - rank) * p_values[at] > level:
                break
            rejected.add(at)
        assert {at for at, p in enumerate(adjusted) if p <= level} == rejected


def test_several_seeds() -> None:
    runs = {seed: evaluate_trials(trials_of(2.0, seed)) for seed in (0, 1, 2)}
    found = over_seeds(runs)
    values = [runs[seed].eer for seed in (0, 1, 2)]
    assert found.seeds == (0, 1, 2)
    assert found.metrics["eer"].values == tuple(values)
    assert found.metrics["eer"].mean == pytest.approx(np.mean(values))
    assert found.metrics["eer"].deviation == pytest.approx(np.std(values, ddof=1))
    assert set(found.metrics) >= {"eer/A01", "eer/A02", "worst_attack_eer", "min_dcf"}
    assert "min_tdcf" not in found.metrics
    assert "n = 3" in str(found.metrics["eer"])
    assert "one seed" in str(over_seeds({5: runs[0]}).metrics["eer"])
    assert over_seeds({5: runs[0]}).as_dict()["metrics"]["eer"]["deviation"] is None
    with pytest.raises(NasError, match="no evaluations"):
        over_seeds({})
    other = evaluate_trials(Trials(["a", "b"], ["-", "A09"], [1, 0], [1.0, 0.0]))
    with pytest.raises(NasError, match="different attacks"):
        over_seeds({0: runs[0], 1: other})


def test_markdown_cells_cannot_break_the_table() -> None:
    assert markdown_table(["a|b"], [["c"]]) == "| a\\|b |\n| --- |\n| c |\n"


def test_calibration_recovers_true_log_likelihood_ratios() -> None:
    """Gaussians of unit variance at +1 and -1: the log-likelihood ratio of x is 2 x; the scores are 5 x + 3."""
    rng = np.random.default_rng(0)
    bonafide, spoof = 5 * (rng.normal(size=20_000) + 1) + 3, 5 * (rng.normal(size=60_000) - 1) + 3
    for point in (OperatingPoint(), OperatingPoint(0.5, 1, 1)):
        found = fit_calibration(bonafide, spoof, point)
        assert found.scale == pytest.approx(2 / 5, rel=0.03)
        assert found.offset == pytest.approx(-3 * 2 / 5, abs=0.06)
    fitted = fit_calibration(bonafide, spoof)
    positive, negative = fitted.llr(bonafide), fitted.llr(spoof)
    assert eer(positive, negative).value == eer(bonafide, spoof).value
    assert cllr(positive, negative) < cllr(bonafide, spoof)
    assert act_dcf(positive, negative) == pytest.approx(min_dcf(positive, negative), abs=0.01)
    assert fitted.score(fitted.llr(7.0).item()) == pytest.approx(7.0)


@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_calibration_undoes_affine_maps(scale: float, shift: float) -> None:
    trials = trials_of(2.0, n=60)
    plain = fit_calibration(trials.bonafide, trials.spoof)
    moved = fit_calibration(scale * trials.bonafide + shift, scale * trials.spoof + shift)
    assert moved.llr(scale * trials.score + shift) == pytest.approx(plain.llr(trials.score), abs=1e-3)


def test_calibration_of_extreme_scores() -> None:
    separable = fit_calibration([1.0, 2.0], [-1.0, 0.0])
    assert math.isfinite(separable.scale)
    assert separable.llr(0.5) == pytest.approx(0, abs=5)
    assert fit_calibration([1e6, 2e6], [-1e6, 1.5e6]).scale > 0
    with pytest.raises(NasError, match="all the same"):
        fit_calibration([1.0], [1.0, 1.0])
    with pytest.raises(NasError, match="do not rise"):
        fit_calibration([0.0, 0.1, -0.1], [1.0, 1.1, 0.9])


@pytest.mark.parametrize("criterion", ["bayes", "eer", "min_dcf"])
def test_threshold_file_goes_round(tmp_path: Path, criterion: str) -> None:
    development = trials_of(2.0, n=3000)
    decision = fit_decision(development, criterion)  # type: ignore[arg-type]
    again = read_decision(write_decision(tmp_path / "threshold.json", decision))
    assert again == decision
    accepted = decision.accepts(development.score)
    assert decision.far == pytest.approx(100 * np.mean(accepted[development.label == 0]))
    assert decision.frr == pytest.approx(100 * np.mean(~accepted[development.label == 1]))
    assert decision.fitted_on == {"source": "scores", "bonafide": 1500, "spoof": 1500}
    if criterion == "eer":
        assert decision.frr == pytest.approx(decision.far, abs=0.1)
        assert hter(development.bonafide, development.spoof, decision.threshold) == pytest.approx(
            eer(development.bonafide, development.spoof).value, abs=1e-3
        )
    if criterion == "min_dcf":
        calibrated = Calibration(1, OperatingPoint().threshold - decision.threshold).apply(development)
        assert act_dcf(calibrated.bonafide, calibrated.spoof) == pytest.approx(
            min_dcf(development.bonafide, development.spoof)
        )


def test_decision_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="did you mean 'bayes'"):
        fit_decision(trials_of(1.0), "bays")  # type: ignore[arg-type]
    good = json.loads(fit_decision(trials_of(1.0)).to_json())
    path = tmp_path / "threshold.json"
    for wrong, said in (
        ("{", r"threshold\.json:1: not valid JSON"),
        ("[]", "not a threshold file"),
        ({**good, "format": "other"}, "not a threshold file"),
        ({**good, "threshold": "high"}, "'high' is not a finite number"),
        ({**good, "threshold": True}, "True is not a finite number"),
        ({**good, "criterion": "luck"}, "no criterion 'luck'"),
        ({**good, "calibration": {"scale": -1, "offset": 0}}, "scale of a calibration is positive"),
        ({name: value for name, value in good.items() if name != "frr"}, "missing or of the wrong kind"),
        ({**good, "point": {"p_spoof": 2, "cost_miss": 1, "cost_false_alarm": 1}}, "prior"),
    ):
        path.write_text(wrong if isinstance(wrong, str) else json.dumps(wrong))
        with pytest.raises(NasError, match=said):
            read_decision(path)


def test_systems_are_named_by_as_much_of_their_paths_as_tells_them_apart() -> None:
    names = name_systems(["runs/mel/train", "runs/conv0/train", "a.txt", "ours=b.txt", "x=dir=y.txt"])
    assert list(names) == ["mel/train", "conv0/train", "a", "ours", "x"]
    assert names["x"] == Path("dir=y.txt")
    for systems in (["runs/a", "runs/a"], ["n=a.txt", "n=b.txt"], ["a=b.txt", "a.txt"]):
        with pytest.raises(NasError, match=r"two systems are called .*; name them: NAME="):
            name_systems(systems)


def test_runs_that_are_not_scored_name_the_command(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    with pytest.raises(NasError, match="neither a run directory nor a score file"):
        scores_of_run(run, "eval")
    (run / "recipe.yaml").touch()
    with pytest.raises(NasError, match=r"not been scored on dev; do so with: nas evaluate '.*my run' --partition dev$"):
        scores_of_run(run, "dev")
    with pytest.raises(NasError, match=r"do so with: nas evaluate '.*my run'$"):
        scores_of_run(run, "eval")


def test_what_was_left_out_stands_under_the_table() -> None:
    first = Trials(["a", "b"], ["-", "\x1bA"], [1, 0], [1.0, 0.0], remarks=("1 line \x1b[31m",))
    text = compare({"x": first, "y\x07": first}, bootstrap=Bootstrap(20)).to_markdown()
    assert text.count("1 line \\x1b[31m") == 2
    assert "\x1b" not in text.replace("\\x1b", "")
    assert "\x07" not in text.replace("\\x07", "")
