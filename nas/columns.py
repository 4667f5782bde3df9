"""Lines with columns: which column says what, in the protocols and score files of the field.

A form is a list of fields, one a column. Which form a file has is told by its first lines: by the number of columns,
and by what they hold (keys, numbers, names of subsets). Columns are divided by white space, tabs, commas, semicolons or
bars; a header that names the columns makes a form of its own.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from nas.errors import NasError
from nas.labels import UNTOLD_ATTACKS, attack_of, is_key_number, key_of, partition_of, utterance_name
from nas.text_files import read_lines
from nas.words import is_number, shortened

SAMPLE = 200
"""Lines by which the form of a file is told."""

_COMMENTS = ("#", "%", "//")

DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Form:
    """The fields of a line by their places. Fields with no meaning here (CODEC, TRIM, ...) are passed over.

    Attributes:
        refusal: why lines of this form cannot be read, where that is so.
    """

    name: str
    columns: tuple[str, ...]
    refusal: str = ""

    def place(self, name: str) -> int | None:
        """The column of a field."""
        return self.columns.index(name) if name in self.columns else None

    def __str__(self) -> str:
        return " ".join(self.columns)


def form(name: str, columns: str, refusal: str = "") -> Form:
    return Form(name, tuple(columns.split()), refusal)


ASVSPOOF2019 = form("ASVspoof 2019", "SPEAKER UTTERANCE - ATTACK KEY")
"""Also ASVspoof 2019 PA, whose third column is the environment."""
ASVSPOOF2021_LA = form("ASVspoof 2021 LA", "SPEAKER UTTERANCE CODEC TRANSMISSION ATTACK KEY TRIM SUBSET")
ASVSPOOF2021_DF = form(
    "ASVspoof 2021 DF",
    "SPEAKER UTTERANCE CODEC SOURCE ATTACK KEY TRIM SUBSET VOCODER TASK TEAM GENDERS LANGUAGE",
)
ASVSPOOF5 = form("ASVspoof 5", "SPEAKER UTTERANCE GENDER CODEC QUALITY SEED ATTACK_TAG ATTACK KEY -")

PROTOCOLS = (
    form("two columns", "UTTERANCE KEY"),
    form("two columns", "KEY UTTERANCE"),
    form("name, subset and key", "UTTERANCE SUBSET KEY"),
    form("Codecfake", "UTTERANCE KEY ATTACK"),
    form("three columns", "UTTERANCE ATTACK KEY"),
    form("three columns", "SPEAKER UTTERANCE KEY"),
    form("ASVspoof 2015", "SPEAKER UTTERANCE ATTACK KEY"),
    ASVSPOOF2019,
    form("ASVspoof 2017", "UTTERANCE KEY SPEAKER PHRASE ENVIRONMENT PLAYBACK RECORDER"),
    ASVSPOOF2021_LA,
    ASVSPOOF5,
    form("ASVspoof 2021 PA", "SPEAKER UTTERANCE ROOM MICROPHONE DISTANCE - - - - KEY TRIM SUBSET"),
    ASVSPOOF2021_DF,
)

ASV_LINES = form("ASVspoof", "SOURCE ASV_KEY SCORE")

_NO_NAMES = "{} names no utterances; a score file has UTTERANCE SCORE"

SCORES = (
    form("ours, ASVspoof 2019", "UTTERANCE ATTACK KEY SCORE"),
    form("two columns", "UTTERANCE SCORE"),
    form("ASVspoof 5, first form", "SPEAKER UTTERANCE SCORE KEY"),
    form("SAMO", "UTTERANCE ATTACK KEY SCORE SPEAKER"),
    form("ASV-style", "SPEAKER UTTERANCE SCORE"),
    form("with a prediction", "UTTERANCE SCORE PREDICTION"),
    form("with a prediction", "UTTERANCE PREDICTION SCORE"),
    form("score first", "SCORE UTTERANCE"),
    form("log of the NII baselines", "OUTPUT UTTERANCE PREDICTION SCORE"),
    form(
        "two scores",
        "UTTERANCE LOGIT SCORE",
        "there are two numbers on each line; keep the one that is higher for bona fide speech (UTTERANCE SCORE)",
    ),
    form("ASV", str(ASV_LINES), "this is an ASV score file (SOURCE KEY SCORE), not one of countermeasure scores"),
    form(
        "Kaldi",
        "SCORE ASV_KEY",
        _NO_NAMES.format("this is the form of Kaldi's compute-eer (SCORE target|nontarget), which"),
    ),
    *(
        form("classes", columns, _NO_NAMES.format("this file"))
        for columns in ("ASV_KEY SCORE", "KEY SCORE", "SCORE KEY")
    ),
    form("protocol", str(ASVSPOOF2019), f"this is a protocol ({ASVSPOOF2019}), not a score file"),
)

_PATHS = ("filename", "file_name", "file", "filepath", "file_path", "path", "wav", "audio_path", "audio_file")

TITLES: Mapping[str, tuple[str, ...]] = {
    "UTTERANCE": ("utterance", "utt", "utt_id", "utterance_id", "uttid", "trial", "trial_id", "trial_anon", *_PATHS),
    "KEY": ("key", "label", "cm-label", "cm_label"),
    "ATTACK": ("attack", "attack_id", "attack_label", "attack_anon", "attack_type"),
    "SPEAKER": ("speaker", "speaker_id", "spk", "spk_id"),
    "SUBSET": ("subset", "partition", "phase", "split"),
    "SCORE": ("score", "cm-score", "cm_score", "cmscore"),
}
"""Names, in lower case, by which the columns of other people's files are known; the first is ours."""

