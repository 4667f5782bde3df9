"""The folder of a corpus that is being built: whose it is, what is finished, what a killed process left."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

from nas.errors import NasError
from nas.files import write_text
from nas.text_files import parse_json, read_json, read_text

PARTITIONS = ("train", "dev", "eval")
COLUMNS = (
    *("utterance", "path", "key", "attack", "speaker", "partition"),
    *("engine", "version", "parameters", "codec", "source", "checksum"),
)
"""Columns of manifest.csv; `checksum` is the SHA-256 of the file."""

Row = dict[str, str]
"""A row of manifest.csv."""


def claim(output: Path, settings: dict[str, object]) -> None:
    """Write the settings, or see that the folder was begun with the same ones."""
    path = output / "corpus.json"
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if output.exists() and not output.is_dir():
        raise NasError(f"{output} is a file: the output of a corpus is a folder")
    if not path.exists():
        if output.exists() and any(output.iterdir()):
            raise NasError(f"the folder {output} is not empty and holds no corpus; give a new or an empty folder")
        write_text(path, text)
        return
    there = read_json(path, "file of the settings of a corpus")
    different = [
        key for key, value in json.loads(text).items() if not isinstance(there, dict) or there.get(key) != value
    ]
    if different:
        raise NasError(f"{output} holds a corpus built with another {', '.join(different)}; give another folder")


def sweep(output: Path) -> None:
    """Remove what a killed process left of the files that it was writing."""
    for name in PARTITIONS:
        for stray in output.glob(f"{name}/.*.tmp"):
            stray.unlink(missing_ok=True)


def finished_work(output: Path) -> dict[str, list[Row]]:
    """source -> rows of the work that is done, its files being there and unchanged."""
    finished: dict[str, list[Row]] = {}
    manifest, journal = output / "manifest.csv", output / "progress.jsonl"
    if manifest.exists():
        with manifest.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                finished.setdefault(row.get("source", ""), []).append(row)
    if journal.exists():
        for line in read_text(journal, "journal of a build").split("\n"):
            try:
                entry = parse_json(line, journal)
            except NasError:
                continue  # the last line of a process that was killed while writing it
            if isinstance(entry, dict) and isinstance(entry.get("source"), str) and _are_rows(entry.get("rows")):
                finished[entry["source"]] = entry["rows"]
    return {name: rows for name, rows in finished.items() if all(_is_unchanged(output, row) for row in rows)}


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
