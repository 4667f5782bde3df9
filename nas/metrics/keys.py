"""Key files: which trials are bona fide, by which attack the others were made, and who speaks.

Read are protocols in any form of `nas.columns.PROTOCOLS`, and tables with a header, such as manifests.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.columns import PROTOCOL, read_columns
from nas.errors import NasError, nearest
from nas.labels import NO_ATTACK, attack_of, key_of, partition_of, read_attack, utterance_name
from nas.labels import read_key as read_key_word
from nas.words import named

ALL_SUBSETS = "all"


@dataclass(frozen=True)
class Key:
    """What a protocol says about its trials: utterance, attack, label (1 bona fide), speaker and subset [N].

    `remarks` is what a reader of numbers must know about how it was read.
    """

    utterance: NDArray[Any]
    attack: NDArray[Any]
    label: NDArray[np.int8]
    speaker: NDArray[Any] | None
    subset: NDArray[Any] | None
    source: str
    remarks: tuple[str, ...] = ()

    @cached_property
    def index(self) -> dict[str, int]:
        """The place of each utterance."""
        return {name: at for at, name in enumerate(self.utterance.tolist())}

    def take(self, keep: NDArray[np.bool_]) -> Key:
        """The trials where `keep` [N] is true."""
        speaker = None if self.speaker is None else self.speaker[keep]
        subset = None if self.subset is None else self.subset[keep]
        return replace(
            self,
            utterance=self.utterance[keep],
            attack=self.attack[keep],
            label=self.label[keep],
            speaker=speaker,
            subset=subset,
        )

    def of_subset(self, subset: str) -> Key:
        """The trials of one subset. Raises NasError as `in_subset` does."""
        keep, remarks = self.in_subset(subset)
        return replace(self.take(keep), remarks=self.remarks + remarks)

    def in_subset(self, subset: str) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
        """Which trials [N] are of a subset, by its name or another word for it (test for eval), or of "all"; and what
        is to be said of those left out or pooled.

        Raises:
            NasError: the protocol has no subsets, or none of that name.
        """
        if self.subset is None:
            raise NasError(f"{self.source} does not divide its trials into subsets, so {subset!r} cannot be taken")
        counts = Counter(self.subset.tolist())
        if subset == ALL_SUBSETS:
            pooled = f"the subsets of {self.source} were pooled: {_counted(counts)}; --subset takes one of them"
            return np.ones(len(self.subset), dtype=np.bool_), (pooled,) * (len(counts) > 1)
        meant = partition_of(subset)
        same = [name for name in counts if name == subset or (meant is not None and partition_of(name) == meant)]
        if not same:
            raise NasError(f"{self.source} has no subset {subset!r}{nearest(subset, [*sorted(counts), ALL_SUBSETS])}")
        left = {name: count for name, count in counts.items() if name not in same}
        remark = (
            f"only the subset {' and '.join(same)} of {self.source} was evaluated, {len(self.subset)} trials being in "
            f"all; left out: {_counted(left)} (--subset takes another, or all)"
        )
        return np.isin(self.subset, same), (remark,) * bool(left)

    def default_subset(self, scored: NDArray[np.bool_]) -> str | None:
        """What is evaluated where nobody says: the only subset that has scores, else eval as the official packages
        have it, else all; None where there are no subsets.
        """
        if self.subset is None:
            return None
        with_scores = sorted(set(self.subset[scored].tolist()))
        if len(with_scores) == 1:
            return str(with_scores[0])
        return next((str(name) for name in set(self.subset.tolist()) if partition_of(name) == "eval"), ALL_SUBSETS)


def _counted(counts: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def read_key(path: str | Path) -> Key:
    """Read a key file; its form is recognised by its first lines.

    Raises:
        NasError: a malformed line (with its number), a key that is neither bonafide nor spoof, a trial twice.
    """
    table = read_columns(path, PROTOCOL)
    name_at, key_at, attack_at, speaker_at, subset_at = (
        table.form.place(name) for name in ("UTTERANCE", "KEY", "ATTACK", "SPEAKER", "SUBSET")
    )
    if name_at is None or key_at is None:
        raise ValueError("every protocol names utterances and keys")
    names: list[str] = []
    labels = bytearray()
    attacks: list[str] = []
    speakers: list[str] = []
    subsets: list[str] = []
    words: dict[str, str] = {}  # One object for each attack, speaker and subset, however many trials have it.
    for number, cells in table.rows:
        key = key_of(cells[key_at]) or read_key_word(cells[key_at], f"{path}, line {number}")
        names.append(utterance_name(cells[name_at]))
        labels.append(key == "bonafide")
        word = NO_ATTACK if attack_at is None else cells[attack_at]
        attack = attack_of(word, key) or read_attack(word, key, f"{path}, line {number}")
        attacks.append(words.setdefault(attack, attack))
        if speaker_at is not None:
            speakers.append(words.setdefault(cells[speaker_at], cells[speaker_at]))
        if subset_at is not None:
            subsets.append(words.setdefault(cells[subset_at], cells[subset_at]))
    repeated = duplicates(names)
    if repeated:
        raise NasError(f"{path}: trials that stand in the protocol more than once: {named(repeated)}")
    return Key(
        np.array(names, dtype=object),
        np.array(attacks, dtype=object),
        np.frombuffer(bytes(labels), dtype=np.int8),
        np.array(speakers, dtype=object) if speakers else None,
        np.array(subsets, dtype=object) if subsets else None,
        str(path),
        tuple(table.remarks),
    )


def duplicates(names: list[str]) -> list[str]:
    """Names that stand more than once, each of them once."""
    if len(set(names)) == len(names):
        return []
    return [name for name, count in Counter(names).items() if count > 1]
