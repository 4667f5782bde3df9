"""Studies of Optuna: where they are stored, and running them to a number of trials, on one machine or many."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.errors import Interrupted, NasError, Untrainable
from nas.tuning.storage import HEARTBEAT_SECONDS, JOURNAL, Journal, PatientStorage, locked, open_storage

__all__ = ["HEARTBEAT_SECONDS", "JOURNAL", "open_storage", "open_study", "run_study"]

RETRIES = 3
"""How often running workers take over a trial whose workers died, without an epoch having been finished in between.

Someone who starts a worker may have killed the one before, so a start takes it over however often that was.
"""
UNNAMED_SECONDS = 60
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

_BEGINNINGS = itertools.count(1)

Objective = Callable[[Trial], float | Sequence[float]]


FAILED = "failed"
"""User attribute of a trial that has failed by itself: why. Trials that were given up as surplus have none."""


class Surplus(Exception):
    """Two workers began the last trial at once; the one that came second gives it up."""


class Leave(BaseException):
    """What an objective raises that is no failure of the trial. Optuna fails a trial for every Exception."""


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
    """Work on a study until it has so many trials that are done (complete, pruned or failed), whoever else works on it.

    Every trial is counted once: a trial that two workers begin beyond the number is given up, one that its worker left
    goes back to those that wait and keeps its number, and the last worker waits for those that others still run.

    Args:
        objective: of a trial; raises optuna.TrialPruned to end it early, and Untrainable where it fails. Whatever else
            it raises ends this worker, and the trial is put back.
        trials: how many the study is to have in the end, those of before included.
        after: called with every trial that this worker is done with.
    """

    def limited(trial: Trial) -> float | Sequence[float]:
        try:
            trial.set_user_attr("worker", new_name())
            before = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number and _counts(t)]
            if len(before) < trials:
                return objective(trial)
        except optuna.TrialPruned:
            raise
        except Untrainable as error:
            trial.set_user_attr(FAILED, str(error))
            raise
        except BaseException as error:
            raise Leave from error
        raise Surplus

    def report(study: Study, trial: FrozenTrial) -> None:
        if after is not None and is_done(trial):
            after(trial)

    starting = True
    while True:
        release_abandoned(study, starting)
        starting = False
        found = study.get_trials(deepcopy=False)
        running = [trial for trial in found if trial.state == TrialState.RUNNING]
        waiting = [trial for trial in found if trial.state == TrialState.WAITING]
        done = sum(map(is_done, found))
        if done >= trials:
            return
        if waiting or done + len(running) < trials:
            _take(study, waiting)
            try:
                study.optimize(limited, n_trials=1, callbacks=[report], catch=(Surplus, Untrainable))
            except Leave as leave:
                if not _taken_over(leave.__cause__):
                    _leave(study, leave.__cause__)
                    raise leave.__cause__ from None  # type: ignore[misc]
            except Exception as error:
                # Where the storage fails in telling the result, Optuna raises something else on top of it.
                said = next((e for e in _chain(error) if isinstance(e, NasError)), None)
                if said is not None:
                    raise said from None
                if not any(map(_taken_over, _chain(error))):
                    raise
        elif _heartbeat(study) is not None or any(_host_of(trial) == socket.gethostname() for trial in running):
            # What runs elsewhere may yet die, so someone must stay.
            time.sleep(min(_heartbeat(study) or 1, 5))
        else:
            logging.getLogger("nas").warning(
                f"{done} of {trials} trials are finished; the other {len(running)} are run by other machines, or "
                "were: a journal file has no sign of their life. Run the command again when they are done"
            )
            return


def is_done(trial: FrozenTrial) -> bool:
    """Whether a trial is complete, was pruned, or has failed by itself."""
    return trial.state in FINISHED or (trial.state == TrialState.FAIL and FAILED in trial.user_attrs)


def failures(study: Study) -> list[str]:
    """Why trials failed by themselves, a sentence each."""
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return [str(trial.user_attrs[FAILED]) for trial in failed if FAILED in trial.user_attrs]


def release_abandoned(study: Study, starting: bool = False) -> None:
    """Put back the running trials of workers that are gone: they are begun again, or gone on with, under their number.

    A journal file has no heartbeat. Each trial names its worker's machine and process, so that at least on one machine
    a killed worker is noticed at once; on several machines only a database notices.
    """
    database = getattr(study._storage, "_backend", None)
    silent = database.stale_trials(study._study_id) if isinstance(database, PatientStorage) else []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial._trial_id in silent or _abandoned(trial):
            _put_back(study, trial, "was left by a worker that is gone", starting)


def _put_back(study: Study, trial: FrozenTrial, why: str | None, starting: bool = False) -> None:
    """Make a running trial wait again, if it still is the one that was seen.

    Args:
        why: for the log; None for a worker that was stopped as one should, which does not speak against the trial.
        starting: as of `RETRIES`.
    """
    if not _claim(study, trial):
        return
    storage, number, notes = study._storage, trial._trial_id, {}
    epoch, left = trial.user_attrs.get("epoch", 0), dict(trial.user_attrs.get("left", {"times": 0, "epoch": 0}))
    if why is not None:
        left = {"times": left["times"] + 1 if epoch <= left["epoch"] else 1, "epoch": epoch}
        notes["left"] = left
    with contextlib.suppress(UpdateFinishedTrialError):
        if left["times"] > RETRIES and not starting:
            sentence = f"its worker ended {left['times']} times without an epoch more"
            storage.set_trial_user_attr(number, FAILED, sentence)
            storage.set_trial_state_values(number, state=TrialState.FAIL)
            logging.getLogger("nas").warning(f"trial {trial.number} is given up: {sentence}")
            return
        if isinstance(backend := getattr(storage, "_backend", None), PatientStorage):
            backend.record_heartbeat(number)  # who takes it has as long as anyone to give a sign of life
        for key, value in {**notes, "worker": ""}.items():
            storage.set_trial_user_attr(number, key, value)
        storage.set_trial_state_values(number, state=TrialState.WAITING)
        if why is not None:
            often = f", {left['times']} times without an epoch more" if left["times"] > RETRIES else ""
            logging.getLogger("nas").info(f"trial {trial.number} {why}{often}; it goes on")


def _claim(study: Study, trial: FrozenTrial) -> bool:
    """Of workers that would put back the same trial, let the first one do it."""
    storage: Any = study._storage
    backend, number, seen = getattr(storage, "_backend", None), trial._trial_id, trial.user_attrs.get("worker")
    if isinstance(backend, PatientStorage):
        return backend.claim(number, seen, new_name())
    with locked(backend.path.parent) if isinstance(backend, Journal) else contextlib.nullcontext():
        now = storage.get_trial(number)
        if now.state != TrialState.RUNNING or now.user_attrs.get("worker") != seen:
            return False
        storage.set_trial_user_attr(number, "worker", new_name())
    return True


def _take(study: Study, waiting: Sequence[FrozenTrial]) -> None:
    """See to it that a trial waits that bears this worker's name: it is then known from its first moment whose it is,
    also where the worker is killed in that moment."""
    if not waiting:
        worker = {"worker": new_name()}
        study.add_trial(optuna.create_trial(state=TrialState.WAITING, user_attrs=worker))
        return
    with contextlib.suppress(UpdateFinishedTrialError):
        study._storage.set_trial_user_attr(waiting[0]._trial_id, "worker", new_name())


def _taken_over(error: BaseException | None) -> bool:
    """Whether the trial was put back, because this worker was silent for long, and another one has run it."""
    told = isinstance(error, ValueError) and str(error).startswith("Cannot tell")
    return told or isinstance(error, UpdateFinishedTrialError)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those in handling which it was raised."""
    while error is not None:
        yield error
        error = error.__context__


