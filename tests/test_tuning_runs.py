"""`nas tune` and `nas search --strategy` at the smallest size: folders, resuming, pruning, refusals."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

import nas
from nas.errors import NasError
from nas.genotype import Genotype
from nas.training.run import Run
from nas.tuning.folder import require_folder
from nas.tuning.one_shot import OneShot
from nas.tuning.ranges import apply, read_ranges
from nas.tuning.spending import Spending, compare_searches

TOY = "raw_pcdarts/toy"
QUICK = ["network.cells=2", "data.samples=1000", "engine.pictures=0", "search.epochs=2", "search.warmup_epochs=1"]
RANGES = "tune.ranges={train.learning_rate: {low: 1e-4, high: 1e-2, log: true}, network.mask: {low: 0, high: 2}}"


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a bi-level search."""
    folder = tmp_path_factory.mktemp("searched") / "run"
    nas.search(nas.load_recipe(TOY, QUICK), folder, progress=False)
    return folder


@pytest.mark.slow
def test_tune_tries_resumes_prunes_and_tells(tmp_path: Path, searched: Path) -> None:
    def recipe(trials: int) -> nas.Recipe:
        changes = [*QUICK, RANGES, f"tune.trials={trials}", "tune.startup_trials=1", "train.epochs=2"]
        return nas.load_recipe(TOY, changes)

    folder, genotype = tmp_path / "study", searched / "genotype.json"
    assert nas.tune(recipe(2), folder, genotype, progress=False).trials == 2
    result = nas.tune(recipe(5), folder, genotype, progress=False)
    assert result.trials == 5
    table = rows(folder / "trials.csv")
    assert [row["trial"] for row in table] == list("01234")
    complete = [row for row in table if row["state"] == "complete"]
    assert len(complete) + result.pruned == 5
    assert result.eer == min(float(row["dev_eer"]) for row in complete)
    for row in table:
        run = folder / "trials" / f"{int(row['trial']):04d}"
        tried = nas.load_recipe(run / "recipe.yaml")
        assert str(tried.train.learning_rate) == row["train.learning_rate"]
        assert len(rows(run / "history.csv")) == int(row["epochs"]) == (2 if row["state"] == "complete" else 1)
    best = nas.load_recipe(folder / "best.yaml")
    assert best.train.learning_rate == result.values["train.learning_rate"]
    assert (folder / "plots" / "optimization_history.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(NasError, match=r"another recipe: seed was 0, is 1"):
        nas.tune(apply(recipe(5), {"seed": 1}), folder, genotype, progress=False)


@pytest.mark.parametrize(
    ("ranges", "sentence"),
    [
        ("{}", "tune.ranges is empty"),
        ("{train.learning_rat: [1]}", "did you mean 'learning_rate'"),
        ("{trian.learning_rate: [1]}", "did you mean 'train'"),
        ("{train.learning_rate: {low: 1e-3, high: 1e-5}}", "must be below high"),
        ("{train.learning_rate: {low: 0, high: 1, log: true}}", "above 0"),
        ("{train.learning_rate: {low: -1.0, high: 1.0}}", "greater than 0"),
        ("{train.learning_rate: {low: 1e-3, hihg: 1e-2}}", "did you mean 'high'"),
        ("{train.learning_rate: {low: 1e-3}}", "low and high are needed"),
        ("{train.batch_size: {low: 8, high: 32, step: 0.5}}", "whole between whole numbers"),
        ("{train.batch_size: []}", "no choices"),
        ("{train.schedule: [cosine, cosin]}", "cosin"),
        ("{train.schedule: cosine}", "a list of choices"),
        ("{tune.trials: [1, 2]}", "not tried"),
    ],
)
def test_bad_ranges_are_one_sentence(ranges: str, sentence: str) -> None:
    with pytest.raises(NasError, match=sentence) as caught:
        read_ranges(nas.load_recipe(TOY, [f"tune.ranges={ranges}"]))
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NasError, match="holds no study"):
        require_folder(tmp_path, nas.load_recipe(TOY))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
def test_black_box_search_trains_genotypes_and_goes_on(tmp_path: Path) -> None:
    def recipe(trials: int) -> nas.Recipe:
        box = f"{{trials: {trials}, epochs: 1, population: 2, tournament: 1, warm_start: naswot, warm_samples: 6, "
        return nas.load_recipe(TOY, [*QUICK, "search.strategy=evolution", f"search.black_box={box}warm_trials: 1}}"])

    folder = tmp_path / "run"
    nas.search(recipe(2), folder, progress=False)
    found = nas.search(recipe(3), folder, progress=False)
    history = rows(folder / "history.csv")
    assert [row["trial"] for row in history] == list("012")
    assert found.eer == min(float(row["dev_eer"]) for row in history) == float(history[-1]["best_dev_eer"])
    assert Genotype.load(found.genotype_file) == found.genotype
    spent = json.loads((folder / "cost.json").read_text())
    assert spent["strategy"] == "evolution"
    assert spent["networks_trained"] == sum(int(row["trained"]) for row in history)
    assert spent["seconds"] == pytest.approx(sum(float(row["seconds"]) for row in history), abs=0.1)
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["search"]["strategy"] == "evolution"
    for trial in history:
        Genotype.load(folder / "genotypes" / f"trial_{int(trial['trial']):04d}.json")
    assert nas.resume(folder, progress=False) == found  # all trials are done
    (folder / "study.journal").rename(folder / "elsewhere")
    with pytest.raises(NasError, match="--storage"):
        nas.resume(folder, progress=False)


