"""Progress bars: the one place that makes them, and that knows when there is nobody to watch one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(
    items: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    initial: int = 0,
    desc: str,
    unit: str = "it",
    leave: bool = False,
    show: bool = True,
) -> tqdm[Any]:
    """A bar over `items`, or one that is moved by hand (`update`); a context that closes it.

    It is drawn on a terminal only: in a log file or a pipe every redrawing would be one more line.

    Args:
        total: number of steps, where `items` does not tell.
        initial: steps that were done before.
        desc, unit: what is done, and what a step is: "decode", "file".
        leave: whether the bar stays on the terminal when it is full.
        show: False for `--quiet`.
    """
    disable = None if show else True  # None: where stderr is no terminal
    return tqdm(items, total=total, initial=initial, desc=desc, unit=unit, leave=leave, disable=disable)
