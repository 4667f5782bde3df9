"""Studies of Optuna: where they are stored, and running them to a number of trials, on one machine or many."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.errors import NasError

JOURNAL = "study.journal"
"""The file of a study in its folder, unless it is on a database."""
RETRIES = 3
"""How often a trial is begun again whose worker died."""
HEARTBEAT_SECONDS = 60
UNNAMED_SECONDS = 60
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

Objective = Callable[[Trial], float | Sequence[float]]


class Surplus(Exception):
    """Two workers began the last trial at once; the one that came second gives it up."""


def open_storage(storage: str | Path, heartbeat: int = HEARTBEAT_SECONDS) -> BaseStorage:
    """The storage of a study.

    Args:
        storage: a journal file; a URL of SQLAlchemy, e.g. postgresql+psycopg://user@host/studies; or
            grpc://HOST:PORT of Optuna's proxy.
        heartbeat: seconds between signs of life of a worker on a database. After five without one, its trial is given
            to another.

    Raises:
        NasError: the driver of the database is not installed, or the database cannot be reached.
    """
    text = str(storage)
    proxy = re.fullmatch(r"grpc://([^:/]+):(\d+)", text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            if proxy:
                return GrpcStorageProxy(host=proxy[1], port=int(proxy[2]))
            if "://" not in text:
                Path(text).parent.mkdir(parents=True, exist_ok=True)
                return JournalStorage(JournalFileBackend(text))
            return RDBStorage(
                text,
                engine_kwargs={"pool_pre_ping": True},
                heartbeat_interval=heartbeat,
                grace_period=5 * heartbeat,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=RETRIES),
            )
        except ImportError as error:
            raise NasError(
                f"storage {_without_password(text)}: the driver of this database is not installed ({error.name}); for "
                "PostgreSQL: pip install 'nas-antispoofing[postgresql]'"
            ) from error
        except Exception as error:
            # Drivers raise their own kinds of error, of which nothing is common.
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise NasError(
                f"storage {_without_password(text)} cannot be opened: {_without_password(reason)}"
            ) from error


def open_study(
    name: str,
    storage: BaseStorage,
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner | None = None,
    objectives: int = 1,
) -> Study:
    """The study of that name, made where it does not exist; all objectives are minimised.

    Raises:
        NasError: it exists with another number of objectives.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=storage,
        sampler=sampler,
        pruner=pruner or optuna.pruners.NopPruner(),
        study_name=name,
        directions=["minimize"] * objectives,
        load_if_exists=True,
    )
    if len(study.directions) != objectives:
        raise NasError(
            f"study {name!r} is there already with {len(study.directions)} objectives, not {objectives}; choose "
            "another --output or storage"
        )
    return study


def run_study(
    study: Study,
    objective: Objective,
    trials: int,
    after: Callable[[FrozenTrial], None] | None = None,
) -> None:
    """Work on a study until it has so many finished (complete or pruned) trials, whoever else works on it.

    Every trial is counted once: a trial that two workers begin beyond the number is given up, one whose worker died
    is begun again (`RETRIES` times), and the last worker waits for those that others still run.

    Args:
        objective: of a trial; raises optuna.TrialPruned to end it early.
        trials: how many the study is to have in the end, those of before included.
        after: called with every trial that this worker finishes.
    """

    def limited(trial: Trial) -> float | Sequence[float]:
        trial.set_user_attr("worker", this_worker())
        taken = (*FINISHED, TrialState.RUNNING)
        before = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number and t.state in taken]
        if len(before) >= trials:
            raise Surplus
        return objective(trial)

    def report(study: Study, trial: FrozenTrial) -> None:
        if after is not None and trial.state in FINISHED:
            after(trial)

    while True:
        release_abandoned(study)
        found = study.get_trials(deepcopy=False)
        running = [trial for trial in found if trial.state == TrialState.RUNNING]
        finished = sum(trial.state in FINISHED for trial in found)
        waiting = any(trial.state == TrialState.WAITING for trial in found)
        if finished >= trials:
            return
        if finished + len(running) < trials or waiting:
            study.optimize(limited, n_trials=1, callbacks=[report], catch=(Surplus,))
        elif _heartbeat(study) is not None or any(_host_of(trial) == socket.gethostname() for trial in running):
            # What runs elsewhere may yet die, so someone must stay.
            time.sleep(min(_heartbeat(study) or 1, 5))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                optuna.storages.fail_stale_trials(study)
        else:
            logging.getLogger("nas").warning(
                f"{finished} of {trials} trials are finished; the other {len(running)} are run by other machines, or "
                "were: a journal file has no sign of their life. Run the command again when they are done"
            )
            return


def release_abandoned(study: Study) -> None:
    """Give back the running trials of workers of this machine that are gone.

    A journal file has no heartbeat. Each trial names its worker's machine and process, so that at least on one machine
    a killed worker is noticed at once; on several machines only a database notices.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        retry = RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not _abandoned(trial):
            continue
        try:
            if study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL):
                logging.getLogger("nas").info(f"trial {trial.number} was left by a worker that is gone; begun again")
                retry(study, study._storage.get_trial(trial._trial_id))
        except UpdateFinishedTrialError:
            # Another worker was quicker.
            continue


def this_worker() -> str:
    """Machine, process and the moment at which the process started: "node7 4711 823341"."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"


def _abandoned(trial: FrozenTrial) -> bool:
    """Whether the trial's worker is known to be gone."""
    host, _, process = str(trial.user_attrs.get("worker", "")).partition(" ")
    if not process:
        # The worker names itself right after the trial is made; if it did not within a minute, it died there.
        return trial.datetime_start is not None and time.time() - trial.datetime_start.timestamp() > UNNAMED_SECONDS
    number, _, started = process.partition(" ")
    return host == socket.gethostname() and (not number.isdigit() or _started(int(number)) != started)


def _host_of(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("worker", socket.gethostname())).partition(" ")[0]


def _started(process: int) -> str:
    """When a process started, as the system counts it; empty where it does not run. Process numbers are used again."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[19]
    except OSError:
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "0" if not Path("/proc/self/stat").exists() else ""


def _heartbeat(study: Study) -> int | None:
    """Seconds between two heartbeats; None for a storage without."""
    interval = getattr(study._storage, "get_heartbeat_interval", None)
    return interval() if interval else None


def _without_password(text: str) -> str:
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)
