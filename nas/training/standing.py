"""Where a loop stands: what a checkpoint holds besides tensors."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nas import processes
from nas.errors import NasError
from nas.recipe_file import recipe_from
from nas.training.checkpoint import Snapshot, require_like
from nas.training.run import Run

MOVABLE = ("data.root", "data.cache", "data.asv_scores", "engine.workers")
"""Keys that may change while a run is stopped: where things are. The corpus must be the same wherever it is."""
_NORM = {"steps": 0, "taken": 0, "total": 0.0, "rate": 0.0}
"""What a checkpoint holds of each gradient norm."""
_BEST = {"rank": [0.0, 0.0], "epoch": 0, "eer": 0.0}
"""What is kept of the best epoch."""


@dataclass(frozen=True)
class Standing:
    """A place in a run: the epoch (from 1), the steps of it that are done and their sums, the learning rate at the
    epoch's start, the steps skipped in all, and the best epoch so far."""

    epoch: int = 1
    step: int = 0
    totals: list[float] = field(default_factory=lambda: [0.0] * 4)
    learning_rate: float | None = None
    seconds: float = 0.0
    """That its steps took."""
    skipped: int = 0
    best: dict[str, Any] | None = None
    norms: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What TensorBoard's gradient norms are the mean of, by optimiser."""

    finished: bool = False
    """Whether nothing is left to do."""

    def values(self, run: Run, corpus: dict[str, Any]) -> dict[str, Any]:
        """All of it, with the history, the recipe and the fingerprint of the corpus, in JSON-able types."""
        recipe = run.recipe.model_dump(mode="json")
        more = {"history": run.history, "recipe": recipe, "processes": processes.count(), "corpus": corpus}
        return {**vars(self), **more}


def resume_from(snapshot: Snapshot, run: Run, corpus: dict[str, Any], steps: int) -> Standing:
    """Restore the last good checkpoint of a run, or the start where there is none.

    Args:
        corpus: its fingerprint now.
        steps: of an epoch.

    Raises:
        NasError: the run's recipe or its corpus was changed since; what differs is named. Or it had other processes.
    """
    found = snapshot.read()
    if found is None:
        run.save_recipe()  # nothing is done yet, so it may have been changed
        run.continue_history([])
        return Standing()
    tensors, state = found
    epochs = (run.recipe.search if run.kind == "search" else run.recipe.train).epochs
    try:
        values = dict(state["values"])
        recipe, history, count, began_on = (values.pop(name) for name in ("recipe", "history", "processes", "corpus"))
        standing = Standing(**values)
        _require_plausible(standing, history, epochs, snapshot.optimizers)
        # Read as a recipe, so that a key which is newer than the run has its default there too.
        began = recipe_from(recipe)
    except (KeyError, ValueError, TypeError, AttributeError, NasError) as error:
        raise NasError(f"{run.folder}: the checkpoint is not one of this version") from error
    changed = differences(began.model_dump(mode="json"), run.recipe.model_dump(mode="json"))
    fixed = [change for change in changed if not change.startswith(tuple(f"{key} was " for key in MOVABLE))]
    if fixed:
        raise NasError(f"{run.folder}/recipe.yaml was changed since the run began: {'; '.join(fixed)}")
    if began_on != corpus:
        was, now = (f"{c.get('train')} training and {c.get('dev')} development utterances" for c in (began_on, corpus))
        differing = f"{was} then, {now} now" if was != now else "other utterances, or other waveforms"
        where = run.recipe.data.root or run.recipe.data.layout
        raise NasError(f"the corpus at {where} is not the one that {run.folder} began on: {differing}")
    if standing.step > steps:
        raise NasError(f"{run.folder}: the checkpoint is not one of this run: an epoch has no step {standing.step}")
    if count != processes.count() and standing.epoch <= epochs:
        raise NasError(f"{run.folder} is a run of {count} processes and cannot go on with {processes.count()}")
    snapshot.restore(tensors, state, moments=standing.epoch <= epochs)
    run.continue_history(history)
    if changed:
        run.save_recipe()
        run.log(f"recipe.yaml: {'; '.join(changed)}; the corpus is the same")
    if standing.finished:
        logging.getLogger("nas").info("%s is finished: nothing is left to do", run.folder)
    elif standing.epoch > epochs:
        run.log(f"going on after the last epoch, {epochs}")
    elif standing != Standing():
        run.log(f"going on at epoch {standing.epoch}, after {standing.step} steps")
    return standing


def _require_plausible(
    standing: Standing, history: list[dict[str, Any]], epochs: int, optimizers: Iterable[str]
) -> None:
    """Refuse a place that a run of so many epochs cannot have come to.

    Raises:
        TypeError, ValueError, KeyError: it cannot.
    """
    known = {"best": standing.best and _BEST, "learning_rate": 0.0 if standing.learning_rate is not None else None}
    known["norms"] = dict.fromkeys(standing.norms and optimizers, _NORM)
    require_like(vars(standing), vars(Standing()) | known)
    for row in history:
        if list(row) != list(history[0]):
            raise TypeError("other columns")
        require_like([row["epoch"], row["dev_eer"]], [1, 0.0])
    numbers = [standing.seconds, standing.skipped, standing.learning_rate or 0.0, *standing.totals[1:3]]
    if not (1 <= standing.epoch <= epochs + 1 and standing.step >= 0 and min(numbers) >= 0):
        raise ValueError("out of bounds")
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("not finite")
    if [row["epoch"] for row in history] != list(range(1, standing.epoch)):
        raise ValueError("other epochs")
    if standing.best is None and standing.epoch > epochs:
        raise ValueError("no best epoch")
    if standing.best is not None and not 1 <= standing.best["epoch"] < standing.epoch:
        raise ValueError("another best epoch")


def differences(before: Any, now: Any, key: str = "") -> list[str]:
    """`KEY was BEFORE, is NOW` of every value that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted({*before, *now})
        return [d for n in names for d in differences(before.get(n), now.get(n), f"{key}.{n}" if key else n)]
    return [] if before == now else [f"{key} was {before!r}, is {now!r}"]
