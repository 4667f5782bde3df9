"""What ends a run in a sentence that a person is meant to read."""

from __future__ import annotations

from pathlib import Path

from nas.commands import command


def printable(text: str) -> str:
    """A name from a file that is not trusted, for a terminal: what a terminal would act on is written as an escape.

    Line ends are escaped too: of text of several lines, each line is handed over by itself.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class NasError(Exception):
    """Bad input: what is wrong, where (file, line, key), and what would be right, in one sentence.

    The command line prints the sentence and leaves with exit code 2; no traceback is shown. Names from untrusted files
    stand in these sentences, so characters that a terminal would act on are written as escapes.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence))


class Interrupted(Exception):
    """A run was asked to stop and has saved; `folder` is its run directory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"stopped and saved; go on with: {command('resume', folder)}")
        self.folder = folder
