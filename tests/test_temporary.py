"""Temporary files: gone when a write fails, swept when their writer was killed, left alone while it lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nas.temporary import replacing, sweep

WRITER = """
import sys, time
from pathlib import Path
from nas.temporary import replacing
with replacing(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    stream.flush()
    print("writing", flush=True)
    time.sleep(600)
"""


def test_the_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as stream:
        stream.write(b"whole")
    with pytest.raises(ZeroDivisionError), replacing(path) as stream:
        stream.write(bytes(1 // 0))
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.txt", b"whole")]


def test_only_the_files_of_dead_writers_are_swept(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "a.txt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with replacing(tmp_path / "b.txt") as stream:
            stream.write(b"mine")
            sweep(tmp_path)
            assert len(list(tmp_path.glob(".*.tmp"))) == 2
        writer.kill()
    assert len(list(tmp_path.glob(".*.tmp"))) == 1
    sweep(tmp_path, "other-*")
    assert len(list(tmp_path.glob(".*.tmp"))) == 1
    sweep(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["b.txt"]
