"""Score files, protocols and ASV files in the forms of the field: all give the numbers of a plain calculation."""

from __future__ import annotations

import codecs
from pathlib import Path

import numpy as np
import pytest

from nas.columns import PROTOCOLS, SCORES, Form
from nas.errors import NasError
from nas.metrics import Evaluation, evaluate_scores, read_asv_scores, read_key

BONAFIDE, SPOOF = 40, 120
RNG = np.random.default_rng(5)
LABEL = np.array([1] * BONAFIDE + [0] * SPOOF)[RNG.permutation(BONAFIDE + SPOOF)]
SCORE = np.round(RNG.normal(size=LABEL.size) + 1.2 * LABEL, 5)
ATTACK = np.where(LABEL == 1, "-", np.array(["A07", "A08", "A09"])[np.arange(LABEL.size) % 3])
NAME = np.array([f"LA_E_{number}" for number in RNG.permutation(1_000_000)[: LABEL.size]])
ASV = {
    "target": RNG.normal(3, 1, 200),
    "nontarget": RNG.normal(-1, 1, 300),
    "spoof": RNG.normal(1.5, 1, 150),
}
ASV_ATTACK = np.array(["A07", "A08", "A09"])[np.arange(150) % 3]


def plain_eer(bonafide: np.ndarray, spoof: np.ndarray) -> tuple[float, float]:
    """EER in percent and its threshold, by counting at every score."""
    thresholds = np.sort(np.concatenate([bonafide, spoof]))
    frr = np.array([np.mean(bonafide <= t) for t in thresholds])
    far = np.array([np.mean(spoof > t) for t in thresholds])
    at = np.argmin(np.abs(frr - far))
    return 50 * (frr[at] + far[at]), thresholds[at]


def plain_min_tdcf(bonafide: np.ndarray, spoof: np.ndarray, asv_spoof: np.ndarray) -> float:
    """The 2019 cost as the evaluation plan writes it: priors 0.9405, 0.0095, 0.05; costs 1, 10, 1, 10."""
    threshold = plain_eer(ASV["target"], ASV["nontarget"])[1]
    miss, false_alarm = np.mean(ASV["target"] < threshold), np.mean(ASV["nontarget"] >= threshold)
    c1 = 0.9405 * (1 - 1 * miss) - 0.0095 * 10 * false_alarm
    c2 = 10 * 0.05 * np.mean(asv_spoof >= threshold)
    thresholds = np.concatenate([[-np.inf], np.sort(np.concatenate([bonafide, spoof]))])
    costs = [c1 * np.mean(bonafide <= t) + c2 * np.mean(spoof > t) for t in thresholds]
    return min(costs) / min(c1, c2)


EER = plain_eer(SCORE[LABEL == 1], SCORE[LABEL == 0])[0]
WORDS = {"KEY": np.where(LABEL == 1, "bonafide", "spoof"), "ATTACK": ATTACK, "UTTERANCE": NAME}
WORDS |= {"SCORE": SCORE.astype(str), "SPEAKER": np.char.add("S", (np.arange(LABEL.size) % 7).astype(str))}
WORDS |= {"SUBSET": np.full(LABEL.size, "eval"), "OUTPUT": np.full(LABEL.size, "Output")}
WORDS |= {"PREDICTION": (SCORE > 0.9).astype(int).astype(str)}


def lines_of(form: Form, delimiter: str = " ", **changed: np.ndarray) -> str:
    words = WORDS | changed
    columns = [words.get(name, np.full(LABEL.size, "x")) for name in form.columns]
    return "".join(delimiter.join(row) + "\n" for row in zip(*columns, strict=True))


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def evaluated(folder: Path, scores: str | bytes, protocol: str | bytes | None = None) -> Evaluation:
    key = None if protocol is None else write(folder / "p.txt", protocol)
    return evaluate_scores(write(folder / "s.txt", scores), key)