_SUBSETS = ("progress", "hidden", "hidden_track")
_ASV_KEYS = {"target": 2.0, "nontarget": 2.0, "spoof": 1.0}


def _key_weight(word: str) -> float:
    return 1.0 if key_of(word) else 0.5 if is_key_number(word) else 0.0


def _name_weight(word: str) -> float:
    if word.lower() in UNTOLD_ATTACKS or word[-1] == "," or ";" in word or (is_number(word) and not word.isdigit()):
        return 0.0
    return 0.25 if key_of(word) or is_key_number(word) else 1.0


_WEIGHTS: Mapping[str, Callable[[str], float]] = {
    "KEY": _key_weight,
    "PREDICTION": _key_weight,
    "SCORE": lambda word: float(is_number(word)),
    "LOGIT": lambda word: 0.2 * is_number(word),
    "ASV_KEY": lambda word: _ASV_KEYS.get(word.lower(), 0.0),
    "SUBSET": lambda word: 2.0 * (partition_of(word) is not None or word.lower() in _SUBSETS),
    "OUTPUT": lambda word: 2.0 * (word == "Output"),
    "UTTERANCE": _name_weight,
}
"""How well a word fits a field: 0 not at all; 2 where hardly anything else has such words."""


def fit(line: Form, cells: Sequence[str]) -> float:
    """How well the cells of a line fit a form; 0 where one cell does not."""
    if len(cells) != len(line.columns):
        return 0.0
    weight = 1.0
    for name, cell in zip(line.columns, cells, strict=True):
        if name in _WEIGHTS:
            weight *= _WEIGHTS[name](cell)
    key, attack = line.place("KEY"), line.place("ATTACK")
    if weight and key is not None and attack is not None:
        meant = key_of(cells[key])
        weight *= meant is None or attack_of(cells[attack], meant) is not None
    return weight


@dataclass(frozen=True)
class FileKind:
    """A kind of file: what it is called, the forms it may have, what a header must name, and what a line should be."""

    name: str
    forms: tuple[Form, ...]
    required: tuple[str, ...]
    expected: str
    header: bool = True


SCORE_FILE = FileKind(
    "score file",
    SCORES,
    ("UTTERANCE", "SCORE"),
    "a score line has four columns (UTTERANCE ATTACK KEY SCORE), or two (UTTERANCE SCORE) and a protocol",
)
PROTOCOL = FileKind(
    "protocol",
    PROTOCOLS,
    ("UTTERANCE", "KEY"),
    f"a protocol line has five columns ({ASVSPOOF2019}), two (UTTERANCE KEY), or those of ASVspoof 2015, 2017, 2021, 5",
)
ASV_SCORE_FILE = FileKind(
    "ASV score file",
    (ASV_LINES,),
    (),
    "an ASV score line has three columns, SOURCE KEY SCORE (bonafide target 7.98)",
    header=False,
)


