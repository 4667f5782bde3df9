"""Any corpus as a CSV manifest: a header, then one row an utterance; divided by commas, semicolons, tabs or bars.

    path,key,attack,speaker,partition
    audio/0001.flac,bonafide,-,p225,train
    audio/0002.flac,spoof,world,p225,train

Paths are relative to the manifest's folder. A column `utterance` is optional: by default an utterance is named by its
file without the suffix and, where two files share a name, all are named by their paths. Further columns are ignored.
Words for keys, attacks and partitions are those of `nas.labels`; a spoof whose attack is not told gets "unknown".
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nas.columns import delimiter_of, known_titles
from nas.data.readers.protocol import refuse_absent
from nas.data.readers.registry import reader
from nas.data.utterance import PARTITIONS, Utterance
from nas.errors import NasError, nearest
from nas.files import require_line_safe
from nas.labels import NO_ATTACK, UNKNOWN_ATTACK, partition_of, read_attack, read_key
from nas.text_files import read_text

COLUMNS = ("path", "key", "attack", "speaker", "partition")


@reader("manifest")
def manifest(
    root: Path, partitions: Sequence[str] | None = None, protocols: Mapping[str, Path] | None = None
) -> Iterator[Utterance]:
    """The rows of `root` (the CSV file, or a folder with manifest.csv) that belong to `partitions`.

    Raises:
        NasError: a missing column or a wrong value (with the line), a path that leaves the manifest's folder, audio
            that is absent, or protocols given beside the manifest.
    """
    if protocols:
        raise NasError("a manifest says its partitions itself: protocols cannot be given beside it")
    path = root / "manifest.csv" if root.is_dir() else root
    folder = path.parent
    total, absent = 0, []
    rows = [(row, f"{path}, line {line}") for line, row in read_table(path, COLUMNS)]
    files = [_inside(row["path"], folder, where) for row, where in rows]
    stems = [file.stem for (row, _), file in zip(rows, files, strict=True) if not row.get("utterance")]
    unique = len(set(stems)) == len(stems)
    for (row, where), file in zip(rows, files, strict=True):
        name = file.stem if unique else str(file.relative_to(folder).with_suffix(""))
        utterance = _utterance(row, file, row.get("utterance") or "_".join(name.split()), where)
        if partitions and utterance.partition not in partitions:
            continue
        total += 1
        try:
            there = utterance.path.is_file()
        except OSError as error:  # a name too long for the file system
            name = f"{row['path'][:40]}..." if len(row["path"]) > 40 else row["path"]
            raise NasError(f"{where}: the path {name!r} is no path ({error.strerror or error})") from None
        if there:
            yield utterance
        else:
            absent.append(row["path"])
    refuse_absent(absent, total, path, folder)


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by column) of a CSV file with a header; cells are stripped.

    Raises:
        NasError: the file is absent or not text, not CSV, lacks one of `columns`, or a row has other columns.
    """
    text = read_text(path, "manifest")
    delimiter = delimiter_of(text.partition("\n")[0]) or ","
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = known_titles([name.strip() for name in next(lines, [])], columns)
        _check_header(header, columns, path)
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(header):
                raise NasError(f"{path}, line {lines.line_num}: {len(cells)} cells, the header has {len(header)}")
            yield lines.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise NasError(f"{path}, line {lines.line_num}: not valid CSV ({error})") from None


def _check_header(header: list[str], columns: Sequence[str], path: Path) -> None:
    missing = [name for name in columns if name not in header]
    if missing:
        has = ", ".join(header) or "nothing"
        raise NasError(f"{path}, line 1: the header lacks {', '.join(missing)} (it has {has})")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise NasError(f"{path}, line 1: the header names {', '.join(repeated)} twice")


def _utterance(row: Mapping[str, str], audio: Path, name: str, where: str) -> Utterance:
    key, partition = read_key(row["key"], where), partition_of(row["partition"])
    if partition is None:
        raise NasError(f"{where}: there is no partition {row['partition']!r}{nearest(row['partition'], PARTITIONS)}")
    attack = read_attack(row["attack"], key, where)
    if key == "spoof" and attack == NO_ATTACK:
        attack = UNKNOWN_ATTACK
    speaker = row["speaker"] or "-"
    for what, value in (("the utterance", name), ("the attack", attack), ("the speaker", speaker)):
        if len(value.split()) != 1:  # score files are separated by white space
            raise NasError(f"{where}: {what} {value!r} must have no white space")
        require_line_safe(value, f"{where}: {what}")
    return Utterance(audio, name, speaker, attack, key, partition)


def _inside(text: str, folder: Path, where: str) -> Path:
    """The file that a row names; by its letters it must stay in the folder (links inside the folder are followed)."""
    if not text or "\0" in text:
        raise NasError(f"{where}: the path {text!r} is no path")
    relative = os.path.relpath(os.path.normpath(os.path.join(os.path.abspath(folder), text)), os.path.abspath(folder))
    if relative == os.pardir or relative.startswith(os.pardir + os.sep):
        raise NasError(f"{where}: the path {text!r} leaves the corpus folder {folder}; paths must stay inside it")
    return folder / relative
