"""The five-column countermeasure protocol of ASVspoof: `SPEAKER UTTERANCE - ATTACK KEY`, one trial a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nas.data.utterance import KEYS, Utterance
from nas.errors import NasError

AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".mp3", ".opus")

UNKNOWN_ATTACK = "unknown"
"""The attack of a spoof where the corpus does not name it ("-" is for bona fide)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A line of a protocol; `attack` is "-" for bona fide."""

    speaker: str
    utterance: str
    attack: str
    key: str
    line: int


def read_protocol(path: str | Path) -> tuple[Trial, ...]:
    """All trials of a five-column protocol, in its order.

    Raises:
        NasError: the file is absent, not text, empty, has a line with other columns, an unknown key, an attack that
            contradicts the key, or an utterance twice; file and line are named.
    """
    path = Path(path)
    trials: dict[str, Trial] = {}
    for line, columns in _rows(path):
        if len(columns) != 5:
            raise NasError(f"{path}, line {line}: {len(columns)} columns, expected 5: SPEAKER UTTERANCE - ATTACK KEY")
        speaker, utterance, _, attack, key = columns
        if key not in KEYS:
            raise NasError(f"{path}, line {line}: the key is {key!r}, expected 'bonafide' or 'spoof'")
        if (key == "bonafide") != (attack == "-"):
            right = "'-' for bona fide" if key == "bonafide" else "the name of an attack for a spoof"
            raise NasError(f"{path}, line {line}: the attack is {attack!r}, expected {right}")
        earlier = trials.setdefault(utterance, Trial(speaker, utterance, attack, key, line))
        if earlier.line != line:
            raise NasError(f"{path}, line {line}: utterance {utterance!r} is already on line {earlier.line}")
    if not trials:
        raise NasError(f"{path}: the protocol has no trials")
    return tuple(trials.values())


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number from 1, columns) of every line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NasError(f"there is no protocol {path}") from None
    except UnicodeDecodeError as error:
        raise NasError(f"{path}: not a text file (byte {error.start} is not UTF-8)") from None
    except OSError as error:
        raise NasError(f"cannot read the protocol {path}: {error.strerror}") from None
    for line, row in enumerate(text.split("\n"), start=1):
        columns = row.split()
        if columns:
            yield line, columns


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
    utterances, absent = [], []
    for trial in trials:
        name = next((trial.utterance + suffix for suffix in AUDIO_SUFFIXES if trial.utterance + suffix in names), None)
        if name is None:
            absent.append(trial)
            continue
        row = Utterance(folder / name, trial.utterance, trial.speaker, trial.attack, trial.key, partition)
        utterances.append(row)
    refuse_absent([trial.utterance for trial in absent], len(utterances) + len(absent), protocol, folder)
    return utterances


def refuse_absent(absent: list[str], total: int, protocol: Path, folder: Path) -> None:
    """Raise the error about audio that a protocol names and the disk does not have, if there is any."""
    if absent:
        first = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        raise NasError(f"{len(absent)} of the {total} utterances of {protocol} have no audio in {folder}: {first}")
