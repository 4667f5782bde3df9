"""Key files: which trials are bona fide, by which attack the others were made, and who speaks.

Read are the countermeasure protocols of ASVspoof 2019 (five columns), 2021 LA and DF (trial_metadata, eight columns or
more) and 5 (ten columns), two columns `UTTERANCE KEY`, and CSV manifests with a header.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.metrics.table import read_table
from nas.metrics.textfile import named, read_lines, shortened
from nas.space import nearest

NO_ATTACK = "-"
"""The attack of a bona fide trial, and of a spoofed one whose attack is not told."""

KEY_LABELS = {"bonafide": 1, "bona-fide": 1, "genuine": 1, "spoof": 0, "spoofed": 0}
"""What is read as a key. Numbers are not: half of the field writes 1 for bona fide and half for spoof."""

AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".mp3")


class Layout(NamedTuple):
    """Places of the fields in a protocol line; None for a field it does not have."""

    name: str
    utterance: int
    key: int
    attack: int | None = None
    speaker: int | None = None
    subset: int | None = None


LAYOUTS = {
    2: Layout("UTTERANCE KEY", utterance=0, key=1),
    5: Layout("ASVspoof 2019", utterance=1, key=4, attack=3, speaker=0),
    8: Layout("ASVspoof 2021 LA", utterance=1, key=5, attack=4, speaker=0, subset=7),
    10: Layout("ASVspoof 5", utterance=1, key=8, attack=7, speaker=0),
    13: Layout("ASVspoof 2021 DF", utterance=1, key=5, attack=4, speaker=0, subset=7),
}
"""By number of columns."""


@dataclass(frozen=True)
class Key:
    """What a protocol says about its trials: utterance, attack, label (1 bona fide), speaker and subset [N]."""

    utterance: NDArray[Any]
    attack: NDArray[Any]
    label: NDArray[np.int8]
    speaker: NDArray[Any] | None
    subset: NDArray[Any] | None
    source: str

    @cached_property
    def index(self) -> dict[str, int]:
        """The place of each utterance."""
        return {name: at for at, name in enumerate(self.utterance.tolist())}

    def of_subset(self, subset: str) -> Key:
        """The trials of one subset.

        Raises:
            NasError: the protocol has no subsets, or none of that name.
        """
        if self.subset is None:
            raise NasError(f"{self.source} does not divide its trials into subsets, so {subset!r} cannot be taken")
        keep = self.subset == subset
        if not keep.any():
            raise NasError(
                f"{self.source} has no subset {subset!r}{nearest(subset, sorted(set(self.subset.tolist())))}"
            )
        speaker = None if self.speaker is None else self.speaker[keep]
        return Key(self.utterance[keep], self.attack[keep], self.label[keep], speaker, self.subset[keep], self.source)


def read_key(path: str | Path) -> Key:
    """Read a key file of any of the forms above; the form is recognised by its first line.

    Raises:
        NasError: a malformed line (with its number), a key that is neither bonafide nor spoof, a trial twice.
    """
    lines = read_lines(path, "protocol")
    table = read_table(path, lines, {"key": ()})
    if table:
        numbers = [number for number, _ in table.numbered("key")]
        names, keys = table.column("utterance"), table.column("key")
        attacks = table.column("attack") if "attack" in table else None
        speakers = table.column("speaker") if "speaker" in table else None
        subsets = None
    else:
        rows = [line.split() for _, line in lines]
        numbers = [number for number, _ in lines]
        layout = LAYOUTS.get(len(rows[0]))
        if layout is None:
            raise NasError(
                f"{path}, line {numbers[0]}: a protocol line has five columns (SPEAKER UTTERANCE - ATTACK KEY), or "
                f"those of ASVspoof 2021 (8 or 13), ASVspoof 5 (10) or UTTERANCE KEY (2), not {len(rows[0])}"
            )
        for number, row in zip(numbers, rows, strict=True):
            if len(row) != len(rows[0]):
                raise NasError(
                    f"{path}, line {number}: {len(row)} columns where the first line has {len(rows[0])} "
                    f"({layout.name}); every line must have the same columns"
                )
        names, keys = [row[layout.utterance] for row in rows], [row[layout.key] for row in rows]
        attacks = None if layout.attack is None else [row[layout.attack] for row in rows]
        speakers = None if layout.speaker is None else [row[layout.speaker] for row in rows]
        subsets = None if layout.subset is None else [row[layout.subset] for row in rows]
    labels = [key_label(value, path, number) for number, value in zip(numbers, keys, strict=True)]
    if attacks is None:
        attacks = [NO_ATTACK] * len(labels)
    attacks = [
        parse_attack(attack, label, path, number)
        for attack, label, number in zip(attacks, labels, numbers, strict=True)
    ]
    names = [utterance_name(name) for name in names]
    repeated = duplicates(names)
    if repeated:
        raise NasError(f"{path}: trials that stand in the protocol more than once: {named(repeated)}")
    return Key(
        np.array(names, dtype=object),
        np.array(attacks, dtype=object),
        np.array(labels, dtype=np.int8),
        None if speakers is None else np.array(speakers, dtype=object),
        None if subsets is None else np.array(subsets, dtype=object),
        str(path),
    )


def key_label(key: str, path: str | Path, line: int) -> int:
    """1 for bona fide, 0 for spoof."""
    label = KEY_LABELS.get(key.lower())
    if label is None:
        raise NasError(f"{path}, line {line}: the key of a trial is bonafide or spoof, not {shortened(key)!r}")
    return label


def parse_attack(attack: str, label: int, path: str | Path, line: int) -> str:
    """The attack of a trial; "-" for bona fide speech, which has none."""
    plain = attack if attack and KEY_LABELS.get(attack.lower()) != label else NO_ATTACK
    if label == 1 and plain != NO_ATTACK:
        raise NasError(f"{path}, line {line}: a bona fide trial has no attack (write -), but this one names {attack!r}")
    if label == 0 and KEY_LABELS.get(plain.lower()) == 1:
        raise NasError(f"{path}, line {line}: attack {attack!r} and key 'spoof' contradict each other")
    return plain


def utterance_name(name: str) -> str:
    """The name of a trial without the suffix of an audio file, which some files write and others do not."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and f"{dot}{suffix}".lower() in AUDIO_SUFFIXES else name


def duplicates(names: list[str]) -> list[str]:
    """Names that stand more than once, each of them once."""
    if len(set(names)) == len(names):
        return []
    return [name for name, count in Counter(names).items() if count > 1]
