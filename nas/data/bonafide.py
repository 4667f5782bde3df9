"""Finding human speech in folders, and who speaks in each file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.errors import NasError

AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".mp3")
LIBRISPEECH_NAME = re.compile(r"(?P<speaker>\d+)-\d+-\d+")
"""speaker-chapter-utterance, as in LibriSpeech."""


@dataclass(frozen=True, slots=True)
class Speech:
    """A file of human speech, its name (the file's stem), its speaker and the position of its folder in the list."""

    path: Path
    utterance: str
    speaker: str
    folder: int


def find_speech(folders: Sequence[str | Path], speaker_pattern: str | None = None) -> tuple[Speech, ...]:
    """All human speech below the folders, sorted by utterance.

    The speaker comes from the first of these that applies: `speaker_pattern`, a regular expression searched in the
    path below the folder, whose first group is the speaker; a protocol in or beside the folder (lines
    `SPEAKER UTTERANCE - ATTACK KEY`; then only its bona fide utterances are taken); a LibriSpeech name
    (`speaker-chapter-utterance`); the folder that the file lies in, where it is not the given one.

    Raises:
        NasError: a folder is absent or has no audio, a speaker cannot be told, an utterance occurs twice, a protocol
            has a wrong line or names audio that is not there.
    """
    if not folders:
        raise NasError("no folder of human speech was given")
    pattern = _compile(speaker_pattern)
    found: dict[str, Speech] = {}
    for index, folder in enumerate(sorted({Path(folder).resolve() for folder in folders})):
        for speech in _in_folder(folder, index, pattern):
            if speech.utterance in found:
                other = found[speech.utterance].path
                raise NasError(
                    f"two files are called {speech.utterance!r}: {other} and {speech.path}; names must differ"
                )
            found[speech.utterance] = speech
    return tuple(found[name] for name in sorted(found))


def _in_folder(folder: Path, index: int, pattern: re.Pattern[str] | None) -> list[Speech]:
    if not folder.is_dir():
        raise NasError(f"there is no folder {folder} to take human speech from")
    below = sorted(_files(folder))
    files = [path for path in below if path.suffix.lower() in AUDIO_SUFFIXES]
    if not files:
        raise NasError(f"the folder {folder} has no audio in it ({', '.join(AUDIO_SUFFIXES)})")
    protocol = None if pattern else _protocol(folder, below)
    if protocol is None:
        return [Speech(path, path.stem, _speaker(path, folder, pattern), index) for path in files]
    by_name = {path.stem: path for path in files}
    absent = [name for name in protocol if name not in by_name]
    if absent:
        raise NasError(
            f"{len(absent)} utterances of the protocol of {folder} have no audio there, the first: {absent[0]}"
        )
    return [Speech(by_name[name], name, speaker, index) for name, speaker in protocol.items()]


def _speaker(path: Path, folder: Path, pattern: re.Pattern[str] | None) -> str:
    if pattern is not None:
        relative = path.relative_to(folder).as_posix()
        match = pattern.search(relative)
        if match is None or not match.group(1):
            raise NasError(f"the speaker pattern {pattern.pattern!r} finds no speaker in {relative!r} (below {folder})")
        return match.group(1)
    match = LIBRISPEECH_NAME.fullmatch(path.stem)
    if match is not None:
        return match["speaker"]
    if path.parent != folder:
        return path.parent.name
    raise NasError(
        f"cannot tell who speaks in {path}: put a protocol (SPEAKER UTTERANCE - ATTACK KEY) beside the audio, "
        "use a folder per speaker, or give a speaker pattern"
    )


def _files(folder: Path) -> Iterator[Path]:
    """All files below the folder, links to folders followed, each folder once."""
    seen: set[str] = set()
    for place, names, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        yield from (Path(place, name) for name in files)


def _protocol(folder: Path, below: Sequence[Path]) -> dict[str, str] | None:
    """utterance -> speaker of the bona fide lines of all protocols in or beside the folder; None without a protocol."""
    candidates = [folder.parent / "protocol.txt", *below]
    protocols = [path for path in candidates if path.suffix in (".txt", ".trn", ".trl") and _is_protocol(path)]
    if not protocols:
        return None
    speakers: dict[str, str] = {}
    for path in protocols:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            columns = line.split()
            if not columns:
                continue
            if len(columns) != 5 or columns[4] not in ("bonafide", "spoof"):
                raise NasError(
                    f"{path}, line {number}: expected `SPEAKER UTTERANCE - ATTACK KEY`, found {line.strip()!r}"
                )
            if columns[4] == "bonafide":
                speakers[columns[1]] = columns[0]
    return speakers


def _is_protocol(path: Path) -> bool:
    """Whether the first line that is not empty has the five columns of a protocol."""
    if not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8") as lines:
            columns = next((line.split() for line in lines if line.strip()), [])
    except (OSError, UnicodeDecodeError):
        return False
    return len(columns) == 5 and columns[4] in ("bonafide", "spoof")


def _compile(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise NasError(f"the speaker pattern {pattern!r} is not a regular expression: {error}") from None
    if compiled.groups < 1:
        raise NasError(f"the speaker pattern {pattern!r} needs a group (...) around the speaker")
    return compiled
