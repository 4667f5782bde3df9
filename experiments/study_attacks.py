"""Attacks on Optuna studies: workers that begin together, a server that is restarted, kills; what is left is counted.

    python -m experiments.study_attacks begin --times 10 --output experiments/results/study_begin.json
    python -m experiments.study_attacks restart --output experiments/results/study_restart.json
    python -m experiments.study_attacks kill --kills 20 --output experiments/results/study_kill.json

`begin`: four `nas tune` at once on an empty SQLite, an empty PostgreSQL and a journal. `restart`: the PostgreSQL server
is stopped and started twice in the middle of a study of four workers. `kill`: SIGKILL at random moments of a study of
one worker, begun again each time, against the same study undisturbed. PostgreSQL is started for it, on loopback, from
an installed package; it refuses to be run by root, so root runs it as the user postgres.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nas.tuning.tune  # noqa: F401 (imported once, here, for all processes)
from nas import cli
from nas.files import write_text
from nas.training.environment import describe_environment

CELL = [["std_conv_3", 0], ["skip_connect", 1], ["dil_conv_5", 1], ["max_pool_3", 2]] * 2
"""Both cells of the network that is trained."""

RECIPE = """
name: attacked
seed: 3
data: {layout: embedded, samples: 1000, subset: {train: 32, dev: 16, eval: 16}}
network: {channels: 4, cells: 3, gru_hidden: 8, gru_layers: 1, mask: 2}
train: {epochs: 2, batch_size: 8, learning_rate: 1e-3, final_learning_rate: 1e-4}
engine: {pictures: 0}
tune:
  trials: 6
  startup_trials: 2
  ranges:
    train.learning_rate: {low: 1e-5, high: 1e-2, log: true}
    train.batch_size: [8, 16]
"""

Worker = multiprocessing.context.ForkProcess


@dataclass(frozen=True)
class Server:
    """A PostgreSQL of its own, on loopback."""

    home: Path
    folder: Path
    port: int
    user: str | None

    def run(self, program: str, *arguments: str) -> None:
        command = [str(self.home / program), *arguments]
        subprocess.run(command, user=self.user, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-o", options, "-w", "start")

    def stop(self, mode: str) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def database(self, name: str) -> str:
        """Makes an empty database; its URL."""
        self.run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "nas", name)
        return f"postgresql+psycopg://nas@127.0.0.1:{self.port}/{name}"


@contextmanager
def postgresql() -> Iterator[Server]:
    """A server that runs until the end of the block."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    home = homes[-1] if homes else Path(str(shutil.which("initdb"))).parent
    user = "postgres" if os.getuid() == 0 and "postgres" in {entry.pw_name for entry in pwd.getpwall()} else None
    folder = Path(tempfile.mkdtemp(prefix="nas-postgresql-"))
    if user is not None:
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(home, folder, free.getsockname()[1], user)
    try:
        server.run("initdb", "-D", str(folder / "data"), "-U", "nas", "-A", "trust", "-E", "UTF8", "--no-sync")
        server.start()
        yield server
        server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(folder: Path, name: str, trials: int, storage: str | None = None) -> Worker:
    """A worker of the study in FOLDER/study; what it says goes to FOLDER/NAME.log."""
    arguments = ["tune", "recipe.yaml", "-g", "genotype.json", "-o", "study", "--trials", str(trials), "-q"]
    arguments += ["--storage", storage] if storage else []
    # Forked, so that a life is not for the most part the importing of libraries.
    worker = multiprocessing.get_context("fork").Process(target=_nas, args=(arguments, folder, name))
    worker.start()
    return worker


def _nas(arguments: list[str], folder: Path, name: str) -> None:
    os.chdir(folder)
    with open(f"{name}.log", "a", encoding="utf-8", buffering=1) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        sys.argv = ["nas", *arguments]
        cli.main()


