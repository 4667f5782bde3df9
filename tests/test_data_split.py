"""Splits: halves, subsets, leaving one attack out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.readers.protocol import read_protocol
from nas.data.split import halves_from_protocols, leave_one_attack_out, split_halves, subset
from nas.data.utterance import Utterance
from nas.errors import NasError


def row(name: str, attack: str = "-", speaker: str = "s", partition: str = "train") -> Utterance:
    return Utterance(Path(name), name, speaker, attack, "bonafide" if attack == "-" else "spoof", partition)


def corpus(bonafide: int, spoof: int, attacks: int = 3, speakers: int = 4) -> list[Utterance]:
    rows = [row(f"b{i}", "-", f"s{i % speakers}") for i in range(bonafide)]
    return rows + [row(f"f{i}", f"A{i % attacks}", f"s{(i // attacks) % speakers}") for i in range(spoof)]


def disjoint_and_whole(halves: tuple[np.ndarray, np.ndarray], count: int) -> None:
    assert sorted([*halves[0], *halves[1]]) == list(range(count))
    assert all((np.diff(half) > 0).all() and half.dtype == np.int64 for half in halves)


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 40), st.integers(2, 60), st.integers(1, 5), st.integers(0, 2**32))
def test_stratified_halves_are_even_in_every_class_and_attack(b: int, f: int, attacks: int, seed: int) -> None:
    rows = corpus(b, f, attacks)
    halves = split_halves(rows, "stratified", seed)
    disjoint_and_whole(halves, len(rows))
    for of in (lambda r: r.key, lambda r: r.attack, lambda r: "all"):
        counts = [Counter(of(rows[i]) for i in half) for half in halves]
        assert all(abs(counts[0][name] - counts[1][name]) <= 1 for name in counts[0] | counts[1])


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 40), st.integers(8, 60), st.integers(0, 2**32))
def test_by_speaker_no_speaker_is_in_both(b: int, f: int, seed: int) -> None:
    rows = corpus(b, f, attacks=2, speakers=4)
    halves = split_halves(rows, "speaker", seed)
    disjoint_and_whole(halves, len(rows))
    assert not {rows[i].speaker for i in halves[0]} & {rows[i].speaker for i in halves[1]}
    assert max(map(len, halves)) <= 0.7 * len(rows)


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 40), st.integers(8, 60), st.integers(2, 6), st.integers(0, 2**32))
def test_by_attack_no_attack_is_in_both(b: int, f: int, attacks: int, seed: int) -> None:
    rows = corpus(b, f, attacks)
    halves = split_halves(rows, "attack", seed)
    disjoint_and_whole(halves, len(rows))
    assert not {rows[i].attack for i in halves[0]} & {rows[i].attack for i in halves[1]} - {"-"}
    bonafide = [sum(rows[i].key == "bonafide" for i in half) for half in halves]
    assert abs(bonafide[0] - bonafide[1]) <= 1


def test_seeds_decide_and_0_is_one() -> None:
    rows = corpus(50, 50)
    for method in ("stratified", "speaker", "attack"):
        first, again = (split_halves(rows, method, 0)[0].tolist() for _ in range(2))
        assert first == again
        assert len({tuple(split_halves(rows, method, seed)[0]) for seed in range(6)}) > 1


def test_what_cannot_be_halved() -> None:
    with pytest.raises(NasError, match="the half for the architecture has no bonafide"):
        split_halves(corpus(1, 9), "stratified")
    with pytest.raises(NasError, match=r"too few utterances, the half for the .* has no"):
        split_halves(corpus(9, 9, speakers=1), "speaker")
    with pytest.raises(NasError, match="has no spoof"):
        split_halves(corpus(9, 9, attacks=1), "attack")
    with pytest.raises(NasError, match="9 of 18 utterances have no known speaker"):
        split_halves([row(f"b{i}", speaker="-") for i in range(9)] + corpus(0, 9), "speaker")
    with pytest.raises(ValueError, match="no way 'random'"):
        split_halves(corpus(9, 9), "random")  # type: ignore[arg-type]


def write(path: Path, rows: list[Utterance]) -> Path:
    path.write_text("".join(f"{r.speaker} {r.utterance} - {r.attack} {r.key}\n" for r in rows), encoding="utf-8")
    return path


def test_halves_of_two_protocols(tmp_path: Path) -> None:
    rows = corpus(4, 4)
    first, second = write(tmp_path / "h.txt", rows[::2]), write(tmp_path / "t.txt", rows[1::2])
    halves = halves_from_protocols(rows, first, second)
    assert [half.tolist() for half in halves] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    with pytest.raises(NasError, match=r"h\.txt, line 1: 'b0' is in .*h\.txt too"):
        halves_from_protocols(rows, first, first)
    with pytest.raises(NasError, match=r"t\.txt, line 1: 'b1' is no training utterance"):
        halves_from_protocols(rows[::2], first, second)
    with pytest.raises(NasError, match=r"one\.txt: the half has no spoof utterance"):
        halves_from_protocols(rows, first, write(tmp_path / "one.txt", [rows[1]]))
    wrong = write(tmp_path / "wrong.txt", [row("b1", "A0"), row("b3")])
    with pytest.raises(NasError, match=r"wrong\.txt, line 1: 'b1' is spoof here, bonafide in the corpus"):
        halves_from_protocols(rows, first, wrong)


@pytest.mark.shared
def test_the_published_halves(shared: Path) -> None:
    folder = shared / "data" / "protocols"
    trials = read_protocol(folder / "ASVspoof2019.LA.cm.train.trn.txt")
    rows = [row(t.utterance, t.attack, t.speaker) for t in trials]
    stem = "ASVspoof2019.LA.cm.train.trn"
    halves = halves_from_protocols(rows, folder / f"{stem}_h.txt", folder / f"{stem}_t.txt")
    disjoint_and_whole(halves, 25_380)
    assert [len(half) for half in halves] == [12_690, 12_690]
    assert [sum(rows[i].label for i in half) for half in halves] == [1_290, 1_290]
    ours = split_halves(rows, "stratified", 0)
    assert [sum(rows[i].label for i in half) for half in ours] == [1_290, 1_290]


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 60), st.integers(20, 60), st.integers(1, 40), st.integers(0, 99))
def test_balanced_subsets(b: int, f: int, count: int, seed: int) -> None:
    rows = corpus(b, f, attacks=4, speakers=5)
    chosen = subset(rows, count, seed)
    assert len(set(chosen.tolist())) == count
    assert Counter(rows[i].key for i in chosen)["bonafide"] == count // 2
    attacks = Counter(rows[i].attack for i in chosen if rows[i].key == "spoof")
    assert max(attacks.values()) - min([attacks[f"A{i}"] for i in range(4)]) <= 1
    speakers = Counter(rows[i].speaker for i in chosen if rows[i].key == "bonafide")
    assert max(speakers.values(), default=0) - min(speakers[f"s{i}"] for i in range(5)) <= 1
    larger = subset(rows, min(40, count + 2), seed)
    assert set(chosen.tolist()) <= set(larger.tolist())


def test_subsets_of_attacks_and_speakers() -> None:
    rows = corpus(60, 60)
    chosen = subset(rows, 20, attacks=["A1"], speakers=["s0", "s2"])
    assert {rows[i].attack for i in chosen} == {"-", "A1"}
    assert {rows[i].speaker for i in chosen} == {"s0", "s2"}
    assert len(subset(rows, 120, balanced=False)) == 120
    with pytest.raises(NasError, match="no attack 'A9' among the 120 utterances"):
        subset(rows, 20, attacks=["A9"])
    with pytest.raises(NasError, match="a balanced subset of 122 needs 61 bonafide utterances; there are 60"):
        subset(rows, 122)
    with pytest.raises(NasError, match="a subset of 121 utterances cannot be drawn from 120"):
        subset(rows, 121, balanced=False)
    with pytest.raises(NasError, match="at least one"):
        subset(rows, 0)


def test_leaving_one_attack_out() -> None:
    rows = corpus(6, 9) + [row(f"{r.utterance}e", r.attack, partition="eval") for r in corpus(6, 9)]
    learning, testing = leave_one_attack_out(rows, "A1")
    assert {(rows[i].partition, rows[i].attack) for i in learning} == {("train", a) for a in ("-", "A0", "A2")}
    assert {(rows[i].partition, rows[i].attack) for i in testing} == {("eval", "-"), ("eval", "A1")}
    with pytest.raises(NasError, match="leaving A7 out: 'eval' with A7 has no spoof"):
        leave_one_attack_out(rows, "A7")


def test_the_largest_balanced_subset_is_named_and_can_be_drawn() -> None:
    utterances = [Utterance(Path(f"b{i}.flac"), f"b{i}", f"s{i}", "-", "bonafide", "train") for i in range(3)]
    utterances += [Utterance(Path(f"s{i}.flac"), f"s{i}", f"s{i}", "A01", "spoof", "train") for i in range(5)]
    for rows, largest in ((utterances, 7), (utterances[:6], 6), (utterances[:4], 2)):
        with pytest.raises(NasError, match=f"Set data.subset to at most {largest}, or data.subset=all"):
            subset(rows, largest + 1, seed=0)
        assert len(subset(rows, largest, seed=0)) == largest
