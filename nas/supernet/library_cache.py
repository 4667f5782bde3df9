"""Compiled libraries, kept between runs so that nobody but this user decides what is loaded.

A library lies in $XDG_CACHE_HOME/nas (by default ~/.cache/nas) as NAME-DIGEST.so, DIGEST being the SHA-256 of its
content. It is taken only from a folder that belongs to this user and that nobody else can write to, only where it
belongs to this user itself, and only with the digest that its name says; otherwise it is built anew. What was checked
is what is loaded: the bytes, not the file, which might be changed in between, or cut short while it is used.

Where there is no such folder (no home, a home of someone else) each process builds its library for itself.
"""

from __future__ import annotations

import atexit
import ctypes
import grp
import hashlib
import logging
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from nas.errors import NasError
from nas.files import write_bytes

LARGEST_LIBRARY = 64 * 2**20
"""Bytes that are read of a file of the cache."""
_LOG = logging.getLogger("nas")


def cached_library(name: str, build: Callable[[], bytes]) -> bytes:
    """The content of a library: of the cache, or built and kept there where there is a cache.

    Args:
        name: says all that the library depends on.
        build: makes it; what it raises is passed on.
    """
    folder = private_cache()
    if folder is None:
        return build()
    damaged = []
    for path in sorted(folder.glob(f"{name}-*.so")):
        content = _read_own(path)
        if content is not None and path.name == _file_name(name, content):
            return content
        damaged.append(path)
    content = build()
    if damaged:
        _LOG.warning("%s is damaged or not of this user and is not loaded; built again", damaged[0])
    try:
        for path in damaged:
            path.unlink(missing_ok=True)
        write_bytes(folder / _file_name(name, content), content)
    except (NasError, OSError):
        pass  # A full or read-only cache only costs the time to build it again.
    return content


def load_library(content: bytes) -> ctypes.CDLL:
    """Load a library from its bytes.

    Raises:
        OSError: it is none for this machine.
    """
    if hasattr(os, "memfd_create"):
        # A file in memory: no file system, mounted without execution or changed by others, comes between.
        handle = os.memfd_create("nas-passes")
        try:
            with open(os.dup(handle), "wb") as stream:
                stream.write(content)
            # The handle stays open: the loader knows a library by this path, which must not come to mean another.
            return ctypes.CDLL(f"/proc/self/fd/{handle}")
        except OSError:
            os.close(handle)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{hashlib.sha256(content).hexdigest()}.so"
        path.write_bytes(content)
        return ctypes.CDLL(str(path))


def private_cache() -> Path | None:
    """The cache folder, made where it is missing; None where this user has none of their own."""
    root = _cache_root()
    if root is None:
        return None
    folder = root / "nas"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = folder.resolve(strict=True)
        private = _only_ours(folder.stat()) and all(_is_guarded(parent.stat()) for parent in folder.parents)
    except OSError:
        return None
    if not private:
        _LOG.warning("others than this user can write to %s: no compiled library is kept there or loaded", folder)
        return None
    return folder


def private_folder(name: str) -> Path:
    """A folder of the cache, or one for this process alone where there is no cache."""
    folder = private_cache()
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="nas-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / name).mkdir(exist_ok=True, mode=0o700)
    return folder / name


def _cache_root() -> Path | None:
    """$XDG_CACHE_HOME, or .cache of the home; None where neither is known. Paths that are not absolute count as unset,
    as the XDG Base Directory Specification has it."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        return Path(given)
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            return None
    return Path(home) / ".cache" if os.path.isabs(home) else None


def _only_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not _others_write(status)


def _is_guarded(status: os.stat_result) -> bool:
    """Whether nobody but this user and the administrator can put another folder in the place of one in this folder."""
    return status.st_uid in (0, os.geteuid()) and (not _others_write(status) or bool(status.st_mode & stat.S_ISVTX))


def _others_write(status: os.stat_result) -> bool:
    if status.st_mode & stat.S_IWGRP:
        # Many systems give each user a group of that name, and let it write (umask 002).
        try:
            group, user = grp.getgrgid(status.st_gid), pwd.getpwuid(os.geteuid())
        except KeyError:
            return True
        if group.gr_name != user.pw_name or set(group.gr_mem) - {user.pw_name}:
            return True
    return bool(status.st_mode & stat.S_IWOTH)


def _read_own(path: Path) -> bytes | None:
    """The content of a plain file of this user; None where it is another's, a link, or something else."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not (stat.S_ISREG(status.st_mode) and _only_ours(status)):
                return None
            return stream.read(LARGEST_LIBRARY)
    except OSError:
        return None


def _file_name(name: str, content: bytes) -> str:
    return f"{name}-{hashlib.sha256(content).hexdigest()}.so"
