"""Architecture search by trying genotypes: random, regularised evolution, TPE, or NSGA-II for several objectives.

The run directory is that of a search (docs/runs.md), with

study.json         where the study is, and the command that began it
study.journal      the study, unless it is on a database
history.csv        a row a trial: dev EER, the best so far, seconds, parameters, MACs
genotypes/         trial_NNNN.json of every finished trial
trials/NNNN/       the run directory of each training
cost.json          what the search cost
pareto.*, pareto/  with several objectives: the front, every point a genotype file
"""

from __future__ import annotations

import csv
import io
import random
from functools import partial
from pathlib import Path

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas.cells.network import CellNetwork
from nas.cells.skeleton import Skeleton
from nas.config import Recipe
from nas.errors import NasError
from nas.files import write_text
from nas.genotype import Genotype
from nas.redaction import hide_secrets
from nas.searching.proxies import PROXIES
from nas.searching.strategies import STRATEGIES, BlackBox
from nas.searching.supernet_search import SearchResult
from nas.space import get_space
from nas.training.cost import cost_of, measure
from nas.training.engine import seed_everything
from nas.training.inputs import open_inputs
from nas.training.run import Run
from nas.training.train import build_network, train
from nas.tuning.encoding import Encoding
from nas.tuning.folder import (
    beginning,
    choose_storage,
    disk_faults,
    note,
    require_folder,
    require_one_process,
    require_trials,
)
from nas.tuning.identity import identity, require_identity
from nas.tuning.one_shot import OneShot
from nas.tuning.pareto import write_front
from nas.tuning.plots import draw_study
from nas.tuning.ranges import apply
from nas.tuning.samplers import SeededByTrial
from nas.tuning.spending import Spending
from nas.tuning.storage import HEARTBEAT_SECONDS, open_storage
from nas.tuning.study import FAILED, failures, open_study, run_study
from nas.tuning.trial_run import run_trial, watch


def search_black_box(
    recipe: Recipe,
    output: str | Path,
    storage: str | None = None,
    progress: bool = True,
    heartbeat: int = HEARTBEAT_SECONDS,
) -> SearchResult:
    """Try genotypes until the study has `search.black_box.trials` trials; run again to go on, or to help.

    Args:
        recipe: whose `search.strategy` tries genotypes.
        output: run directory; new, empty, or that of the same recipe.
        storage: where the study is, for several machines; `study.journal` in the folder by default.
        progress: whether to show progress bars.
        heartbeat: as of `open_storage`.

    Raises:
        NasError: bad input, or a folder that holds something else.
    """
    encoding = _require(recipe)
    settings = recipe.search.black_box
    judge = (
        OneShot(settings.supernet, recipe, progress=progress)
        if settings.evaluate == "one-shot" and settings.supernet
        else None
    )
    begun = identity(recipe, supernet=settings.supernet)
    strategy = black_box(recipe)
    sampler = SeededByTrial(lambda seed: strategy.sampler(seed, encoding, settings), recipe.seed)
    with beginning(output) as folder:
        place = choose_storage(folder, storage)
        # A journal is a file of the run; what is wrong with a database is said before anything is written.
        run = _open_run(folder, recipe) if storage is None else None
        study = open_study(
            recipe.name, open_storage(place, heartbeat), sampler, objectives=1 + len(settings.objectives)
        )
        require_identity(study, begun, hide_secrets(str(place)))
        require_trials(study, folder, hide_secrets(str(place)))
        run = run or _open_run(folder, recipe)
        note(folder, recipe, storage)
    if settings.warm_start is not None:
        with beginning(run.folder):
            warm_start(study, encoding, recipe)

    def objective(trial: Trial) -> tuple[float, ...]:
        genotype = encoding.suggest(trial)
        known = _tried_before(study, trial)
        if known is not None:
            # Trainings repeat to the bit, so the network need not be trained again.
            trial.set_user_attr("repeats", known.number)
            return tuple(known.values)
        if judge is not None:
            eer = judge.eer(genotype)
        else:
            short = apply(recipe, {"train.epochs": settings.epochs, "engine.pictures": 0})
            place, on_epoch = folder / "trials" / f"{trial.number:04d}", watch(trial, prunes=False)
            begin = partial(train, short, genotype, place, progress=progress, on_epoch=on_epoch)
            eer = run_trial(short, place, on_epoch, progress, begin)
        return eer, *(measure(name, genotype, recipe) for name in settings.objectives)

    def after(trial: FrozenTrial) -> None:
        if trial.state != TrialState.COMPLETE:
            run.log(f"trial {trial.number} failed: {trial.user_attrs.get(FAILED)}")
            return
        best = _conclude(run, study, recipe, encoding)
        costs = "".join(f", {n} {v:.6g}" for n, v in zip(settings.objectives, trial.values[1:], strict=True))
        run.log(f"trial {trial.number}: dev EER {trial.values[0]:.2f} %{costs}; best {best.values[0]:.2f} %")

    with disk_faults(run.folder):
        run_study(study, objective, settings.trials, after)
        best = _conclude(run, study, recipe, encoding)
        genotype = encoding.genotype(best.params)
        if settings.objectives:
            write_front(study, encoding, settings.objectives, str(run.folder / "recipe.yaml"), run.folder)
        else:
            draw_study(study, run.folder / "plots")
        failed = len(failures(study))
        run.log(f"genotype of trial {best.number}{f'; {failed} trials failed' if failed else ''}: {genotype}")
    return SearchResult(genotype, best.number, float(best.values[0]), run.folder, "trial")


