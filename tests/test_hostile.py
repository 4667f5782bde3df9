"""Files from strangers: whatever they hold, none of it is run, and one sentence says what is wrong with them."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import nas
from nas.data.readers import read
from nas.errors import NasError
from nas.metrics import read_asv_scores, read_scores
from nas.training.checkpoint import CURRENT, read_checkpoint, write_checkpoint
from nas.training.run import Run

SMALL = ["data.samples=300", "engine.pictures=0", "train.epochs=1"]
DEEP = "[" * 20_000

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.target), "w")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "run"
    cell = [["skip_connect", 0], ["std_conv_3", 1]] * 4
    file = run.with_name("genotype.json")
    file.write_text(json.dumps({"normal": cell, "expand": cell}))
    nas.train(nas.load_recipe("raw_pcdarts/toy", SMALL), file, run, progress=False)
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_is_never_run_whatever_it_is_called(run: Path, tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "ran"
    content = pickle.dumps(Payload(victim), protocol)
    pickle.loads(content).close()  # noqa: S301
    assert victim.exists()  # it would
    victim.unlink()
    places = ["checkpoints/best.safetensors", "genotype.json", "recipe.yaml", "environment.json"]
    for place in places:
        broken = Path(shutil.copytree(run, tmp_path / place.replace("/", "_")))
        (broken / place).write_bytes(content)
        with pytest.raises(NasError):
            nas.load(broken)
    for checkpoint in (run / "checkpoints").glob("resume*"):
        checkpoint.write_bytes(content)
    with pytest.raises(NasError, match="damaged"):
        nas.resume(run, progress=False)
    file = tmp_path / "file"
    file.write_bytes(content)
    readers: list[Callable[[], Any]] = [
        lambda: nas.Genotype.load(file),
        lambda: nas.load_recipe(file),
        lambda: read_scores(file),
        lambda: read_asv_scores(file),
        lambda: read("manifest", file),
        lambda: nas.load_published("aasist", file),
        lambda: torch.load(file, weights_only=True),
    ]
    for reader in readers:
        with pytest.raises((NasError, pickle.UnpicklingError)):
            reader()
    assert not victim.exists()


def change(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(state: Any) -> None:
        for name in path[:-1]:
            state = state[name]
        if to is None:
            del state[path[-1]]
        else:
            state[path[-1]] = to

    return apply


@pytest.mark.parametrize(
    "apply",
    [
        change("schedules", "learning_rate", "optimizer", to="x"),
        change("schedules", "learning_rate", "step", to="x"),
        change("schedules", "learning_rate", "base_lrs", to=["x"]),
        change("schedules", to=[]),
        change("optimizers", "network", 0, "lr", to="x"),
        change("optimizers", "network", 0, "params", to=[0]),
        change("optimizers", "network", to={}),
        change("random", "python", to=["x"]),
        change("random", "numpy", "state", "key", to=[-1]),
        change("random", to=None),
        change("values", to=7),
        change("values", "epoch", to="1"),
        change("values", "totals", to=[0.0]),
        change("values", "best", to={"epoch": 1}),
        change("values", "history", to=[7]),
        change("values", "history", to=[{"epoch": 1}, {"other": 1}]),
        change("values", "stranger", to=1),
        change("values", "recipe", to="<script>"),
    ],
)
def test_a_checkpoint_with_a_right_checksum_and_wrong_content_is_refused(run: Path, apply: Any) -> None:
    found = read_checkpoint(run / "checkpoints")
    assert found is not None
    apply(found[1])
    write_checkpoint(run / "checkpoints", *found)
    with pytest.raises(NasError, match=r"checkpoint|recipe\.yaml was changed"):
        nas.resume(run, progress=False)


@pytest.mark.parametrize("name", ["module/network/head.fc.weight", "optimizer/network/0/exp_avg", "random/torch"])
@pytest.mark.parametrize("tensor", [None, torch.zeros(3), torch.zeros(2, 2, dtype=torch.complex64)])
def test_tensors_of_other_shapes_are_refused_or_harmless(run: Path, name: str, tensor: torch.Tensor | None) -> None:
    found = read_checkpoint(run / "checkpoints")
    assert found is not None
    assert name in found[0]
    if tensor is None:
        del found[0][name]
    else:
        found[0][name] = tensor
    write_checkpoint(run / "checkpoints", *found)
    if name.startswith("optimizer"):
        nas.resume(run, progress=False)  # the run has ended: moments are not asked for again
    else:
        with pytest.raises(NasError, match="does not fit"):
            nas.resume(run, progress=False)


def test_nesting_and_aliases_fill_no_memory(run: Path, tmp_path: Path) -> None:
    found = read_checkpoint(run / "checkpoints")
    assert found is not None
    file = tmp_path / "file.yaml"
    for text in (DEEP, BOMB, BOMB + "name: *i\n", BOMB + "data: {augment: *i}\n", '{"normal": ' + DEEP):
        file.write_text(text)
        for reader in (nas.load_recipe, nas.Genotype.load):
            with pytest.raises(NasError) as sentence:
                reader(file)
            assert len(str(sentence.value)) < 1_000
        (run / "recipe.yaml").write_text(text)
        with pytest.raises(NasError, match="damaged"):
            Run.open(run)
    assert yaml.safe_load("a: &a 1\nb: *a") == {"a": 1, "b": 1}  # an alias by itself is valid YAML
    for name in ("resume.safetensors", "resume.previous.safetensors"):
        path = run / "checkpoints" / name
        if path.exists():
            header = json.dumps({"__metadata__": {"state": DEEP, "sha256": ""}}).encode()
            path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(NasError, match="damaged"):
        read_checkpoint(run / "checkpoints")
    (run / "checkpoints" / CURRENT).write_bytes(b"\xff" * 64)
    with pytest.raises(NasError, match="damaged"):
        read_checkpoint(run / "checkpoints")


@pytest.mark.parametrize("kind", ["evaluate", "<script>", None, 7, ["search"]])
def test_a_run_of_another_kind_is_refused(run: Path, kind: Any) -> None:
    (run / "environment.json").write_text(json.dumps({"kind": kind}))
    with pytest.raises(NasError, match="damaged"):
        nas.resume(run, progress=False)
