"""Resampling: weights give what repeating trials would give; intervals, pairing and significance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import NasError
from nas.metrics import ASVErrors, Bootstrap, Interval, Trials, act_dcf, cllr, eer, min_dcf, min_tdcf, read_scores
from nas.metrics.bootstrap import p_value, resample, weighted_eer

ASV = ASVErrors(miss=0.02, false_alarm=0.03, miss_spoof=0.2)


def trials_of(seed: int, n: int = 60, speakers: int = 5, shift: float = 1.0) -> Trials:
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % 3 == 0).astype(int)
    score = np.round(rng.normal(size=n) + shift * label, 1)  # rounded: with ties
    attack = np.where(label == 1, "-", np.where(np.arange(n) % 2 == 0, "A01", "A02"))
    return Trials([f"u{i}" for i in range(n)], attack, label, score, [f"s{i % speakers}" for i in range(n)])


@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans(), st.integers(0, 4)), min_size=2, max_size=25))
def test_weights_are_repetitions(rows: list[tuple[int, bool, int]]) -> None:
    ranked = sorted(rows, key=lambda row: (row[0], not row[1]))
    weights = np.array([[float(row[2]) for row in ranked]])
    label = np.array([row[1] for row in ranked])
    bonafide = [row[0] for row in ranked for _ in range(row[2]) if row[1]]
    spoof = [row[0] for row in ranked for _ in range(row[2]) if not row[1]]
    found = weighted_eer(weights, label)[0]
    if bonafide and spoof:
        assert found == pytest.approx(eer(bonafide, spoof).value, abs=1e-9)
    else:
        assert np.isnan(found)


@pytest.mark.parametrize("unit", ["trial", "speaker"])
def test_a_round_is_the_metric_of_the_drawn_trials(unit: str) -> None:
    trials = trials_of(1)
    plan = Bootstrap(rounds=20, unit=unit, seed=3)  # type: ignore[arg-type]
    found = resample([trials], plan, ASV, per_attack=True)[0]
    rng = np.random.default_rng(3)
    for at in range(plan.rounds):
        if unit == "speaker":
            names = np.unique(trials.speaker.astype(str))
            counts = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
            drawn = np.repeat(np.arange(60), [counts[int(name[1:])] for name in trials.speaker])
        else:
            members = [np.flatnonzero(trials.label == label) for label in (1, 0)]
            drawn = np.concatenate([each[rng.integers(len(each), size=len(each))] for each in members])
        score, label, attack = trials.score[drawn], trials.label[drawn], trials.attack[drawn]
        bonafide, spoof = score[label == 1], score[label == 0]
        assert found["eer"][at] == pytest.approx(100 * eer(bonafide, spoof).value)
        assert found["min_tdcf"][at] == pytest.approx(min_tdcf(bonafide, spoof, ASV).value)
        assert found["min_dcf"][at] == pytest.approx(min_dcf(bonafide, spoof))
        assert found["act_dcf"][at] == pytest.approx(act_dcf(bonafide, spoof))
        assert found["cllr"][at] == pytest.approx(cllr(bonafide, spoof))
        each = [100 * eer(bonafide, score[attack == name]).value for name in ("A01", "A02")]
        assert [found["eer/A01"][at], found["eer/A02"][at]] == pytest.approx(each)
        assert found["average_eer"][at] == pytest.approx(np.mean(each))


def test_the_2021_cost_is_resampled_too() -> None:
    trials = trials_of(2)
    both = [resample([trials], Bootstrap(5, "trial"), ASV, edition)[0]["min_tdcf"] for edition in (2019, 2021)]
    assert (both[1] >= both[0]).all()


def test_seeds_repeat_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = trials_of(0)
    whole = resample([trials], Bootstrap(50, "speaker", seed=0))[0]["eer"]
    monkeypatch.setattr("nas.metrics.bootstrap.CHUNK_ELEMENTS", 1)
    assert np.array_equal(whole, resample([trials], Bootstrap(50, "speaker", seed=0))[0]["eer"])
    assert not np.array_equal(whole, resample([trials], Bootstrap(50, "speaker", seed=1))[0]["eer"])


def test_systems_are_paired_whatever_their_order() -> None:
    first = trials_of(0)
    backwards = first.select(np.arange(len(first))[::-1])
    one, other = resample([first, backwards], Bootstrap(30, "trial"))
    assert np.array_equal(one["eer"], other["eer"])


def test_auto_takes_speakers_where_they_are_known() -> None:
    trials = trials_of(0)
    assert Bootstrap().unit_for(trials) == "speaker"
    assert Bootstrap(unit="trial").unit_for(trials) == "trial"
    unknown = Trials(trials.utterance, trials.attack, trials.label, trials.score)
    assert Bootstrap().unit_for(unknown) == "trial"
    with pytest.raises(NasError, match="at least 2 known speakers"):
        Bootstrap(unit="speaker").unit_for(unknown)


def test_speakers_matter() -> None:
    """Where every speaker has a level of their own, resampling trials is too sure of itself."""
    rng = np.random.default_rng(0)
    speaker = np.arange(600) % 10
    label = (np.arange(600) // 10) % 2
    score = label + 2 * rng.normal(size=10)[speaker] + 0.1 * rng.normal(size=600)
    trials = Trials([f"u{i}" for i in range(600)], np.where(label == 1, "-", "A"), label, score, speaker.astype(str))
    width = {}
    for unit in ("speaker", "trial"):
        found = Interval.of(resample([trials], Bootstrap(200, unit))[0]["eer"], 0.95)  # type: ignore[arg-type]
        width[unit] = found.high - found.low
    assert width["speaker"] > 2 * width["trial"]


def test_interval_is_the_middle_of_the_values() -> None:
    values = np.append(np.arange(101.0), np.nan)
    assert Interval.of(values, 0.9) == Interval(pytest.approx(5.0), pytest.approx(95.0))
    with pytest.raises(NasError, match="too few speakers"):
        Interval.of(np.array([np.nan, np.nan]), 0.95)


def test_p_value() -> None:
    assert p_value(np.arange(1.0, 100.0)) == pytest.approx(2 / 100)
    assert p_value(-np.arange(1.0, 100.0)) == pytest.approx(2 / 100)
    assert p_value(np.zeros(99)) == 1.0
    assert p_value(np.array([-1.0, 1.0] * 50)) == 1.0


@pytest.mark.parametrize(
    ("wrong", "said"), [({"rounds": 1}, "at least 2 rounds"), ({"level": 95}, "level"), ({"unit": "attack"}, "unit")]
)
def test_plans_say_what_is_wrong(wrong: dict, said: str) -> None:
    with pytest.raises(NasError, match=said):
        Bootstrap(**wrong)


@pytest.mark.shared
@pytest.mark.slow
def test_published_speaker_interval(shared: Path) -> None:
    protocol = shared / "data/protocols/ASVspoof2019.LA.cm.eval.trl.txt"
    trials = read_scores(shared / "data/scores/raw_pcdarts_fixed_mel.txt", protocol)
    for unit, low, high in (("speaker", 1.47, 2.11), ("trial", 1.64, 1.89)):
        values = resample([trials], Bootstrap(300, unit))[0]  # type: ignore[arg-type]
        found = Interval.of(values["eer"], 0.95)
        assert (found.low, found.high) == (pytest.approx(low, abs=0.08), pytest.approx(high, abs=0.08))
