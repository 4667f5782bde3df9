"""Hyper-parameters by Optuna: every trial is a run with its own run directory, ended early where it is hopeless.

OUTPUT/recipe.yaml       the recipe with its ranges
OUTPUT/study.journal     the study, unless it is on a database
OUTPUT/trials/NNNN/      the run directory of each trial
OUTPUT/trials.csv        a row a trial: state, dev EER, seconds, values
OUTPUT/best.yaml         the recipe with the best values, ready for `nas train` or `nas search`
OUTPUT/plots/            Optuna's own plots
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas import processes
from nas.config import Recipe
from nas.errors import NasError
from nas.files import write_text
from nas.tuning.folder import open_folder
from nas.tuning.plots import draw_study
from nas.tuning.ranges import apply, read_ranges, suggest
from nas.tuning.samplers import make_sampler
from nas.tuning.study import HEARTBEAT_SECONDS, JOURNAL, open_storage, open_study, run_study


@dataclass(frozen=True)
class TuneResult:
    """The best trial of a study."""

    values: dict[str, Any]
    eer: float
    """Lowest EER on the development set, percent."""
    trials: int
    pruned: int
    folder: Path


def tune(
    recipe: Recipe,
    output: str | Path,
    genotype: str | Path | None = None,
    frontend: str | Path | None = None,
    weights: str | Path | None = None,
    storage: str | None = None,
    progress: bool = True,
    heartbeat: int = HEARTBEAT_SECONDS,
) -> TuneResult:
    """Try the values of `tune.ranges` until the study has `tune.trials` trials; run again to go on, or to help.

    Args:
        recipe: with a section `tune`.
        output: folder of the study; new, empty, or that of the same recipe.
        genotype: as of `nas.train`.
        frontend: as of `nas.train`.
        weights: as of `nas.train`.
        storage: where the study is, for several machines; `study.journal` in the folder by default.
        progress: whether to show progress bars.
        heartbeat: as of `open_storage`.

    Raises:
        NasError: bad ranges, a folder of another study, or what the runs themselves refuse.
    """
    ranges = read_ranges(recipe)
    if processes.count() > 1:
        raise NasError("a trial is run in one process; start nas tune several times with one --output or --storage")
    folder = open_folder(output, recipe, ("tune", "trials"))
    settings = recipe.tune
    study = open_study(
        recipe.name,
        open_storage(storage or folder / JOURNAL, heartbeat),
        make_sampler(settings.sampler, recipe.seed),
        make_pruner(recipe),
    )
    log = logging.getLogger("nas")

    def objective(trial: Trial) -> float:
        changed = apply(recipe, suggest(trial, ranges) | {"engine.pictures": 0})
        place = folder / "trials" / f"{trial.number:04d}"
        return run_once(changed, place, pruning(trial), genotype, frontend, weights, progress)

    def after(trial: FrozenTrial) -> None:
        result = f"dev EER {trial.value:.2f} %" if trial.state == TrialState.COMPLETE else "ended early"
        log.info(f"trial {trial.number}: {result}; {_listed(trial.params)}")
        write_text(folder / "trials.csv", trials_table(study))

    run_study(study, objective, settings.trials, after)
    return _conclude(study, recipe, folder, ranges)


def make_pruner(recipe: Recipe) -> BasePruner:
    """The pruner of a recipe; it compares dev EERs after equal epochs."""
    epochs = recipe.train.epochs if recipe.tune.of == "train" else recipe.search.epochs
    if recipe.tune.pruner == "median":
        return MedianPruner(n_startup_trials=recipe.tune.startup_trials)
    if recipe.tune.pruner == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    return NopPruner()


def pruning(trial: Trial) -> Callable[[int, dict[str, Any]], None]:
    """Report every epoch's dev EER to the study, and end the trial when its pruner says so."""
    best = float("inf")

    def on_epoch(epoch: int, row: dict[str, Any]) -> None:
        nonlocal best
        # What counts in the end is the best epoch, so that is what is compared.
        best = min(best, row["dev_eer"])
        trial.report(best, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    return on_epoch


def run_once(
    recipe: Recipe,
    output: Path,
    on_epoch: Callable[[int, dict[str, Any]], None],
    genotype: str | Path | None,
    frontend: str | Path | None,
    weights: str | Path | None,
    progress: bool,
) -> float:
    """One run of a recipe; returns the lowest EER on the development set, percent."""
    from nas.training.search import search
    from nas.training.train import train

    if recipe.tune.of == "search":
        return search(recipe, output, progress, on_epoch).eer
    return train(recipe, genotype, output, frontend, weights, progress, on_epoch).eer


def trials_table(study: Study) -> str:
    """All trials as CSV, a row each."""
    trials = study.get_trials(deepcopy=False)
    names = sorted({name for trial in trials for name in trial.params})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "dev_eer", "epochs", "seconds", *names])
    for trial in trials:
        value = trial.value if trial.state == TrialState.COMPLETE else None
        epochs = len(trial.intermediate_values)
        row = [trial.number, trial.state.name.lower(), "" if value is None else value, epochs, seconds_of(trial)]
        writer.writerow([*row, *(trial.params.get(name, "") for name in names)])
    return text.getvalue()


def seconds_of(trial: FrozenTrial) -> float | str:
    """How long a trial took; empty while it runs."""
    return round(trial.duration.total_seconds(), 2) if trial.duration else ""


def _conclude(study: Study, recipe: Recipe, folder: Path, ranges: Any) -> TuneResult:
    """Write the table, the best recipe and the plots."""
    write_text(folder / "trials.csv", trials_table(study))
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        raise NasError(f"{folder}: no trial came to its end, so there is no best one; see trials.csv")
    best = study.best_trial
    values = suggest(optuna.trial.FixedTrial(best.params), ranges)  # type: ignore[arg-type]
    text = apply(recipe, values).to_yaml()
    write_text(folder / "best.yaml", f"# best of {len(trials)} trials: dev EER {best.value:.2f} %\n{text}")
    draw_study(study, folder / "plots")
    pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
    return TuneResult(values, float(best.value or 0.0), len(complete) + pruned, pruned, folder)


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {v:.3g}" if isinstance(v, float) else f"{key} {v}" for key, v in values.items())
