"""The one error that a person is meant to read."""


class NasError(Exception):
    """Bad input: what is wrong, where (file, line, key), and what would be right, in one sentence.

    The command line prints the sentence and leaves with exit code 2; no traceback is shown.
    """
