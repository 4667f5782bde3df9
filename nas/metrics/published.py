"""The tables of the two papers that this project reproduces, with our measured values beside the published ones.

Sources: Ge, Patino, Todisco, Evans, "Raw differentiable architecture search for speech deepfake and spoofing
detection", 2021, Tables 2 and 3 (ASVspoof 2019 LA, evaluation partition); Khare, "Fine-tuning AASIST, RawNet2 and LCNN
for audio deepfake detection", 2025, Table 1 (1,000 utterances of ASVspoof 2019 LA). A cell that was not measured stays
empty; results on any other corpus do not belong into these tables.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import NasError, nearest
from nas.metrics.comparison import Spread, markdown_table
from nas.metrics.evaluation import Evaluation
from nas.text_files import read_json

Value = float | str | Spread | None
Measured = Mapping[str, Mapping[str, Value] | Evaluation]


@dataclass(frozen=True)
class Column:
    """A quantity of a table: its key in measured values, its heading, and how a number of it is written."""

    key: str
    heading: str
    form: str


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper: for each row its name here, its label there, and the published text of each column; and how
    the corpus that it is measured on is laid out.
    """

    title: str
    columns: tuple[Column, ...]
    rows: Mapping[str, tuple[str, Mapping[str, str]]]
    layout: str = "asvspoof2019_la"


MIN_TDCF = Column("min_tdcf", "min t-DCF", ".4f")
EER_PERCENT = Column("eer", "EER %", ".2f")
PARAMETERS = Column("parameters", "parameters", "")
WORST_ATTACK = Column("worst_attack", "worst attack", "")
WORST_EER = Column("worst_attack_eer", "its EER %", ".2f")
ACCURACY = Column("accuracy", "final accuracy %", ".2f")
LOSS = Column("loss", "final loss", ".2f")


def _table2(rows: dict[str, tuple[str, str, str]]) -> dict[str, tuple[str, Mapping[str, str]]]:
    return {name: (label, {"min_tdcf": cost, "eer": rate}) for name, (label, cost, rate) in rows.items()}


def _table3(rows: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, Mapping[str, str]]]:
    keys = ("min_tdcf", "eer", "parameters", "worst_attack", "worst_attack_eer")
    return {name: (cells[0], dict(zip(keys, cells[1:], strict=True))) for name, cells in rows.items()}


TABLES = {
    "table2": PublishedTable(
        "Raw PC-DARTS, Table 2: first layers (ASVspoof 2019 LA, evaluation partition)",
        (MIN_TDCF, EER_PERCENT),
        _table2(
            {
                "mel_fixed": ("Mel, fixed", "0.0517", "1.77"),
                "mel_learnable": ("Mel, learnable", "0.0899", "3.62"),
                "inverse_mel_fixed": ("Inverse-Mel, fixed", "0.0700", "3.25"),
                "inverse_mel_learnable": ("Inverse-Mel, learnable", "0.0655", "2.80"),
                "linear_fixed": ("Linear, fixed", "0.0926", "3.29"),
                "linear_learnable": ("Linear, learnable", "0.0583", "2.10"),
                "conv0": ("Conv 0", "0.0733", "2.49"),
            }
        ),
    ),
    "table3": PublishedTable(
        "Raw PC-DARTS, Table 3: competing systems (ASVspoof 2019 LA, evaluation partition)",
        (MIN_TDCF, EER_PERCENT, PARAMETERS, WORST_ATTACK, WORST_EER),
        _table3(
            {
                "res-tssdnet": ("Res-TSSDNet", "0.0482", "1.64", "0.35M", "A17", "6.01"),
                "raw-pcdarts-mel-fixed": ("Raw PC-DARTS Mel-F", "0.0517", "1.77", "24.48M", "A08", "4.96"),
                "resnet18-lmcl-fm": ("ResNet18-LMCL-FM", "0.0520", "1.81", "-", "A17", "6.19"),
                "lcnn-lstm-sum": ("LCNN-LSTM-sum", "0.0524", "1.92", "0.28M", "A17", "9.24"),
                "capsule": ("Capsule Network", "0.0538", "1.97", "0.30M", "A17", "3.76"),
                "raw-pcdarts-linear-learnable": ("Raw PC-DARTS Linear-L", "0.0583", "2.10", "24.40M", "A08", "6.23"),
                "resnet18-oc-softmax": ("ResNet18-OC-Softmax", "0.0590", "2.19", "-", "A17", "9.22"),
                "res2net": ("Res2Net", "0.0743", "2.50", "0.96M", "-", "-"),
                "resnet18-am-softmax": ("ResNet18-AM-Softmax", "0.0820", "3.26", "-", "A17", "13.45"),
                "resnet18-gat-t": ("ResNet18-GAT-T", "0.0894", "4.71", "-", "A17", "28.02"),
                "resnet18-gat-s": ("ResNet18-GAT-S", "0.0914", "4.48", "-", "A17", "21.74"),
                "pc-darts": ("PC-DARTS", "0.0914", "4.96", "7.51M", "A17", "30.20"),
                "rawnet2": ("RawNet2", "0.1294", "4.66", "25.43M", "A18", "16.30"),
            }
        ),
    ),
    "finetuning": PublishedTable(
        "Fine-tuning, Table 1: 1,000 utterances, from pre-trained weights",
        (ACCURACY, LOSS, EER_PERCENT),
        {
            "aasist": ("AASIST (5 epochs)", {"accuracy": "45–60", "loss": "5.75", "eer": "-"}),
            "rawnet2": ("RawNet2 (10 epochs)", {"accuracy": "~84.29", "loss": "1.19", "eer": "-"}),
            "lcnn": ("LCNN (10 epochs)", {"accuracy": "~81.4", "loss": "1.26", "eer": "-"}),
        },
    ),
}


