"""Fixtures that every test file may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The suite runs in one process per core, each with one thread, and so do the processes that its tests start. Here,
# before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the repository; the test skips where it is absent."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("the reference data (../shared) is not here")
    return folder
