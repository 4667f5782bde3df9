"""Countermeasure protocols: a trial a line, columns by white space. ASVspoof 2019 has five, its heirs more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nas.data.utterance import KEYS, Utterance
from nas.errors import NasError
from nas.labels import AUDIO_SUFFIXES, UNKNOWN_ATTACK
from nas.text_files import read_text

__all__ = ["ASVSPOOF2019", "AUDIO_SUFFIXES", "UNKNOWN_ATTACK", "Columns", "Trial", "read_protocol"]


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a line says what; `names` are shown when a line has other columns. `phase` is the part of an evaluation."""

    names: str
    speaker: int
    utterance: int
    attack: int
    key: int
    phase: int | None = None

    @property
    def count(self) -> int:
        return len(self.names.split())


ASVSPOOF2019 = Columns("SPEAKER UTTERANCE - ATTACK KEY", speaker=0, utterance=1, attack=3, key=4)
"""Also ASVspoof 2019 PA, whose third column is the environment."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A line of a protocol; `attack` is "-" for bona fide, `phase` is "" where the protocol has none."""

    speaker: str
    utterance: str
    attack: str
    key: str
    line: int
    phase: str = ""


def read_protocol(path: str | Path, columns: Columns = ASVSPOOF2019) -> tuple[Trial, ...]:
    """All trials of a protocol, in its order. Bona fide may have the attack "-" or (ASVspoof 2021, 5) "bonafide".

    Raises:
        NasError: the file is absent, not text, empty, has a line with other columns, an unknown key, an attack that
            contradicts the key, or an utterance twice; file and line are named.
    """
    path = Path(path)
    trials: dict[str, Trial] = {}
    for line, text in enumerate(read_text(path, "protocol").split("\n"), start=1):
        cells = text.split()
        if not cells:
            continue
        if len(cells) != columns.count:
            raise NasError(f"{path}, line {line}: {len(cells)} columns, expected {columns.count}: {columns.names}")
        trial = _trial(cells, columns, f"{path}, line {line}", line)
        earlier = trials.setdefault(trial.utterance, trial)
        if earlier is not trial:
            raise NasError(f"{path}, line {line}: utterance {trial.utterance!r} is already on line {earlier.line}")
    if not trials:
        raise NasError(f"{path}: the protocol has no trials")
    return tuple(trials.values())


def _trial(cells: list[str], columns: Columns, where: str, line: int) -> Trial:
    attack, key = cells[columns.attack], cells[columns.key]
    if key not in KEYS:
        raise NasError(f"{where}: the key is {key!r}, expected 'bonafide' or 'spoof'")
    if attack == "bonafide" and columns is not ASVSPOOF2019:
        attack = "-"
    if (key == "bonafide") != (attack == "-"):
        right = "'-' for bona fide" if key == "bonafide" else "the name of an attack for a spoof"
        raise NasError(f"{where}: the attack is {attack!r}, expected {right}")
    utterance = cells[columns.utterance]
    if "/" in utterance or "\\" in utterance or utterance in (".", ".."):
        raise NasError(f"{where}: the utterance {utterance!r} must be the name of a file without its folder and suffix")
    phase = "" if columns.phase is None else cells[columns.phase]
    return Trial(cells[columns.speaker], utterance, attack, key, line, phase)


def locate(trials: Iterable[Trial], folder: Path, partition: str, protocol: Path) -> list[Utterance]:
    """Give every trial its audio file in `folder` (UTTERANCE.flac, .wav, ...).

    The folder is listed once: 71,237 separate look-ups are slow on network disks.

    Raises:
        NasError: audio is absent; the first names and the count are given.
    """
    try:
        names = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise NasError(f"cannot list the audio folder {folder}: {error.strerror}") from None
    utterances: list[Utterance] = []
    absent: list[str] = []
    for trial in trials:
        name = next((trial.utterance + suffix for suffix in AUDIO_SUFFIXES if trial.utterance + suffix in names), None)
        if name is None:
            absent.append(trial.utterance)
            continue
        row = Utterance(folder / name, trial.utterance, trial.speaker, trial.attack, trial.key, partition)
        utterances.append(row)
    refuse_absent(absent, len(utterances) + len(absent), protocol, folder)
    return utterances


def refuse_absent(absent: list[str], total: int, protocol: Path, folder: Path) -> None:
    """Raise the error about audio that a protocol names and the disk does not have, if there is any."""
    if absent:
        first = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        raise NasError(f"{len(absent)} of the {total} utterances of {protocol} have no audio in {folder}: {first}")


def first_folder(root: Path, names: Iterable[str]) -> Path:
    """The first of the folders that is there, else the root."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def first_file(root: Path, names: Iterable[str]) -> Path | None:
    """The first of the files that is there."""
    return next((root / name for name in names if (root / name).is_file()), None)
