"""The next command, printed so that it can be typed as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path


def command(*words: str | Path) -> str:
    """`nas WORDS`, quoted for a shell; a path that begins with a dash is not taken for an option.

    >>> command("evaluate", Path("my runs/train"))
    "nas evaluate 'my runs/train'"
    """
    plain = [f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words]
    return shlex.join(["nas", *plain])


def beside(folder: Path, ending: str) -> Path:
    """A folder for what comes next, which does not exist: `runs/search` -> `runs/search-train`, `-train-2`, ..."""
    base = folder.absolute() if folder.name in ("", "..") else folder
    place = base.with_name(f"{base.name}-{ending}")
    number = 2
    while place.exists():
        place = base.with_name(f"{base.name}-{ending}-{number}")
        number += 1
    return place


def after_search(folder: Path) -> str:
    """What comes after a search: training what it found, as its run directory has it."""
    return f"retrain it: {command('train', folder, '--output', beside(folder, 'train'))}"


def after_training(folder: Path) -> str:
    """What comes after a training."""
    return f"score it: {command('evaluate', folder)}"
