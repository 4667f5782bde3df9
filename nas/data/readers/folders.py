"""Corpora whose folders say the class: a folder per class, and WaveFake."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nas.data.readers.registry import reader
from nas.data.utterance import Utterance
from nas.errors import NasError, printable
from nas.labels import KEY_WORDS, KEYS, PARTITIONS, UNKNOWN_ATTACK, is_audio, key_of, partition_of
from nas.words import named, shortened

_LOG = logging.getLogger(__name__)


@reader("folder_per_class")
def folder_per_class(
    root: Path, partitions: Sequence[str] | None = None, protocols: Mapping[str, Path] | None = None
) -> Iterator[Utterance]:
    """`[PARTITION/]bonafide/[SPEAKER/]*.wav` and `[PARTITION/]spoof/[ATTACK/[SPEAKER/]]*.wav`.

    Folder names are words of `nas.labels`, without regard to case: real, genuine, human and fake are understood, and
    so are training, validation, test and the like. Folders by other names are not read, which is said. Without
    partition folders an utterance belongs to a partition by a hash of its speaker (of its own name where the speaker is
    unknown): about 80 % train, 10 % dev, 10 % eval, always the same.
    """
    if protocols:
        raise NasError("a folder per class says the classes itself: protocols cannot be given beside it")
    parts = _named(root, partition_of)
    divided: Counter[tuple[str, str]] = Counter()
    roots = list(parts.items()) or [("", root)]
    for partition, folder in roots:
        if partition and partitions and partition not in partitions:
            continue
        classes = _named(folder, key_of)
        if not classes:
            has = shortened(", ".join(path.name for path in _folders(folder)) or "none", 100)
            words = "; ".join(f"{key}: {', '.join(known)}" for key, known in KEY_WORDS.items())
            raise NasError(
                f"{folder} has no folder of a class; its folders are {has}, the words known are {words}; a manifest "
                "serves for other names"
            )
        for key, class_folder in classes.items():
            for path in _audio_below(class_folder):
                levels = [_word(part) for part in path.relative_to(class_folder).parts[:-1]]
                attack = "-" if key == "bonafide" else (levels.pop(0) if levels else UNKNOWN_ATTACK)
                speaker = levels[0] if levels else "-"
                utterance = _word("_".join((key, *path.relative_to(class_folder).with_suffix("").parts)))
                own = partition or by_hash(speaker if speaker != "-" else path.stem)
                divided[own, key] += 1
                if not partitions or own in partitions:
                    yield Utterance(path, f"{own}_{utterance}" if partition else utterance, speaker, attack, key, own)
    if not parts:
        _tell_missing_classes(root, divided, "speaker")


@reader("wavefake")
def wavefake(
    root: Path, partitions: Sequence[str] | None = None, protocols: Mapping[str, Path] | None = None
) -> Iterator[Utterance]:
    """WaveFake (Frank and Schönherr, 2021): `generated_audio/VOCODER/*.wav`, beside them the human recordings.

    Human speech is taken from `LJSpeech*/**/*.wav` and `jsut*/**/*.wav` in the root. The corpus has no partitions: a
    sentence belongs, with all copies of it, to train, dev or eval by a hash of its name (80/10/10). There is one
    speaker a language, so speakers do cross partitions.
    """
    if protocols:
        raise NasError("WaveFake has no protocols: none can be given")
    generated = root / "generated_audio" if (root / "generated_audio").is_dir() else root
    vocoders = [path for path in _folders(generated) if re.match(r"(ljspeech|jsut|common_voices)_", path.name)]
    human = [path for path in _folders(root) if re.match(r"(?i)(ljspeech[-_.\d]*|jsut(_ver)?[-_.\d]*)$", path.name)]
    if not vocoders:
        raise NasError(f"{generated} has no folder ljspeech_* or jsut_* with generated audio")
    if not human:
        raise NasError(
            f"{root} has no human recordings; expected LJSpeech-1.1/ or jsut_ver1.1/ beside the generated audio"
        )
    divided: Counter[tuple[str, str]] = Counter()
    for folder in (*human, *vocoders):
        fake = folder in vocoders
        attack, key = (folder.name, "spoof") if fake else ("-", "bonafide")
        speaker = "JSUT" if folder.name.lower().startswith("jsut") else "LJ"
        for path in _audio_below(folder):
            sentence = re.sub(r"_(gen|generated)$", "", path.stem)
            partition = by_hash(sentence)
            divided[partition, key] += 1
            if not partitions or partition in partitions:
                name = f"{folder.name}_{path.stem}" if fake else path.stem
                yield Utterance(path, _word(name), speaker, attack, key, partition)
    _tell_missing_classes(root, divided, "sentence")


def by_hash(name: str) -> str:
    """The partition of a name: about 80 % train, 10 % dev, 10 % eval."""
    share = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64
    return "train" if share < 0.8 else "dev" if share < 0.9 else "eval"


def _tell_missing_classes(root: Path, divided: Mapping[tuple[str, str], int], by: str) -> None:
    """Say, whichever partitions are read, which of them got only one class, since a small corpus may leave some so."""
    lacking = [
        f"{partition} has no {key} utterance"
        for partition in PARTITIONS
        for key in KEYS
        if not divided.get((partition, key))
    ]
    if lacking and all(any(divided.get((partition, key)) for partition in PARTITIONS) for key in KEYS):
        _LOG.warning(
            "%s: divided by a hash of the %s, %s: such a partition cannot be scored; folders train, dev and eval, or a "
            "manifest, divide it otherwise",
            printable(str(root)),
            by,
            "; ".join(lacking),
        )


def _named(folder: Path, meaning_of: Callable[[str], str | None]) -> dict[str, Path]:
    """The subfolders that carry a known word, by what it means; others with audio are said to be left out.

    Raises:
        NasError: two subfolders mean the same.
    """
    found: dict[str, Path] = {}
    others = []
    for path in _folders(folder):
        meaning = meaning_of(path.name)
        if meaning is None:
            others.append(path)
        elif meaning in found:
            raise NasError(f"{folder}: both {found[meaning].name!r} and {path.name!r} mean {meaning!r}")
        else:
            found[meaning] = path
    left = [path.name for path in others if _audio_below(path)] if found else []
    if left:
        _LOG.warning("%s: folders that were not read: %s", folder, named([printable(name) for name in left]))
    return found


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise NasError(f"cannot list the folder {folder}: {error.strerror}") from None


def _audio_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if is_audio(path) and path.is_file())


def _word(name: str) -> str:
    """White space would break the columns of a score file."""
    return "_".join(name.split()) or "_"
