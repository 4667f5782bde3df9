"""Readers: trees made here, right ones and wrong ones, and the official protocols."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.readers import layouts, read, require_both_classes
from nas.data.readers.folders import by_hash
from nas.data.readers.protocol import read_protocol
from nas.data.readers.registry import _READERS
from nas.data.utterance import Utterance
from nas.errors import NasError

TRAIN = "S1 LA_T_1 - - bonafide\nS2 LA_T_2 - A01 spoof\n"


def touch(root: Path, *names: str) -> None:
    """Readers never open audio: empty files do."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def la_tree(root: Path, protocol_folder: str = "ASVspoof2019_LA_cm_protocols") -> Path:
    for partition, letter, ending in (("train", "T", "train.trn"), ("dev", "D", "dev.trl"), ("eval", "E", "eval.trl")):
        text = TRAIN.replace("LA_T", f"LA_{letter}")
        write(root / protocol_folder / f"ASVspoof2019.LA.cm.{ending}.txt", text)
        folder = f"ASVspoof2019_LA_{partition}/flac"
        touch(root, f"{folder}/LA_{letter}_1.flac", f"{folder}/LA_{letter}_2.flac")
    return root


# --- ASVspoof 2019 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["ASVspoof2019_LA_cm_protocols", "protocols", "."])
def test_la_tree_is_read_wherever_the_protocols_lie(tmp_path: Path, place: str) -> None:
    rows = read("asvspoof2019_la", la_tree(tmp_path, place))
    assert [row.partition for row in rows] == ["train", "train", "dev", "dev", "eval", "eval"]
    flac = tmp_path / "ASVspoof2019_LA_train" / "flac"
    assert rows[0] == Utterance(flac / "LA_T_1.flac", "LA_T_1", "S1", "-", "bonafide", "train")
    assert rows[1] == Utterance(flac / "LA_T_2.flac", "LA_T_2", "S2", "A01", "spoof", "train")
    assert [row.label for row in rows[:2]] == [1, 0]


def test_protocols_beside_the_audio_and_the_folder_above(tmp_path: Path) -> None:
    root = tmp_path / "LA"
    write(root / "ASVspoof2019_LA_train" / "ASVspoof2019.LA.cm.train.trn.txt", TRAIN)
    touch(root, "ASVspoof2019_LA_train/flac/LA_T_1.flac", "ASVspoof2019_LA_train/flac/LA_T_2.flac")
    assert len(read("asvspoof2019_la", tmp_path)) == 2
    assert len(read("asvspoof2019_la", root)) == 2


def test_only_the_wanted_partitions_are_read(tmp_path: Path) -> None:
    la_tree(tmp_path)
    (tmp_path / "ASVspoof2019_LA_eval" / "flac" / "LA_E_1.flac").unlink()
    assert {row.partition for row in read("asvspoof2019_la", tmp_path, partitions=("dev",))} == {"dev"}
    with pytest.raises(NasError, match=r"1 of the 2 utterances .* have no audio .*: LA_E_1"):
        read("asvspoof2019_la", tmp_path)


def test_a_protocol_given_by_path(tmp_path: Path) -> None:
    la_tree(tmp_path)
    mine = write(tmp_path / "mine.txt", "S1 LA_T_2 - A01 spoof\n\n")
    rows = read("asvspoof2019_la", tmp_path, protocols={"train": mine})
    assert [row.utterance for row in rows] == ["LA_T_2"]
    flat = tmp_path / "flat"
    touch(flat, "flac/LA_T_2.wav")
    assert read("asvspoof2019_la", flat, protocols={"eval": mine})[0].path == flat / "flac" / "LA_T_2.wav"


