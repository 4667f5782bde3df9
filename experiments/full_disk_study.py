"""Every verb that writes, on file systems that are full after some of what it writes: each ends in one sentence, and
what was stopped goes on, to the same bits, when there is room.

    python -m experiments.full_disk_study --output experiments/results/full_disk_study.json

The file systems are tmpfs of several sizes, so it needs to be root on Linux. A run is grown room and resumed; a folder
that another verb writes to is given the same command again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import nas.searching.search  # noqa: F401 (imported once, here, for all processes)
from experiments.kill_study import CELL, command_line, differences
from nas.files import write_text
from nas.training.environment import describe_environment

SMALL = ("data.samples=300", "engine.pictures=1", "search.epochs=2", "search.batch_size=16", "train.epochs=2")
SENTENCE = re.compile(r"nas: (cannot|the disk|[^\n]*No space left on device)[^\n]*\n?")


@dataclass(frozen=True)
class Verb:
    """What is run.

    Attributes:
        arguments: with `{out}` where it writes, and `{run}` for a finished run.
        run: whether `{out}` becomes a run directory.
        inside: whether it writes into the finished run, which then lies on the small file system.
    """

    arguments: tuple[str, ...]
    run: bool = False
    inside: bool = False


VERBS = {
    "search": Verb(("search", "raw_pcdarts/toy", *SMALL, "-o", "{out}"), run=True),
    "train": Verb(("train", "raw_pcdarts/toy", *SMALL, "-g", "{genotype}", "-o", "{out}"), run=True),
    "finetune": Verb(("finetune", "raw_pcdarts/toy", *SMALL, "--weights", "{run}", "-o", "{out}"), run=True),
    "evaluate": Verb(("evaluate", "{run}"), inside=True),
    "score": Verb(("score", "{audio}", "--run", "{run}", "-o", "{out}")),
    "report": Verb(("report", "{run}", "-o", "{out}")),
    "tune": Verb(("tune", "{tuning}", "-g", "{genotype}", "-o", "{out}")),
    "corpus build": Verb(("corpus", "build", "--bonafide", "{audio}", "--attacks", "griffin_lim", "-o", "{out}")),
}


def make_inputs(home: Path) -> dict[str, str]:
    """Recordings, a genotype, a recipe of a study and a finished run."""
    audio = home / "audio"
    audio.mkdir()
    chance = np.random.default_rng(0)
    for number in range(12):
        soundfile.write(audio / f"s{number % 4}_{number}.wav", 0.1 * chance.standard_normal(8000), 16_000)
    (home / "genotype.json").write_text(json.dumps({"normal": CELL, "expand": CELL}))
    settings = {"sampler": "random", "pruner": "none", "trials": 2, "ranges": {"train.learning_rate": [1e-3, 1e-2]}}
    toy = Path(__file__).with_name("raw_pcdarts") / "toy.yaml"
    changes = {"data": {"layout": "embedded", "samples": 300, "subset": {"train": 32, "dev": 16}}, "tune": settings}
    text = re.sub(r"(?ms)^(data|train|engine):\n(?:  .*\n?)*", "", toy.read_text(encoding="utf-8"))
    train = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "final_learning_rate": 1e-4}
    (home / "tuning.yaml").write_text(text + "\n" + json_sections({**changes, "train": train}))
    places = {"audio": audio, "genotype": home / "genotype.json", "tuning": home / "tuning.yaml", "run": home / "run"}
    return {name: str(path) for name, path in places.items()}


def json_sections(sections: dict[str, Any]) -> str:
    """Sections of a recipe, as YAML on one line each."""
    return "".join(f"{name}: {json.dumps(content)}\n" for name, content in sections.items())


@contextmanager
def small_disk(place: Path, kib: int) -> Iterator[None]:
    """A file system of so many KiB at `place`."""
    place.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)  # noqa: S603, S607


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)  # noqa: S603, S607


def run(arguments: Sequence[str], errors: Path) -> tuple[int | None, str]:
    """Exit status of `nas ARGUMENTS`, and what it said on stderr."""
    process = multiprocessing.get_context("fork").Process(target=command_line, args=(list(arguments), errors))
    process.start()
    process.join()
    return process.exitcode, errors.read_text(encoding="utf-8")


def used(place: Path) -> int:
    """KiB that a folder takes, by pages."""
    files = [path for path in place.rglob("*") if path.is_file()]
    return sum(-(-path.stat().st_size // 4096) * 4 for path in files) + 4


def trial(verb: Verb, given: dict[str, str], home: Path, whole: Path | None, kib: int) -> dict[str, Any]:
    """One verb on one size: how it ended, whether what it said is one sentence, and whether it then goes on."""
    disk, errors = home / "disk", home / "errors.txt"
    with small_disk(disk, kib):
        out = disk / "run" if verb.inside else disk / "out"
        places = {**given, "out": str(out)}
        if verb.inside:
            places["run"] = str(out)
            shutil.copytree(given["run"], out)
            before = {path: path.read_bytes() for path in (out / "checkpoints").iterdir()}
            # What is left is what counts.
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize // 1024
            (disk / "ballast").write_bytes(bytes(max(0, free - kib % 10_000) * 1024))
        arguments = [part.format(**places) for part in verb.arguments]
        code, said = run(arguments, errors)
        result: dict[str, Any] = {"kib": kib, "exit": code, "said": " ".join(said.replace(str(home), "HOME").split())}
        lines = [line for line in said.splitlines() if line.strip() and not line.startswith(("scores", "epoch"))]
        sentences = [line for line in lines if SENTENCE.match(line)]
        result["one_sentence"] = "Traceback" not in said and (code == 0 or (code == 2 and len(sentences) == 1))
        _mount("-o", "remount,size=200m", str(disk))
        left = [str(path.relative_to(disk)) for path in disk.rglob("*") if path.name.endswith(".tmp")]
        if code:
            again = ["resume", str(out)] if verb.run and (out / "environment.json").exists() else arguments
            result["goes_on_by"] = again[0]
            code, said = run(again, errors)
            result["goes_on"] = code == 0
            if code:
                result["said_then"] = said[-300:]
        result["left"] = left
        if verb.run and whole is not None:
            result["differs"] = differences(whole, out)
        if verb.inside:
            result["differs"] = [path.name for path, content in before.items() if path.read_bytes() != content]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verb", choices=VERBS, action="append", help="default: all")
    parser.add_argument("--sizes", type=int, default=8, help="file systems of each verb")
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        given = make_inputs(home)
        errors = home / "errors.txt"
        for part, arguments in (("run", VERBS["train"].arguments),):
            code, said = run([a.format(**given, out=home / part) for a in arguments], errors)
            if code:
                raise RuntimeError(said)
        for name in asked.verb or VERBS:
            verb, whole = VERBS[name], home / f"whole_{name.replace(' ', '_')}"
            places = {**given, "out": str(whole)}
            code, said = run([part.format(**places) for part in verb.arguments], errors)
            if code:
                raise RuntimeError(said)
            most = 64 if verb.inside else used(whole) if whole.is_dir() else 8
            sizes = sorted({max(4, 4 * round(most * share / asked.sizes / 4)) for share in range(asked.sizes + 1)})
            if verb.inside:
                sizes = [10_000 + size for size in sizes]  # the run needs room; the rest is ballast
            results[name] = []
            for kib in sizes:
                results[name].append(trial(verb, given, home, whole if verb.run else None, kib))
                print(name, results[name][-1], flush=True)
    every = [one for trials in results.values() for one in trials]
    good = all(one["one_sentence"] and one.get("goes_on", True) and not one.get("differs") for one in every)
    environment = describe_environment()
    environment["command"] = ["python", "-m", "experiments.full_disk_study", *sys.argv[1:]]
    text = json.dumps({"environment": environment, "as_it_should": good, "verbs": results}, indent=1)
    write_text(asked.output, text + "\n")


if __name__ == "__main__":
    main()
