"""Finding human speech in folders, and who speaks in each file."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas.data.audio_files import distinct_names, files_below
from nas.errors import NasError, printable
from nas.labels import AUDIO_SUFFIXES, is_audio
from nas.text_files import read_text

_LOG = logging.getLogger(__name__)
_LONGEST_NAME = 150
"""Bytes; file systems take 255, and a spoof adds the name of its attack."""

LIBRISPEECH_NAME = re.compile(r"(?P<speaker>\d+)-\d+-\d+")
"""speaker-chapter-utterance, as in LibriSpeech."""


@dataclass(frozen=True, slots=True)
class Speech:
    """A file of human speech, its name, its speaker and the position of its folder in the list."""

    path: Path
    utterance: str
    speaker: str
    folder: int


def find_speech(folders: Sequence[str | Path], speaker_pattern: str | None = None) -> tuple[Speech, ...]:
    """All human speech below the folders, sorted by utterance.

    The speaker comes from the first of these that applies: `speaker_pattern`, a regular expression searched in the
    path below the folder, whose first group is the speaker; a protocol in or beside the folder (lines
    `SPEAKER UTTERANCE - ATTACK KEY`; then only its bona fide utterances are taken); a LibriSpeech name
    (`speaker-chapter-utterance`); the folder that the file lies in, where it is not the given one. A protocol beside
    the folder counts only if it names audio of the folder; what was taken from a protocol is logged.

    An utterance is named by the file's stem, and by the path below the folder where stems repeat. Names and speakers
    stand in score files and paths, so white space and what cannot be printed become "_".

    Raises:
        NasError: a folder is absent or has no audio, a speaker cannot be told, an utterance of protocols occurs twice,
            a protocol has a wrong line or names audio that is not there.
    """
    if not folders:
        raise NasError("no folder of human speech was given")
    pattern = _compile(speaker_pattern)
    places = sorted({Path(folder).resolve() for folder in folders})
    by_protocol: list[Speech] = []
    others: list[Speech] = []
    for index, folder in enumerate(places):
        named, speech = _in_folder(folder, index, pattern)
        (by_protocol if named else others).extend(speech)
    found: dict[str, Speech] = {}
    for item in [*by_protocol, *_named(others, places)]:
        if item.utterance in found:
            other = found[item.utterance].path
            raise NasError(f"two files are called {item.utterance!r}: {other} and {item.path}; names must differ")
        found[item.utterance] = item
    return tuple(found[name] for name in sorted(found))


def _named(speech: Sequence[Speech], folders: Sequence[Path]) -> list[Speech]:
    """The same with names that differ, from stems or, where they repeat, paths, and that paths and columns can hold."""
    unique = {item.path.resolve(): item for item in speech}  # a folder may lie within another one of the list
    items = list(unique.values())
    counts = Counter(item.path.stem for item in items)
    repeated = [item for item in items if counts[item.path.stem] > 1]
    by_path = dict(
        zip(
            (item.path for item in repeated),
            distinct_names([folders[item.folder] for item in repeated], [item.path for item in repeated]),
            strict=True,
        )
    )
    names = _words([by_path.get(item.path, item.path.stem) for item in items])
    speakers = sorted({item.speaker for item in items})
    words = dict(zip(speakers, _words(speakers), strict=True))
    changed = zip(items, names, strict=True)
    return [replace(item, utterance=name, speaker=words[item.speaker]) for item, name in changed]


def _words(names: Sequence[str]) -> list[str]:
    """Names as words of a path and of a line: "Ann Lee/01" -> "Ann_Lee_01"; what then coincides gets a checksum."""
    words = ["".join(c if c.isprintable() and not c.isspace() and c not in "/\\" else "_" for c in n) for n in names]
    counts = Counter(words)
    return [
        word
        if counts[word] == 1 and len(word.encode()) <= _LONGEST_NAME
        else f"{word[:40]}-{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
        for word, name in zip(words, names, strict=True)
    ]


def _in_folder(folder: Path, index: int, pattern: re.Pattern[str] | None) -> tuple[bool, list[Speech]]:
    """Whether a protocol names the utterances, and the speech of one folder."""
    if not folder.is_dir():
        raise NasError(f"there is no folder {folder} to take human speech from")
    below = sorted(files_below(folder))
    files = [path for path in below if is_audio(path)]
    if not files:
        raise NasError(f"the folder {folder} has no audio in it ({', '.join(AUDIO_SUFFIXES)})")
    by_name = {path.stem: path for path in files}
    protocol = None if pattern else _protocol(folder, below, by_name)
    if protocol is None:
        speech = [Speech(path, path.stem, _speaker(path, folder, pattern), index) for path in files]
        if pattern is None:
            _tell_repeated_folders(speech, folder)
        return False, speech
    absent = [name for name in protocol if name not in by_name]
    if absent:
        raise NasError(
            f"{len(absent)} utterances of the protocol of {folder} have no audio there, the first: {absent[0]}"
        )
    return True, [Speech(by_name[name], name, speaker, index) for name, speaker in protocol.items()]


def _tell_repeated_folders(speech: Sequence[Speech], folder: Path) -> None:
    """Folders of one name in several places are taken for one speaker; often they are sessions of several."""
    places: dict[str, set[Path]] = defaultdict(set)
    for item in speech:
        if item.speaker == item.path.parent.name:
            places[item.speaker].add(item.path.parent.relative_to(folder))
    for speaker, found in places.items():
        if len(found) > 1:
            shown = ", ".join(printable(path.as_posix()) for path in sorted(found)[:2])
            _LOG.warning(
                "%s: folders called %s lie in %d places (%s, ...) and are taken for one speaker; if the speaker is the "
                "first folder of the path, give --speaker-pattern '^([^/]+)/'",
                printable(str(folder)),
                printable(speaker),
                len(found),
                shown,
            )
            return


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


def _protocol(folder: Path, below: Sequence[Path], by_name: Mapping[str, Path]) -> dict[str, str] | None:
    """utterance -> speaker of the bona fide lines of all protocols in or beside the folder; None without a protocol."""
    beside = folder.parent / "protocol.txt"
    candidates = [beside, *below]
    protocols = [path for path in candidates if path.suffix in (".txt", ".trn", ".trl") and _is_protocol(path)]
    if beside in protocols and not _names_any(beside, by_name):
        _LOG.warning("%s names no audio of %s and is passed over", printable(str(beside)), printable(str(folder)))
        protocols.remove(beside)
    if not protocols:
        return None
    speakers: dict[str, str] = {}
    for path in protocols:
        for number, line in enumerate(read_text(path, "protocol").split("\n"), start=1):
            columns = line.split()
            if not columns:
                continue
            if len(columns) != 5 or columns[4] not in ("bonafide", "spoof"):
                raise NasError(
                    f"{path}, line {number}: expected `SPEAKER UTTERANCE - ATTACK KEY`, found {line.strip()!r}"
                )
            if columns[4] == "bonafide":
                speakers[columns[1]] = columns[0]
    shown = ", ".join(printable(str(path)) for path in protocols[:3]) + (", ..." if len(protocols) > 3 else "")
    if not speakers:
        raise NasError(f"{shown} calls no utterance of {folder} bona fide")
    rest = len(by_name.keys() - speakers.keys())
    left_out = f"; {rest} audio files that are not called bona fide there are left out" if rest else ""
    _LOG.warning("speakers and bona fide utterances are taken from %s%s", shown, left_out)
    return speakers


def _names_any(protocol: Path, by_name: Mapping[str, Path]) -> bool:
    """Whether a protocol has a line about any of the audio."""
    lines = read_text(protocol, "protocol").split("\n")
    return any(len(columns) > 1 and columns[1] in by_name for columns in map(str.split, lines))


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
