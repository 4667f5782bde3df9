"""What words of other people's files mean, and names that may be shown or written."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from nas.errors import NasError, printable
from nas.files import require_line_safe
from nas.labels import attack_of, is_audio, key_of, partition_of, utterance_name, without_folders


@pytest.mark.parametrize("word", ["bonafide", "Bona-Fide", "bona_fide", "bona fide", "genuine", "REAL", "human"])
def test_words_for_bona_fide_speech(word: str) -> None:
    assert key_of(word) == "bonafide"


@pytest.mark.parametrize("word", ["spoof", "Spoofed", "fake", "deep-fake", "synthetic"])
def test_words_for_spoofs(word: str) -> None:
    assert key_of(word) == "spoof"


@pytest.mark.parametrize("word", ["0", "1", "", "-", "bona", "target", "spoofing", "melgan"])
def test_what_is_no_word_for_a_class(word: str) -> None:
    assert key_of(word) is None


def test_words_for_the_attack_of_bona_fide_speech() -> None:
    assert {attack_of(word, "bonafide") for word in ("-", "", "bonafide", "real", "A00", "0", "None", "n/a")} == {"-"}
    assert attack_of("A07", "bonafide") is None
    assert [attack_of(word, "spoof") for word in ("A07", "0", "-", "spoof", "none")] == ["A07", "0", "-", "-", "-"]
    assert attack_of("bonafide", "spoof") is None
    assert attack_of("A00", "spoof") is None


def test_partitions_by_many_words() -> None:
    assert [partition_of(word) for word in ("Train", "valid", "val", "test", "devel", "hidden")] == [
        "train",
        "dev",
        "dev",
        "eval",
        "dev",
        None,
    ]


def test_names_of_utterances_and_files() -> None:
    names = ["a.wav", "a.m4a", "a.OPUS", "a.b", ".wav", "d/.wav", "a.b.flac", "1.5"]
    assert [utterance_name(name) for name in names] == ["a", "a", "a", "a.b", ".wav", "d/.wav", "a.b", "1.5"]
    assert is_audio(PurePath("x/A.M4A"))
    assert not is_audio(PurePath("x/notes.txt"))
    assert without_folders(["d/wav/a", "d\\wav\\b"]) == (["a", "b"], ["a", "b"])
    assert without_folders(["d/x/a", "d/y/a"]) == (["x/a", "y/a"], ["a", "a"])


def test_a_terminal_gets_escapes() -> None:
    assert printable("\x1b]0;x\x07é\u202e\udc80\n") == "\\x1b]0;x\\x07é\\u202e\\udc80\\n"


def test_names_that_a_file_of_lines_cannot_hold() -> None:
    for name in ("", " ", "a b", "a\nb", "a\x00", "a\x1b[0m", "a\u2028b", "\udc80"):
        with pytest.raises(NasError, match="an utterance cannot be named"):
            require_line_safe(name, "an utterance")
    assert require_line_safe("a b", "an utterance", blanks=True) == "a b"
    assert require_line_safe("é.1", "an utterance") == "é.1"
    with pytest.raises(NasError, match="control characters"):
        require_line_safe("a\nb", "an utterance", blanks=True)
