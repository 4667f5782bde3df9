"""One door to every way of searching: the recipe's `search.strategy`; one run directory whatever it is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from nas.config import Recipe
from nas.errors import NasError
from nas.training.search import SearchResult
from nas.training.search import search as search_bilevel
from nas.tuning.ranges import apply
from nas.tuning.spending import Spending

BILEVEL = ("pcdarts", "darts")


def search(recipe: Recipe, output: str | Path, progress: bool = True, storage: str | None = None) -> SearchResult:
    """Search a genotype by the strategy of the recipe; everything is written to the run directory `output`.

    pcdarts is the paper's search, darts the same without partial channels and edge weights; random, evolution, tpe and
    nsga2 try genotypes, and go on with a study that `output` holds.

    Args:
        recipe: what to search, on what, how (`nas.load_recipe`).
        output: a folder that does not exist yet or is empty; for a study, also the one that it began in.
        progress: whether to show progress bars.
        storage: of a study that several machines work on.

    Raises:
        NasError: bad input; nothing is written then.
    """
    strategy = recipe.search.strategy
    if strategy not in BILEVEL:
        from nas.tuning.black_box import search_black_box

        return search_black_box(recipe, output, storage, progress)
    if storage is not None:
        raise NasError(f"--storage is for strategies that try genotypes; {strategy} trains one supernet")
    if strategy == "darts":
        recipe = apply(recipe, {"supernet.partial": 1})
    started = time.perf_counter()

    def spent(epoch: int, row: dict[str, Any]) -> None:
        Spending(strategy, time.perf_counter() - started, supernets_trained=1).write(Path(output))

    return search_bilevel(recipe, output, progress, on_epoch=spent)
