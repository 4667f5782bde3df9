"""Fine-tuning: which weights are taken, which are trained, when it ends; and waveforms brought to one level."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

import nas
from nas.cli import app
from nas.config import Recipe, Train
from nas.data.normalisation import normalise
from nas.errors import Interrupted, NasError
from nas.networks import registry
from nas.training.checkpoint import Watch
from nas.training.inputs import open_inputs
from nas.training.run import read_tensors
from nas.training.train import describe_classes
from nas.training.weights import freeze, hold_norms, matches, take_weights

LCNN: dict[str, Any] = {"width": 8, "embedding": 8, "loss": "weighted-cross-entropy"}
RAWNET2: dict[str, Any] = {
    "filters": 6, "channels": (4, 6), "gru_hidden": 5, "gru_layers": 2, "embedding": 7, "first_conv": 64,
}  # fmt: skip


def small(*overrides: str) -> Recipe:
    """Two epochs of a small LCNN on a second of 16 utterances."""
    return nas.load_recipe(
        "finetuning/lcnn",
        [
            "data.layout=embedded", "data.samples=16000", "data.subset={train: 16, dev: 16}", "data.augment=[]",
            "network.options={width: 8, embedding: 8, loss: weighted-cross-entropy}", "train.epochs=2",
            "train.batch_size=8", "train.freeze_norms=false", "train.patience=0", "engine.pictures=0", *overrides,
        ],
    )  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A train run whose weights fine-tuning starts from."""
    folder = tmp_path_factory.mktemp("start") / "run"
    nas.train(small(), None, folder, progress=False)
    return folder