def black_box(recipe: Recipe) -> BlackBox:
    """The recipe's strategy, which tries genotypes.

    Raises:
        NasError: there is no such strategy, or it trains a supernet.
    """
    strategy = STRATEGIES[recipe.search.strategy]()
    if not isinstance(strategy, BlackBox):
        raise NasError(f"search.strategy: {recipe.search.strategy} trains a supernet and tries no genotypes")
    return strategy


def warm_start(study: Study, encoding: Encoding, recipe: Recipe) -> list[Genotype]:
    """Rank a random sample of genotypes by a training-free proxy, and have the best tried first.

    Does nothing in a study that has begun; one that was killed here is completed. Returns the genotypes, the best
    first.
    """
    settings = recipe.search.black_box
    assert settings.warm_start is not None
    before = study.get_trials(deepcopy=False)
    untouched = all(t.state == TrialState.WAITING and "fixed_params" in t.system_attrs for t in before)
    if not untouched or len(before) >= settings.warm_trials:
        return []
    proxy = PROXIES[settings.warm_start]
    chance = random.Random(recipe.seed)
    sample = {str(g): g for g in (Genotype.random(encoding.space, chance) for _ in range(settings.warm_samples))}
    # Cell types that do not vary follow one that does.
    genotypes = {str(g): g for g in (encoding.genotype(encoding.parameters(g)) for g in sample.values())}
    waveforms, labels = proxy_batch(recipe)
    scores = {}
    for name, genotype in genotypes.items():
        seed_everything(recipe.seed)
        network = build_network(recipe, genotype)
        assert isinstance(network, CellNetwork)
        scores[name] = proxy(network, waveforms, labels)
    ranked = sorted(genotypes, key=lambda name: -scores[name])[: settings.warm_trials]
    for name in ranked:
        notes = {settings.warm_start: scores[name]}
        study.enqueue_trial(encoding.parameters(genotypes[name]), user_attrs=notes, skip_if_exists=True)
    return [genotypes[name] for name in ranked]


