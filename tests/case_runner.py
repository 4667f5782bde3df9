"""Cases after public reports and files, run as a user would: a command in a copy of its folder, and what it must say.

The cases lie in ../shared/cases, outside the repository; `test_cases.py` skips where they are missing. By hand:

    python tests/case_runner.py [PATTERN ...]     # one line a case: its exit status, and the end of what it printed
"""

from __future__ import annotations

import fnmatch
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CASES = HERE.parent.parent / "shared" / "cases"
SECONDS = 300


@dataclass(frozen=True)
class Case:
    """What the command of a case must do.

    Attributes:
        says: regular expressions that its output (stdout and stderr) must contain, each.
        never: regular expressions that it must not contain; a traceback never may.
        code: exit status of the last command; None where it does not matter.
        command: what is run, for cases that have no command.txt or whose command names another machine's files.
        needs: programs without which the case is skipped.
    """

    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    code: int | None = 0
    command: str | None = None
    needs: tuple[str, ...] = ()


def cases() -> dict[str, Case]:
    """All rows, by "family/name"."""
    rows: dict[str, Case] = {}
    sys.path.insert(0, str(HERE))
    for family in ("data", "search", "hostile"):
        table = importlib.import_module(f"cases_{family}").CASES
        rows |= {f"{family}/{name}": case for name, case in table.items()}
    return rows


def run(name: str, case: Case) -> tuple[int, str]:
    """Exit status and output of the case's command, run in a copy of its folder."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / Path(name).name
        shutil.copytree(CASES / name, folder)
        command = case.command or (folder / "command.txt").read_text(encoding="utf-8")
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(HERE.parent),
        }
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
        )
        return done.returncode, done.stdout.decode("utf-8", "backslashreplace")


def faults(case: Case, code: int, output: str) -> list[str]:
    """What is not as the row has it."""
    found = [] if case.code in (None, code) else [f"exit status {code}, expected {case.code}"]
    found += [f"does not say {pattern!r}" for pattern in case.says if not re.search(pattern, output)]
    return found + [
        f"says {pattern!r}" for pattern in ("Traceback", *case.never) if re.search(pattern, output, re.MULTILINE)
    ]


def main(patterns: list[str]) -> int:
    failed = 0
    for name, case in cases().items():
        if patterns and not any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            continue
        code, output = run(name, case)
        wrong = faults(case, code, output)
        failed += bool(wrong)
        lines = [line for line in re.split(r"[\r\n]+", output) if line.strip()]
        shown = lines if patterns and len(patterns) == 1 and "*" not in patterns[0] else lines[-2:]
        print(f"{'WRONG' if wrong else 'ok   '} {name} [{code}] {' | '.join(shown)}")
        for sentence in wrong:
            print(f"      {sentence}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
