"""The one error that a person is meant to read."""


class NasError(Exception):
    """Bad input: what is wrong, where (file, line, key), and what would be right, in one sentence.

    The command line prints the sentence and leaves with exit code 2; no traceback is shown. Names from untrusted files
    stand in these sentences, so characters that a terminal would act on are written as escapes.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence))
