"""Progress bars are for terminals: a log gets none, --quiet silences all, and all are made in one place."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

import pytest

import nas
from nas.progress import progress_bar


def test_a_log_gets_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_bar(range(3), desc="decode", unit="file", leave=True)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_one_unless_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for show in (True, False):
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        with os.fdopen(follower, "w") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            with progress_bar(total=2, desc="decode", show=show) as bar:
                bar.update()
            print("end", file=terminal, flush=True)
            shown = os.read(leader, 4096).decode()
        os.close(leader)
        assert ("decode" in shown) is show


def test_there_is_one_place_that_makes_bars() -> None:
    package = Path(nas.__file__).parent
    makers = [path.name for path in package.rglob("*.py") if re.search(r"\btqdm\b", path.read_text(encoding="utf-8"))]
    assert makers == ["progress.py"]
