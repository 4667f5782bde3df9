"""The cache of compiled libraries: what others planted is not loaded, what is damaged is built again."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.supernet import library_cache
from nas.supernet.library_cache import cached_library, load_library, private_cache

BUILT = b"as it is built"
root = pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator can give files to another user")


def cached(name: str = "passes") -> bytes:
    return cached_library(name, lambda: BUILT)


def file_name(content: bytes, name: str = "passes") -> str:
    return f"{name}-{hashlib.sha256(content).hexdigest()}.so"


def plant(folder: Path, content: bytes = b"planted") -> Path:
    """A library under the name that its content asks for."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / file_name(content)
    path.write_bytes(content)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "nas"


def test_what_was_kept_is_taken(cache: Path) -> None:
    assert cached() == BUILT
    assert [path.name for path in cache.iterdir()] == [file_name(BUILT)]
    assert cache.stat().st_mode & 0o777 == 0o700
    assert cached_library("passes", lambda: b"not asked for") == BUILT


@pytest.mark.parametrize("value", ["", ".", "cache", "./x"])
def test_none_is_taken_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A cache folder that is empty or relative counts as unset."""
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    planted = plant(tmp_path / value / "nas")
    assert cached() == BUILT
    assert planted.read_bytes() == b"planted"
    assert [path.name for path in (tmp_path / "home" / ".cache" / "nas").iterdir()] == [file_name(BUILT)]


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o702])
def test_none_is_taken_from_a_folder_that_others_can_write_to(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    plant(cache)
    cache.chmod(mode)
    if mode == 0o775:
        os.chown(cache, -1, 54321) if os.geteuid() == 0 else pytest.skip("only the administrator can choose a group")
    assert cached() == BUILT
    assert "others than this user can write" in caplog.text
    assert len(list(cache.iterdir())) == 1


def test_none_is_taken_below_a_folder_that_others_can_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared / "mine"))
    plant(shared / "mine" / "nas")
    shared.chmod(0o777)
    assert private_cache() is None
    assert cached() == BUILT
    shared.chmod(0o1777)  # As /tmp: each removes only what is their own.
    assert private_cache() == shared / "mine" / "nas"


@root
@pytest.mark.parametrize("whose", ["file", "folder", "parent"])
def test_none_is_taken_of_another_owner(cache: Path, whose: str) -> None:
    planted = plant(cache)
    os.chown({"file": planted, "folder": cache, "parent": cache.parent}[whose], 54321, 54321)
    assert cached() == BUILT


def test_a_link_is_not_followed(cache: Path, tmp_path: Path) -> None:
    planted = plant(tmp_path / "elsewhere")
    cache.mkdir(mode=0o700)
    (cache / planted.name).symlink_to(planted)
    assert cached() == BUILT
    assert planted.exists()


@pytest.mark.parametrize("damage", [lambda b: b[:5], lambda b: b"", lambda b: b"x" + b[1:]])
def test_what_is_damaged_is_built_again_and_said_once(
    cache: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    cached()
    kept = cache / file_name(BUILT)
    kept.write_bytes(damage(BUILT))
    with caplog.at_level(logging.WARNING, "nas"):
        assert cached() == BUILT
        assert cached() == BUILT
    assert len(caplog.records) == 1
    assert "built again" in caplog.text
    assert kept.read_bytes() == BUILT


def test_no_home_and_no_entry_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(user: int) -> None:
        raise KeyError(user)

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(library_cache.pwd, "getpwuid", nobody)
    assert private_cache() is None
    assert cached() == BUILT
    monkeypatch.setenv("HOME", "relative")
    assert private_cache() is None


def test_a_cache_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", Path("/proc"), tmp_path / ("x" * 300)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(place))
        assert cached() == BUILT


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_what_was_checked_is_loaded_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    libraries = []
    for number in (1, 2):
        source, built = tmp_path / f"{number}.c", tmp_path / f"{number}.so"
        source.write_text(f"int number(void) {{ return {number}; }}")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(built), str(source)], check=True)
        libraries.append(load_library(built.read_bytes()))
        os.truncate(built, 0)
    assert [library.number() for library in libraries] == [1, 2]
    with pytest.raises(OSError):
        load_library(b"no library")
    assert isinstance(libraries[0], ctypes.CDLL)


PROGRAM = """
import os, sys, torch
from nas.supernet import native
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
os.environ.pop("HOME", None)
os.environ["XDG_CACHE_HOME"] = sys.argv[1]
print("library:", native.load_passes(torch.float32))
"""


@root
@pytest.mark.slow
@pytest.mark.parametrize("given", ["PATH", "/nowhere/of/mine", ""])
def test_a_user_without_home_and_entry_gets_a_library_or_none(tmp_path: Path, given: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, given], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.startswith("library: "), done.stderr
    assert not list(tmp_path.iterdir())