def test_pa_has_the_environment_in_the_third_column(tmp_path: Path) -> None:
    text = "PA_0079 PA_T_1 aaa - bonafide\nPA_0079 PA_T_2 aaa AB spoof\n"
    write(tmp_path / "ASVspoof2019_PA_cm_protocols" / "ASVspoof2019.PA.cm.train.trn.txt", text)
    touch(tmp_path, "ASVspoof2019_PA_train/flac/PA_T_1.flac", "ASVspoof2019_PA_train/flac/PA_T_2.flac")
    assert [row.attack for row in read("asvspoof2019_pa", tmp_path)] == ["-", "AB"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "S1 LA_T_1 - - bonafide\nS2 LA_T_2 A01 spoof\n",
            r"line 2: 4 columns where the first line has 5",
        ),
        ("S1 LA_T_1 - - bonafide extra\n", r"line 1: expected 5 columns .SPEAKER UTTERANCE - ATTACK KEY., not 6"),
        ("\n\nS1 LA_T_1 - - true\n", r"line 3: the key of a trial is bonafide or spoof, not 'true'"),
        ("S1 LA_T_1 - A01 bonafide\n", r"line 1: a bona fide trial has no attack .write -., but this one names 'A01'"),
        ("S1 LA_T_1 - - spoof\n", r"line 1: the attack is '-', expected the name of an attack"),
        ("S1 LA_T_1 - - bonafide\nS1 LA_T_1 - A01 spoof\n", r"line 2: utterance 'LA_T_1' is already on line 1"),
        ("S1 ../LA_T_1 - - bonafide\n", r"line 1: the utterance '../LA_T_1' must be the name of a file"),
        ("", "the protocol is empty"),
        ("\n \n", "the protocol is empty"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    la_tree(tmp_path)
    write(tmp_path / "ASVspoof2019_LA_cm_protocols" / "ASVspoof2019.LA.cm.train.trn.txt", text)
    with pytest.raises(NasError, match=message) as caught:
        read("asvspoof2019_la", tmp_path)
    assert "ASVspoof2019.LA.cm.train.trn.txt" in str(caught.value)


def test_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes("﻿S1 U1 - - bonafide\r\nS2 U2 - A01 spoof\r\n".encode())
    assert [(trial.speaker, trial.key, trial.line) for trial in read_protocol(path)] == [
        ("S1", "bonafide", 1),
        ("S2", "spoof", 2),
    ]


def test_what_is_not_a_protocol(tmp_path: Path) -> None:
    binary = tmp_path / "p.txt"
    binary.write_bytes(b"fLaC\x00\x80\xff\xfe")
    with pytest.raises(NasError, match=r"p\.txt, line 1: a protocol is plain UTF-8 text"):
        read_protocol(binary)
    with pytest.raises(NasError, match="there is no protocol"):
        read_protocol(tmp_path / "absent.txt")
    with pytest.raises(NasError, match="is a folder, not a protocol"):
        read_protocol(tmp_path)


def test_what_is_not_a_corpus(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"has no ASVspoof2019.LA.cm.\*.txt; looked in"):
        read("asvspoof2019_la", tmp_path)
    with pytest.raises(NasError, match="there is no corpus at"):
        read("asvspoof2019_la", tmp_path / "absent")
    with pytest.raises(NasError, match=r"no corpus layout 'asvspoof2019-la'; did you mean 'asvspoof2019_la'\?"):
        read("asvspoof2019-la", tmp_path)
    with pytest.raises(NasError, match=r"no partition 'test'"):
        read("asvspoof2019_la", tmp_path, partitions=("test",))
    write(tmp_path / "ASVspoof2019.LA.cm.train.trn.txt", TRAIN)
    with pytest.raises(NasError, match="so there is no partition 'dev'"):
        read("asvspoof2019_la", tmp_path, partitions=("dev",))


def test_absent_audio_names_the_first_and_counts(tmp_path: Path) -> None:
    lines = "".join(f"S1 U{i} - - bonafide\n" for i in range(100))
    protocol = write(tmp_path / "p.txt", lines)
    touch(tmp_path, "flac/U0.flac")
    with pytest.raises(
        NasError, match=r"99 of the 100 utterances of .*p.txt have no audio in .*flac: U1, U2, U3, \.\.\.$"
    ):
        read("asvspoof2019_la", tmp_path, protocols={"train": protocol})


def test_an_utterance_in_two_partitions_is_refused(tmp_path: Path) -> None:
    la_tree(tmp_path)
    both = tmp_path / "ASVspoof2019_LA_train/ASVspoof2019.LA.cm.train.trn.txt"
    with pytest.raises(NasError, match="utterance 'LA_T_1' is named twice"):
        read("asvspoof2019_la", tmp_path, protocols={"train": write(both, TRAIN), "dev": _copy_to_dev(tmp_path)})


def _copy_to_dev(root: Path) -> Path:
    touch(root, "ASVspoof2019_LA_dev/flac/LA_T_1.flac", "ASVspoof2019_LA_dev/flac/LA_T_2.flac")
    return write(root / "dev.txt", TRAIN)


def test_both_classes_where_asked() -> None:
    row = Utterance(Path("a"), "a", "-", "-", "bonafide", "dev")
    with pytest.raises(NasError, match="partition 'dev' of here has no spoof utterance"):
        require_both_classes([row], "dev", "here")
    with pytest.raises(NasError, match="partition 'train' of here has no bonafide and no spoof utterance"):
        require_both_classes([row], "train", "here")
    require_both_classes([row, Utterance(Path("b"), "b", "-", "A01", "spoof", "dev")], "dev", "here")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_trials_or_in_one_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.txt"
    path.write_bytes(content)
    for layout, root in (("manifest", path), ("in_the_wild", path.parent)):
        (path.parent / "meta.csv").write_bytes(content)
        with pytest.raises(NasError) as caught:
            read(layout, root)
        assert "\n" not in str(caught.value)
    with pytest.raises(NasError) as caught:
        read_protocol(path)
    assert "\n" not in str(caught.value)


# --- manifest --------------------------------------------------------------------------------------------------------


def manifest(root: Path, *rows: str, header: str = "path,key,attack,speaker,partition") -> Path:
    touch(root, "audio/a.wav", "audio/b.wav")
    return write(root / "manifest.csv", "\n".join((header, *rows)) + "\n")


def test_a_manifest(tmp_path: Path) -> None:
    rows = ("audio/a.wav,bonafide,,p1,train", "", "audio/b.wav,spoof,,,dev")
    path = manifest(tmp_path, *rows)
    assert read("manifest", tmp_path) == read("manifest", path)
    first, second = read("manifest", path)
    assert first == Utterance(tmp_path / "audio/a.wav", "a", "p1", "-", "bonafide", "train")
    assert second == Utterance(tmp_path / "audio/b.wav", "b", "-", "unknown", "spoof", "dev")
    assert len(read("manifest", path, partitions=("dev",))) == 1


def test_a_manifest_may_name_utterances_and_more(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        'train,spoof,x,p1,"audio/a.wav",utt-1,"f0=1,2"',
        header="partition,key,attack,speaker,path,utterance,parameters",
    )
    assert read("manifest", path)[0].utterance == "utt-1"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("audio/a.wav,1,-,p1,train", "line 2: the key of a trial is bonafide or spoof, not '1' .half of the field"),
        ("audio/a.wav,bonafide,A01,p1,train", "line 2: a bona fide trial has no attack"),
        ("audio/a.wav,bonafide,-,p1,tests", "line 2: there is no partition 'tests'"),
        ("audio/a.wav,bonafide,-,p1", "line 2: 4 cells, the header has 5"),
        ("audio/a.wav,bonafide,-,p 1,train", "line 2: the speaker 'p 1' must have no white space"),
        (",bonafide,-,p1,train", "line 2: the path '' is no path"),
        ("../a.wav,bonafide,-,p1,train", "line 2: the path '../a.wav' leaves the corpus folder"),
        ("audio/../../a.wav,bonafide,-,p1,train", "leaves the corpus folder"),
        ("/etc/passwd,bonafide,-,p1,train", "line 2: the path '/etc/passwd' leaves the corpus folder"),
        ("audio,bonafide,-,p1,train", "1 of the 1 utterances .* have no audio in .*: audio"),
        ("audio/c.wav,bonafide,-,p1,train", "1 of the 1 utterances .* have no audio in .*: audio/c.wav"),
        ('"audio/a.wav,bonafide,-,p1,train', "not valid CSV"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(NasError, match=message):
        read("manifest", manifest(tmp_path, row))


def test_a_wrong_header_is_named(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"line 1: the header lacks speaker, partition \(it has path, key, attack\)"):
        read("manifest", manifest(tmp_path, header="path,key,attack"))
    with pytest.raises(NasError, match="the header names key twice"):
        read("manifest", manifest(tmp_path, header="path,key,key,attack,speaker,partition"))
    with pytest.raises(NasError, match="it has nothing"):
        read("manifest", write(tmp_path / "empty.csv", ""))
    with pytest.raises(NasError, match="there is no manifest"):
        read("manifest", tmp_path / "audio")


def test_files_of_one_name_are_named_by_their_paths(tmp_path: Path) -> None:
    touch(tmp_path, "other/a.wav")
    path = manifest(
        tmp_path, "audio/a.wav,bonafide,-,p1,train", "other/a.wav,spoof,x,p1,dev", "audio/b.wav,spoof,x,p1,dev"
    )
    assert [row.utterance for row in read("manifest", path)] == ["audio/a", "other/a", "audio/b"]
    assert [row.utterance for row in read("manifest", path, partitions=("train",))] == ["audio/a"]
    with pytest.raises(NasError, match=r"utterance 'audio/a' is named twice .*a.wav.*; .*column utterance"):
        read("manifest", manifest(tmp_path, *["audio/a.wav,bonafide,-,p1,train"] * 2))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "row",
    ["audio/a.wav,real,-,s,training", "audio/a.wav,Genuine,bonafide,s,TRAIN", "audio/a.wav,human,A00,s,train"],
)
def test_words_and_delimiters_of_others(tmp_path: Path, delimiter: str, row: str) -> None:
    lines = ("path,key,attack,speaker,partition", row, "audio/b.wav,fake,none,s,valid", "")
    text = "\r\n".join(lines).replace(",", delimiter)
    path = manifest(tmp_path)
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        path.write_bytes(text.encode(encoding))
        found = [(row.key, row.attack, row.partition) for row in read("manifest", path)]
        assert found == [("bonafide", "-", "train"), ("spoof", "unknown", "dev")]
        manifest(
            tmp_path, *(line.replace(",", delimiter) for line in lines[1:]), header=lines[0].replace(",", delimiter)
        )


def test_titles_of_others(tmp_path: Path) -> None:
    path = manifest(tmp_path, "audio/a.wav,real,-,s,test", header="file_name,label,attack_type,speaker_id,split")
    assert [(row.utterance, row.key, row.partition) for row in read("manifest", path)] == [("a", "bonafide", "eval")]


# --- the other corpora -----------------------------------------------------------------------------------------------


def test_asvspoof2021_la(tmp_path: Path) -> None:
    keys = (
        "LA_0009 LA_E_1 alaw ita_tx A07 spoof notrim eval\nLA_0020 LA_E_2 g722 loc_tx bonafide bonafide notrim eval\n"
        "LA_0020 LA_E_3 g722 loc_tx - bonafide notrim progress\nLA_0020 LA_E_4 none - A08 spoof trim hidden_track\n"
    )
    write(tmp_path / "keys/LA/CM/trial_metadata.txt", keys)
    touch(tmp_path, *(f"ASVspoof2021_LA_eval/flac/LA_E_{i}.flac" for i in (1, 2, 3)))
    rows = read("asvspoof2021_la", tmp_path)
    assert sorted((row.utterance, row.attack, row.key, row.partition) for row in rows) == [
        ("LA_E_1", "A07", "spoof", "eval"),
        ("LA_E_2", "-", "bonafide", "eval"),
        ("LA_E_3", "-", "bonafide", "dev"),
    ]
    with pytest.raises(NasError, match="has no partition 'train'"):
        read("asvspoof2021_la", tmp_path, partitions=("train",))
    write(tmp_path / "keys/LA/CM/trial_metadata.txt", TRAIN)
    with pytest.raises(NasError, match=r"line 1: expected 8 columns .SPEAKER UTTERANCE CODEC TRANSMISSION.*, not 5"):
        read("asvspoof2021_la", tmp_path)


def test_asvspoof2021_df(tmp_path: Path) -> None:
    keys = (
        "LA_0023 DF_E_1 nocodec asvspoof A14 spoof notrim eval traditional_vocoder - - - -\n"
        "TEF2 DF_E_2 low_m4a vcc2020 bonafide bonafide notrim progress bonafide Task1 team20 FF E\n"
    )
    with pytest.raises(NasError, match=r"has no keys: keys/DF/CM/trial_metadata.txt is missing"):
        read("asvspoof2021_df", tmp_path)
    write(tmp_path / "ASVspoof2021_DF_eval/keys/DF/CM/trial_metadata.txt", keys)
    touch(tmp_path, "ASVspoof2021_DF_eval/flac/DF_E_1.flac", "ASVspoof2021_DF_eval/flac/DF_E_2.flac")
    assert {(row.utterance, row.key, row.partition) for row in read("asvspoof2021_df", tmp_path)} == {
        ("DF_E_1", "spoof", "eval"),
        ("DF_E_2", "bonafide", "dev"),
    }


def test_asvspoof5(tmp_path: Path) -> None:
    text = "T_1 T_0000000000 F - - - AC3 A05 spoof -\nT_2 T_0000000001 M - - - - bonafide bonafide -\n"
    write(tmp_path / "ASVspoof5_protocols/ASVspoof5.train.tsv", text)
    touch(tmp_path, "flac_T/T_0000000000.flac", "flac_T/T_0000000001.flac")
    assert [(row.speaker, row.attack, row.key) for row in read("asvspoof5", tmp_path)] == [
        ("T_1", "A05", "spoof"),
        ("T_2", "-", "bonafide"),
    ]
    with pytest.raises(NasError, match=r"no protocol ASVspoof5.eval.track_1.tsv"):
        read("asvspoof5", tmp_path, partitions=("eval",))


def test_in_the_wild(tmp_path: Path) -> None:
    root = tmp_path / "release_in_the_wild"
    write(root / "meta.csv", "file,speaker,label\n0.wav,Alec Guinness,spoof\n1.wav,Barack Obama,bona-fide\n")
    touch(root, "0.wav", "1.wav")
    assert [(row.utterance, row.speaker, row.attack, row.key) for row in read("in_the_wild", tmp_path)] == [
        ("0", "Alec_Guinness", "unknown", "spoof"),
        ("1", "Barack_Obama", "-", "bonafide"),
    ]
    with pytest.raises(NasError, match="names no utterances in train"):
        read("in_the_wild", tmp_path, partitions=("train",))
    for line, message in (("0.wav,A,melgan", "not 'melgan'"), ("../0.wav,A,spoof", "must be the name of a file")):
        write(root / "meta.csv", f"file,speaker,label\n{line}\n")
        with pytest.raises(NasError, match=f"line 2: .*{message}"):
            read("in_the_wild", tmp_path)


def test_in_the_wild_with_its_audio_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "meta.csv", "file,speaker,label\n0.wav,A B,spoof\n1.wav,A B,bona-fide\n")
    touch(tmp_path, "wav/0.wav", "wav/1.wav")
    assert [row.path.parent.name for row in read("in_the_wild", tmp_path)] == ["wav", "wav"]