@dataclass
class ColumnFile:
    """A file whose form is known: its rows, to be read once, and what a reader of the numbers must know about it."""

    form: Form
    rows: Iterator[tuple[int, list[str]]]
    remarks: list[str] = field(default_factory=list)


def read_columns(path: str | Path, kind: FileKind, known: Container[str] = ()) -> ColumnFile:
    """Tell the form of a file by its first lines.

    Args:
        known: names of utterances, which tell columns that look alike.

    Raises:
        NasError: not text, empty, or of no known form; a header without a needed column. While the rows are read: a
            line of other columns, an empty cell in a needed column.
    """
    lines = read_lines(path, kind.name)
    sample = list(islice(lines, SAMPLE))
    plain = [row for row in sample if not row[1].startswith(_COMMENTS)] or sample
    if kind.header and (found := _with_header(path, kind, sample, lines)):
        return found
    ranked = sorted(
        (
            (*_rank(candidate, [split(line, delimiter) for _, line in plain], known), -at, candidate, delimiter)
            for delimiter in ("\t", None, *(d for d in DELIMITERS if d != "\t"))
            if delimiter is None or (delimiter in plain[0][1] and not _decimal_comma(plain[0][1], delimiter))
            for at, candidate in enumerate(kind.forms)
        ),
        key=lambda entry: entry[:4],
        reverse=True,
    )
    weight, *_, best, delimiter = ranked[0]
    if not weight:
        if kind is SCORE_FILE and (log := _log_lines(path)):
            return log
        # The form by the number of columns alone: reading its lines says what is wrong with them.
        readable = {len(candidate.columns): candidate for candidate in reversed(kind.forms) if not candidate.refusal}
        widths = {sign: len(split(plain[0][1], sign)) for sign in (None, ";", "|", "\t", ",")}
        delimiter = next((sign for sign, width in widths.items() if width in readable), None)
        if widths[delimiter] not in readable:
            raise NasError(f"{path}, line {plain[0][0]}: {kind.expected}, not {widths[None]}")
        best = readable[widths[delimiter]]
    if best.refusal:
        raise NasError(f"{path}, line {plain[0][0]}: {best.refusal}")
    found = ColumnFile(best, iter(()))
    found.rows = _rows(path, found, chain(sample, lines), delimiter, f"the first line has {len(best.columns)}")
    return found


def split(line: str, delimiter: str | None) -> list[str]:
    """The cells of a line; a cell that breaks off (an open quote) shows in their number."""
    if delimiter is None:
        return line.split()
    if '"' not in line:
        return [cell.strip() for cell in line.split(delimiter)]
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:  # A cell beyond the reader's limit, or a carriage return within the line.
        return []


def delimiter_of(header: str) -> str | None:
    """What divides the columns of a header line; None for white space."""
    return next((sign for sign in DELIMITERS if sign in header), None)