TWO = next(form for form in SCORES if str(form) == "UTTERANCE SCORE")
FIVE = next(form for form in PROTOCOLS if form.name == "ASVspoof 2019")


@pytest.mark.parametrize("delimiter", [" ", "\t", ",", ", ", ";", "|"])
@pytest.mark.parametrize("form", [form for form in SCORES if not form.refusal], ids=str)
def test_every_score_form(tmp_path: Path, form: Form, delimiter: str) -> None:
    result = evaluated(tmp_path, lines_of(form, delimiter), lines_of(FIVE))
    assert result.eer == pytest.approx(EER, abs=1e-9)
    assert set(result.per_attack) == {"A07", "A08", "A09"}
    assert any("PREDICTION" in remark for remark in result.remarks) == ("PREDICTION" in form.columns)
    if "KEY" in form.columns:
        assert evaluated(tmp_path, lines_of(form, delimiter)).eer == pytest.approx(EER, abs=1e-9)
    else:
        with pytest.raises(NasError, match="no keys"):
            evaluated(tmp_path, lines_of(form, delimiter))


@pytest.mark.parametrize("delimiter", [" ", "\t", ",", ";", "|"])
@pytest.mark.parametrize("form", PROTOCOLS, ids=lambda form: f"{form.name} {len(form.columns)}")
def test_every_protocol_form(tmp_path: Path, form: Form, delimiter: str) -> None:
    key = read_key(write(tmp_path / "p.txt", lines_of(form, delimiter)))
    assert key.utterance.tolist() == NAME.tolist()
    assert key.label.tolist() == LABEL.tolist()
    assert key.attack.tolist() == (ATTACK.tolist() if "ATTACK" in form.columns else ["-"] * LABEL.size)
    assert evaluated(tmp_path, lines_of(TWO), lines_of(form, delimiter)).eer == pytest.approx(EER, abs=1e-9)


@pytest.mark.parametrize(("bonafide", "spoof"), [("genuine", "fake"), ("Real", "Fake"), ("human", "spoofed")])
def test_words_for_keys(tmp_path: Path, bonafide: str, spoof: str) -> None:
    words = np.where(LABEL == 1, bonafide, spoof)
    for form in PROTOCOLS[:4]:
        assert evaluated(tmp_path, lines_of(TWO), lines_of(form, KEY=words)).eer == pytest.approx(EER, abs=1e-9)
    assert evaluated(tmp_path, lines_of(SCORES[0], KEY=words)).eer == pytest.approx(EER, abs=1e-9)


@pytest.mark.parametrize("word", ["bonafide", "A00", "none", "genuine"])
def test_words_for_no_attack(tmp_path: Path, word: str) -> None:
    result = evaluated(tmp_path, lines_of(SCORES[0], ATTACK=np.where(LABEL == 1, word, ATTACK)))
    assert (result.eer, set(result.per_attack)) == (pytest.approx(EER), {"A07", "A08", "A09"})


def test_numbers_as_keys_need_a_protocol_and_are_not_read_beside_it(tmp_path: Path) -> None:
    for numbers in (LABEL, 1 - LABEL):
        text = lines_of(SCORES[0], KEY=numbers.astype(str))
        result = evaluated(tmp_path, text, lines_of(FIVE))
        assert result.eer == pytest.approx(EER)
        assert any("numbers in the key column" in remark for remark in result.remarks)
        with pytest.raises(NasError, match=r"not '[01]' .half of the field"):
            evaluated(tmp_path, text)
        with pytest.raises(NasError, match=r"not '[01]' .half of the field"):
            evaluated(tmp_path, lines_of(TWO), lines_of(PROTOCOLS[0], KEY=numbers.astype(str)))


