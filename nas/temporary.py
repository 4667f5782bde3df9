"""Files that are written beside their final name: renamed when whole, and swept when their writer was killed.

A writer holds a lock on its temporary file, which the operating system lets go however the writer ends. So a temporary
file without a lock is what a killed process left, on this machine or, where the file system has locks, on another.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and nothing swept
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose content takes the place of `path` when the context ends well, and is gone when it does not.

    Raises:
        OSError: the file cannot be made, written or renamed.
    """
    stream, temporary = _locked(path)
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(folder: Path, names: str = "*") -> None:
    """Remove the temporary files that killed writers of files called `names` (a glob) left in the folder."""
    if fcntl is None:
        return
    for stray in folder.glob(f".{names}.tmp"):
        # What cannot be opened or locked is somebody else's, or on a file system without locks.
        with contextlib.suppress(OSError), stray.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stray.unlink(missing_ok=True)


def _locked(path: Path) -> tuple[IO[bytes], Path]:
    """A new temporary file beside `path`, locked."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        stream = os.fdopen(handle, "wb")
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.exists(name):
            return stream, Path(name)
        stream.close()  # swept between the two calls
