"""What goes wrong around a run - memory, disks, other processes - as sentences."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from nas import processes
from nas.commands import command
from nas.errors import NasError, Untrainable

_LOST = re.compile(r"gloo|nccl|connection (closed|reset)|broken pipe|timed out", re.IGNORECASE)
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOENT, errno.EFBIG}


@contextmanager
def told(folder: Path, key: str, batch_size: int, fitting: Callable[[], int]) -> Iterator[None]:
    """Turn faults of the surroundings into one sentence each; checkpoints are never touched by them.

    Args:
        folder: the run directory.
        key: the recipe's key of the batch size, e.g. "train.batch_size".
        batch_size: its value.
        fitting: measures the batch size that would fit the device's memory.

    Raises:
        NasError: memory, disk, or another process failed.
    """
    intact = f"the last checkpoint is intact, go on with: {command('resume', folder)}"
    try:
        yield
    except torch.OutOfMemoryError as error:
        error.__traceback__ = None  # its frames hold the tensors of the step
        fits = fitting()
        advice = (
            f"about {fits} would fit: start again with {key}={fits}, or go on on a larger GPU"
            if fits > 1
            else "no batch would fit: take a smaller network or shorter data.samples"
        )
        raise Untrainable(f"the GPU has not enough memory for {key}={batch_size}; {advice}; {intact}") from None
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise NasError(f"cannot write to {error.filename or folder}: {error.strerror}; {intact}") from error
    except RuntimeError as error:
        if processes.count() == 1 or not _LOST.search(str(error)):
            raise
        raise NasError(f"another process of this run has ended or cannot be reached; {intact}") from error


def fitting_batch(peak: Callable[[int], int], available: int, asked: int) -> int:
    """The largest batch, below the one that was asked for, that fits a memory.

    Memory grows with a straight line in the batch, which two small batches tell.

    Args:
        peak: bytes at the peak of a step on so many utterances; may run out of memory itself.
        available: bytes.
        asked: the batch size that did not fit.
    """
    try:
        few, many = 2, max(4, asked // 8)
        low, high = peak(few), peak(many)
        slope = (high - low) / (many - few)
        # A tenth is left for fragments, and for what grows from step to step.
        fits = int((0.9 * available - low) / slope) + few if slope > 0 else asked // 2
    except torch.OutOfMemoryError:
        fits = asked // 2
    return max(1, min(fits, asked - 1))