UTF16 = ["utf-16", "utf-16-le", "utf-16-be"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", *UTF16])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, ending: str) -> None:
    scores, protocol = (lines_of(form).replace("\n", ending).encode(encoding) for form in (TWO, FIVE))
    assert evaluated(tmp_path, scores, protocol).eer == pytest.approx(EER)
    if encoding == "utf-16-be":
        assert evaluated(tmp_path, codecs.BOM_UTF16_BE + scores, protocol).eer == pytest.approx(EER)


def test_comments_are_left_out_and_said(tmp_path: Path) -> None:
    result = evaluated(tmp_path, "# system A, epoch 3\n" + lines_of(SCORES[0]) + "# the end\n")
    assert result.eer == pytest.approx(EER)
    assert [remark for remark in result.remarks if "comments were left out (line 1 and 1 more)" in remark]
    header = evaluated(tmp_path, "# utterance,score\n" + lines_of(TWO, ","), lines_of(FIVE))
    assert (header.eer, header.remarks) == (pytest.approx(EER), ())
    for sign in ("%", "//", "#"):
        assert evaluated(tmp_path, f"{sign} exported\n" + lines_of(TWO), lines_of(FIVE)).eer == pytest.approx(EER)
    named = evaluated(tmp_path, "#1 - bonafide 3\n" + lines_of(SCORES[0]))
    assert named.n_bonafide == BONAFIDE + 1


def test_a_whole_log(tmp_path: Path) -> None:
    form = next(form for form in SCORES if "OUTPUT" in form.columns)
    text = f"--- Start program ---\n  Outputs\n{lines_of(form, ', ')}Testing done\n"
    result = evaluated(tmp_path, text, lines_of(FIVE))
    assert result.eer == pytest.approx(EER)
    assert any("3 lines other than" in remark for remark in result.remarks)


@pytest.mark.parametrize("suffix", [".flac", ".wav", ".m4a", ".OPUS", ".aiff"])
@pytest.mark.parametrize("folder", ["", "wav/", "/data/LA/flac/", "C:\\data\\"])
def test_names_by_suffix_and_folder(tmp_path: Path, suffix: str, folder: str) -> None:
    spelled = np.array([f"{folder}{name}{suffix}" for name in NAME])
    for scores, protocol in (({"UTTERANCE": spelled}, {}), ({}, {"UTTERANCE": spelled})):
        result = evaluated(tmp_path, lines_of(TWO, **scores), lines_of(FIVE, **protocol))
        assert result.eer == pytest.approx(EER)
        assert bool(result.remarks) == bool(folder)


def test_folders_that_tell_names_apart(tmp_path: Path) -> None:
    scores = "x/a/1.wav 1\nx/b/1.wav 0\n"
    assert evaluated(tmp_path, scores, "a/1 bonafide\nb/1 spoof\n").eer == 0
    with pytest.raises(NasError, match="trials without a score"):
        evaluated(tmp_path, scores, "1 bonafide\n2 spoof\n")


def test_surplus_scores_are_left_out_and_said(tmp_path: Path) -> None:
    result = evaluated(tmp_path, lines_of(TWO) + "LA_E_A1 9\nLA_E_A2 9\n", lines_of(FIVE))
    assert result.eer == pytest.approx(EER)
    assert any("without a trial in" in remark and "2 (LA_E_A1, LA_E_A2)" in remark for remark in result.remarks)


def test_subsets(tmp_path: Path) -> None:
    form = next(form for form in PROTOCOLS if form.name == "ASVspoof 2021 LA")
    subset = np.array(["progress", "eval", "hidden_track", "eval"])[np.arange(LABEL.size) % 4]
    key = write(tmp_path / "p.txt", lines_of(form, SUBSET=subset))
    scores = write(tmp_path / "s.txt", lines_of(TWO))

    def expected(*names: str) -> float:
        chosen = np.isin(subset, names)
        return plain_eer(SCORE[chosen & (LABEL == 1)], SCORE[chosen & (LABEL == 0)])[0]

    default = evaluate_scores(scores, key)
    assert default.eer == pytest.approx(expected("eval"))
    assert any("left out: progress 40, hidden_track 40" in remark for remark in default.remarks)
    assert evaluate_scores(scores, key, subset="progress").eer == pytest.approx(expected("progress"))
    pooled = evaluate_scores(scores, key, subset="all")
    assert pooled.eer == pytest.approx(EER)
    assert any("pooled: progress 40, eval 80, hidden_track 40" in remark for remark in pooled.remarks)
    only = write(tmp_path / "o.txt", "".join(f"{n} {s}\n" for n, s in zip(NAME[::4], SCORE[::4], strict=True)))
    assert evaluate_scores(only, key).eer == pytest.approx(expected("progress"))
    with pytest.raises(NasError, match=r"trials without a score \(subset eval\): 80 of 160"):
        evaluate_scores(only, key, subset="eval")
    words = write(tmp_path / "w.txt", lines_of(PROTOCOLS[2], SUBSET=np.where(subset == "eval", "test", "valid")))
    assert evaluate_scores(scores, words, subset="dev").eer == pytest.approx(expected("progress", "hidden_track"))
    assert evaluate_scores(scores, words).eer == pytest.approx(expected("eval"))


def asv_lines(bonafide: str = "bonafide", attacks: np.ndarray = ASV_ATTACK) -> str:
    lines = [f"{bonafide} {key} {float(value)!r}\n" for key in ("target", "nontarget") for value in ASV[key]]
    return "".join(lines + [f"{a} spoof {float(v)!r}\n" for a, v in zip(attacks, ASV["spoof"], strict=True)])


@pytest.mark.parametrize("bonafide", ["bonafide", "-", "A00", "genuine"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tandem_cost_of_every_form(tmp_path: Path, bonafide: str, encoding: str) -> None:
    asv = write(tmp_path / "asv.txt", asv_lines(bonafide).encode(encoding))
    result = evaluate_scores(write(tmp_path / "s.txt", lines_of(SCORES[0])), asv_scores=asv)
    assert result.min_tdcf == pytest.approx(plain_min_tdcf(SCORE[LABEL == 1], SCORE[LABEL == 0], ASV["spoof"]))
    for attack in ("A07", "A08", "A09"):
        alone = plain_min_tdcf(SCORE[LABEL == 1], SCORE[attack == ATTACK], ASV["spoof"][attack == ASV_ATTACK])
        assert result.per_attack[attack].min_tdcf == pytest.approx(alone)
    assert result.remarks == ()


def test_asv_scores_without_attacks_or_of_other_ones(tmp_path: Path) -> None:
    scores = write(tmp_path / "s.txt", lines_of(SCORES[0]))
    pooled = plain_min_tdcf(SCORE[LABEL == 1], SCORE[LABEL == 0], ASV["spoof"])
    for attacks, said in (
        (np.full(150, "-"), "do not name their attacks"),
        (
            np.char.replace(ASV_ATTACK, "A0", "B0"),
            "(B07, B08, B09), than the trials, 3 (A07, A08, A09): they are those",
        ),
        (np.char.replace(ASV_ATTACK, "A09", "A10"), "so without a min t-DCF of their own: 1 (A09)"),
    ):
        asv = write(tmp_path / "asv.txt", asv_lines(attacks=attacks))
        result = evaluate_scores(scores, asv_scores=asv)
        assert result.min_tdcf == pytest.approx(pooled)
        assert result.per_attack["A09"].min_tdcf is None
        assert said in " ".join(result.remarks)
    assert read_asv_scores(asv).of_attack("-") is not None


def test_names_are_escaped_for_terminals(tmp_path: Path) -> None:
    text = "u - bonafide 1\nv \x1b]0;pwn\x07A spoof 0\nw \x1b]0;pwn\x07A spoof 0.5\n"
    summary = evaluated(tmp_path, text).summary()
    assert "\\x1b]0;pwn\\x07A" in summary
    assert summary.replace("\n", "").isprintable()
