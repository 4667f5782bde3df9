"""Trials of mutated files, in this process, under a guard of time and memory."""

from __future__ import annotations

import contextlib
import io
import logging
import random
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from nas.errors import NasError

SECONDS = 10.0
"""Of the processor, so that other work on the machine does not count; six times as many by the clock end a wait."""
BYTES = 2**30
LONGEST_SENTENCE = 2000

Trial = Callable[[random.Random, Path], None]


class _TooLong(BaseException):
    """A trial took longer than it may."""


@dataclass
class Count:
    """How the trials of a kind of file ended; `faults` holds those that ended in neither, with their numbers."""

    valid: int = 0
    refused: int = 0
    slowest_seconds: float = 0.0
    faults: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"slowest_seconds": round(self.slowest_seconds, 2)}


def run_trials(name: str, trial: Trial, numbers: range, scratch: Path, seed: int = 0) -> Count:
    """Run a trial for each number, from which and from the seed all of it follows."""
    count = Count()
    for number in numbers:
        folder = scratch / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = time.process_time()
        try:
            with _guarded():
                trial(random.Random(f"{seed} {name} {number}"), folder)
            count.valid += 1
        except NasError as error:
            if "\n" in str(error) or len(str(error)) > LONGEST_SENTENCE:
                count.faults.append({"number": number, "error": f"no sentence: {str(error)[:300]}"})
            else:
                count.refused += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | GeneratorExit):
                raise
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            count.faults.append({"number": number, "error": f"{type(error).__name__}: {error} ({where})"[:300]})
        seconds = time.process_time() - began
        count.slowest_seconds = max(count.slowest_seconds, seconds)
    return count


@contextlib.contextmanager
def _guarded() -> Iterator[None]:
    """No more than `SECONDS`, no more than `BYTES` beyond what is taken now, and nothing on the terminal."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    before = {number: signal.signal(number, stop) for number in (signal.SIGALRM, signal.SIGPROF)}
    limits = resource.getrlimit(resource.RLIMIT_AS)
    taken = 4096 * int(Path("/proc/self/statm").read_text().split()[0])
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    quiet = io.StringIO()
    try:
        resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, limits[1]))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, 6 * SECONDS)
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        logging.disable(level)
