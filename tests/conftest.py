"""Fixtures that every test file may use."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

# The suite runs in one process per core, each with one thread, and so do the processes that its tests start. Here,
# before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What tests import, and are trusted with later, is not remembered among what the person who runs them has run.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="nas-test-state-")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the repository; the test skips where it is absent."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("the reference data (../shared) is not here")
    return folder
