"""Studies on a journal file and on a real PostgreSQL, worked on by two processes, of which one is killed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas.errors import NasError
from nas.tuning.study import open_storage, open_study, run_study

ROOT = Path(__file__).parent.parent

WORKER = """
import os, socket, sys, time
from optuna.samplers import RandomSampler
from nas.tuning.study import open_storage, open_study, run_study
url, name, trials, hang_at, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
# As if on a machine of its own, so that only the storage can tell that it has died.
socket.gethostname = lambda: name
seen = 0
def objective(trial):
    global seen
    x = trial.suggest_float("x", 0, 1)
    seen += 1
    while hang_at == 0 and seen > 5 and not os.path.exists(os.path.join(folder, "hanging")):
        time.sleep(0.01)  # the survivor must not do it all before the other one hangs
    if seen == hang_at:
        open(os.path.join(folder, "hanging"), "w").write(str(trial.number))
        time.sleep(600)
    with open(os.path.join(folder, "done"), "a") as stream:
        stream.write(f"{trial.number}\\n")
    return x
study = open_study("quick", open_storage(url, heartbeat=1), RandomSampler(seed=os.getpid()))
run_study(study, objective, trials)
"""


def start(url: str, name: str, trials: int, hang_at: int, folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-W", "ignore", "-c", WORKER, url, name, str(trials), str(hang_at), str(folder)]
    return subprocess.Popen(arguments, env=environment, cwd=folder)


def kill_one_of_two(url: str, trials: int, folder: Path, names: tuple[str, str]) -> optuna.Study:
    """Two workers; the first is killed in the middle of its tenth trial. Returns the study when the other is done."""
    open_study("quick", open_storage(url), optuna.samplers.RandomSampler())
    killed, survivor = start(url, names[0], trials, 10, folder), start(url, names[1], trials, 0, folder)
    try:
        for _ in range(600):
            if (folder / "hanging").exists() and (folder / "hanging").read_text():
                break
            time.sleep(0.1)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert survivor.wait(timeout=240) == 0
    finally:
        killed.kill()
        survivor.kill()
    return optuna.load_study(study_name="quick", storage=open_storage(url))


def check_accounts(study: optuna.Study, trials: int, folder: Path) -> None:
    """Nothing lost, nothing counted twice, and the trial that hung was begun again."""
    found = study.get_trials()
    complete = [trial for trial in found if trial.state == TrialState.COMPLETE]
    assert len(complete) == trials
    assert len({trial.number for trial in complete}) == trials
    done = [int(line) for line in (folder / "done").read_text().split()]
    assert sorted(done) == [trial.number for trial in complete]
    hung = int((folder / "hanging").read_text())
    # It was put back, and run again under its number.
    assert found[hung].state == TrialState.COMPLETE
    assert found[hung].user_attrs["left"] == {"times": 1, "epoch": 0}
    # All else that failed gave way because the number was reached.
    assert {trial.state for trial in found} <= {TrialState.COMPLETE, TrialState.FAIL}
    assert len(found) <= trials + 2


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """URL of an empty database of a server that is started on loopback for these tests."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'nas-antispoofing[postgresql]'")
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if shutil.which("initdb") is None and not homes:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    home = homes[-1] if homes else Path(str(shutil.which("initdb"))).parent
    # The server refuses to be run by root.
    user = "postgres" if os.getuid() == 0 else None
    if user is not None and user not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    folder = Path(tempfile.mkdtemp(prefix="nas-postgresql-"))
    if user is not None:
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*command: str) -> None:
        subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120)

    data, log = str(folder / "data"), str(folder / "log")
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    try:
        run(str(home / "initdb"), "-D", data, "-U", "nas", "-A", "trust", "-E", "UTF8", "--no-sync")
        run(str(home / "pg_ctl"), "-D", data, "-l", log, "-o", options, "-w", "start")
        try:
            run(str(home / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "nas", "studies")
            yield f"postgresql+psycopg://nas@127.0.0.1:{port}/studies"
        finally:
            run(str(home / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_two_workers_on_postgresql_one_killed(postgresql: str, tmp_path: Path) -> None:
    study = kill_one_of_two(postgresql, 200, tmp_path, ("one", "another"))
    check_accounts(study, 200, tmp_path)


def test_two_workers_on_a_journal_one_killed(tmp_path: Path) -> None:
    host = socket.gethostname()
    study = kill_one_of_two(str(tmp_path / "study.journal"), 40, tmp_path, (host, host))
    check_accounts(study, 40, tmp_path)


def test_a_journal_without_sign_of_life_from_elsewhere_is_not_waited_for(tmp_path: Path) -> None:
    study = open_study("quick", open_storage(tmp_path / "j"), optuna.samplers.RandomSampler(seed=0))
    study.ask().set_user_attr("worker", "elsewhere 1 1")
    run_study(study, lambda trial: trial.suggest_float("x", 0, 1), 3)
    states = [trial.state for trial in study.get_trials()]
    assert states == [TrialState.RUNNING, TrialState.COMPLETE, TrialState.COMPLETE]


def test_a_study_is_prolonged_not_repeated(tmp_path: Path) -> None:
    for trials, expected in ((3, 3), (3, 3), (5, 5)):
        study = open_study("quick", open_storage(tmp_path / "j"), optuna.samplers.RandomSampler(seed=0))
        run_study(study, lambda trial: trial.suggest_float("x", 0, 1), trials)
        assert len(study.get_trials()) == expected


def test_the_proxy_serves_a_journal(tmp_path: Path) -> None:
    pytest.importorskip("grpc")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = (
        "import sys; from optuna.storages import run_grpc_proxy_server; from nas.tuning.study import open_storage; "
        "run_grpc_proxy_server(open_storage(sys.argv[1]), host='127.0.0.1', port=int(sys.argv[2]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-W", "ignore", "-c", serve, str(tmp_path / "j"), str(port)]
    server = subprocess.Popen(arguments, env=environment)
    try:
        storage = open_storage(f"grpc://127.0.0.1:{port}")
        storage.wait_server_ready(timeout=60)  # type: ignore[attr-defined]
        study = open_study("quick", storage, optuna.samplers.RandomSampler(seed=0))
        run_study(study, lambda trial: trial.suggest_float("x", 0, 1), 4)
    finally:
        server.kill()
        server.wait()
    kept = optuna.load_study(study_name="quick", storage=open_storage(tmp_path / "j"))
    assert len(kept.get_trials()) == 4


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        # Where the driver is not installed, the sentence says so.
        ("postgresql+psycopg://nas:secret@127.0.0.1:1/none", "cannot be opened"),
        ("postgresql+psycopg://nas:sec@ret@127.0.0.1:1/none", "is written %40"),
        ("nosuchdriver+sqlite://nas:secret@x", "cannot be opened"),
        ("nonsense://x", "cannot be opened"),
        ("sqlite:////nowhere/at/all.db?password=secret", "cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(NasError, match=sentence) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
