"""A search and a training, killed at random moments and resumed each time, against the same never interrupted.

    python -m experiments.kill_study --kills 50 --output experiments/results/kill_study.json

Each process is killed with SIGKILL: some while they start, the others once they have taken up the run, after a time
drawn evenly. The recipe is the toy one with as many epochs as the kills need, and a checkpoint after every step.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import nas.searching.search  # noqa: F401 (imported once, here, for all processes)
from nas import cli
from nas.files import write_text
from nas.training.checkpoint import read_checkpoint
from nas.training.environment import describe_environment
from nas.training.run import read_tensors

STARTING = 0.1
"""Share of the processes that are killed before they have taken up the run."""

CELL = [["std_conv_3", 0], ["skip_connect", 1], ["dil_conv_5", 1], ["max_pool_3", 2]] * 2
"""Both cells of the network that is trained."""

OVERRIDES = ("data.samples=1000", "engine.pictures=0", "engine.checkpoint_minutes=0.0001")


def differences(one: Path, other: Path) -> list[str]:
    """What is not, to the bit, the same in two run directories: weights, alphas, betas, genotypes, history."""
    found = []
    for name in ("last", "best"):
        first, second = (read_tensors(run / "checkpoints" / f"{name}.safetensors") for run in (one, other))
        found += [f"{name}: {key}" for key in sorted(first.keys() ^ second.keys())]
        shared = sorted(first.keys() & second.keys())
        found += [f"{name}: {key}" for key in shared if not torch.equal(first[key], second[key])]
    files = [
        {str(path.relative_to(run)) for path in run.glob("genotypes/*.json")} | {"genotype.json"}
        for run in (one, other)
    ]
    found += sorted(files[0] ^ files[1])
    found += [name for name in sorted(files[0] & files[1]) if (one / name).read_bytes() != (other / name).read_bytes()]
    if _history(one) != _history(other):
        found.append("history.csv")
    return found


def _history(run: Path) -> list[list[str]]:
    """The rows without the column that says how fast it went."""
    rows = [line.split(",") for line in (run / "history.csv").read_text(encoding="utf-8").splitlines()]
    column = rows[0].index("utterance_rate")
    return [row[:column] + row[column + 1 :] for row in rows]


def study(begin: list[str], run: Path, reference: Path, kills: int, seed: int = 0) -> dict[str, Any]:
    """Run a verb whole in `reference`; then in `run`, killed so many times; compare.

    Args:
        begin: the verb and its arguments, without --output.
        run, reference: folders that are not there yet.
        kills: how many SIGKILLs.
        seed: of the moments.

    Raises:
        RuntimeError: a process failed by itself.
    """
    started = time.monotonic()
    starting = _live(begin, reference, taken_up=True) or 0.0
    whole = time.monotonic() - started
    moments, done = random.Random(seed), 0.0
    places: list[dict[str, Any]] = []
    ends: list[dict[str, Any]] = []
    epochs = len(_history(reference)) - 1
    while len(places) < kills:
        command = begin if not (run / "environment.json").exists() else ["resume"]
        if command == begin and run.exists():
            shutil.rmtree(run)  # killed before it was a run: nothing to go on from
        early = moments.random() < STARTING
        # Each takes its share of what is left, whatever else the machine does meanwhile.
        left = (1 - done) * (whole - starting) / (kills - len(places))
        lived = _live(command, run, not early, moments.uniform(0, starting if early else left))
        if lived is None:
            # It came to its end before it was killed: the kills that are left are of another run.
            ends.append({"after_kills": len(places), "differs": differences(reference, run)})
            shutil.rmtree(run)
            done = 0.0
            continue
        found = read_checkpoint(run / "checkpoints") if (run / "checkpoints").exists() else None
        values = found[1]["values"] if found else {}
        place = {key: values.get(key) for key in ("epoch", "step")}
        done = (values["epoch"] - 1) / epochs if values else 0.0
        places.append({"kill": len(places) + 1, "seconds": round(lived, 3), "starting": early, **place})
        print(places[-1], flush=True)
    _live(begin if not (run / "environment.json").exists() else ["resume"], run, False)
    ends.append({"after_kills": kills, "differs": differences(reference, run)})
    identical = not any(end["differs"] for end in ends)
    return {"command": begin, "epochs": epochs, "kills": places, "ends": ends, "identical": identical}


def _live(command: list[str], run: Path, taken_up: bool, wait: float | None = None) -> float | None:
    """One process' life: killed `wait` seconds after its start, or after it has taken up the run; or lived to its end.

    Returns:
        Seconds that it lived; of one that was not to be killed, seconds until it had taken up the run; None where it
        was to be killed and had ended well before.
    """
    log, errors = run / "log.txt", run.with_suffix(".errors")
    said = log.stat().st_size if log.exists() else 0
    target = [str(run)] if command == ["resume"] else ["--output", str(run)]
    started = time.monotonic()
    # Forked, so that a life is not for the most part the importing of libraries.
    process = multiprocessing.get_context("fork").Process(
        target=command_line, args=([*command, *target, "--quiet"], errors)
    )
    process.start()
    while taken_up and process.is_alive() and (log.stat().st_size if log.exists() else 0) <= said:
        time.sleep(0.01)
    begun = time.monotonic() - started
    if wait is not None:
        time.sleep(wait)
        process.kill()
    process.join()
    if wait is not None and process.exitcode == 0:
        return None
    if process.exitcode != (0 if wait is None else -signal.SIGKILL):
        raise RuntimeError(f"ended with {process.exitcode} in place of being killed: {errors.read_text()[-500:]}")
    return begun if wait is None else time.monotonic() - started


def command_line(arguments: list[str], errors: Path) -> None:
    """`nas ARGUMENTS` in this process; what it says as errors goes to a file."""
    with open(os.devnull, "w") as nowhere, open(errors, "w", encoding="utf-8", buffering=1) as stream:
        sys.argv, sys.stdout, sys.stderr = ["nas", *arguments], nowhere, stream
        cli.main()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verb", choices=("search", "train"), action="append", help="default: both")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "genotype.json").write_text(json.dumps({"normal": CELL, "expand": CELL}))
        for verb in asked.verb or ("search", "train"):
            begin = [verb, "raw_pcdarts/toy", *OVERRIDES, f"{verb}.epochs={asked.epochs}"]
            begin += ["--genotype", str(home / "genotype.json")] if verb == "train" else []
            results.append(study(begin, home / verb, home / f"{verb}_whole", asked.kills, asked.seed))
    for result in results:
        result["command"] = [Path(part).name if part.startswith("/") else part for part in result["command"]]
    environment = describe_environment()
    environment["command"] = ["python", "-m", "experiments.kill_study", *sys.argv[1:]]
    write_text(asked.output, json.dumps({"environment": environment, "studies": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
