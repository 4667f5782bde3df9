"""Going on with a run that was stopped, whatever stopped it."""

from __future__ import annotations

from pathlib import Path

from nas.errors import NasError
from nas.training.run import Run
from nas.training.search import SearchResult, resume_search
from nas.training.train import TrainResult, resume_train


def resume(folder: str | Path, progress: bool = True) -> SearchResult | TrainResult:
    """Go on with a search or a training from its last good checkpoint; a finished run is returned as it ended.

    Raises:
        NasError: not a run directory, a changed recipe, damaged checkpoints, or a corpus that is not as it was.
    """
    run = Run.open(folder)
    if run.kind == "search" and run.recipe.search.strategy not in ("pcdarts", "darts"):
        from nas.tuning.black_box import JOURNAL, search_black_box  # studies are built on trainings

        if not (run.folder / JOURNAL).exists():
            raise NasError(f"{folder}: the study is not in the folder; run nas search again with its --storage")
        return search_black_box(run.recipe, folder, progress=progress)
    return resume_search(run, progress) if run.kind == "search" else resume_train(run, progress)
