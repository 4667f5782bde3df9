"""What the words of other people's files mean: classes, attacks, partitions, audio suffixes and names of utterances.

Readers, manifests, protocols, score files and folder names all ask here. Words are compared without regard to case and
to what joins their parts: `Bona-Fide`, `bona_fide` and `bonafide` are one word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import PurePath

from nas.errors import NasError
from nas.words import shortened

KEYS = ("bonafide", "spoof")
PARTITIONS = ("train", "dev", "eval")

NO_ATTACK = "-"
"""The attack of bona fide speech."""

UNKNOWN_ATTACK = "unknown"
"""The attack of a spoof where the corpus does not name it."""

KEY_WORDS: Mapping[str, tuple[str, ...]] = {
    "bonafide": ("bonafide", "genuine", "real", "human", "natural", "authentic", "original"),
    "spoof": ("spoof", "spoofed", "fake", "deepfake", "synthetic", "synthesized", "synthesised", "generated"),
}
"""Numbers are no words: half of the field writes 1 for bona fide and half for spoof."""

PARTITION_WORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "dev": ("dev", "devel", "development", "val", "valid", "validation"),
    "eval": ("eval", "evaluation", "test", "testing"),
}

UNTOLD_ATTACKS = ("", "-", "none", "na", "n/a", "nan", "null")
"""What stands where an attack would: nothing for bona fide speech, an attack that is not told for a spoof."""

BONAFIDE_ATTACKS = ("a00", "0")
"""What else stands there for bona fide speech: A00 numbers it as a class (AIR-ASVspoof), 0 too (Codecfake)."""

_PLAIN = (".flac", ".wav", ".wave", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".nist")
_LOSSY = (".ogg", ".oga", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr", ".3gp")

AUDIO_SUFFIXES = _PLAIN + _LOSSY
"""Of files that hold speech. Decoding goes by content; a file that it cannot read is named, not passed over."""


def _plain(word: str) -> str:
    return "".join(sign for sign in word.lower() if sign not in "-_ ")


_KEY_OF = {word: key for key, words in KEY_WORDS.items() for word in words}
_PARTITION_OF = {word: partition for partition, words in PARTITION_WORDS.items() for word in words}
_SUFFIXES = frozenset(AUDIO_SUFFIXES)


def key_of(word: str) -> str | None:
    """`bonafide` or `spoof`; None where the word is neither."""
    return _KEY_OF.get(word) or _KEY_OF.get(_plain(word))


def partition_of(word: str) -> str | None:
    """`train`, `dev` or `eval`; None where the word is none of them."""
    return _PARTITION_OF.get(_plain(word))


@lru_cache(maxsize=4096)
def attack_of(word: str, key: str) -> str | None:
    """The attack of a trial: "-" for bona fide speech and for a spoof whose attack is not told.

    Returns:
        None where the word contradicts the key: bona fide speech with an attack, a spoof by "bonafide" or "A00".
    """
    if word == NO_ATTACK:
        return NO_ATTACK
    meant, low = key_of(word), word.lower()
    if meant == key or low in UNTOLD_ATTACKS:
        return NO_ATTACK
    if key == "bonafide":
        return NO_ATTACK if low in BONAFIDE_ATTACKS else None
    return None if meant == "bonafide" or low == "a00" else word


def read_key(word: str, where: str) -> str:
    """`bonafide` or `spoof`.

    Raises:
        NasError: another word, or a number; `where` names file and line.
    """
    key = key_of(word)
    if key is None:
        why = " (half of the field writes 1 for bona fide, half for spoof)" if is_key_number(word) else ""
        raise NasError(f"{where}: the key of a trial is bonafide or spoof, not {shortened(word)!r}{why}")
    return key


def is_key_number(word: str) -> bool:
    """Whether it is a number that stands for one of two classes, which one being anyone's guess."""
    return word in ("0", "1", "0.0", "1.0", "-1")


def read_attack(word: str, key: str, where: str) -> str:
    """The attack of a trial; "-" for bona fide speech and for a spoof whose attack is not told.

    Raises:
        NasError: it contradicts the key; `where` names file and line.
    """
    attack = attack_of(word, key)
    if attack is None and key == "bonafide":
        word = shortened(word)
        raise NasError(f"{where}: a bona fide trial has no attack (write -), but this one names {word!r}")
    if attack is None:
        raise NasError(f"{where}: attack {shortened(word)!r} and key 'spoof' contradict each other")
    return attack


def is_audio(path: PurePath) -> bool:
    """Whether a file's name says that it holds speech."""
    return path.suffix.lower() in _SUFFIXES


def utterance_name(name: str) -> str:
    """The name without the suffix of an audio file, which some files write and others do not."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and f"{dot}{suffix}".lower() in _SUFFIXES and stem[-1] not in "/\\" else name


def without_folders(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names without the folder that all of them share, and without any folder."""
    parts = [name.replace("\\", "/").split("/") for name in names]
    shared = 0
    while parts and all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return ["/".join(part[shared:]) for part in parts], [part[-1] for part in parts]
