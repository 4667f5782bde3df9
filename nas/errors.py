"""What ends a run in a sentence that a person is meant to read."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

from nas.commands import command
from nas.redaction import hide_secrets


def printable(text: str) -> str:
    """A name from a file that is not trusted, for a terminal: what a terminal would act on is written as an escape.

    Line ends are escaped too: of text of several lines, each line is handed over by itself.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_LONG_WORD = re.compile(r"(\S{100})\S{300,}(\S{100})")


class NasError(Exception):
    """Bad input: what is wrong, where (file, line, key), and what would be right, in one sentence.

    The command line prints the sentence and leaves with exit code 2; no traceback is shown. Names from untrusted files
    stand in these sentences, so characters that a terminal would act on are written as escapes, and words of more than
    500 characters are cut in the middle; passwords are hidden.
    """

    def __init__(self, sentence: str) -> None:
        sentence = hide_secrets(sentence)
        super().__init__(_LONG_WORD.sub(r"\1...\2", printable(sentence)))


class Untrainable(NasError):
    """The settings of a run cannot be trained: it diverges, or does not fit the memory. A study goes on without it."""


class Interrupted(Exception):
    """A run was asked to stop and has saved.

    Args:
        folder: its run directory, or the folder of its study.
        go_on: the command that goes on with it; nas resume by default.
    """

    def __init__(self, folder: Path, go_on: str | None = None) -> None:
        super().__init__(f"stopped and saved; go on with: {go_on or command('resume', folder)}")
        self.folder = folder


def nearest(word: str, words: tuple[str, ...] | list[str]) -> str:
    """The end of a sentence that names the closest valid word, and all of them where none is close."""
    close = get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid are: {', '.join(sorted(words))}"
