"""Holding a folder: one process works on it, and a second one is told which.

The lock is that of the operating system on FOLDER/.lock, which lets go of it however the process ends; the file says
who holds it. A file system without locks is used with what the file says.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nas.errors import NasError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


@contextlib.contextmanager
def working_on(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made if absent (and gone again if nothing was put into it).

    Raises:
        NasError: another process works on it, or it cannot be written to.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _hold(folder)
    except OSError as error:
        if made:
            _remove_empty(folder)
        raise NasError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / NAME).unlink()
        os.close(handle)
        if made:
            _remove_empty(folder)


def require_idle(folder: Path) -> None:
    """Refuse a folder that another process works on, without holding it.

    Raises:
        NasError: with the process.
    """
    with contextlib.suppress(OSError):
        handle = os.open(folder / NAME, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _lock(handle, folder)
        finally:
            os.close(handle)


def _hold(folder: Path) -> int:
    """An open, locked file that stands in the folder and says who holds it."""
    path = folder / NAME
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(handle, folder)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    holder = {"host": socket.gethostname(), "pid": os.getpid(), "began": _began(os.getpid())}
                    content = json.dumps({**holder, "since": time.strftime("%Y-%m-%d %H:%M:%S")}).encode()
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, content, 0)
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # another process, which had held it, removed it between the two calls


def _lock(handle: int, folder: Path) -> None:
    try:
        if fcntl is None:
            raise OSError
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NasError(_refusal(folder, _holder(handle))) from None
    except OSError:
        holder = _holder(handle)
        if holder.get("host") == socket.gethostname() and holder.get("pid") != os.getpid():
            began = _began(holder["pid"])
            if began is not None and began == holder.get("began"):
                raise NasError(_refusal(folder, holder)) from None
        elif holder.get("host") not in (None, socket.gethostname()):
            logging.getLogger("nas").warning(
                "this file system has no locks; make sure that process %s of %s no longer works on %s",
                holder.get("pid"),
                holder["host"],
                folder,
            )


def _holder(handle: int) -> dict[str, Any]:
    """Who holds the file; empty where it does not say."""
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    known = isinstance(holder, dict) and type(holder.get("pid")) is int and isinstance(holder.get("host"), str)
    return holder if known else {}


def _refusal(folder: Path, holder: dict[str, Any]) -> str:
    if not holder:
        return f"another process is working on {folder}; wait until it has ended"
    here = holder["host"] == socket.gethostname()
    place = "this machine" if here else holder["host"]
    return (
        f"{folder} is being worked on by process {holder['pid']} of {place}, since {str(holder.get('since'))[:19]}; "
        "wait until it has ended, or stop it"
    )


def _began(pid: int) -> str | None:
    """When a process of this machine was started, in ticks since the machine was; None where there is no such one."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except OSError:
        pass
    return ""


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
