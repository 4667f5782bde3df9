"""Audio files of the command line: those below folders, what is passed over there, and a name for each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.errors import NasError
from nas.labels import AUDIO_SUFFIXES, is_audio


@dataclass(frozen=True)
class AudioFiles:
    """Files in order, and how many others the folders hold, by suffix."""

    files: tuple[Path, ...]
    names: tuple[str, ...]
    """One for each file, all different: see `distinct_names`."""
    passed_over: Counter[str]

    def passed_over_text(self) -> str | None:
        """One sentence, where anything was passed over."""
        if not self.passed_over:
            return None
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in self.passed_over.most_common(8))
        return f"files passed over, since their suffix is none of audio: {self.passed_over.total()} ({kinds})"


def find_audio(paths: Iterable[Path]) -> AudioFiles:
    """The files themselves, and the audio files below folders, in order and each once.

    Raises:
        NasError: a path that is not there, or a folder without audio.
    """
    found: dict[str, tuple[Path, Path]] = {}  # by real path: (folder it was found in, file)
    passed_over: Counter[str] = Counter()
    for path in paths:
        if path.is_dir():
            below = sorted(files_below(path))
            audio = [file for file in below if is_audio(file)]
            passed_over.update(file.suffix.lower() or "without suffix" for file in below if not is_audio(file))
            if not audio:
                raise NasError(f"{path} holds no audio file ({', '.join(AUDIO_SUFFIXES)})")
            for file in audio:
                found.setdefault(os.path.realpath(file), (path, file))
        elif path.exists():
            found.setdefault(os.path.realpath(path), (Path(path.anchor), path))
        else:
            raise NasError(f"there is no file {path}")
    folders, files = zip(*found.values(), strict=True) if found else ((), ())
    return AudioFiles(files, tuple(distinct_names(folders, files)), passed_over)


def files_below(folder: Path) -> Iterator[Path]:
    """All files below the folder, links to folders followed, each folder once."""
    seen: set[str] = set()
    for place, names, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        yield from (Path(place, name) for name in files)


def distinct_names(folders: Sequence[Path], files: Sequence[Path]) -> list[str]:
    """A name for each file (found in the folder at the same place): the first of these in which all differ.

    The stem; the path below the folder; that with the folder's name; the whole path; each of the paths without its
    suffix, or with it ("_wav") where two files differ in nothing else.
    """
    pairs = list(zip(folders, files, strict=True))
    below = [file.relative_to(folder) for folder, file in pairs]
    named = [folder.absolute().name / path for (folder, _), path in zip(pairs, below, strict=True)]
    names = [file.stem for file in files]
    for paths in (below, named, list(files)):
        for suffixes in (False, True):
            if len(set(names)) == len(names):
                return names
            names = [
                path.with_suffix("").as_posix() + (f"_{path.suffix[1:].lower()}" if suffixes else "") for path in paths
            ]
    return names