def _leave(study: Study, error: BaseException | None) -> None:
    """Put back what this worker was running."""
    stopped = isinstance(error, NasError | Interrupted | KeyboardInterrupt)
    why = None if stopped else f"ended in {type(error).__name__}"
    try:
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _is_mine(trial):
                _put_back(study, trial, why)
    except NasError:
        # The storage is away; the next worker sees that this one is gone.
        pass


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial takes one of the places of the study."""
    return is_done(trial) or trial.state in (TrialState.RUNNING, TrialState.WAITING)


def this_worker() -> str:
    """Machine, process and the moment at which the process started: "node7 4711 823341"."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"


def new_name() -> str:
    """A name of this worker for one beginning of a trial: `this_worker` and a number."""
    return f"{this_worker()} {next(_BEGINNINGS)}"


def _is_mine(trial: FrozenTrial) -> bool:
    return str(trial.user_attrs.get("worker", "")).startswith(f"{this_worker()} ")


def _abandoned(trial: FrozenTrial) -> bool:
    """Whether the trial's worker is known to be gone."""
    host, _, process = str(trial.user_attrs.get("worker", "")).partition(" ")
    if not process:
        # The worker names itself right after the trial is made; if it did not within a minute, it died there.
        return trial.datetime_start is not None and time.time() - trial.datetime_start.timestamp() > UNNAMED_SECONDS
    if _is_mine(trial):
        return True  # asked between two trials
    number, started = [*process.split(" "), ""][:2]
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