@pytest.mark.parametrize("word", ["-", "bonafide", "Bona-fide", "A00", "genuine"])
def test_words_for_no_attack_in_every_corpus(tmp_path: Path, word: str) -> None:
    la_tree(tmp_path)
    text = f"S1 LA_T_1 - {word} bonafide\nS2 LA_T_2 - A01 spoof\n"
    write(tmp_path / "ASVspoof2019_LA_cm_protocols" / "ASVspoof2019.LA.cm.train.trn.txt", text)
    assert [row.attack for row in read("asvspoof2019_la", tmp_path, partitions=("train",))] == ["-", "A01"]


def test_folders_within_folders_of_their_name(tmp_path: Path) -> None:
    assert len(read("asvspoof2019_la", la_tree(tmp_path / "LA" / "LA").parent.parent)) == 6
    doubled = tmp_path / "doubled"
    write(doubled / "ASVspoof2019.LA.cm.train.trn.txt", TRAIN)
    touch(doubled, *(f"ASVspoof2019_LA_train/ASVspoof2019_LA_train/flac/LA_T_{n}.FLAC" for n in (1, 2)))
    assert len(read("asvspoof2019_la", doubled)) == 2


def test_a_layout_of_another_corpus_is_not_suggested(tmp_path: Path) -> None:
    for layout in ("asvspoof2021_pa", "asvspoof2017_la", "wavefakes2"):
        with pytest.raises(NasError) as caught:
            read(layout, tmp_path)
        assert "did you mean" not in str(caught.value)
        assert "a manifest serves for any other corpus" in str(caught.value)
    for layout, meant in (("asvspof2019_la", "asvspoof2019_la"), ("InTheWild", "in_the_wild"), ("manifst", "manifest")):
        with pytest.raises(NasError, match=f"did you mean '{meant}'|manifest serves"):
            read(layout, tmp_path)