def proxy_batch(recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """Waveforms [B, T] and labels [B] of training utterances, drawn by the seed, for proxies."""
    from nas.data.batches import Batches

    inputs = open_inputs(recipe, ("train",), progress=False)
    size, indices = recipe.train.batch_size, inputs.partitions["train"]
    batches = Batches(inputs.store, indices, size, recipe.data.samples, shuffle=True, seed=recipe.seed)
    batch = next(iter(batches.epoch(0)))
    return batch.waveforms, batch.labels


def _require(recipe: Recipe) -> Encoding:
    """The genotypes that the recipe searches.

    Raises:
        NasError: settings that do not go together.
    """
    settings, strategy, network = recipe.search.black_box, recipe.search.strategy, recipe.require_searched()
    skeleton = Skeleton.of(get_space(recipe.space), network)
    skeleton.require_samples(recipe.data.samples)
    require_one_process(f"nas search --strategy {strategy}")
    if settings.objectives and not black_box(recipe).several:
        able = [name for name, kind in STRATEGIES.items() if issubclass(kind, BlackBox) and kind.several]
        raise NasError(f"search.black_box.objectives needs a strategy for several ({', '.join(able)}), not {strategy}")
    if len(set(settings.objectives)) != len(settings.objectives):
        raise NasError("search.black_box.objectives names one twice")
    if (settings.evaluate == "one-shot") != (settings.supernet is not None):
        raise NasError(
            "search.black_box.supernet, the run directory of a bi-level search, goes with evaluate: one-shot, and only "
            "with it"
        )
    if network.learnable and settings.evaluate == "training":
        raise NasError(
            f"network.learnable: strategy {strategy} trains genotypes without a search that would learn the front-end; "
            "set it to false"
        )
    if settings.warm_start is not None:
        _ = PROXIES[settings.warm_start]
    return Encoding(get_space(recipe.space), skeleton.types)


def _open_run(folder: Path, recipe: Recipe) -> Run:
    """A new run directory, or the one that is gone on with."""
    if not (folder / "environment.json").exists():
        return Run.create(folder, "search", recipe)
    require_folder(folder, recipe)
    return Run.open(folder)


def _conclude(run: Run, study: Study, recipe: Recipe, encoding: Encoding) -> FrozenTrial:
    """Write the genotypes, the history and the costs; returns the best trial.

    Raises:
        NasError: no trial is complete.
    """
    complete = _complete(study)
    if not complete:
        failed = failures(study)
        raise NasError(
            f"{run.folder}: no trial came to its end, so there is no genotype"
            + (f"; the first of {len(failed)} that failed: {failed[0]}" if failed else "")
        )
    for trial in complete:
        file = run.folder / "genotypes" / f"trial_{trial.number:04d}.json"
        if not file.exists():
            encoding.genotype(trial.params).save(file)
    best = min(complete, key=_rank)
    encoding.genotype(best.params).save(run.folder / "genotype.json")
    _write_progress(run, study, recipe, encoding)
    return best


def _complete(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _rank(trial: FrozenTrial) -> tuple[float, ...]:
    """The lowest EER first; then the other objectives, and the earliest."""
    return (*trial.values, trial.number)


def _tried_before(study: Study, trial: Trial) -> FrozenTrial | None:
    """The first complete trial of the same genotype."""
    return next((other for other in _complete(study) if other.params == trial.params), None)


def _write_progress(run: Run, study: Study, recipe: Recipe, encoding: Encoding) -> None:
    """history.csv and cost.json."""
    settings = recipe.search.black_box
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "dev_eer", "best_dev_eer", "seconds", "trained", "parameters", "macs"])
    best, seconds, trained = float("inf"), 0.0, 0
    for trial in study.get_trials(deepcopy=False):
        # What a trial cost that failed was spent all the same.
        took = trial.duration.total_seconds() if trial.duration else 0.0
        seconds += took
        if trial.state != TrialState.COMPLETE:
            continue
        best, cost = min(best, trial.values[0]), cost_of(encoding.genotype(trial.params), recipe)
        new = int(settings.evaluate == "training" and "repeats" not in trial.user_attrs)
        trained += new
        row = [trial.number, trial.values[0], best, round(took, 2), new, cost.parameters, cost.macs]
        writer.writerow(row)
    write_text(run.folder / "history.csv", text.getvalue())
    before = Spending.read(Path(settings.supernet)) if settings.supernet else None
    Spending(
        recipe.search.strategy,
        seconds,
        trained,
        supernets_trained=1 if settings.supernet else 0,
        supernet_seconds=before.seconds if before else None,
        trials=len(_complete(study)),
        judge=settings.evaluate,
    ).write(run.folder)
