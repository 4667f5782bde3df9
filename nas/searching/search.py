"""One door to every way of searching, the recipe's `search.strategy`, and to going on with any run."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas.config import Recipe
from nas.errors import NasError
from nas.searching.strategies import STRATEGIES, BlackBox
from nas.searching.supernet_search import SearchResult, resume_search
from nas.searching.supernet_search import search as search_bilevel
from nas.training.run import Run
from nas.training.train import TrainResult, resume_train
from nas.tuning.black_box import search_black_box
from nas.tuning.folder import noted_storage
from nas.tuning.spending import Spending
from nas.tuning.storage import JOURNAL


def search(recipe: Recipe, output: str | Path, progress: bool = True, storage: str | None = None) -> SearchResult:
    """Search a genotype by the strategy of the recipe; everything is written to the run directory `output`.

    Strategies that try genotypes go on with a study that `output` holds.

    Args:
        recipe: what to search, on what, how (`nas.load_recipe`).
        output: a folder that does not exist yet or is empty; for a study, also the one that it began in.
        progress: whether to show progress bars.
        storage: of a study that several machines work on.

    Raises:
        NasError: bad input; nothing is written then.
    """
    strategy = STRATEGIES[recipe.search.strategy]()
    if isinstance(strategy, BlackBox):
        return search_black_box(recipe, output, storage, progress)
    if storage is not None:
        raise NasError(f"--storage is for strategies that try genotypes; {recipe.search.strategy} trains one supernet")
    recipe = strategy.adapt(recipe)
    return search_bilevel(recipe, output, progress, on_epoch=_spending(recipe, Path(output)))


def resume(folder: str | Path, progress: bool = True, data_root: str | None = None) -> SearchResult | TrainResult:
    """Go on with a search or a training from where it was stopped; a finished run is returned as it ended.

    Args:
        folder: the run directory.
        progress: whether to show progress bars.
        data_root: where the corpus is now, if it has moved; it must be the same one.

    Raises:
        NasError: not a run directory, a changed recipe, damaged checkpoints, or a corpus that is not as it was.
    """
    run = Run.open(folder)
    if data_root is not None:
        run.recipe = run.recipe.model_copy(update={"data": run.recipe.data.model_copy(update={"root": data_root})})
    root = run.recipe.data.root
    if root is not None and not Path(root).exists():
        raise NasError(
            f"there is no corpus at {root}, the data.root of {folder}; where it has moved: "
            f"nas resume {shlex.quote(str(folder))} --data-root DIR"
        )
    if run.kind == "train":
        return resume_train(run, progress)
    if not issubclass(STRATEGIES[run.recipe.search.strategy], BlackBox):
        run.on_epoch = _spending(run.recipe, run.folder)
        return resume_search(run, progress)
    if not (run.folder / JOURNAL).exists():
        raise NasError(
            f"{folder}: the study is not in the folder, but on {noted_storage(run.folder)}; run nas search again with "
            "its --storage"
        )
    return search_black_box(run.recipe, folder, progress=progress)


def _spending(recipe: Recipe, folder: Path) -> Callable[[int, dict[str, Any]], None]:
    """Writes cost.json after every epoch: the seconds of this start, and of those before up to their last epoch."""
    started, before = time.perf_counter(), Spending.read(folder)
    spent = before.seconds if before else 0.0

    def write(epoch: int, row: dict[str, Any]) -> None:
        seconds = spent + time.perf_counter() - started
        Spending(recipe.search.strategy, seconds, supernets_trained=1).write(folder)

    return write