def test_wavefake_keeps_a_sentence_and_its_copies_together(tmp_path: Path) -> None:
    sentences = [f"LJ001-{i:04d}" for i in range(200)]
    touch(tmp_path, *(f"LJSpeech-1.1/wavs/{name}.wav" for name in sentences))
    touch(tmp_path, *(f"generated_audio/ljspeech_melgan/{name}_gen.wav" for name in sentences))
    touch(tmp_path, *(f"generated_audio/ljspeech_waveglow/{name}.wav" for name in sentences))
    rows = read("wavefake", tmp_path)
    assert Counter(row.attack for row in rows) == {"-": 200, "ljspeech_melgan": 200, "ljspeech_waveglow": 200}
    where: dict[str, set[str]] = {}
    for row in rows:
        where.setdefault(row.path.stem.removesuffix("_gen"), set()).add(row.partition)
    assert all(len(partitions) == 1 for partitions in where.values())
    assert {row.partition for row in rows} == {"train", "dev", "eval"}


def test_wavefake_without_human_speech_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "ljspeech_melgan/LJ001-0001_gen.wav")
    with pytest.raises(NasError, match="has no human recordings"):
        read("wavefake", tmp_path)


def test_folder_per_class(tmp_path: Path) -> None:
    touch(
        tmp_path, "training/real/p1/a.wav", "training/fake/world/p1/a.wav", "testing/Real/b.wav", "testing/fake/c.mp3"
    )
    touch(tmp_path, "testing/fake/notes.txt")
    rows = read("folder_per_class", tmp_path)
    assert sorted((row.partition, row.key, row.attack, row.speaker) for row in rows) == [
        ("eval", "bonafide", "-", "-"),
        ("eval", "spoof", "unknown", "-"),
        ("train", "bonafide", "-", "p1"),
        ("train", "spoof", "world", "p1"),
    ]