def prepare(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (folder / "genotype.json").write_text(json.dumps({"normal": CELL, "expand": CELL}), encoding="utf-8")
    return folder


def account(folder: Path, workers: list[Worker], trials: int) -> dict[str, Any]:
    """How the workers ended, and every trial of the study."""
    rows = table(folder)
    logs = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.log"))}
    done = [row for row in rows if row["state"] in ("complete", "pruned")]
    trained = Counter(line.split()[1] for log in logs.values() for line in log.splitlines() if line[:6] == "trial ")
    return {
        "exit_codes": [worker.exitcode for worker in workers],
        "tracebacks": sum("Traceback" in log for log in logs.values()),
        "sentences": [line for log in logs.values() for line in log.splitlines() if line.startswith("nas:")],
        "states": dict(Counter(row["state"] for row in rows)),
        "done": len(done),
        "reported_twice": sorted(name for name, count in trained.items() if count > 1),
        "same_values_twice": len(rows) - len({(row["train.learning_rate"], row["train.batch_size"]) for row in rows}),
        "all_well": len(done) == trials and all(worker.exitcode == 0 for worker in workers),
    }


def table(folder: Path) -> list[dict[str, str]]:
    """trials.csv without the seconds."""
    with open(folder / "study" / "trials.csv", encoding="utf-8", newline="") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def begin_together(home: Path, times: int, workers: int = 4, trials: int = 6) -> list[dict[str, Any]]:
    """So many workers at once on storages that are empty."""
    results = []
    with postgresql() as server:
        for number in range(times):
            for kind in ("journal", "sqlite", "postgresql"):
                folder = prepare(home / f"{kind}{number}")
                url = {"journal": None, "sqlite": "sqlite:///studies.db"}.get(kind) if kind != "postgresql" else None
                url = server.database(f"begin{number}") if kind == "postgresql" else url
                started = [start(folder, f"worker{n}", trials, url) for n in range(workers)]
                for worker in started:
                    worker.join()
                results.append({"storage": kind, "time": number + 1, **account(folder, started, trials)})
                print(results[-1], flush=True)
    return results


def restart_twice(home: Path, trials: int = 24, workers: int = 4, away: float = 5) -> dict[str, Any]:
    """The server stops, fast and at once, and comes back after some seconds, while four workers run a study."""
    folder = prepare(home / "restart")
    with postgresql() as server:
        url = server.database("studies")
        started, moments = [start(folder, f"worker{n}", trials, url) for n in range(workers)], []
        begun = time.monotonic()
        for share, mode in ((0.2, "fast"), (0.6, "immediate")):
            while not (folder / "study" / "trials.csv").exists() or len(_done(folder)) < share * trials:
                time.sleep(0.1)
            server.stop(mode)
            moments.append({"mode": mode, "after": round(time.monotonic() - begun, 1), "done": len(_done(folder))})
            time.sleep(away)
            server.start()
        for worker in started:
            worker.join()
    return {"away_seconds": away, "restarts": moments, **account(folder, started, trials)}


def _done(folder: Path) -> list[dict[str, str]]:
    return [row for row in table(folder) if row["state"] in ("complete", "pruned")]


def kill_often(home: Path, kills: int, trials: int = 12, seed: int = 0) -> dict[str, Any]:
    """Studies of one worker, killed at moments drawn evenly, until there were so many kills.

    Each is held against the same study undisturbed.
    """
    reference = prepare(home / "reference")
    begun = time.monotonic()
    start(reference, "worker", trials).join()
    whole = time.monotonic() - begun
    chance, studies, number = random.Random(seed), list[dict[str, Any]](), 0
    while sum(study["kills"] for study in studies) < kills:
        folder, killed, number = prepare(home / f"killed{number}"), 0, number + 1
        while True:
            worker = start(folder, "worker", trials)
            if sum(study["kills"] for study in studies) + killed < kills:
                # The lives of a study add up to a little more than it takes.
                worker.join(chance.uniform(0, whole / 4))
            else:
                worker.join()
            if worker.exitcode is not None:
                break
            worker.kill()
            worker.join()
            assert worker.exitcode == -signal.SIGKILL
            killed += 1
        rows, best = table(folder), _best(folder) == _best(reference)
        differ = [row for row in rows if row not in table(reference)]
        same = rows == table(reference)
        end = {"kills": killed, "exit_code": worker.exitcode, "same_trials": same, "same_best": best, "differ": differ}
        studies.append(end)
        said = (folder / "worker.log").read_text(encoding="utf-8")
        studies[-1]["said"] = [line for line in said.splitlines() if differ and not line.startswith("epoch")]
        print(studies[-1], flush=True)
    return {"seconds_undisturbed": round(whole, 1), "trials": table(reference), "studies": studies}


def _best(folder: Path) -> str:
    return (folder / "study" / "best.yaml").read_text(encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attack", choices=("begin", "restart", "kill"))
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result: Any
        if asked.attack == "begin":
            result = begin_together(Path(folder), asked.times)
        elif asked.attack == "restart":
            result = restart_twice(Path(folder))
        else:
            result = kill_often(Path(folder), asked.kills)
    environment = describe_environment()
    environment["command"] = ["python", "-m", "experiments.study_attacks", *sys.argv[1:]]
    write_text(asked.output, json.dumps({"environment": environment, "result": result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
