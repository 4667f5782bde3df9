"""What a run ran on and with: versions, hardware, code, command."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nas.redaction import hide_secrets

PACKAGES = ("nas-antispoofing", "torch", "torchaudio", "numpy", "scipy", "accelerate", "soundfile", "optuna")


def describe_environment() -> dict[str, Any]:
    """A JSON-able description of this machine, these versions and this command."""
    import torch

    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command_line(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git": _git_state(),
        "cpu": _cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
    }


def command_line() -> list[str]:
    """This command as given, passwords of storage URLs hidden: it is written down, and runs are passed on."""
    program = Path(sys.argv[0]).name
    return ["nas" if program == "__main__.py" else program, *map(hide_secrets, sys.argv[1:])]


def this_command() -> str:
    """`command_line` as one would type it."""
    return shlex.join(command_line())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git_state() -> dict[str, Any] | None:
    """Commit of this package's checkout and whether it is changed; None where it is installed from a wheel."""
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return None
    try:
        head = _git(home, "rev-parse", "HEAD")
        return {"commit": head, "changed": bool(_git(home, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(home: Path, *arguments: str) -> str:
    command = ["git", "-C", str(home), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603
    return result.stdout.strip()
