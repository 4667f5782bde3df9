"""Writing files so that a reader sees the whole of it or none of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from nas.errors import NasError


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write to a temporary file in the same folder, sync, rename. Missing folders are made.

    Raises:
        NasError: the folder cannot be made or written to, or the disk is full; nothing is left behind.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o666 & ~_UMASK)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise NasError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def write_text(path: str | Path, text: str) -> Path:
    """`write_bytes` of UTF-8 text."""
    return write_bytes(path, text.encode("utf-8"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()
