"""The main job at toy size: search, genotype, training, evaluation; and that it repeats."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nas
from nas.metrics import read_scores
from nas.metrics.scores import read_own_scores
from nas.supernet.architecture import Architecture, derive
from nas.training.engine import start_engine
from nas.training.inputs import open_inputs
from nas.training.run import Run, read_tensors
from nas.training.scoring import score_partition

ROOT = Path(__file__).parent.parent
TOY = "raw_pcdarts/toy"
PLAIN = ["engine.pictures=0"]


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return read_tensors(path)


def same(one: Path, other: Path) -> bool:
    first, second = tensors(one), tensors(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a toy search, a training and its evaluation."""
    folder = tmp_path_factory.mktemp("toy")
    recipe = nas.load_recipe(TOY)
    found = nas.search(recipe, folder / "search", progress=False)
    nas.train(recipe, found.genotype_file, folder / "train", progress=False)
    nas.evaluate(folder / "train", progress=False)
    return folder


def test_the_search_leaves_its_run_directory(toy: Path) -> None:
    run = Run.open(toy / "search")
    assert run.kind == "search"
    assert run.recipe == nas.load_recipe(TOY)
    names = {str(path.relative_to(toy / "search")) for path in (toy / "search").rglob("*") if path.is_file()}
    epochs = [f"genotypes/epoch_{n:03d}{end}" for n in (1, 2, 3) for end in (".json", ".architecture.json")]
    expected = {"recipe.yaml", "environment.json", "history.csv", "genotype.json", "log.txt", *epochs}
    assert expected | {"checkpoints/best.safetensors", "checkpoints/last.safetensors"} <= names
    assert any(name.startswith("tensorboard/") for name in names)
    assert not any(name.endswith(".tmp") for name in names)
    with open(toy / "search" / "history.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["architecture_loss"] == ""
    assert float(rows[1]["architecture_loss"]) > 0


def test_genotypes_are_those_of_their_alphas(toy: Path) -> None:
    space = nas.get_space("raw_waveform")
    for epoch in (1, 2, 3):
        stem = toy / "search" / "genotypes" / f"epoch_{epoch:03d}"
        values = json.loads(stem.with_suffix(".architecture.json").read_text())
        architecture = Architecture(space)
        with torch.no_grad():
            for name, parameter in architecture.named_parameters():
                parameter.copy_(torch.tensor(values[name]))
        assert nas.Genotype.load(stem.with_suffix(".json")) == architecture.genotype()
        assert derive(space, *architecture.weights("normal")) == architecture.genotype().cells["normal"]


def test_warm_up_leaves_the_architecture_alone_and_the_search_does_not(toy: Path) -> None:
    values = [
        json.loads((toy / "search" / "genotypes" / f"epoch_00{n}.architecture.json").read_text()) for n in (1, 2, 3)
    ]
    start = torch.tensor(values[0]["alpha_normal"])
    assert start.abs().max() < 1e-2  # still 1e-3 * N(0, 1)
    assert values[0]["alpha_normal"] != values[1]["alpha_normal"] != values[2]["alpha_normal"]


def test_the_genotype_is_taken_after_the_warm_up(toy: Path) -> None:
    taken = nas.Genotype.load(toy / "search" / "genotype.json")
    later = [nas.Genotype.load(toy / "search" / "genotypes" / f"epoch_00{n}.json") for n in (2, 3)]
    assert taken in later


def test_the_trained_network_loads_and_scores(toy: Path) -> None:
    network = nas.load(toy / "train")
    assert not network.training
    scores = network(torch.randn(3, 4000))
    assert scores.shape == (3, 2)
    lines = (toy / "train" / "scores" / "eval.txt").read_text().splitlines()
    assert all(re.fullmatch(r"\S+ \S+ (bonafide|spoof) \S+", line) for line in lines)
    metrics = json.loads((toy / "train" / "scores" / "eval.json").read_text())
    evaluation = nas.evaluate_scores(toy / "train" / "scores" / "eval.txt", higher="bonafide")
    assert metrics["eer"] == pytest.approx(evaluation.eer)
    assert "phase_random" in evaluation.per_attack


def test_scores_of_a_prepared_network_are_those_of_the_network(toy: Path) -> None:
    recipe = nas.load_recipe(toy / "train" / "recipe.yaml")
    inputs, accelerator = open_inputs(recipe, ("eval",)), start_engine(recipe)
    plain = score_partition(nas.load(toy / "train"), inputs, "eval", recipe, accelerator, progress=False)
    scores = read_own_scores(toy / "train/scores/eval.txt").score
    assert list(scores) == pytest.approx(list(plain.scores), abs=1e-5)


def test_speakers_stand_beside_the_scores(toy: Path) -> None:
    scores = toy / "train" / "scores"
    alone = read_scores(scores / "eval.txt", higher="bonafide")
    together = read_scores(scores / "eval.txt", scores / "eval.protocol.txt", higher="bonafide")
    assert alone.speaker is None
    assert all(name.startswith(speaker) for name, speaker in zip(together.utterance, together.speaker, strict=True))
    assert list(together.attack) == list(alone.attack)


def test_evaluates_the_subset_or_the_whole(toy: Path, tmp_path: Path) -> None:
    recipe = nas.load_recipe(TOY, ["data.subset={eval: 4}", "train.epochs=1"])
    nas.train(recipe, toy / "search" / "genotype.json", tmp_path / "train", progress=False)
    nas.evaluate(tmp_path / "train", progress=False)
    part = read_scores(tmp_path / "train" / "scores" / "eval.txt", higher="bonafide")
    nas.evaluate(tmp_path / "train", progress=False, whole=True)
    whole = read_scores(tmp_path / "train" / "scores" / "eval.txt", higher="bonafide")
    assert len(part.score) == 4
    corpus = nas.load_recipe(TOY).data.subset
    assert len(whole.score) > corpus["eval"]  # type: ignore[index]
    scores = dict(zip(whole.utterance, whole.score, strict=True))
    assert [scores[name] for name in part.utterance] == pytest.approx(list(part.score), abs=1e-5)


def test_the_first_layer_stays_as_it_is(toy: Path) -> None:
    searched = tensors(toy / "search" / "checkpoints" / "last.safetensors")
    trained = tensors(toy / "train" / "checkpoints" / "last.safetensors")
    for name in ("stem.frontend.low_hz", "stem.frontend.band_hz"):
        assert torch.equal(searched[name], trained[name])


def test_twice_in_a_row_gives_the_same(toy: Path, tmp_path: Path) -> None:
    recipe = nas.load_recipe(TOY)
    nas.search(recipe, tmp_path / "search", progress=False)
    nas.train(recipe, tmp_path / "search" / "genotype.json", tmp_path / "train", progress=False)
    nas.evaluate(tmp_path / "train", progress=False)
    for name in ("genotype.json", *(f"genotypes/epoch_00{n}.architecture.json" for n in (1, 2, 3))):
        assert (tmp_path / "search" / name).read_text() == (toy / "search" / name).read_text()
    assert same(tmp_path / "search/checkpoints/last.safetensors", toy / "search/checkpoints/last.safetensors")
    assert same(tmp_path / "train/checkpoints/best.safetensors", toy / "train/checkpoints/best.safetensors")
    assert (tmp_path / "train/scores/eval.txt").read_text() == (toy / "train/scores/eval.txt").read_text()


def test_another_process_gives_the_same_and_another_seed_does_not(toy: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nas", "search", TOY, "seed=0", *PLAIN, "--quiet", "-o", str(tmp_path / "0")]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, timeout=300)
    nas.search(nas.load_recipe(TOY, ["seed=1", *PLAIN]), tmp_path / "1", progress=False)
    zero = (tmp_path / "0" / "genotypes" / "epoch_003.architecture.json").read_text()
    assert zero == (toy / "search" / "genotypes" / "epoch_003.architecture.json").read_text()
    assert zero != (tmp_path / "1" / "genotypes" / "epoch_003.architecture.json").read_text()


@pytest.mark.parametrize("frontend", ["mel", "conv0"])
def test_a_learnt_front_end_moves_from_search_to_training(frontend: str, tmp_path: Path) -> None:
    options = [f"network.frontend={frontend}", "network.learnable=true", "search.epochs=2", "train.epochs=1", *PLAIN]
    recipe = nas.load_recipe(TOY, options)
    found = nas.search(recipe, tmp_path / "search", progress=False)
    learnt = tensors(tmp_path / "search" / "genotype.frontend.safetensors")
    fresh = nas.load_recipe(TOY, [*options, "search.learning_rate=1e-12"])
    assert fresh.network.learnable
    nas.train(recipe, found.genotype_file, tmp_path / "train", progress=False)
    trained = tensors(tmp_path / "train" / "checkpoints" / "last.safetensors")
    for name, tensor in learnt.items():
        assert torch.equal(trained[f"stem.frontend.{name}"], tensor)
    nas.load(tmp_path / "train")
    with pytest.raises(nas.NasError, match=r"learnt in the search is needed"):
        nas.train(recipe, found.genotype, tmp_path / "none", progress=False)
    assert not (tmp_path / "none").exists()


def test_second_order_searches(tmp_path: Path) -> None:
    recipe = nas.load_recipe(TOY, ["search.order=second", "search.epochs=2", *PLAIN])
    nas.search(recipe, tmp_path / "search", progress=False)
    assert (tmp_path / "search" / "genotype.json").exists()


def test_the_documented_space_of_ones_own_works(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "search-spaces.md").read_text()
    (tmp_path / "my_space.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1))
    commands = re.findall(r"^\$ nas (.*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        result = subprocess.run(
            [sys.executable, "-m", "nas", *command.split(), "--quiet"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr
    genotype = nas.Genotype.load(tmp_path / "my-search" / "genotype.json")
    assert len(genotype.cells["normal"].nodes) == 3


@pytest.mark.slow
def test_a_wheel_works_from_an_empty_folder(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", str(ROOT)]
    subprocess.run([*build, "-w", str(tmp_path / "dist")], check=True, capture_output=True, timeout=300)
    wheel = next((tmp_path / "dist").glob("*.whl"))
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", str(tmp_path / "site")]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, timeout=300)
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    where = subprocess.run(
        [sys.executable, "-c", "import nas, experiments; print(nas.__file__, experiments.__file__)"],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.count(str(tmp_path / "site")) == 2
    for name in ("experiments", "search_spaces"):  # of the user's own, which stand first on the path
        (empty / name).mkdir()
        (empty / name / "__init__.py").write_text("")
    run = [sys.executable, "-m", "nas", "search", TOY, "search.epochs=2", "--quiet", "-o", "out"]
    subprocess.run(run, check=True, capture_output=True, cwd=empty, env=environment, timeout=300)
    assert (empty / "out" / "genotype.json").exists()


def test_public_names_are_there() -> None:
    for name in nas.__all__:
        assert getattr(nas, name) is not None
    with pytest.raises(AttributeError):
        nas.nothing  # noqa: B018
