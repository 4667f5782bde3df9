"""What a study is of, where it is, and what becomes of it when a trial fails or is stopped: no network is trained."""

from __future__ import annotations

import csv
import json
import socket
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import Trial, TrialState
from sqlalchemy.exc import OperationalError

import nas
from nas.errors import Interrupted, NasError, Untrainable
from nas.genotype import Genotype
from nas.training.train import TrainResult
from nas.tuning import storage as storages
from nas.tuning import tune as tuning
from nas.tuning.samplers import make_sampler
from nas.tuning.storage import PatientStorage
from nas.tuning.study import failures, open_storage, open_study, release_abandoned, run_study

CELL = [["std_conv_3", 0], ["skip_connect", 1], ["dil_conv_5", 1], ["max_pool_3", 2]] * 2
OTHER = [["max_pool_3", 0], *CELL[1:]]
TOY = ["data.samples=1000", "data.subset={train: 32, dev: 16}", "tune.pruner=none"]
RANGES = "tune.ranges={train.learning_rate: {low: 1e-4, high: 1e-2, log: true}, train.batch_size: [8, 16]}"


@pytest.fixture
def genotype(tmp_path: Path) -> Path:
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps({"normal": CELL, "expand": CELL}))
    return path


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[nas.Recipe]:
    """The recipes of the trials; a trial's EER is 1000 times its learning rate."""
    recipes: list[nas.Recipe] = []

    def run_once(recipe: nas.Recipe, output: Path, *rest: Any) -> TrainResult:
        recipes.append(recipe)
        return TrainResult(1, 1000 * recipe.train.learning_rate, output)

    monkeypatch.setattr(tuning, "run_once", run_once)
    monkeypatch.setattr(tuning, "draw_study", lambda *_: None)
    return recipes


def recipe(*changes: str) -> nas.Recipe:
    return nas.load_recipe("raw_pcdarts/toy", [*TOY, RANGES, "tune.trials=3", *changes])


def test_a_study_is_of_one_recipe_genotype_and_place(tmp_path: Path, genotype: Path, trained: list[nas.Recipe]) -> None:
    url = f"sqlite:///{tmp_path}/studies.db?password=Hunter2x"
    assert nas.tune(recipe(), tmp_path / "A", genotype, storage=url).trials == 3
    # As many more as are asked for, on another machine with other folders.
    nas.tune(recipe("tune.trials=4", "engine.workers=2"), tmp_path / "A", genotype, storage=url)
    assert len(trained) == 4
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"normal": OTHER, "expand": OTHER}))
    refused = [
        ((recipe("network.channels=8"), tmp_path / "B", genotype, url), "channels was 4, is 8"),
        ((recipe("train.epochs=3"), tmp_path / "A", genotype, url), "train.epochs was 2, is 3"),
        ((recipe(), tmp_path / "A", other, url), r"begun with .*genotype\.json, another genotype than .*other\.json"),
        ((recipe(), tmp_path / "A", genotype, None), r"is on sqlite:.*password=\*\*\*; give --storage"),
        ((recipe(), tmp_path / "A", genotype, f"sqlite:///{tmp_path}/new.db"), r"is on sqlite:.*studies\.db"),
        ((recipe("data.subset={train: 24, dev: 16}"), tmp_path / "B", genotype, url), "subset.train was 32, is 24"),
    ]
    for (changed, output, file, storage), sentence in refused:
        with pytest.raises(NasError, match=sentence) as caught:
            nas.tune(changed, output, file, storage=storage)
        assert "Hunter2x" not in str(caught.value)
        assert "remove" not in str(caught.value)
    assert len(trained) == 4
    assert not (tmp_path / "B").exists()
    # A file of the same content is the same genotype.
    copy = tmp_path / "copy.json"
    copy.write_bytes(genotype.read_bytes())
    nas.tune(recipe(), tmp_path / "A", copy, storage=url)
    genotype.write_bytes(other.read_bytes())
    with pytest.raises(NasError, match="which has changed since"):
        nas.tune(recipe(), tmp_path / "A", genotype, storage=url)
    assert not [path for path in (tmp_path / "A").rglob("*") if path.is_file() and b"Hunter2x" in path.read_bytes()]


def test_a_study_tells_verbs_of_runs_what_it_is(tmp_path: Path, genotype: Path, trained: list[nas.Recipe]) -> None:
    nas.tune(recipe(), tmp_path / "A", genotype)
    for verb in (nas.resume, nas.load):
        with pytest.raises(NasError, match=r"A is a study, not a run; its runs are .*NNNN, and it goes on with: "):
            verb(tmp_path / "A")


