"""Writing files so that a reader sees the whole of it or none of it."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from nas.errors import NasError
from nas.temporary import replacing


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write to a temporary file in the same folder, sync, rename. Missing folders are made.

    Raises:
        NasError: the folder cannot be made or written to, or the disk is full; nothing is left behind.
    """
    path = Path(path)
    require_writable_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write(content)
            os.chmod(stream.fileno(), 0o666 & ~_UMASK)
    except OSError as error:
        raise NasError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def write_text(path: str | Path, text: str) -> Path:
    """`write_bytes` of UTF-8 text."""
    return write_bytes(path, text.encode("utf-8"))


def require_writable_name(path: Path) -> None:
    """Refuse a path that is not text, before anything is written.

    Raises:
        NasError: it has bytes that are not UTF-8, which neither JSON nor YAML nor TensorBoard could hold.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise NasError(f"cannot write {path}: the name is not UTF-8 text") from error


def require_line_safe(name: str, what: str, blanks: bool = False) -> str:
    """A name that a file of lines, with columns divided by white space, can hold and give back.

    Args:
        what: what is named, for the sentence: "an utterance".
        blanks: whether blanks may stand within, because nothing else stands on its line.

    Raises:
        NasError: it is empty, or holds white space, a control character, a line separator or half a surrogate.
    """
    broken = not name.isprintable() and any(unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") for c in name)
    if broken or not name.strip() or (not blanks and name.split() != [name]):
        signs = "control characters" if blanks else "white space and no control characters"
        raise NasError(f"{what} cannot be named {name!r} in a file of lines: names are not empty and have no {signs}")
    return name


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()