def test_searches_are_compared_at_equal_cost(tmp_path: Path) -> None:
    recipe = nas.load_recipe(TOY, ["search.epochs=4", "search.warmup_epochs=2"])
    bilevel = Run.create(tmp_path / "pcdarts", "search", recipe)
    for epoch, eer in enumerate((50, 45, 30, 40), start=1):
        bilevel.record({"epoch": epoch, "dev_eer": eer})
    Spending("pcdarts", 100.0, supernets_trained=1).write(bilevel.folder)
    tried = Run.create(tmp_path / "random", "search", nas.load_recipe(TOY, ["search.strategy=random"]))
    for trial, eer in enumerate((44, 41, 20)):
        tried.record({"trial": trial, "dev_eer": eer, "seconds": 60})
    Spending("random", 180.0, networks_trained=3, trials=3, judge="training").write(tried.folder)
    table = compare_searches({"ours": bilevel.folder, "drawn": tried.folder})
    header, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    assert header[-1] == "after 100 s"
    assert lines == [
        ["ours", "pcdarts", "supernet", "100", "0", "1", "30.00", "30.00"],
        ["drawn", "random", "training", "180", "3", "0", "20.00", "44.00"],
    ]
    (tmp_path / "random" / "cost.json").unlink()
    with pytest.raises(NasError, match=r"no cost\.json"):
        compare_searches({"drawn": tried.folder})


@pytest.mark.slow
def test_one_shot_judges_without_training_and_leaves_the_supernet_alone(tmp_path: Path, searched: Path) -> None:
    recipe = nas.load_recipe(TOY, QUICK)
    judge = OneShot(searched, recipe, batches=2)
    before = {name: tensor.clone() for name, tensor in judge.supernet.state_dict().items()}
    genotype = Genotype.load(searched / "genotype.json")
    first = judge.eer(genotype)
    assert judge.eer(genotype) == first
    after = judge.supernet.state_dict()
    assert all((after[name] == tensor).all() for name, tensor in before.items())
    box = f"{{trials: 6, evaluate: one-shot, supernet: {searched}, population: 3, objectives: [parameters, macs]}}"
    changes = [*QUICK, "search.strategy=nsga2", f"search.black_box={box}"]
    found = nas.search(nas.load_recipe(TOY, changes), tmp_path / "run", progress=False)
    front = rows(tmp_path / "run" / "pareto.csv")
    assert float(front[0]["dev_eer"]) == found.eer
    spent = Spending.read(tmp_path / "run")
    assert spent is not None
    assert (spent.networks_trained, spent.supernets_trained, spent.trials) == (0, 1, 6)
    assert spent.supernet_seconds is not None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["search.strategy=tpe", "search.black_box={objectives: [macs]}"], "needs a strategy for several"),
        (["search.strategy=random", "search.black_box={evaluate: one-shot}"], "goes with evaluate"),
        (["search.strategy=random", "search.black_box={supernet: x}"], "goes with evaluate"),
        (["search.strategy=random", "network.learnable=true"], "learnable"),
        (["search.strategy=random", "network={name: aasist}"], "no cells to search"),
        (["search.strategy=random", "search.black_box={warm_start: synflo}"], "did you mean 'synflow'"),
        (["search.strategy=random", "search.black_box={evaluate: one-shot, supernet: x}"], "not a run directory"),
    ],
)
def test_settings_that_do_not_go_together_are_one_sentence(changes: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(NasError, match=sentence) as caught:
        nas.search(nas.load_recipe(TOY, changes), tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_storage_is_refused_by_a_bilevel_search(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="trains one supernet"):
        nas.search(nas.load_recipe(TOY), tmp_path / "run", progress=False, storage="sqlite://")


@pytest.mark.slow
def test_the_dashboard_opens(tmp_path: Path) -> None:
    """The page of optuna-dashboard on a study's journal, on loopback."""
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed: pip install '...[tune]'")
    import optuna

    from nas.tuning.study import open_storage, open_study, run_study

    journal = tmp_path / "study.journal"
    study = open_study("seen", open_storage(journal), optuna.samplers.RandomSampler(seed=0))
    run_study(study, lambda trial: trial.suggest_float("x", 0, 1), 3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Path(sys.executable).parent / "optuna-dashboard"
    server = subprocess.Popen(
        [str(command if command.exists() else shutil.which("optuna-dashboard")), str(journal), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "no_proxy": "127.0.0.1"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        for _ in range(300):
            try:
                page = opener.open(f"http://127.0.0.1:{port}/dashboard/", timeout=5).read().decode()
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.2)
        assert "<title>Optuna Dashboard</title>" in page
        studies = json.load(opener.open(f"http://127.0.0.1:{port}/api/studies", timeout=5))
        assert [summary["study_name"] for summary in studies["study_summaries"]] == ["seen"]
    finally:
        server.kill()
        server.wait()