def lcnn(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return registry.create("lcnn-logmel-lstmsum", **LCNN)


def best(folder: Path) -> dict[str, Tensor]:
    return read_tensors(folder / "checkpoints" / "best.safetensors")


def last(folder: Path) -> dict[str, Tensor]:
    return read_tensors(folder / "checkpoints" / "last.safetensors")


def refuses(sentence: str, *overrides: str, weights: Path, folder: Path) -> None:
    with pytest.raises(NasError, match=sentence):
        nas.finetune(small(*overrides), weights, folder, progress=False)
    assert not folder.exists()


@settings(max_examples=15, deadline=None)
@given(load=st.sets(st.sampled_from(["encoder.*", "pooling.*", "output.*", "*.bias"]), min_size=1), again=st.data())
def test_exactly_the_named_weights_are_taken(load: set[str], again: st.DataObject) -> None:
    reinitialise = again.draw(st.sets(st.sampled_from(["output.linear.*", "pooling.lstm.*", "encoder.0.*"])))
    source, network = lcnn(1).state_dict(), lcnn(2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    wanted = {n for n in source if matches(n, load) and not matches(n, reinitialise)}
    settings = Train(load=sorted(load), reinitialise=sorted(reinitialise))
    path = Path("unused.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.training.weights.read_state", lambda _: source)
        if not wanted:
            with pytest.raises(NasError, match="leave no weights"):
                take_weights(network, "lcnn-logmel-lstmsum", path, settings)
            return
        said = take_weights(network, "lcnn-logmel-lstmsum", path, settings)
    assert said.startswith(f"{len(wanted)} of {len(source)} entries taken")
    for name, value in network.state_dict().items():
        assert torch.equal(value, source[name] if name in wanted else before[name]), name


def test_published_names_and_ours_give_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = registry.create("rawnet2-2019", **RAWNET2).state_dict()
    published = {}
    for name, value in source.items():
        name = re.sub(r"^encoder\.(\d)\.scale\.", r"fc_attention\1.0.", name)
        name = re.sub(r"^encoder\.(\d)\.", r"block\1.0.", name).replace(".conv_", ".conv").replace(".norm_", ".bn")
        name = name.replace(".shortcut.", ".conv_downsample.").replace("first_norm.", "first_bn.")
        name = re.sub(r"^norm\.", "bn_before_gru.", name)
        name = re.sub(r"^fc\.", "fc1_gru.", name).replace("output.linear.", "fc2_gru.")
        published[f"module.{name}"] = value
    save_file(source, tmp_path / "ours.safetensors")
    torch.save({"state_dict": published}, tmp_path / "published.pth")
    torch.save({n: v for n, v in published.items() if "fc2_gru" not in n}, tmp_path / "headless.pth")
    for file, chosen in (
        ("ours.safetensors", Train()),
        ("published.pth", Train()),
        ("headless.pth", Train(reinitialise=["output.*"])),
    ):
        network = registry.create("rawnet2-2019", **RAWNET2)
        take_weights(network, "rawnet2-2019", tmp_path / file, chosen)
        for name, value in network.state_dict().items():
            assert torch.equal(value, source[name]) or ("headless" in file and name.startswith("output.")), name


def test_weights_that_do_not_fit_are_refused_by_name(start: Path, tmp_path: Path) -> None:
    weights, folder = best(start), tmp_path / "run"
    name = "pooling.fc.weight"
    for file, changed, sentence in (
        ("missing", {k: v for k, v in weights.items() if k != name}, "lacks entries .* pooling.fc.weight"),
        ("surplus", weights | {"more.weight": torch.zeros(1)}, "does not have: more.weight"),
        ("shape", weights | {name: torch.zeros(3, 2)}, r"pooling.fc.weight has shape \[3, 2\], .* needs \[8, "),
        ("nan", weights | {name: weights[name] * torch.nan}, "pooling.fc.weight holds values that are not finite"),
    ):
        path = tmp_path / f"{file}.safetensors"
        save_file(changed, path)
        refuses(sentence, weights=path, folder=folder)
    (tmp_path / "text.pth").write_text("hello")
    refuses("is not a file of weights|holds more than tensors", weights=tmp_path / "text.pth", folder=folder)
    refuses("there is no file of weights", weights=tmp_path / "absent.pth", folder=folder)
    refuses("is not a run directory", weights=tmp_path, folder=folder)


def test_a_pattern_that_matches_nothing_is_one_sentence(start: Path, tmp_path: Path) -> None:
    for key in ("load", "reinitialise", "freeze", "freeze_norms"):
        refuses(
            rf"train.{key}: 'encodr.\*' matches no name of the network; (did you mean|names are)",
            f"train.{key}=[encodr.*]",
            weights=start,
            folder=tmp_path / "run",
        )
    refuses("train.freeze leaves no parameter to train", "train.freeze=['*']", weights=start, folder=tmp_path / "run")


def test_frozen_parameters_and_statistics_stay(start: Path, tmp_path: Path) -> None:
    recipe = small("train.freeze=[encoder.*, pooling.lstm.*]", "train.freeze_norms=[encoder.4, encoder.7]")
    norms = [n for n, m in lcnn(0).named_modules() if isinstance(m, nn.BatchNorm2d)]
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"freeze_norms": norms[:2]})})
    nas.finetune(recipe, start, tmp_path / "run", progress=False)
    before, after = best(start), last(tmp_path / "run")
    parameters = dict(lcnn(0).named_parameters())
    for name in before:
        held = matches(name, ["encoder.*", "pooling.lstm.*"]) if name in parameters else False
        held = held or any(name.startswith(f"{norm}.") for norm in norms[:2])
        # Buffers of the front-end are no weights and never change.
        if name in parameters or "running" in name:
            assert torch.equal(before[name], after[name]) == held, name
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "parameters frozen: encoder.0" in log
    assert f"statistics kept of 2 of {len(norms)} normalisations" in log
    assert re.search(r"(\d+) of \1 entries taken from", log)


def test_the_log_tells_class_weights_that_do_not_fit(start: Path) -> None:
    said = "16 training utterances, 8 of them bona fide"
    told = "; a bona fide one weighs 9 times a spoofed one in the loss, where 1 would balance them"
    assert f"{said}{told} (network.options.loss_options.weights)\n" in (start / "log.txt").read_text()
    inputs = open_inputs(small(), ("train",))
    assert describe_classes(registry.create("lcnn-logmel-lstmsum", loss="p2sgrad"), inputs) == said
    options = {"loss": "focal", "loss_options": {"weights": (0.4, 0.6)}}
    assert describe_classes(registry.create("lcnn-logmel-lstmsum", **options), inputs) == said


