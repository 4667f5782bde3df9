"""A training with as many development utterances as ASVspoof 2019 LA has, stopped by SIGTERM at random moments and
resumed each time, against the same never interrupted.

    python -m experiments.stop_study --stops 20 --output experiments/results/stop_study.json

The corpus is made for it: short waveforms of noise. What is measured is how long a process lives after the signal, and
whether what came out is the same to the bit.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import nas.searching.search  # noqa: F401 (imported once, here, for all processes)
from experiments.kill_study import CELL, command_line, differences
from nas.files import write_text
from nas.training.checkpoint import read_checkpoint
from nas.training.environment import describe_environment

DEVELOPMENT = 24_844
"""Utterances of the development set of ASVspoof 2019 LA."""
TRAINING = 256
LIMIT = 20.0
"""Seconds within which a process is to end."""
OVERRIDES = (
    "data.layout=manifest",
    "data.samples=600",
    "data.subset={}",
    "engine.pictures=1",
    "engine.evaluation_batch_size=128",
    "train.epochs=2",
    "train.batch_size=8",
)


def make_corpus(folder: Path) -> Path:
    """A manifest of noise in which one class is louder."""
    chance = np.random.default_rng(0)
    (folder / "audio").mkdir(parents=True)
    lines = ["path,key,attack,speaker,partition"]
    for partition, count in (("train", TRAINING), ("dev", DEVELOPMENT)):
        for number in range(count):
            human, name = number % 2, f"audio/{partition}{number}.wav"
            waveform = (0.02 + 0.03 * human) * chance.standard_normal(400)
            soundfile.write(folder / name, waveform, 16_000)
            key, attack = ("bonafide", "-") if human else ("spoof", f"A{1 + number % 6:02d}")
            lines.append(f"{name},{key},{attack},s{number % 20},{partition}")
    return write_text(folder / "manifest.csv", "\n".join(lines) + "\n")


def study(begin: list[str], run: Path, reference: Path, stops: int, seed: int) -> dict[str, Any]:
    """Run a verb whole in `reference`; then in `run`, stopped so many times; compare."""
    started = time.monotonic()
    _live([*begin, "--output", str(reference)], reference)
    whole = time.monotonic() - started
    moments, places = random.Random(seed), list[dict[str, Any]]()
    ends = list[list[str]]()
    while len(places) < stops:
        going_on = (run / "environment.json").exists()
        command = ["resume", str(run)] if going_on else [*begin, "--output", str(run)]
        # Anywhere in a life: starting, training, scoring and drawing are all met.
        stopped = _live(command, run, moments.uniform(0, whole))
        if stopped is None:
            ends.append(differences(reference, run))
            run = run.with_name(f"{run.name}_{len(ends)}")
            continue
        checkpoints = run / "checkpoints"
        found = read_checkpoint(checkpoints) if checkpoints.exists() else None
        place = {key: found[1]["values"][key] if found else None for key in ("epoch", "step")}
        places.append({"stop": len(places) + 1, **stopped, **place})
        print(places[-1], flush=True)
    going_on = (run / "environment.json").exists()
    _live(["resume", str(run)] if going_on else [*begin, "--output", str(run)], run)
    ends.append(differences(reference, run))
    longest = max(place["seconds_to_end"] for place in places)
    return {
        "seconds_whole": round(whole, 1),
        "stops": places,
        "longest_seconds_to_end": longest,
        "runs_that_ended": len(ends),
        "differs": sorted({name for end in ends for name in end}),
        "as_it_should": longest <= LIMIT and not any(ends),
    }


def _live(command: list[str], run: Path, wait: float | None = None) -> dict[str, Any] | None:
    """One process' life, to its end, or to SIGTERM after `wait` seconds; None where it ended by itself.

    Raises:
        RuntimeError: it failed.
    """
    errors = run.with_suffix(".errors")
    process = multiprocessing.get_context("fork").Process(target=command_line, args=([*command, "--quiet"], errors))
    process.start()
    process.join(wait)
    stopped = None
    if process.is_alive():
        signalled = time.monotonic()
        process.terminate()
        process.join()
        seconds = round(time.monotonic() - signalled, 2)
        stopped = {"after_seconds": round(wait or 0.0, 2), "seconds_to_end": seconds, "exit": process.exitcode}
    # 143 is that of a stop that was saved; the signal itself ends what has not begun to train.
    if process.exitcode not in ((0,) if stopped is None else (0, 143, -signal.SIGTERM)):
        raise RuntimeError(f"ended with {process.exitcode}: {errors.read_text(encoding='utf-8')[-500:]}")
    return stopped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "genotype.json").write_text(json.dumps({"normal": CELL, "expand": CELL}))
        places = [f"data.root={make_corpus(home / 'corpus')}", f"data.cache={home / 'cache'}"]
        begin = ["train", "raw_pcdarts/toy", *OVERRIDES, *places, "--genotype", str(home / "genotype.json")]
        result = study(begin, home / "run", home / "whole", asked.stops, asked.seed)
    environment = describe_environment()
    environment["command"] = ["python", "-m", "experiments.stop_study", *sys.argv[1:]]
    settings = {"development_utterances": DEVELOPMENT, "overrides": OVERRIDES}
    write_text(asked.output, json.dumps({"environment": environment, **settings, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
