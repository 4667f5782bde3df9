"""Countermeasure protocols as corpora have them: a trial a line, in the one form of the corpus."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nas.columns import ASVSPOOF2019, FileKind, Form, read_columns
from nas.data.utterance import Utterance
from nas.errors import NasError
from nas.labels import AUDIO_SUFFIXES, NO_ATTACK, is_audio, read_attack, read_key, utterance_name

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trial:
    """A line of a protocol; `attack` is "-" for bona fide, `subset` is "" where the protocol has none."""

    speaker: str
    utterance: str
    attack: str
    key: str
    line: int
    subset: str = ""


def read_protocol(path: str | Path, form: Form = ASVSPOOF2019) -> tuple[Trial, ...]:
    """All trials of a protocol of one form, in its order. What words mean is said in `nas.labels`.

    Raises:
        NasError: the file is absent, not text, empty, has a line with other columns, an unknown key, an attack that
            contradicts the key, or an utterance twice; file and line are named.
    """
    count = len(form.columns)
    table = read_columns(path, FileKind("protocol", (form,), (), f"expected {count} columns ({form})", header=False))
    trials: dict[str, Trial] = {}
    for line, cells in table.rows:
        trial = _trial(dict(zip(form.columns, cells, strict=True)), f"{path}, line {line}", line)
        earlier = trials.setdefault(trial.utterance, trial)
        if earlier is not trial:
            raise NasError(f"{path}, line {line}: utterance {trial.utterance!r} is already on line {earlier.line}")
    for remark in table.remarks:
        _LOG.warning("%s", remark)
    return tuple(trials.values())


def _trial(cells: dict[str, str], where: str, line: int) -> Trial:
    key = read_key(cells["KEY"], where)
    attack = read_attack(cells["ATTACK"], key, where)
    if key == "spoof" and attack == NO_ATTACK:
        raise NasError(f"{where}: the attack is {cells['ATTACK']!r}, expected the name of an attack for a spoof")
    utterance = utterance_name(cells["UTTERANCE"])
    if "/" in utterance or "\\" in utterance or utterance in (".", ".."):
        raise NasError(f"{where}: the utterance {utterance!r} must be the name of a file without its folder and suffix")
    return Trial(cells["SPEAKER"], utterance, attack, key, line, cells.get("SUBSET", ""))


def locate(trials: Iterable[Trial], folder: Path, partition: str, protocol: Path) -> list[Utterance]:
    """Give every trial its audio file in `folder` (UTTERANCE.flac, .wav, ...).

    The folder is listed once: 71,237 separate look-ups are slow on network disks.

    Raises:
        NasError: audio is absent; the first names and the count are given.
    """
    try:
        files = {
            (utterance_name(entry.name), entry.suffix.lower()): entry.name
            for entry in folder.iterdir()
            if is_audio(entry)
        }
    except OSError as error:
        raise NasError(f"cannot list the audio folder {folder}: {error.strerror}") from None
    utterances: list[Utterance] = []
    absent: list[str] = []
    for trial in trials:
        name = next((files[it] for suffix in AUDIO_SUFFIXES if (it := (trial.utterance, suffix)) in files), None)
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
    """The first of the folders that is there, else the root; also where unpacking put it into one of its own name."""
    for name in names:
        top, _, below = name.partition("/")
        for folder in (root / name, root / top / top / below):
            if folder.is_dir():
                return folder
    return root


def first_file(root: Path, names: Iterable[str]) -> Path | None:
    """The first of the files that is there."""
    return next((root / name for name in names if (root / name).is_file()), None)
