"""Where a loop stands: what a checkpoint holds besides tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nas import processes
from nas.errors import NasError
from nas.recipe_file import recipe_from
from nas.training.checkpoint import Snapshot, require_like
from nas.training.run import Run

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

    def values(self, run: Run) -> dict[str, Any]:
        """All of it, with the history and the recipe, in JSON-able types."""
        recipe = run.recipe.model_dump(mode="json")
        return {**vars(self), "history": run.history, "recipe": recipe, "processes": processes.count()}


def resume_from(snapshot: Snapshot, run: Run) -> Standing:
    """Restore the last good checkpoint of a run, or the start where there is none.

    Raises:
        NasError: the run's recipe was changed since; the keys that differ are named. Or it had other processes.
    """
    values = snapshot.restore()
    if values is None:
        run.continue_history([])  # a run that was stopped before its first checkpoint may have written a row
        return Standing()
    try:
        recipe, history, count = (values.pop(name) for name in ("recipe", "history", "processes"))
        standing = Standing(**values)
        known = {"best": standing.best and _BEST, "learning_rate": 0.0 if standing.learning_rate is not None else None}
        known["norms"] = dict.fromkeys(standing.norms and snapshot.optimizers, _NORM)
        require_like(vars(standing), vars(Standing()) | known)
        for row in history:
            if list(row) != list(history[0]):
                raise TypeError("other columns")
            require_like([row["epoch"], row["dev_eer"]], [1, 0.0])
        # Read as a recipe, so that a key which is newer than the run has its default there too.
        began = recipe_from(recipe)
    except (KeyError, TypeError, AttributeError, NasError) as error:
        raise NasError(f"{run.folder}: the checkpoint is not one of this version") from error
    changed = differences(began.model_dump(mode="json"), run.recipe.model_dump(mode="json"))
    if changed:
        raise NasError(f"{run.folder}/recipe.yaml was changed since the run began: {'; '.join(changed)}")
    epochs = (run.recipe.search if run.kind == "search" else run.recipe.train).epochs
    if count != processes.count() and standing.epoch <= epochs:
        raise NasError(f"{run.folder} is a run of {count} processes and cannot go on with {processes.count()}")
    run.continue_history(history)
    if standing.epoch > epochs:
        run.log(f"all {epochs} epochs are done already; nothing is trained")
    elif standing != Standing():
        run.log(f"going on at epoch {standing.epoch}, after {standing.step} steps")
    return standing


def differences(before: Any, now: Any, key: str = "") -> list[str]:
    """`KEY was BEFORE, is NOW` of every value that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted({*before, *now})
        return [d for n in names for d in differences(before.get(n), now.get(n), f"{key}.{n}" if key else n)]
    return [] if before == now else [f"{key} was {before!r}, is {now!r}"]