def test_all_norms_or_none() -> None:
    for setting, held in ((True, 6), (False, 0), (["encoder.*"], 6)):
        network = lcnn(0).train()
        settings = Train(freeze_norms=setting)
        freeze(network, settings)
        hold_norms(network, settings)
        assert sum(not m.training for m in network.modules() if isinstance(m, nn.BatchNorm2d)) == held


def test_training_ends_when_it_gets_no_better_and_so_does_a_resumed_one(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A learning rate that changes nothing, all statistics held: no epoch after the first is better.
    recipe = small(
        "train.epochs=9", "train.patience=2", "train.learning_rate=1e-30", "train.weight_decay=0",
        "train.freeze_norms=true", "engine.checkpoint_minutes=0.0001",
    )  # fmt: skip
    result = nas.finetune(recipe, start, tmp_path / "whole", progress=False)
    assert result.epoch == 1
    assert len((tmp_path / "whole" / "history.csv").read_text().splitlines()) == 1 + 3
    assert "none of 2 epochs was better than epoch 1" in (tmp_path / "whole" / "log.txt").read_text()

    class Stopping(Watch):
        looks = 4

        @property
        def due(self) -> bool:
            Stopping.looks -= 1
            self.stopping = self.stopping or Stopping.looks <= 0
            return self.stopping

    with monkeypatch.context() as patch:
        patch.setattr("nas.training.loop.Watch", Stopping)
        with pytest.raises(Interrupted):
            nas.finetune(recipe, start, tmp_path / "stopped", progress=False)
    assert nas.resume(tmp_path / "stopped", progress=False).epoch == 1  # type: ignore[union-attr]
    for name, value in last(tmp_path / "whole").items():
        assert torch.equal(value, last(tmp_path / "stopped")[name])
    rows = [(tmp_path / run / "history.csv").read_text().splitlines() for run in ("whole", "stopped")]
    assert [row.split(",")[:4] for row in rows[0]] == [row.split(",")[:4] for row in rows[1]]
    # What has ended stays ended.
    assert nas.resume(tmp_path / "whole", progress=False).epoch == 1  # type: ignore[union-attr]
    assert (tmp_path / "whole" / "history.csv").read_text().splitlines() == rows[0]


def test_a_resumed_fine_tuning_keeps_what_is_frozen(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small("train.freeze=[encoder.*]", "train.freeze_norms=true", "engine.checkpoint_minutes=0.0001")

    class Stopping(Watch):
        @property
        def due(self) -> bool:
            self.stopping = True
            return True

    with monkeypatch.context() as patch:
        patch.setattr("nas.training.loop.Watch", Stopping)
        with pytest.raises(Interrupted):
            nas.finetune(recipe, start, tmp_path / "run", progress=False)
    nas.resume(tmp_path / "run", progress=False)
    before, after = best(start), last(tmp_path / "run")
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("encoder."))
    assert not torch.equal(before["output.linear.weight"], after["output.linear.weight"])


WAVEFORMS = st.lists(st.integers(-32768, 32767), min_size=2, max_size=40).map(
    lambda values: torch.tensor([values, values[::-1]], dtype=torch.float32) / 32768
)


@settings(max_examples=50, deadline=None)
@given(waveforms=WAVEFORMS, gain=st.floats(0.25, 4.0))
def test_a_normalised_waveform_has_one_level_whatever_its_gain(waveforms: Tensor, gain: float) -> None:
    assert torch.equal(normalise(waveforms, "none"), waveforms)
    for how in ("peak", "rms", "standard"):
        found = normalise(waveforms, how)  # type: ignore[arg-type]
        assert found.shape == waveforms.shape
        assert found.isfinite().all()
        centred = waveforms - waveforms.mean(1, keepdim=True) * (how == "standard")
        if centred.abs().amax() < 0.01:
            continue
        measured = found.abs().amax(1) if how == "peak" else found.square().mean(1).sqrt()
        level = 0.1 if how == "rms" else 1.0
        torch.testing.assert_close(measured, torch.full_like(measured, level), rtol=1e-3, atol=0)
        torch.testing.assert_close(normalise(gain * waveforms, how), found, rtol=1e-3, atol=1e-3)  # type: ignore[arg-type]


def test_silence_stays_silence() -> None:
    for how in ("none", "peak", "rms", "standard"):
        assert not normalise(torch.zeros(2, 10), how).any()  # type: ignore[arg-type]


def test_a_run_scores_a_file_at_the_level_that_it_was_trained_at(start: Path, tmp_path: Path) -> None:
    import soundfile

    nas.finetune(small("data.normalise=peak", "train.epochs=1"), start, tmp_path / "run", progress=False)
    noise = torch.randn(16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    for name, gain in (("loud", 1.0), ("soft", 0.125)):
        soundfile.write(tmp_path / f"{name}.wav", (gain * noise).numpy(), 16_000, subtype="FLOAT")
    files = [str(tmp_path / f"{name}.wav") for name in ("loud", "soft")]
    said = CliRunner().invoke(app, ["score", *files, "--run", str(tmp_path / "run")]).output
    loud, soft = (float(score) for score in re.findall(r"\.wav (-?\d+\.\d+)", said))
    assert loud == pytest.approx(soft, abs=1e-4)


def test_the_verb(start: Path, tmp_path: Path) -> None:
    changes = ["data.layout=embedded", "data.samples=16000", "data.subset={train: 16, dev: 16}", "data.augment=[]"]
    changes += ["network.options={width: 8, embedding: 8, loss: weighted-cross-entropy}", "train.epochs=1"]
    changes += ["train.batch_size=8", "engine.pictures=0"]
    command = ["finetune", "finetuning/lcnn", *changes, "--quiet", "-o", str(tmp_path / "run")]
    without = CliRunner().invoke(app, command)
    assert without.exit_code == 2
    assert "--weights" in without.output
    found = CliRunner().invoke(app, [*command, "--weights", str(start)])
    assert found.exit_code == 0, found.output
    assert "best epoch 1" in found.output


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("aasist", {"epochs": 5, "batch_size": 16, "learning_rate": 5e-5, "weight_decay": 5e-5, "schedule": "cosine"}),
        ("rawnet2", {"epochs": 10, "batch_size": 8, "learning_rate": 3e-5, "weight_decay": 1e-4, "schedule": "cosine"}),
        ("lcnn", {"epochs": 10, "batch_size": 16, "learning_rate": 1e-4, "weight_decay": 1e-4, "schedule": "step"}),
    ],
)
def test_the_recipes_are_those_of_the_study(name: str, values: dict[str, Any]) -> None:
    recipe = nas.load_recipe(f"finetuning/{name}")
    assert {key: getattr(recipe.train, key) for key in values} == values
    assert recipe.data.subset == 1000
    assert recipe.data.samples == 64_600
    assert recipe.data.normalise != "none"
    augmentations = {step["name"] for step in recipe.data.augment}
    assert augmentations >= ({"noise", "pitch_shift", "frequency_mask"} if name == "rawnet2" else {"frequency_mask"})
    if name == "lcnn":
        assert recipe.train.freeze_norms is True
        assert recipe.train.patience
        assert (recipe.train.step_epochs, recipe.train.step_factor) == (3, 0.5)
    if name == "rawnet2":
        network = registry.create("rawnet2-2019", **RAWNET2)
        said = freeze(network, recipe.train)
        assert "statistics kept of 4 of 13" in said
        held = {n.rpartition(".")[0].rpartition(".")[0] for n, p in network.named_parameters() if not p.requires_grad}
        assert {"encoder.0", "encoder.1"} <= held
        assert not any(n.startswith(f"encoder.{block}") for n in held for block in range(2, 6))
