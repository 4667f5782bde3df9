"""Text tables with a header line, divided by commas, semicolons, tabs or spaces, whose columns go by several names."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.errors import NasError
from nas.metrics.textfile import is_number

COLUMNS: dict[str, tuple[str, ...]] = {
    "utterance": (
        "utterance",
        "utt",
        "utt_id",
        "filename",
        "file_name",
        "file",
        "path",
        "trial",
        "trial_id",
        "trial_anon",
    ),
    "key": ("key", "label", "cm-label", "cm_label"),
    "attack": ("attack", "attack_id", "attack_label", "attack_anon"),
    "speaker": ("speaker", "speaker_id", "spk"),
}
"""Names, in lower case, by which the columns of other people's files are known."""


@dataclass(frozen=True)
class Table:
    """Known columns of a table, and the line number of each row."""

    columns: Mapping[str, list[str]]
    line: list[int]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def column(self, name: str) -> list[str]:
        return self.columns[name]

    def numbered(self, name: str) -> list[tuple[int, str]]:
        """(line number, value) of each row."""
        return list(zip(self.line, self.columns[name], strict=True))


def read_table(path: str | Path, lines: list[tuple[int, str]], required: Mapping[str, tuple[str, ...]]) -> Table | None:
    """The table, or None where the first line is no header: it does not name an utterance column, or holds values.

    `required` names the columns that the table must have besides the utterance, with further names they go by.

    Raises:
        NasError: a required column is absent, one stands twice, a row of another width, an empty cell in a required
            column, no rows.
    """
    header_line = lines[0][1]
    delimiter = next((sign for sign in (",", ";", "\t") if sign in header_line), None)
    split = _split(header_line, delimiter)
    places: dict[str, list[int]] = {}
    for name, known in {**COLUMNS, **{key: COLUMNS.get(key, ()) + more for key, more in required.items()}}.items():
        titles = (name,) if name in map(str.lower, split) else known  # A manifest has both utterance and path.
        places[name] = [at for at, title in enumerate(split) if title.lower() in titles]
    if not places["utterance"] or any(_is_value(cell) for cell in split):
        return None
    for name, found in places.items():
        if len(found) > 1:
            raise NasError(f"{path}, line {lines[0][0]}: the header names the {name} column {len(found)} times")
        if not found and name in required:
            raise NasError(
                f"{path}, line {lines[0][0]}: the header has no {name} column; its columns are: {', '.join(split)}"
            )
    if len(lines) == 1:
        raise NasError(f"{path}: there is a header but no trials")
    rows = []
    for number, line in lines[1:]:
        row = _split(line, delimiter)
        if len(row) != len(split):
            raise NasError(f"{path}, line {number}: {len(row)} columns where the header names {len(split)}")
        for name in ("utterance", *required):
            if not row[places[name][0]]:
                raise NasError(f"{path}, line {number}: the {name} is empty")
        rows.append(row)
    columns = {name: [row[found[0]] for row in rows] for name, found in places.items() if found}
    return Table(columns, [number for number, _ in lines[1:]])


def _is_value(cell: str) -> bool:
    """Whether a cell of the first line shows that it is a trial already."""
    return cell.lower() in ("bonafide", "spoof") or is_number(cell)


def _split(line: str, delimiter: str | None) -> list[str]:
    """The cells of a line; a cell that breaks off (an open quote) shows in their number."""
    if delimiter is None:
        return line.split()
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:  # A cell beyond the reader's limit, or a carriage return within the line.
        return []
