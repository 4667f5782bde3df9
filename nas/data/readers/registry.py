"""The registry of layouts, and the checks that every table of utterances passes."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from nas.data.utterance import PARTITIONS, Utterance
from nas.errors import NasError, nearest
from nas.registry import Registry

Reader = Callable[[Path, Sequence[str] | None, Mapping[str, Path] | None], Iterable[Utterance]]
"""(root, partitions or None for all that are there, protocol file of each partition or None) -> rows."""

_READERS: Registry[Reader] = Registry("corpus layout")
_BUILT_IN = ("asvspoof2019", "asvspoof2021", "asvspoof5", "folders", "in_the_wild", "manifest")


reader = _READERS.entry
"""Decorator: register a function as the reader of a layout."""


def layouts() -> tuple[str, ...]:
    """The names that `read` takes."""
    for module in _BUILT_IN:
        importlib.import_module(f"nas.data.readers.{module}")
    return tuple(sorted(_READERS))


def read(
    layout: str,
    root: str | Path,
    *,
    partitions: Sequence[str] | None = None,
    protocols: Mapping[str, str | Path] | None = None,
) -> tuple[Utterance, ...]:
    """All utterances of a corpus, in the order of its protocols.

    Args:
        layout: one of `layouts()`, e.g. "asvspoof2019_la" or "manifest".
        root: the corpus' folder (for a manifest also the CSV file itself).
        partitions: which of "train", "dev", "eval" to read; by default all that are there.
        protocols: protocol file of a partition, where it is not the corpus' own, e.g. {"train": "my_train.txt"}.

    Raises:
        NasError: unknown layout, missing or malformed protocol (with file and line), audio that is named but absent, an
            utterance named twice, or no utterance at all.
    """
    if layout not in layouts():
        raise NasError(
            f"there is no corpus layout {layout!r}{_meant(layout)}; those there are: {', '.join(layouts())}; "
            "a manifest serves for any other corpus"
        )
    for partition in (*(partitions or ()), *(protocols or ())):
        if partition not in PARTITIONS:
            raise NasError(f"there is no partition {partition!r}{nearest(partition, PARTITIONS)}")
    root = Path(root)
    if not root.exists():
        raise NasError(f"there is no corpus at {root}")
    named = {partition: Path(path) for partition, path in protocols.items()} if protocols else None
    utterances = tuple(_READERS[layout](root, partitions, named))
    if not utterances:
        raise NasError(f"{root} ({layout}) names no utterances in {', '.join(partitions or PARTITIONS)}")
    _refuse_duplicates(utterances, root)
    return utterances


def require_both_classes(utterances: Iterable[Utterance], partition: str, where: str | Path) -> None:
    """Refuse a partition that cannot be learnt from or scored.

    Raises:
        NasError: `partition` of `where` is empty or lacks one of the classes.
    """
    keys = {utterance.key for utterance in utterances if utterance.partition == partition}
    missing = [key for key in ("bonafide", "spoof") if key not in keys]
    if missing:
        raise NasError(f"partition {partition!r} of {where} has no {' and no '.join(missing)} utterance; it needs both")


def _meant(layout: str) -> str:
    """The layout that was mistyped, if any: another year or track is another corpus and no slip."""

    def parts(name: str) -> list[str]:
        return re.findall(r"[a-z]+|\d+", name.lower())

    def close(word: str, known: str) -> bool:
        slip = len(known) > 3 and known.isalpha() and SequenceMatcher(None, word, known).ratio() > 0.75
        return word == known or slip

    for known in layouts():
        pairs = list(zip(parts(layout), parts(known), strict=False))
        if len(parts(layout)) == len(parts(known)) and all(close(*pair) for pair in pairs):
            return f"; did you mean {known!r}?"
    return ""


def _refuse_duplicates(utterances: tuple[Utterance, ...], root: Path) -> None:
    seen: dict[str, Utterance] = {}
    for row in utterances:
        other = seen.setdefault(row.utterance, row)
        if other is not row:
            raise NasError(
                f"{root}: utterance {row.utterance!r} is named twice ({other.partition}: {other.path}, "
                f"{row.partition}: {row.path}); every utterance must be named once, in a manifest by its column "
                "utterance"
            )