@dataclass(frozen=True)
class ReportTable:
    """A table of text, ready to be written."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def to_markdown(self) -> str:
        """With the title as a heading."""
        return f"## {self.title}\n\n{markdown_table(self.header, self.rows)}"

    def to_csv(self) -> str:
        """A header and a line a row."""
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([self.header, *self.rows])
        return stream.getvalue()

    def to_json(self) -> str:
        """Title, header and rows."""
        content = {"title": self.title, "header": self.header, "rows": self.rows}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def report_table(table: str, measured: Measured | None = None, corpus: str | None = None) -> ReportTable:
    """A published table with our values beside the published ones, a column each; empty where nothing was measured.

    `corpus` names what our values were measured on where that is not what the paper used; it stands in the headings.

    `measured` maps names of rows to evaluations, or to values by the keys of the columns (numbers, text such as a
    parameter count, or the Spread of several seeds).

    Raises:
        NasError: there is no such table, row or column; the nearest name is given.
    """
    published = _table(table)
    values = {name: _by_key(of_row, published) for name, of_row in (measured or {}).items()}
    for name, of_row in values.items():
        if name not in published.rows:
            raise NasError(f"{table} has no row {name!r}{nearest(name, list(published.rows))}")
        keys = [column.key for column in published.columns]
        for key in of_row:
            if key not in keys:
                raise NasError(f"{table} has no column {key!r}{nearest(key, keys)}")
    header = ["system"]
    for column in published.columns:
        header += [f"{column.heading}, published", f"{column.heading}, ours{f' on {corpus}' if corpus else ''}"]
    rows = []
    for name, (label, printed) in published.rows.items():
        row = [label]
        for column in published.columns:
            row += [printed[column.key], _written(values.get(name, {}).get(column.key), column.form)]
        rows.append(row)
    return ReportTable(published.title, header, rows)


def read_measured(table: str, path: str | Path) -> Mapping[str, Value]:
    """One row's values from the JSON of an evaluation or of a result card: those that the table has columns for.

    Raises:
        NasError: there is no such table, or the file is not such JSON.
    """
    content = _read_content(path)
    model, metrics = content.get("model"), content.get("metrics")
    if isinstance(metrics, dict):
        content = {**(model if isinstance(model, dict) else {}), **metrics}
    values: dict[str, Value] = {}
    for column in _table(table).columns:
        value = content.get(column.key)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (value is None or number or (isinstance(value, str) and not column.form)):
            raise NasError(f"{path}: {column.key} cannot be {json.dumps(value)[:40]}")
        values[column.key] = value
    if all(value is None for value in values.values()):
        raise NasError(f"{path}: holds none of the values of {table}: {', '.join(values)}")
    return values


def foreign_corpus(table: str, paths: Iterable[str | Path]) -> str | None:
    """The corpus that measured values are of, as their files say, where it is not that of the paper; else None.

    Raises:
        NasError: they are of several corpora, which do not belong into one table.
    """
    home = _table(table).layout
    names = {str(path): _corpus_of(path) or home for path in paths}
    if len(set(names.values())) > 1:
        listed = ", ".join(f"{path}: {name}" for path, name in names.items())
        raise NasError(f"values of several corpora do not belong into one table ({listed}); make one for each")
    return next((name for name in names.values() if name != home), None)


def _corpus_of(path: str | Path) -> str | None:
    """Layout and folder of the corpus, and the partition if it is not eval; None where the file does not say."""
    content = _read_content(path)
    metrics = content.get("metrics")
    corpus = (metrics if isinstance(metrics, dict) else content).get("corpus") or content.get("training_data")
    if not isinstance(corpus, dict) or not isinstance(corpus.get("layout"), str):
        return None
    layout, root, partition = corpus["layout"], corpus.get("root"), corpus.get("partition", "eval")
    # Where the paper's corpus lies does not matter; others are told by their folder.
    where = f" ({Path(root).name})" if isinstance(root, str) and not layout.startswith("asvspoof") else ""
    return f"{layout}{where}" + ("" if partition == "eval" else f", {partition}")


def _read_content(path: str | Path) -> dict[str, Any]:
    content = read_json(path, "file of measured values")
    if not isinstance(content, dict):
        raise NasError(f"{path}: not the JSON of an evaluation, which is an object with the keys eer, min_tdcf, ...")
    return content


def _table(name: str) -> PublishedTable:
    if name not in TABLES:
        raise NasError(f"there is no table {name!r}{nearest(name, list(TABLES))}")
    return TABLES[name]


def _by_key(measured: Mapping[str, Value] | Evaluation, table: PublishedTable) -> Mapping[str, Value]:
    if not isinstance(measured, Evaluation):
        return measured
    return {column.key: getattr(measured, column.key, None) for column in table.columns}


def _written(value: Value, form: str) -> str:
    if value is None:
        return ""
    if isinstance(value, Spread):
        if value.deviation is None:
            return f"{value.mean:{form}}"
        return f"{value.mean:{form}} ± {value.deviation:{form}} (n = {len(value.values)})"
    if isinstance(value, str):
        return value
    return f"{value:{form or ','}}"
