"""What a recipe calls by name: registered entries, and one answer to a name that nothing has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nas.errors import NasError, nearest

Entry = TypeVar("Entry")


class Registry(dict[str, Entry]):
    """Entries by name. `registry[name]` of an unknown name raises NasError, which names the nearest.

    Args:
        what: what an entry is, for that sentence, e.g. "attack".
    """

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def __missing__(self, name: str) -> Entry:
        raise NasError(f"there is no {self.what} {name!r}{nearest(name, self.names())}")

    def entry(self, name: str) -> Callable[[Entry], Entry]:
        """A decorator that registers what it decorates."""

        def register(entry: Entry) -> Entry:
            self[name] = entry
            return entry

        return register

    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration."""
        return tuple(self)
