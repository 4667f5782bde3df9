"""Score files and key files: every form is read, every fault is told in one sentence."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import NasError
from nas.metrics import (
    ScoreDirectionWarning,
    Trials,
    eer,
    read_asv_scores,
    read_key,
    read_scores,
    write_protocol,
    write_scores,
)
from nas.metrics.scores import same_trials

OURS = "u1 - bonafide 1.5\nu2 A07 spoof -0.25\nu3 - bonafide 2\nu4 A08 spoof -1e-3\n"
PROTOCOL = "s1 u1 - - bonafide\ns1 u2 - A07 spoof\ns2 u3 - - bonafide\ns2 u4 - A08 spoof\n"


def file_of(folder: Path, text: str | bytes, name: str = "scores.txt") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def check(trials: Trials) -> None:
    """The four trials of OURS, in any order."""
    rows = zip(trials.utterance, trials.attack, trials.label, trials.score, strict=True)
    assert sorted(rows) == [("u1", "-", 1, 1.5), ("u2", "A07", 0, -0.25), ("u3", "-", 1, 2.0), ("u4", "A08", 0, -0.001)]


SCORES_2 = "u1 1.5\nu2 -0.25\nu3 2\nu4 -1e-3\n"
LA_2021 = (
    "s1 u1 alaw ita_tx - bonafide notrim eval\ns1 u2 alaw ita_tx A07 spoof notrim eval\n"
    "s2 u3 none - bonafide bonafide notrim eval\ns2 u4 none - A08 spoof notrim eval\n"
)
ASVSPOOF5 = (
    "s1 u1 F - - - - bonafide bonafide -\ns1 u2 M - - - AC1 A07 spoof -\n"
    "s2 u3 F - - - - bonafide bonafide -\ns2 u4 F - - - AC2 A08 spoof -\n"
)
MANIFEST = (
    "path,key,attack,speaker\nu1.flac,bonafide,,s1\nu2.flac,spoof,A07,s1\nu3.flac,bonafide,-,s2\nu4.flac,spoof,A08,s2\n"
)


@pytest.mark.parametrize(
    ("scores", "protocol"),
    [
        (OURS, None),
        (OURS.replace("\n", "\r\n"), None),
        ("\ufeff" + OURS, None),
        (OURS.replace(" ", "\t") + "\n\n", None),
        (OURS.replace("u1 ", "u1.flac "), PROTOCOL),
        (OURS, PROTOCOL),
        (SCORES_2, PROTOCOL),
        (SCORES_2, LA_2021),
        (SCORES_2, ASVSPOOF5),
        (SCORES_2, MANIFEST),
        ("filename\tcm-score\nu4\t-1e-3\nu1\t1.5\nu3\t2\nu2\t-0.25\n", ASVSPOOF5),
        ("filename\tcm-score\tasv-score\nu4\t-1e-3\t9\nu1\t1.5\t9\nu3\t2\t9\nu2\t-0.25\t9\n", PROTOCOL),
        ("filename cm-score\nu4 -1e-3\nu1 1.5\nu3 2\nu2 -0.25\n", PROTOCOL),
        (
            "utterance,score,key,attack\nu1,1.5,bonafide,\nu2,-0.25,spoof,A07\nu3,2,bonafide,-\nu4,-0.001,SPOOF,A08\n",
            None,
        ),
        ('score;file;label\n1.5;"u1.wav";bonafide\n-0.25;u2.wav;spoof\n2;u3.wav;bonafide\n-.001;u4;spoof', PROTOCOL),
    ],
)
def test_every_form_reads_the_same(tmp_path: Path, scores: str, protocol: str | None) -> None:
    key = None if protocol is None else file_of(tmp_path, protocol, "protocol.txt")
    trials = read_scores(file_of(tmp_path, scores), key)
    check(trials)
    if protocol is not None:
        assert dict(zip(trials.utterance, trials.speaker, strict=True))["u4"] == "s2"


def test_utterances_may_be_named_like_columns(tmp_path: Path) -> None:
    protocol = file_of(tmp_path, "s1 file - - bonafide\ns1 path - A07 spoof\n", "protocol.txt")
    assert read_scores(file_of(tmp_path, "file - bonafide 1\npath A07 spoof 0\n"), protocol).label.tolist() == [1, 0]
    assert read_scores(file_of(tmp_path, "file 1\npath 0\n"), protocol).label.tolist() == [1, 0]


def test_first_form_of_asvspoof5(tmp_path: Path) -> None:
    trials = read_scores(file_of(tmp_path, "s1 u1 6.9 bonafide\ns2 u2 -2.3 spoof\n"))
    assert (trials.utterance.tolist(), trials.label.tolist(), trials.score.tolist()) == (
        ["u1", "u2"],
        [1, 0],
        [6.9, -2.3],
    )
    assert trials.speaker is not None
    assert trials.speaker.tolist() == ["s1", "s2"]
    with pytest.raises(NasError, match="line 2: the key of a trial is bonafide or spoof, not 'target'"):
        read_scores(file_of(tmp_path, "s1 u1 6.9 bonafide\ns2 u2 -2.3 target\n"))


def test_full_key_of_asvspoof5(tmp_path: Path) -> None:
    text = "trial_anon cm-label attack_anon codec\nu1 bonafide bonafide -\nu2 spoof A17 C05\n"
    key = read_key(file_of(tmp_path, text, "key.tsv"))
    assert (key.utterance.tolist(), key.attack.tolist(), key.label.tolist()) == (["u1", "u2"], ["-", "A17"], [1, 0])


def test_protocol_of_two_columns_and_unknown_attacks(tmp_path: Path) -> None:
    key = file_of(tmp_path, "filename cm-label\nu1 bonafide\nu2 spoof\n", "key.tsv")
    assert read_scores(file_of(tmp_path, "u1 1\nu2 0\n"), key).attack.tolist() == ["-", "-"]
    key = file_of(tmp_path, "u1 bonafide\nu2 spoof\n", "key.txt")
    assert read_scores(file_of(tmp_path, "u1 1\nu2 0\n"), key).label.tolist() == [1, 0]


def test_subset_of_a_protocol(tmp_path: Path) -> None:
    key = file_of(tmp_path, LA_2021.replace("notrim eval", "notrim progress", 1), "trial_metadata.txt")
    scores = file_of(tmp_path, SCORES_2)
    assert sorted(read_scores(scores, key, subset="eval").utterance) == ["u2", "u3", "u4"]
    with pytest.raises(NasError, match="no subset 'evil'; did you mean 'eval'"):
        read_scores(scores, key, subset="evil")
    surplus = read_scores(file_of(tmp_path, SCORES_2 + "u9 1\n"), key, subset="eval")
    assert (len(surplus), "left out: 1 (u9)" in str(surplus.remarks)) == (3, True)
    scores = file_of(tmp_path, SCORES_2)
    with pytest.raises(NasError, match="does not divide"):
        read_scores(scores, file_of(tmp_path, PROTOCOL, "p"), subset="eval")
    with pytest.raises(NasError, match="only be taken with a protocol"):
        read_scores(scores, subset="eval")


MALFORMED = {
    "empty file": (b"", None, "the score file is empty"),
    "only blank lines": (b"\n  \n", None, "the score file is empty"),
    "binary": (b"\xff\xfd\x00\x01", None, "line 1: a score file is plain UTF-8 text"),
    "latin-1 in line 2": (b"u1 - bonafide 1\n\xe9 A spoof 0\n", None, "line 2: a score file is plain UTF-8 text"),
    "zero byte": (b"u1 - bonafide 1\nu2 A spoof 0\0\n", None, "line 2.*zero byte"),
    "one column": ("u1\nu2\n", None, "line 1.*four columns.*not 1"),
    "three columns": ("u1 x bonafide\n", None, "no keys: name the protocol"),
    "six columns": ("a b c d e 1\n", None, "line 1.*not 6"),
    "an ASV score file": ("bonafide target 7.98\n", None, "this is an ASV score file"),
    "a protocol": (PROTOCOL, None, "this is a protocol"),
    "a short line": (OURS + "u5 A08 spoof\n", None, "line 5: 3 columns where the first line has 4"),
    "a long line": (OURS + "u5 A08 spoof 1 2\n", None, "line 5: 5 columns where the first line has 4"),
    "score is a word": (OURS + "u5 A08 spoof high\n", None, "line 5: the score 'high' is not a number"),
    "decimal comma": (OURS + "u5 A08 spoof 1,5\n", None, "line 5.*decimal point, not a comma"),
    "grouped digits": (OURS + "u5 A08 spoof 1_000\n", None, "line 5.*'1_000' is not a number"),
    "score is nan": (OURS + "u5 A08 spoof nan\n", None, "scores that are not finite numbers: 1 .u5"),
    "scores are infinite": (OURS + "u5 A08 spoof inf\nu6 A08 spoof -inf\n", None, "not finite numbers: 2 .u5, u6"),
    "overflowing score": (OURS + "u5 A08 spoof 1e999\n", None, "scores that are not finite numbers: 1 .u5"),
    "unknown key": (OURS + "u5 A08 fake? 1\n", None, "line 5: the key of a trial is bonafide or spoof, not 'fake.'"),
    "numbers for keys": ("u1 - 1 1.5\nu2 A07 0 0\n", None, "line 1: the key of a trial is bonafide or spoof, not '1'"),
    "columns in another order": ("u1 1.5 - bonafide\n", None, "line 1.*'bonafide' is not a number"),
    "bona fide with an attack": (OURS + "u5 A08 bonafide 1\n", None, "line 5: a bona fide trial has no attack"),
    "spoof without attack but bonafide": (OURS + "u5 bonafide spoof 1\n", None, "line 5.*contradict"),
    "trial twice": (OURS + "u1 - bonafide 1.5\n", None, "trials scored more than once: 1 .u1"),
    "many trials twice": (OURS + OURS, None, "trials scored more than once: 4 .u1, u2, u3 and 1 more"),
    "the same trial with a suffix": (OURS + "u1.flac - bonafide 1\n", None, "trials scored more than once: 1 .u1"),
    "two columns without protocol": (SCORES_2, None, "has utterances and scores but no keys: name the protocol"),
    "missing trial": ("u1 1\nu2 0\nu3 1\n", PROTOCOL, "trials without a score: 1 of 4 .u4."),
    "a prediction and no key": ("u1 bonafide 1\nu2 spoof 0\n", None, "a prediction is not the key.*name the protocol"),
    "numbers as predictions": ("u1 1.5 1\nu2 0.5 0\n", None, "a prediction is not the key.*name the protocol"),
    "two logits": ("u1 -1.5 1.5\nu2 1 -1\n", PROTOCOL, "line 1: there are two numbers on each line"),
    "decimal commas between semicolons": ("u1;1,5\nu2;0,5\n", PROTOCOL, "line 1.*'1,5'.*decimal point"),
    "classes and scores": ("bonafide 1.5\nspoof -0.2\nspoof 0.1\n", None, "line 1: this file names no utterances"),
    "scores and classes": ("1.5 1\n-0.2 0\n", None, "line 1: this file names no utterances"),
    "Kaldi the other way": ("target 1.5\nnontarget -0.2\n", None, "line 1: this file names no utterances"),
    "Kaldi": ("1.5 target\n-0.2 nontarget\n", None, "line 1: .*Kaldi's compute-eer"),
    "missing and surplus": (
        "u1 1\nv2 0\n",
        PROTOCOL,
        "trials without a score: 3 of 4 .*; scores without a trial: 1 .v2",
    ),
    "keys contradict the protocol": (
        OURS.replace("- bonafide 2", "A9 spoof 2"),
        PROTOCOL,
        "keys that contradict.*: 1 .u3",
    ),
    "a CSV header without utterances": ("asv_score,cm_score\n1,2\n", None, "no utterance column.*asv_score, cm_score"),
    "CSV without score column": ("utterance,key\nu1,bonafide\n", None, "no score column; its columns are: utterance"),
    "CSV with two score columns": ("file,score,score\nu1,1,2\n", None, "names the score column 2 times"),
    "CSV with a short row": ("utterance,score,key\nu1,1\n", None, "line 2: 2 columns where the header names 3"),
    "CSV with an empty score": ("utterance,score,key\nu1,,bonafide\n", None, "line 2: the score is empty"),
    "CSV without a name": ("utterance,score,key\n,1,bonafide\n", None, "line 2: the utterance is empty"),
    "CSV with an open quote": (
        'utterance,score,key\n"u1,1,bonafide\n',
        None,
        "line 2: 1 columns where the header names 3",
    ),
    "CSV with an endless cell": ('utterance,score,key\nu1,1,"' + "x" * 200_000, None, "line 2: 0 columns where the"),
    "header only": ("utterance,score,key\n", None, "a header but no trials"),
    "CSV without keys": ("utterance,score\nu1,1\n", None, "no keys: name the protocol"),
    "protocol with wrong columns": (
        SCORES_2,
        "s1 u1 - x - bonafide\n",
        "line 1: a protocol line .*not 6",
    ),
    "protocol with a ragged line": (SCORES_2, PROTOCOL + "s1 u5 - spoof\n", "line 5: 4 columns where the first line"),
    "protocol with an unknown key": (SCORES_2, "s1 u1 - - bona\n", "line 1: the key of a trial is bonafide or spoof"),
    "protocol with a trial twice": (SCORES_2, PROTOCOL + PROTOCOL, "stand in the protocol more than once: 4 "),
    "empty protocol": (SCORES_2, "", "the protocol is empty"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_files_give_one_clear_sentence(tmp_path: Path, kind: str) -> None:
    text, protocol, said = MALFORMED[kind]
    path = file_of(tmp_path, text)
    key = None if protocol is None else file_of(tmp_path, protocol, "protocol.txt")
    with pytest.raises(NasError, match=said) as error:
        read_scores(path, key)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert len(sentence.replace(str(tmp_path), "")) < 260
    assert "scores.txt" in sentence or "protocol.txt" in sentence


def test_there_are_at_least_thirty_kinds() -> None:
    assert len(MALFORMED) >= 30


def test_absent_file_folder_and_absent_protocol(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="there is no score file"):
        read_scores(tmp_path / "absent.txt")
    with pytest.raises(NasError, match="is a folder, not a score file"):
        read_scores(tmp_path)
    with pytest.raises(NasError, match="there is no protocol"):
        read_scores(file_of(tmp_path, OURS), tmp_path / "absent.txt")


def test_a_very_long_line_does_not_make_a_very_long_sentence(tmp_path: Path) -> None:
    with pytest.raises(NasError) as error:
        read_scores(file_of(tmp_path, "u1 - bonafide " + "9" * 10 + "x" * 100_000))
    assert len(str(error.value)) < 400


def test_direction_is_detected_with_a_warning(tmp_path: Path) -> None:
    path = file_of(tmp_path, "u1 - bonafide -3\nu2 A spoof 1\nu3 A spoof 2\n")
    with pytest.warns(ScoreDirectionWarning, match="scores were negated"):
        trials = read_scores(path)
    assert trials.direction == "negated"
    assert trials.score.tolist() == [3, -1, -2]
    assert eer(trials.bonafide, trials.spoof).value == 0


def test_a_stated_direction_is_believed(tmp_path: Path) -> None:
    path = file_of(tmp_path, "u1 - bonafide -3\nu2 A spoof 1\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_scores(path, higher="bonafide").score.tolist() == [-3, 1]
        assert read_scores(path, higher="spoof").score.tolist() == [3, -1]
        assert read_scores(file_of(tmp_path, OURS)).direction == "detected"
        assert read_scores(file_of(tmp_path, "u1 A spoof 5\n")).score.tolist() == [5]
    with pytest.raises(ValueError, match="higher"):
        read_scores(path, higher="spoofed")  # type: ignore[arg-type]


words = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=8)
plain_words = words.filter(lambda word: word.split() == [word] and not set(word) & set(",;."))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(plain_words, st.booleans(), st.floats(allow_nan=False, allow_infinity=False)),
        min_size=1,
        unique_by=lambda row: row[0],
    )
)
def test_what_is_written_is_read_back_exactly(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    label = [int(is_bonafide) for _, is_bonafide, _ in rows]
    trials = Trials([n for n, _, _ in rows], ["-" if one else "A01" for one in label], label, [s for *_, s in rows])
    path = write_scores(tmp_path_factory.mktemp("scores") / "scores.txt", trials)
    again = read_scores(path, higher="bonafide")
    assert again.utterance.tolist() == trials.utterance.tolist()
    assert again.attack.tolist() == trials.attack.tolist()
    assert again.label.tolist() == trials.label.tolist()
    assert again.score.tobytes() == trials.score.tobytes()


pieces = st.sampled_from(
    [
        "u1",
        "u2",
        "-",
        "A07",
        "bonafide",
        "spoof",
        "1.5",
        "nan",
        "1,5",
        "file",
        "score",
        "key",
        ",",
        ";",
        "\t",
        '"',
        "\r",
        "\x85",
        " ",
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.lists(pieces, max_size=6).map(" ".join), max_size=5).map(lambda rows: "\n".join(rows).encode()),
        st.lists(st.lists(pieces, max_size=9).map("".join), max_size=5).map(lambda rows: "\n".join(rows).encode()),
    )
)
def test_any_bytes_are_trials_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.txt"
    path.write_bytes(content)
    for read in (lambda: read_scores(path, higher="bonafide"), lambda: read_key(path), lambda: read_asv_scores(path)):
        sentence = "fuzz.txt"
        try:
            read()
        except NasError as error:
            sentence = str(error)
        assert "fuzz.txt" in sentence
        assert "\n" not in sentence


def test_written_form_and_atomicity(tmp_path: Path) -> None:
    trials = Trials(["b", "a"], ["-", "A07"], [1, 0], [0.1, float(np.float32(0.1))], ["s", "t"])
    path = write_scores(tmp_path / "new" / "scores.txt", trials)
    assert path.read_text() == "b - bonafide 0.1\na A07 spoof 0.10000000149011612\n"
    with pytest.raises(NasError, match="cannot be named 'two words'"):
        write_scores(path, Trials(["two words"], ["-"], [1], [0.0]))
    assert path.read_text().startswith("b - bonafide 0.1")
    assert [found.name for found in path.parent.iterdir()] == ["scores.txt"]


def test_trials_refuse_what_they_cannot_mean() -> None:
    with pytest.raises(ValueError, match="same length"):
        Trials(["a"], ["-"], [1, 0], [0.0])
    with pytest.raises(ValueError, match="labels"):
        Trials(["a"], ["-"], [2], [0.0])
    with pytest.raises(NasError, match=r"more than once: 1 \(a\)"):
        Trials(["a", "a"], ["-", "-"], [1, 1], [0.0, 1.0])
    with pytest.raises(NasError, match=r"not finite numbers: 1 \(a\)"):
        Trials(["a"], ["-"], [1], [np.nan])


def test_systems_are_put_in_one_order() -> None:
    first = Trials(["a", "b", "c"], ["-", "A", "A"], [1, 0, 0], [1.0, 2.0, 3.0])
    second = Trials(["c", "a", "b"], ["A", "-", "A"], [0, 1, 0], [30.0, 10.0, 20.0])
    assert same_trials([first, second])[1].score.tolist() == [10, 20, 30]
    with pytest.raises(NasError, match="without a score: 1 of 3"):
        same_trials([first, second.select(np.array([True, True, False]))])
    wrong = Trials(["c", "a", "b"], ["-", "-", "A"], [1, 1, 0], [30.0, 10.0, 20.0])
    with pytest.raises(NasError, match="keys that contradict"):
        same_trials([first, wrong])


@pytest.mark.shared
def test_published_files_and_protocols(shared: Path) -> None:
    key = read_key(shared / "data/protocols/ASVspoof2019.LA.cm.eval.trl.txt")
    assert len(key.utterance) == 71_237
    assert int(key.label.sum()) == 7_355
    trials = read_scores(shared / "data/scores/raw_pcdarts_fixed_mel.txt", key)
    assert (trials.direction, len(trials.attacks), len(set(trials.speaker))) == ("detected", 13, 67)
    with pytest.raises(NasError, match=r"without a score: 24844 of 24844 .*; scores without a trial: 71237 "):
        read_scores(shared / "data/scores/rawgat_st_mul.txt", shared / "data/protocols/ASVspoof2019.LA.cm.dev.trl.txt")


def test_a_protocol_is_read_back_or_not_written(tmp_path: Path) -> None:
    known = read_scores(file_of(tmp_path, OURS), file_of(tmp_path, PROTOCOL, "protocol.txt"))
    path = write_protocol(tmp_path / "again.txt", known)
    assert path is not None
    assert path.read_text() == PROTOCOL
    for speakers in (None, ["s1", "", "s2", "s2"], ["s1", "a b", "s2", "s2"]):
        trials = replace(known, speaker=None if speakers is None else np.array(speakers, dtype=object))
        (tmp_path / "none.txt").write_text("of earlier scores")
        assert write_protocol(tmp_path / "none.txt", trials) is None
        assert not (tmp_path / "none.txt").exists()


def test_a_manifest_is_a_protocol(tmp_path: Path) -> None:
    """It names utterances and paths; the first are meant."""
    rows = [line.split() for line in PROTOCOL.splitlines()]
    lines = ["utterance,path,key,attack,speaker", *(f"{u},audio/{u}.flac,{key},{a},{s}" for s, u, _, a, key in rows)]
    manifest = file_of(tmp_path, "\n".join(lines) + "\n", "manifest.csv")
    check(read_scores(file_of(tmp_path, OURS), manifest))
    assert sorted(set(read_key(manifest).speaker)) == ["s1", "s2"]  # type: ignore[arg-type]
