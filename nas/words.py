"""Words and numbers of text files (scores, keys, manifests), and how sentences name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.errors import NasError

NAMES_SHOWN = 3
"""How many trials an error names before it says how many more there are."""


def score_value(text: str, path: str | Path, line: int) -> float:
    """A score; nan and infinities are let through, to be counted with the trials they belong to."""
    try:
        # float() also takes digits grouped with "_", which no score file means.
        if "_" in text:
            raise ValueError
        return float(text)
    except ValueError:
        hint = " (write a decimal point, not a comma)" if "," in text else ""
        raise NasError(f"{path}, line {line}: the score {shortened(text)!r} is not a number{hint}") from None


def is_number(text: str) -> bool:
    """Whether a field could be a score."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def shortened(text: str, length: int = 40) -> str:
    """The text, cut where it is too long for a sentence."""
    return text if len(text) <= length else text[: length - 3] + "..."


def named(names: Sequence[str], total: int | None = None) -> str:
    """How many there are and the first few, for a sentence: `4 of 90 (u1, u2, u3 and 1 more)`."""
    count = f"{len(names)}" if total is None else f"{len(names)} of {total}"
    more = len(names) - NAMES_SHOWN
    shown = ", ".join(shortened(name) for name in names[:NAMES_SHOWN])
    return f"{count} ({shown}" + (f" and {more} more)" if more > 0 else ")")