def test_an_empty_study_does_not_take_the_trials_of_another(
    tmp_path: Path, genotype: Path, trained: list[nas.Recipe]
) -> None:
    nas.tune(recipe(), tmp_path / "A", genotype)
    (tmp_path / "A" / "trials" / "0000").mkdir(parents=True)
    (tmp_path / "A" / "study.journal").unlink()
    with pytest.raises(NasError, match=r"has trials, and the study on .* has none"):
        nas.tune(recipe(), tmp_path / "A", genotype)


def test_what_cannot_be_built_begins_nothing(tmp_path: Path, trained: list[nas.Recipe]) -> None:
    with pytest.raises(NasError, match="give --genotype"):
        nas.tune(recipe(), tmp_path / "A")
    assert not (tmp_path / "A").exists()


def test_several_processes_begin_nothing(
    tmp_path: Path, genotype: Path, trained: list[nas.Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(NasError, match="runs a trial in one process"):
        nas.tune(recipe(), tmp_path / "A", genotype)
    with pytest.raises(NasError, match="runs a trial in one process"):
        nas.search(nas.load_recipe("raw_pcdarts/toy", ["search.strategy=random"]), tmp_path / "A")
    assert not (tmp_path / "A").exists()


def test_trials_that_fail_are_counted_and_the_study_goes_on(
    tmp_path: Path, genotype: Path, monkeypatch: pytest.MonkeyPatch, trained: list[nas.Recipe]
) -> None:
    usual = tuning.run_once

    def run_once(changed: nas.Recipe, *rest: Any) -> Any:
        if changed.train.batch_size == 8:
            raise Untrainable("the loss is not finite")
        if changed.train.batch_size == 1000:
            raise NasError("train.batch_size: a batch of 1000 does not fit 32 utterances")
        return usual(changed, *rest)

    monkeypatch.setattr(tuning, "run_once", run_once)
    many = recipe("tune.trials=12", "tune.sampler=random", "tune.ranges={train.batch_size: [8, 16, 1000]}")
    result = nas.tune(many, tmp_path / "A", genotype)
    with open(tmp_path / "A" / "trials.csv", newline="") as stream:
        states = [row["state"] for row in csv.DictReader(stream)]
    assert len(states) == result.trials == 12
    assert 0 < result.failed == states.count("fail") < 12
    assert result.values == {"train.batch_size": 16}
    with pytest.raises(NasError, match=r"no trial came to its end.*: the loss is not finite"):
        nas.tune(recipe("tune.ranges={train.batch_size: [8]}"), tmp_path / "B", genotype)


def test_a_refusal_that_is_not_of_the_values_ends_the_study_and_loses_no_trial(
    tmp_path: Path, genotype: Path, monkeypatch: pytest.MonkeyPatch, trained: list[nas.Recipe]
) -> None:
    usual, calls = tuning.run_once, [0]

    def run_once(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise NasError("cannot write: No space left on device")
        if calls[0] == 3:
            raise Interrupted(tmp_path)
        return usual(*arguments)

    monkeypatch.setattr(tuning, "run_once", run_once)
    with pytest.raises(NasError, match="No space left"):
        nas.tune(recipe(), tmp_path / "A", genotype)
    with pytest.raises(Interrupted):
        nas.tune(recipe(), tmp_path / "A", genotype)
    nas.tune(recipe(), tmp_path / "A", genotype)
    nas.tune(recipe(), tmp_path / "whole", genotype)

    def table(folder: Path) -> list[dict[str, str]]:
        with open(folder / "trials.csv", newline="") as stream:
            return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]

    assert table(tmp_path / "A") == table(tmp_path / "whole")


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_trial_that_was_killed_while_it_was_sampled_gets_its_values(sampler: str) -> None:
    def values(killed: bool) -> list[dict[str, Any]]:
        study = open_study("s", optuna.storages.InMemoryStorage(), make_sampler(sampler, 7))

        def objective(trial: Trial) -> float:
            x = trial.suggest_float("x", 0, 1)
            if killed and trial.number == 12 and "again" not in trial.user_attrs:
                trial.set_user_attr("again", True)
                raise KeyboardInterrupt
            return x + trial.suggest_int("y", 0, 100) + len(trial.suggest_categorical("z", ["a", "bb"]))

        try:
            run_study(study, objective, 14)
        except KeyboardInterrupt:
            run_study(study, objective, 14)
        return [trial.params for trial in study.get_trials()]

    assert values(killed=True) == values(killed=False)


def test_a_trial_that_kills_its_workers_is_given_up_by_those_that_run(tmp_path: Path) -> None:
    study = open_study("s", open_storage(tmp_path / "j"), optuna.samplers.RandomSampler(seed=0))
    study.ask()
    for time in range(1, 5):
        trial = study.get_trials()[0]
        study._storage.set_trial_user_attr(trial._trial_id, "worker", f"{socket.gethostname()} 999999 1 {time}")
        release_abandoned(study, starting=time < 3)
        if study.get_trials()[0].state == TrialState.WAITING:
            study._storage.set_trial_state_values(trial._trial_id, state=TrialState.RUNNING)
    assert study.get_trials()[-1].state == TrialState.FAIL
    assert failures(study) == ["its worker ended 4 times without an epoch more"]


@pytest.mark.parametrize("cut", [1, 20, 45])
def test_a_journal_whose_last_line_was_cut_goes_on(tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "study.journal"

    def objective(trial: Trial) -> float:
        return trial.suggest_float("x", 0, 1)

    run_study(open_study("s", open_storage(file), make_sampler("random", 1)), objective, 3)
    before = [trial.params for trial in open_study("s", open_storage(file), make_sampler("random", 1)).get_trials()]
    file.write_bytes(file.read_bytes()[:-cut])
    lines = file.read_bytes().count(b"\n")
    study = open_study("s", open_storage(file), make_sampler("random", 1))
    assert f"line {lines + 1} of {file}, its last one, was cut short" in caplog.text
    run_study(study, objective, 5)
    assert all(json.loads(line) for line in file.read_text().splitlines())
    assert [trial.params for trial in study.get_trials()][:3] == before
    assert [trial.state for trial in study.get_trials()] == [TrialState.COMPLETE] * 5


def test_a_line_that_is_cut_while_the_study_is_open_is_not_joined_to(tmp_path: Path) -> None:
    file = tmp_path / "study.journal"
    study = open_study("s", open_storage(file), optuna.samplers.RandomSampler(seed=0))
    with open(file, "ab") as stream:
        stream.write(b'{"op_code": 4, "wor')
    study.ask()
    assert all(json.loads(line) for line in file.read_text().splitlines())


def test_a_journal_that_is_damaged_in_its_middle_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "study.journal"
    run_study(
        open_study("s", open_storage(file), optuna.samplers.RandomSampler(seed=0)),
        lambda t: t.suggest_int("x", 0, 9),
        2,
    )
    lines = file.read_bytes().splitlines(keepends=True)
    content = b"".join([*lines[:4], lines[4][:9], *lines[5:]])
    file.write_bytes(content)
    with pytest.raises(NasError, match=r"line 5 of .*study\.journal is damaged"):
        open_storage(file)
    assert file.read_bytes() == content


def test_a_full_disk_is_one_sentence_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "study.journal"
    study = open_study("s", open_storage(file), optuna.samplers.RandomSampler(seed=0))
    before = file.read_bytes()

    def full(stream: Any, lines: bytes) -> None:
        stream.write(lines[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storages.Journal, "_write", staticmethod(full))
    with pytest.raises(NasError, match=r"cannot write .*No space left on device"):
        study.ask()
    assert file.read_bytes() == before


def test_a_database_that_is_away_is_waited_for_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/s.db?secret=Hunter2x")
    assert isinstance(storage, PatientStorage)
    study = open_study("s", storage, optuna.samplers.RandomSampler(seed=0))
    usual, away = storage.scoped_session, [3]

    def session() -> Any:
        if away[0] > 0:
            away[0] -= 1
            raise OperationalError("SELECT", {}, Exception("server closed the connection unexpectedly"))
        return usual()

    monkeypatch.setattr(storage, "scoped_session", session)
    monkeypatch.setattr(storages.time, "sleep", lambda _: None)
    assert study.get_trials() == []
    away[0] = 10**9
    monkeypatch.setattr(storage, "patience", 0.05)
    with pytest.raises(NasError, match=r"server closed the connection unexpectedly .*; its trials are kept") as caught:
        study.get_trials()
    assert "Hunter2x" not in str(caught.value)


def test_of_two_workers_one_takes_a_trial_over(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/s.db")
    assert isinstance(storage, PatientStorage)
    study = open_study("s", storage, optuna.samplers.RandomSampler(seed=0))
    study.add_trial(optuna.create_trial(state=TrialState.WAITING))
    number = study.get_trials()[0]._trial_id
    assert storage.claim(number, None, "one")
    assert not storage.claim(number, None, "another")
    assert storage.claim(number, "one", "another")
    assert not storage.claim(number, "one", "a third")


def test_a_run_gives_its_genotype_to_a_study_of_fine_tuning(
    tmp_path: Path, genotype: Path, trained: list[nas.Recipe], caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "R"
    (run / "checkpoints").mkdir(parents=True)
    Genotype.load(genotype).save(run / "genotype.json")
    (run / "checkpoints" / "best.safetensors").write_bytes(b"weights")
    nas.tune(recipe("train.freeze=[stem.*]"), tmp_path / "A", weights=run)
    assert len(trained) == 3
    assert "random weights" not in caplog.text
    nas.tune(recipe("train.freeze=[stem.*]"), tmp_path / "B", run)
    assert "every trial trains from random weights" in caplog.text