def test_folder_per_class_without_partitions(tmp_path: Path) -> None:
    touch(tmp_path, *(f"bonafide/p{i}/a.wav" for i in range(100)), *(f"spoof/x/p{i}/a.wav" for i in range(100)))
    rows = read("folder_per_class", tmp_path)
    speakers: dict[str, set[str]] = {}
    for row in rows:
        speakers.setdefault(row.speaker, set()).add(row.partition)
    assert all(len(partitions) == 1 for partitions in speakers.values())
    assert 60 <= sum(partitions == {"train"} for partitions in speakers.values()) <= 95


def test_folders_that_are_not_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(
        tmp_path,
        *(f"{part}/{key}/a.m4a" for part in ("train", "valid", "test", "hold\x1bout") for key in ("real", "fake")),
    )
    (tmp_path / "notes").mkdir()
    rows = read("folder_per_class", tmp_path)
    assert Counter(row.partition for row in rows) == {"train": 2, "dev": 2, "eval": 2}
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: folders that were not read: 1 (hold\\x1bout)"
    ]


def test_folder_per_class_wrong_trees(tmp_path: Path) -> None:
    touch(tmp_path / "one", "speech/a.wav")
    with pytest.raises(
        NasError,
        match=r"folder of a class; its folders are speech, .*bonafide: .*; a manifest serves",
    ):
        read("folder_per_class", tmp_path / "one")
    touch(tmp_path / "two", "fake/a.wav", "spoof/b.wav")
    with pytest.raises(NasError, match="both 'fake' and 'spoof' mean 'spoof'"):
        read("folder_per_class", tmp_path / "two")
    touch(tmp_path / "three", "fake/a.txt", "real/b.txt")
    with pytest.raises(NasError, match="names no utterances"):
        read("folder_per_class", tmp_path / "three")


