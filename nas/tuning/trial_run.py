"""The run of a trial: begun, or gone on with where its worker was stopped or killed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial

from nas.config import Recipe
from nas.errors import Interrupted, NasError
from nas.folder_lock import require_idle
from nas.searching.supernet_search import resume_search
from nas.training.checkpoint import read_checkpoint
from nas.training.environment import this_command
from nas.training.run import Run
from nas.training.train import resume_train
from nas.tuning.identity import comparable

OnEpoch = Callable[[int, dict[str, Any]], None]


def run_trial(recipe: Recipe, place: Path, on_epoch: OnEpoch, progress: bool, begin: Callable[[], Any]) -> float:
    """The run in a folder of a trial, from where it was left; the lowest EER on the development set, percent.

    Args:
        recipe: of this trial.
        place: the run directory.
        on_epoch: as of `nas.train`.
        progress: whether to show progress bars.
        begin: runs it from the start, where there is nothing to go on from.

    Raises:
        Interrupted: with the command that goes on with the study.
    """
    try:
        run = _left(recipe, place)
        if run is None:
            return float(begin().eer)
        run.on_epoch = on_epoch
        return float((resume_search if run.kind == "search" else resume_train)(run, progress).eer)
    except Interrupted as error:
        # nas resume would finish the run, and the study would never hear of it.
        raise Interrupted(error.folder, this_command()) from error


def watch(trial: Trial, prunes: bool) -> OnEpoch:
    """Note every epoch of a trial; where the study prunes, report its dev EER, and end it when the pruner says so."""
    reported = dict(trial.storage.get_trial(trial._trial_id).intermediate_values)
    best = min(reported.values(), default=float("inf"))

    def on_epoch(epoch: int, row: dict[str, Any]) -> None:
        nonlocal best
        trial.set_user_attr("epoch", epoch)
        # What counts in the end is the best epoch, so that is what is compared.
        best = min(best, row["dev_eer"])
        if not prunes or epoch < max(reported, default=0):
            return  # an epoch that is run again; it was judged before
        if epoch not in reported:
            trial.report(best, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    return on_epoch


def _left(recipe: Recipe, place: Path) -> Run | None:
    """The run that a worker left; what cannot be gone on with is put aside."""
    if not place.exists():
        return None
    require_idle(place)
    try:
        if read_checkpoint(place / "checkpoints") is None:
            shutil.rmtree(place)  # killed before its first checkpoint: it holds no work
            return None
        run = Run.open(place)
        if comparable(run.recipe) == comparable(recipe):
            return run
        why = "is a run of another recipe"
    except NasError as error:
        why = str(error)
    aside = next(p for n in range(1, 10_000) if not (p := place.with_name(f"{place.name}.{n}")).exists())
    place.rename(aside)
    logging.getLogger("nas").warning(f"{place} cannot be gone on with ({why}); it is now {aside}")
    return None
