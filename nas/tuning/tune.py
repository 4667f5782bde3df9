"""Hyper-parameters by Optuna: every trial is a run with its own run directory, ended early where it is hopeless.

OUTPUT/recipe.yaml       the recipe with its ranges
OUTPUT/study.json        where the study is, and the command that began it
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.config import Recipe
from nas.errors import NasError, Untrainable
from nas.files import write_text
from nas.genotype import Genotype
from nas.redaction import hide_secrets
from nas.searching.supernet_search import SearchResult, search
from nas.training.finetune import genotype_of_weights
from nas.training.train import TrainResult, build_network, train
from nas.tuning.folder import (
    beginning,
    choose_storage,
    disk_faults,
    note,
    require_folder,
    require_one_process,
    require_trials,
    say_random,
)
from nas.tuning.identity import Identity, identity, require_identity
from nas.tuning.plots import draw_study
from nas.tuning.ranges import apply, read_ranges, suggest
from nas.tuning.samplers import make_sampler
from nas.tuning.storage import HEARTBEAT_SECONDS, open_storage
from nas.tuning.study import FAILED, failures, open_study, run_study
from nas.tuning.trial_run import run_trial, watch


@dataclass(frozen=True)
class TuneResult:
    """The best trial of a study."""

    values: dict[str, Any]
    eer: float
    """Lowest EER on the development set, percent."""
    trials: int
    pruned: int
    failed: int
    """Trials that diverged, did not fit the memory, or whose values do not go together; they count as trials."""
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
    require_one_process("nas tune")
    ranges, settings = read_ranges(recipe), recipe.tune
    if genotype is None and weights is not None and settings.of == "train":
        genotype = genotype_of_weights(recipe, weights)
    started = {"genotype": genotype, "frontend": frontend, "weights": weights}

    def check() -> Identity:
        if settings.of == "train":
            require_buildable(recipe, genotype)
        return identity(recipe, **started)

    begun = check()
    say_random(recipe, ranges, weights)
    sampler, pruner = make_sampler(settings.sampler, recipe.seed), make_pruner(recipe)
    with beginning(output) as folder:
        require_folder(folder, recipe)
        place = choose_storage(folder, storage)
        study = open_study(recipe.name, open_storage(place, heartbeat), sampler, pruner)
        require_identity(study, begun, hide_secrets(str(place)))
        require_trials(study, folder, hide_secrets(str(place)))
        note(folder, recipe, storage)
    log = logging.getLogger("nas")

    def objective(trial: Trial) -> float:
        values = suggest(trial, ranges)
        with fault_of_values(values, check):
            changed = apply(recipe, values | {"engine.pictures": 0})
            output, on_epoch = folder / "trials" / f"{trial.number:04d}", watch(trial, prunes=True)
            begin = partial(run_once, changed, output, on_epoch, genotype, frontend, weights, progress)
            return run_trial(changed, output, on_epoch, progress, begin)

    def after(trial: FrozenTrial) -> None:
        result = {
            TrialState.COMPLETE: f"dev EER {trial.value or 0.0:.2f} %",
            TrialState.PRUNED: "ended early",
        }.get(trial.state, f"failed: {trial.user_attrs.get(FAILED)}")
        log.info(f"trial {trial.number}: {result}; {_listed(trial.params)}")
        write_text(folder / "trials.csv", trials_table(study))

    with disk_faults(folder):
        run_study(study, objective, settings.trials, after)
        return _conclude(study, recipe, folder, ranges)


def require_buildable(recipe: Recipe, genotype: str | Path | None) -> None:
    """Refuse a recipe whose network cannot be built, before anything is begun.

    Raises:
        NasError: what `nas train` would say.
    """
    build_network(recipe, Genotype.load(genotype) if genotype is not None else None)


@contextmanager
def fault_of_values(values: dict[str, Any], check: Callable[[], object]) -> Iterator[None]:
    """A refusal that comes of a trial's values, and not of the recipe or the corpus, is a failure of the trial.

    Raises:
        Untrainable: it comes of the values.
        NasError: the recipe itself is refused now.
    """
    try:
        yield
    except Untrainable:
        raise
    except NasError as error:
        if not isinstance(error.__cause__, OSError):
            check()
            if any(key in str(error) or key.rpartition(".")[2] in str(error) for key in values):
                raise Untrainable(str(error)) from error
        raise


def make_pruner(recipe: Recipe) -> BasePruner:
    """The pruner of a recipe; it compares dev EERs after equal epochs."""
    epochs = recipe.train.epochs if recipe.tune.of == "train" else recipe.search.epochs
    if recipe.tune.pruner == "median":
        return MedianPruner(n_startup_trials=recipe.tune.startup_trials)
    if recipe.tune.pruner == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    return NopPruner()


def run_once(
    recipe: Recipe,
    output: Path,
    on_epoch: Callable[[int, dict[str, Any]], None],
    genotype: str | Path | None,
    frontend: str | Path | None,
    weights: str | Path | None,
    progress: bool,
) -> SearchResult | TrainResult:
    """One run of a recipe, from its start."""
    if recipe.tune.of == "search":
        return search(recipe, output, progress, on_epoch)
    return train(recipe, genotype, output, frontend, weights, progress, on_epoch)


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
    complete, failed = [trial for trial in trials if trial.state == TrialState.COMPLETE], failures(study)
    if not complete:
        first = f"; the first of {len(failed)} that failed: {failed[0]}" if failed else ""
        raise NasError(f"{folder}: no trial came to its end, so there is no best one; see trials.csv{first}")
    best = study.best_trial
    values = suggest(optuna.trial.FixedTrial(best.params), ranges)  # type: ignore[arg-type]
    text = apply(recipe, values).to_yaml()
    pruned = sum(trial.state == TrialState.PRUNED for trial in trials)
    done = len(complete) + pruned + len(failed)
    write_text(folder / "best.yaml", f"# best of {done} trials: dev EER {best.value:.2f} %\n{text}")
    draw_study(study, folder / "plots")
    return TuneResult(values, float(best.value or 0.0), done, pruned, len(failed), folder)


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {v:.3g}" if isinstance(v, float) else f"{key} {v}" for key, v in values.items())