def test_the_hash_is_the_same_everywhere() -> None:
    assert [by_hash(name) for name in ("a", "2", "5")] == ["train", "dev", "eval"]
    assert Counter(by_hash(str(i)) for i in range(1000)) == {"train": 820, "dev": 85, "eval": 95}


def test_a_layout_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/data.md, run as it stands there."""
    guide = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    example = next(block for block in guide.split("```python\n")[1:] if '@reader("my_corpus")' in block)
    monkeypatch.setitem(_READERS, "my_corpus", lambda *_: ())  # taken back after the test
    runpy.run_path(str(write(tmp_path / "my_corpus.py", example.split("```")[0])))
    touch(tmp_path, "real_1.wav", "made_1.wav")
    assert [(row.utterance, row.key, row.attack) for row in read("my_corpus", tmp_path)] == [
        ("made_1", "spoof", "unknown"),
        ("real_1", "bonafide", "-"),
    ]


def test_every_layout_refuses_an_empty_folder_in_one_sentence(tmp_path: Path) -> None:
    for layout in layouts():
        with pytest.raises(NasError):
            read(layout, tmp_path)


# --- the official protocols ------------------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "trials", "bonafide", "attacks", "each"),
    [
        ("train.trn", 25_380, 2_580, range(1, 7), 3_800),
        ("dev.trl", 24_844, 2_548, range(1, 7), 3_716),
        ("eval.trl", 71_237, 7_355, range(7, 20), 4_914),
    ],
)
def test_official_protocols(shared: Path, name: str, trials: int, bonafide: int, attacks: range, each: int) -> None:
    rows = read_protocol(shared / "data" / "protocols" / f"ASVspoof2019.LA.cm.{name}.txt")
    expected = {"-": bonafide} | {f"A{number:02d}": each for number in attacks}
    assert len(rows) == trials
    assert Counter(row.attack for row in rows) == expected
    assert Counter(row.key for row in rows)["bonafide"] == bonafide


@pytest.mark.shared
def test_real_audio_with_its_protocol(shared: Path) -> None:
    root = shared / "data" / "la_real"
    rows = read("asvspoof2019_la", root, protocols={"eval": root / "protocol.txt"})
    assert Counter(row.key for row in rows) == {"bonafide": 838, "spoof": 10}


@pytest.mark.parametrize("partitions", [("train", "dev"), None])
def test_a_hash_that_leaves_a_partition_without_a_class_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, partitions: tuple[str, ...] | None
) -> None:
    """Before anything is trained: the evaluation partition is named also where it is not read."""
    touch(tmp_path, *(f"bonafide/p{i}/a.wav" for i in range(100)))
    touch(tmp_path, *(f"spoof/x/p{i}/a.wav" for i in range(100) if by_hash(f"p{i}") != "eval"))
    read("folder_per_class", tmp_path, partitions=partitions)
    assert "divided by a hash of the speaker, eval has no spoof utterance: " in caplog.text
    caplog.clear()
    touch(tmp_path, *(f"spoof/x/p{i}/a.wav" for i in range(100)))
    read("folder_per_class", tmp_path, partitions=partitions)
    assert not caplog.text
