"""What is installed here: for `nas info`, and for reports of faults."""

from __future__ import annotations

import os
import platform
import re
import shutil
from importlib.metadata import PackageNotFoundError, distribution, version

DISTRIBUTION = "nas-antispoofing"
CORE = ("torch", "torchaudio", "numpy", "soundfile", "optuna", "tensorboard")


def describe_installation() -> dict[str, str]:
    """Versions, device, threads, compilers and extras, each as one line of text, by name."""
    import torch

    from nas.supernet.native import load_passes

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    compiled = "in use" if load_passes(torch.float32) is not None else "not available, torch operations in their place"
    return {
        "nas": version(DISTRIBUTION),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in CORE},
        "device": ", ".join(gpus) or "CPU",
        "cpu": f"{torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "C passes": compiled,
        "graphviz": "installed" if shutil.which("dot") else "the program dot is missing; nas draws without it",
        **{f"extra {name}": text for name, text in extras().items()},
    }


def extras() -> dict[str, str]:
    """For each extra of the package: installed, or what is missing and how to install it."""
    found = {}
    requirements = distribution(DISTRIBUTION).requires or []
    for name in distribution(DISTRIBUTION).metadata.get_all("Provides-Extra") or []:
        wanted = [r for r in requirements if re.search(rf"extra\s*==\s*['\"]{re.escape(name)}['\"]", r)]
        missing = [package for package in map(_package, wanted) if not _installed(package)]
        found[name] = "installed" if not missing else f"missing: {', '.join(missing)}; pip install -e '.[{name}]'"
    return found


def _package(requirement: str) -> str:
    """The name at the start of a requirement such as "psycopg[binary]>=3.1"."""
    return re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
