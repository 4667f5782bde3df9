"""One row of the table that every reader returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.labels import KEYS, PARTITIONS

__all__ = ["KEYS", "PARTITIONS", "Utterance"]


@dataclass(frozen=True, slots=True)
class Utterance:
    """An utterance of a corpus: where its audio is and what the protocol says about it."""

    path: Path
    """The audio file."""
    utterance: str
    """Its name in protocols and score files."""
    speaker: str
    """`-` where unknown."""
    attack: str
    """`-` for bona fide."""
    key: str
    """`bonafide` or `spoof`."""
    partition: str
    """`train`, `dev` or `eval`."""

    @property
    def label(self) -> int:
        """1 for bona fide, 0 for spoof."""
        return int(self.key == "bonafide")
