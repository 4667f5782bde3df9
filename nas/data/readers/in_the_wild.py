"""In-the-Wild (Müller et al., Interspeech 2022): `release_in_the_wild/meta.csv`, WAV files beside it or in `wav/`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nas.data.readers.manifest import read_table
from nas.data.readers.protocol import refuse_absent
from nas.data.readers.registry import reader
from nas.data.utterance import Utterance
from nas.errors import NasError
from nas.labels import UNKNOWN_ATTACK, read_key


@reader("in_the_wild")
def in_the_wild(
    root: Path, partitions: Sequence[str] | None = None, protocols: Mapping[str, Path] | None = None
) -> Iterator[Utterance]:
    """31,779 utterances of public persons, all in the partition "eval"; the attacks are not known.

    Spaces in the speakers' names become underscores.
    """
    if protocols:
        raise NasError("In-the-Wild has one meta.csv: protocols cannot be given beside it")
    folder = root / "release_in_the_wild" if (root / "release_in_the_wild").is_dir() else root
    path = folder / "meta.csv"
    places = [folder, *(folder / name for name in ("wav", "wavs") if (folder / name).is_dir())]
    total, absent = 0, []
    for line, row in read_table(path, ("file", "speaker", "label")):
        name = row["file"]
        key = read_key(row["label"], f"{path}, line {line}")
        if Path(name).name != name:
            raise NasError(f"{path}, line {line}: {name!r} must be the name of a file beside meta.csv")
        if partitions and "eval" not in partitions:
            continue
        total += 1
        audio = next((place / name for place in places if (place / name).is_file()), None)
        if audio is None:
            absent.append(name)
            continue
        speaker = "_".join(row["speaker"].split()) or "-"
        attack = "-" if key == "bonafide" else UNKNOWN_ATTACK
        yield Utterance(audio, Path(name).stem, speaker, attack, key, "eval")
    refuse_absent(absent, total, path, folder)
