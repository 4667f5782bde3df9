"""The folder of a corpus that is being built: whose it is, what is finished, what a killed process left."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import NasError
from nas.files import write_text
from nas.folder_lock import NAME as LOCK
from nas.temporary import sweep
from nas.text_files import parse_json, read_json, read_text

PARTITIONS = ("train", "dev", "eval")
COLUMNS = (
    *("utterance", "path", "key", "attack", "speaker", "partition"),
    *("engine", "version", "parameters", "codec", "source", "checksum"),
)
"""Columns of manifest.csv; `checksum` is the SHA-256 of the file."""

Row = dict[str, str]
"""A row of manifest.csv."""


@dataclass(frozen=True)
class Work:
    """What was made of a source: what the source was, and the rows; none where it was too short."""

    source: str
    rows: list[Row]


Settings = dict[str, Any]
Sources = Mapping[str, str]
"""name -> speaker and checksum of the bytes of each source"""


def require_claimable(output: Path, settings: Settings) -> Settings:
    """See that the folder is new, empty, or was begun with the same settings; before any source is read.

    Returns:
        What corpus.json says; nothing for a new corpus.

    Raises:
        NasError: the folder holds something else, or a corpus built with other settings.
    """
    path = output / "corpus.json"
    if output.exists() and not output.is_dir():
        raise NasError(f"{output} is a file: the output of a corpus is a folder")
    if not path.exists():
        if output.exists() and any(file.name != LOCK for file in output.iterdir()):
            raise NasError(f"the folder {output} is not empty and holds no corpus; give a new or an empty folder")
        return {}
    there = read_json(path, "file of the settings of a corpus")
    if not isinstance(there, dict):
        raise NasError(f"{path} is not the file of the settings of a corpus; give another folder")
    different = [key for key, value in json.loads(json.dumps(settings)).items() if there.get(key) != value]
    if different:
        raise NasError(f"{output} holds a corpus built with another {', '.join(different)}; give another folder")
    return there


def begin(output: Path, settings: Settings, sources: Sources) -> None:
    """Write the settings, unless there is a finished corpus of the same sources: a build that was stopped goes on,
    whatever has become of the sources since.

    Raises:
        NasError: the corpus is finished, and was made of other sources.
    """
    there = require_claimable(output, settings)  # once more: another build may have begun since the first time
    if not (output / "manifest.csv").exists():
        write_settings(output, settings, None, {})
        return
    known = there.get("left_out")
    left_out: Sources = known if isinstance(known, dict) else {}
    used = {row.get("source", "") for row in _manifest_rows(output)}
    names = used & sources.keys() if "left_out" in there else sources.keys()  # earlier versions named all sources
    same = there.get("sources") == digest(sources, names)
    new = [name for name in sources.keys() - names if left_out.get(name) != sources[name]]
    if not same or new:
        raise NasError(f"{output} holds a finished corpus built with another sources; give another folder")


def write_settings(output: Path, settings: Settings, sources: str | None, left_out: Sources) -> None:
    """corpus.json: the settings, a digest of the sources that were used (none before the end), and the others."""
    text = json.dumps({**settings, "sources": sources, "left_out": dict(left_out)}, indent=2, sort_keys=True)
    write_text(output / "corpus.json", text + "\n")


def digest(sources: Sources, names: Iterable[str]) -> str:
    """Checksum of the names, speakers and bytes of some sources."""
    return sha256("".join(f"{name} {sources[name]}\n" for name in sorted(names)).encode())


def sweep_partitions(output: Path) -> None:
    """Remove what a killed process left of the files that it was writing."""
    for name in PARTITIONS:
        sweep(output / name)


def remove_files(output: Path, rows: Iterable[Row]) -> None:
    """Remove audio that an earlier start of the build wrote and that is no part of the corpus any more."""
    for row in rows:
        path = output / row["path"]
        if path.parent.parent == output and path.parent.name in PARTITIONS and path.suffix == ".flac":
            path.unlink(missing_ok=True)


def finished_work(output: Path, sources: Sources) -> dict[str, Work]:
    """source -> the work on it that is done, its files being there and unchanged.

    Args:
        sources: as they are now; those of a manifest are these (`begin` has seen to it).
    """
    finished: dict[str, Work] = {}
    for row in _manifest_rows(output):
        name = row.get("source", "")
        finished.setdefault(name, Work(sources.get(name, ""), [])).rows.append(row)
    journal = output / "progress.jsonl"
    if journal.exists():
        for line in read_text(journal, "journal of a build").split("\n"):
            try:
                entry = parse_json(line, journal)
            except NasError:
                continue  # the last line of a process that was killed while writing it
            if isinstance(entry, dict) and isinstance(entry.get("source"), str) and _are_rows(entry.get("rows")):
                finished[entry["source"]] = Work(str(entry.get("checksum")), entry["rows"])
    return {name: work for name, work in finished.items() if all(_is_unchanged(output, row) for row in work.rows)}


def _manifest_rows(output: Path) -> list[Row]:
    manifest = output / "manifest.csv"
    if not manifest.exists():
        return []
    with manifest.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _are_rows(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, dict) and set(row) == set(COLUMNS) and all(isinstance(cell, str) for cell in row.values())
        for row in value
    )


def to_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_unchanged(output: Path, row: Row) -> bool:
    if not set(COLUMNS) <= set(row):
        return False
    path = output / row["path"]
    # os.path takes a path that is too long for the file system for one that is not there.
    return os.path.isfile(path) and sha256(path.read_bytes()) == row["checksum"]