def known_titles(titles: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Titles of a header by the names of `wanted` columns, where they go by another known name."""
    known = {**TITLES, "PATH": _PATHS, "PARTITION": TITLES["SUBSET"]}
    absent = [name for name in wanted if name not in titles]
    return [next((name for name in absent if t.lower() in (name, *known.get(name.upper(), ()))), t) for t in titles]


def _rank(line: Form, rows: list[list[str]], known: Container[str]) -> tuple[float, int, bool]:
    """How well rows fit a form; how many of their names are known; whether no name stands twice."""
    if len(rows[0]) != len(line.columns):
        return 0.0, 0, False
    place = line.place("UTTERANCE")
    names = [] if place is None else [utterance_name(cells[place]) for cells in rows if len(cells) > place]
    weights = [fit(line, cells) for cells in rows]
    if "PREDICTION" in line.columns and not all(weights):
        return 0.0, 0, False  # A column of predictions holds nothing else.
    return (
        sum(weights),
        sum(name in known for name in names),
        len(set(names)) == len(names),
    )


def _decimal_comma(line: str, delimiter: str) -> bool:
    return delimiter == "," and re.search(r"\s[-+]?\d+,\d+$", line) is not None


def _log_lines(path: str | Path) -> ColumnFile | None:
    """The lines `Output, NAME, LABEL, SCORE` of the log that the NII baselines write; None where there are none."""
    line = next(candidate for candidate in SCORES if "OUTPUT" in candidate.columns)
    log = ColumnFile(line, iter(()))

    def rows() -> Iterator[tuple[int, list[str]]]:
        others = 0
        for number, text in read_lines(path, SCORE_FILE.name):
            cells = split(text, ",")
            if fit(line, cells):
                yield number, cells
            elif cells[:1] == ["Output"]:
                raise NasError(f"{path}, line {number}: a line of scores is Output, NAME, LABEL, SCORE")
            else:
                others += 1
        log.remarks.append(f"{path} is a log: {others} lines other than `Output, NAME, LABEL, SCORE` were left out")

    if next((True for _, text in read_lines(path, SCORE_FILE.name) if fit(line, split(text, ","))), False):
        log.rows = rows()
        return log
    return None


def _with_header(
    path: str | Path, kind: FileKind, sample: list[tuple[int, str]], rest: Iterator[tuple[int, str]]
) -> ColumnFile | None:
    """A file whose first line names its columns; None where it does not."""
    number, text = sample[0]
    text = text.lstrip("#% ")
    delimiter = delimiter_of(text)
    titles = split(text, delimiter)
    lower = [title.lower() for title in titles]
    if any(key_of(cell) or is_number(cell) for cell in titles):
        return None  # It is a trial already.
    columns = ["-"] * len(titles)
    places: dict[str, list[int]] = {}
    for name, words in TITLES.items():
        wanted = words[:1] if words[0] in lower else words  # A manifest has both utterance and path.
        places[name] = [at for at, title in enumerate(lower) if title in wanted]
        for at in places[name]:
            columns[at] = name
    scored = any(word in title for title in lower for word in ("score", "label"))
    if not places["UTTERANCE"] and not (scored and delimiter is not None):
        return None
    where = f"{path}, line {number}"
    shown = shortened(", ".join(titles), 100) + {"|": " (divided by |)", "\t": " (divided by tabs)"}.get(
        delimiter or "", ""
    )
    for name, found in places.items():
        if len(found) > 1:
            raise NasError(f"{where}: the header names the {name.lower()} column {len(found)} times")
        if not found and name in kind.required:
            raise NasError(f"{where}: the header has no {name.lower()} column; its columns are: {shown}")
    if len(sample) == 1:
        raise NasError(f"{path}: there is a header but no trials")
    table = ColumnFile(Form("header", tuple(columns)), iter(()))
    needed = [(name.lower(), places[name][0]) for name in kind.required]
    table.rows = _rows(path, table, chain(sample[1:], rest), delimiter, f"the header names {len(titles)}", needed)
    return table


def _rows(
    path: str | Path,
    table: ColumnFile,
    lines: Iterator[tuple[int, str]],
    delimiter: str | None,
    width: str,
    needed: Sequence[tuple[str, int]] = (),
) -> Iterator[tuple[int, list[str]]]:
    count, comments = len(table.form.columns), []
    for number, line in lines:
        cells = split(line, delimiter)
        if line.startswith(_COMMENTS) and not fit(table.form, cells):
            comments.append(str(number))
            continue
        if len(cells) != count:
            every = "" if needed else f" ({table.form}); every line must have the same columns"
            raise NasError(f"{path}, line {number}: {len(cells)} columns where {width}{every}")
        for name, place in needed:
            if not cells[place]:
                raise NasError(f"{path}, line {number}: the {name} is empty")
        yield number, cells
    if comments:
        more = "" if len(comments) == 1 else f" and {len(comments) - 1} more"
        table.remarks.append(f"{path}: comments were left out (line {comments[0]}{more})")
