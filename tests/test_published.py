"""Published weights: the golden files of the official codes, small twins that always run, and files that do not fit."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from nas.errors import NasError
from nas.networks import registry
from nas.networks.inference import prepare_for_inference
from nas.networks.published import PUBLISHED, load_published, read_state

TWINS = Path(__file__).parent / "golden" / "published_twins.safetensors"
"""Small networks under the published names, with the outputs that this code gave when it met the golden files."""

OPTIONS: dict[str, dict[str, Any]] = {
    "aasist-l": {"filters": 12, "channels": (4, 6), "graph": (6, 4), "first_conv": 32},
    "rawnet2-2019": {"filters": 4, "channels": (4, 6), "gru_hidden": 5, "embedding": 7},
    "rawnet2-2021": {"filters": 4, "channels": (4, 6), "gru_hidden": 5, "embedding": 7, "first_conv": 64},
    "lcnn-lfcc-lstmsum": {"width": 4, "embedding": 6},
    "lcnn-lfcc-attention": {"width": 4, "embedding": 6},
    "lcnn-lfcc-fixed": {"width": 4, "embedding": 6, "frames": 64},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On a busy machine the second thread of networks this small only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def chirps(batch: int, samples: int) -> torch.Tensor:
    """Waveforms that need no file: rising chirps with a slow beat, float32 [B, T]."""
    t = np.arange(samples) / 16_000
    rows = [0.4 * np.sin(2 * np.pi * (200 * (i + 1) * t + 900 * t**2)) * np.cos(7 * (i + 1) * t) for i in range(batch)]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def without_dropout(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network.train()


# The golden files of the official codes


@pytest.mark.slow
@pytest.mark.shared
def test_aasist_l_gives_the_official_logits(shared: Path) -> None:
    utterances = json.loads((shared / "golden" / "aasist_l_logits.json").read_text())["utterances"]
    network = load_published("aasist-l", shared / "golden" / "AASIST-L.pth")
    prepared = prepare_for_inference(network)
    rows = []
    for utterance in utterances:
        waveform, _ = soundfile.read(shared / f"data/la_real/flac/{utterance['utterance']}.flac", dtype="float32")
        rows.append(np.resize(waveform, 64_600))
    official = torch.tensor([utterance["logits"] for utterance in utterances])
    with torch.inference_mode():
        ours = torch.cat([prepared(torch.from_numpy(row).unsqueeze(0)) for row in rows])
        plain = network(torch.from_numpy(np.stack(rows[:4])))
    assert len(utterances) == 24
    assert (ours - official).abs().max() < 1e-4
    assert (plain - official[:4]).abs().max() < 1e-4
    scores = network.output.score(ours)
    bona_fide = torch.tensor([utterance["key"] == "bonafide" for utterance in utterances])
    assert scores[~bona_fide].max() < scores[bona_fide].min()


@pytest.mark.shared
def test_rawnet2_2019_gives_the_official_logits(shared: Path) -> None:
    file = shared / "golden" / "rawnet2_2019_small.safetensors"
    with safe_open(file, "pt") as opened:
        widths = {key: json.loads(value) for key, value in opened.metadata().items()}
    golden = load_file(file)
    filters, early, _, late = widths["filts"]
    network = load_published(
        "rawnet2-2019",
        part(golden, "state."),
        filters=filters,
        channels=(early[1], late[1]),
        first_conv=widths["first_conv"],
        gru_hidden=widths["gru_node"],
        gru_layers=widths["nb_gru_layer"],
        embedding=widths["nb_fc_node"],
    )
    with torch.no_grad():
        assert (network(golden["input"]) - golden["logits_eval"]).abs().max() < 1e-5
        assert (prepare_for_inference(network)(golden["input"]) - golden["logits_eval"]).abs().max() < 1e-5
        assert (network.train()(golden["input"]) - golden["logits_train"]).abs().max() < 1e-5


@pytest.mark.shared
def test_lcnn_gives_the_official_features_and_embeddings(shared: Path) -> None:
    golden = load_file(shared / "golden" / "lcnn_lstmsum_lfcc.safetensors")
    network = load_published("lcnn-lfcc-lstmsum", part(golden, "state."))
    computed = registry.create("lcnn-lfcc-lstmsum").frontend
    torch.testing.assert_close(computed.filters, network.frontend.filters, rtol=0, atol=1e-5)
    torch.testing.assert_close(computed.dct, network.frontend.dct, rtol=0, atol=1e-6)
    with torch.no_grad():
        assert (computed(golden["input"]) - golden["lfcc"]).abs().max() < 1e-4
        assert (network.embed(golden["input"]) - golden["embedding_eval"]).abs().max() < 1e-5
        # Recorded with the dropout of 0.7 off. Values reach 27, where single precision is 2e-6 apart, and the recorded
        # embedding is itself about 1e-5 from one computed in double precision: hence 1e-5 of the largest value.
        trained = without_dropout(network).embed(golden["input"])
        assert (trained - golden["embedding_train"]).abs().max() < 1e-5 * golden["embedding_train"].abs().max()


# Twins that need no other file


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_twin_gives_the_recorded_outputs(name: str) -> None:
    twin = part(load_file(TWINS), f"{name}/")
    network = load_published(name, part(twin, "state/"), **OPTIONS[name])
    waveform = chirps(3, 9_000)
    with torch.no_grad():
        torch.testing.assert_close(network(waveform), twin["logits"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(prepare_for_inference(network)(waveform), twin["logits"], rtol=1e-4, atol=1e-5)
        torch.manual_seed(0)
        trained = without_dropout(network)(waveform)
        torch.testing.assert_close(trained, twin["logits_train"], rtol=1e-3, atol=1e-4)


def twin_state(name: str = "rawnet2-2019") -> dict[str, torch.Tensor]:
    return part(load_file(TWINS), f"{name}/state/")


def test_every_hand_made_published_network_has_a_twin() -> None:
    assert set(PUBLISHED) - set(OPTIONS) == {"aasist", "raw-pcdarts"}  # AASIST shares the table of AASIST-L


def test_every_weight_is_used() -> None:
    """Changing any entry of a twin changes the logits in one of the two modes, unless it is known to be dead.

    In float64: attention at a temperature of 100 moves the logits by less than float32 shows on some processors.
    """
    dead = ("encoder.1.0.bn1", "encoder.2.0.bn1", "encoder.3.0.bn1", "encoder.4.0.bn1", "encoder.5.0.bn1")
    state = part(load_file(TWINS), "aasist-l/state/")
    waveform = chirps(2, 9_000).double()
    with torch.no_grad():
        before = load_published("aasist-l", state, **OPTIONS["aasist-l"]).double()(waveform)
        for key, value in state.items():
            if key.endswith("num_batches_tracked"):
                continue
            changed = value + 0.5 * (1 + value.abs())
            logits = load_published("aasist-l", {**state, key: changed}, **OPTIONS["aasist-l"]).double()(waveform)
            # Biases of attention logits shared by all neighbours cancel in the softmax; no such entry exists here.
            assert logits.equal(before) == key.startswith(dead), key


# Quirks


def test_the_first_normalisation_is_dead_as_published_and_alive_on_request() -> None:
    """Q1: with the released wiring norm_1 changes nothing."""
    for name in ("aasist-l", "rawnet2-2021"):
        waveform = chirps(2, 9_000)
        for published in (True, False):
            options = {**OPTIONS[name], "conv_on_input": published}
            network = load_published(name, twin_state(name), **options)
            with torch.no_grad():
                before = network(waveform)
                for block in network.encoder:
                    if block.norm_1 is not None:
                        block.norm_1.bias += 1.0
                assert network(waveform).equal(before) == published


def test_log_softmax_of_the_2021_baseline_is_an_option() -> None:
    options, state = OPTIONS["rawnet2-2021"], twin_state("rawnet2-2021")
    waveform = chirps(2, 9_000)
    with torch.no_grad():
        published = load_published("rawnet2-2021", state, **options)
        plain = load_published("rawnet2-2021", state, log_softmax=False, **options)
        torch.testing.assert_close(plain(waveform).log_softmax(1), published(waveform))
        torch.testing.assert_close(plain.output.score(plain(waveform)), published.output.score(published(waveform)))


# Files


def test_files_of_both_kinds_and_wrapped_state_dicts_are_read(tmp_path: Path) -> None:
    state = twin_state()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, tmp_path / "c.pt")
    waveform = chirps(1, 9_000)
    outputs = [
        load_published("rawnet2-2019", tmp_path / file, **OPTIONS["rawnet2-2019"])(waveform)
        for file in ("a.safetensors", "b.pth", "c.pt")
    ]
    assert outputs[0].equal(outputs[1])
    assert outputs[0].equal(outputs[2])


Wrap = Callable[[dict[str, torch.Tensor]], Any]


def under(prefix: str) -> Wrap:
    return lambda state: {f"{prefix}{key}": value for key, value in state.items()}


WRAPPERS: dict[str, Wrap] = {
    "model and optimiser": lambda s: {
        "model": s,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
    },
    "net": lambda s: {"net": s, "acc": 0.9},
    "another name, deeper": lambda s: {"checkpoint": {"detector": s}, "args": {"lr": 0.1}},
    "DataParallel": under("module."),
    "torch.compile of DataParallel": under("_orig_mod.module."),
    "Lightning": lambda s: {"state_dict": under("model.")(s), "pytorch-lightning_version": "2.4", "loops": {}},
    "Lightning with a loss": lambda s: {
        "state_dict": under("model.")(s) | {"loss_fn.weight": torch.ones(2), "val_acc.correct": torch.tensor(3)}
    },
    "averaged weights": lambda s: under("module.")(s) | {"n_averaged": torch.tensor(7)},
    "a loss": lambda s: s | {"loss.weight": torch.ones(2)},
    "a criterion": lambda s: s | {"criterion.center": torch.ones(2)},
    "discriminator beside": lambda s: {"generator": {"other.weight": torch.ones(3)}, "discriminator": s},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_of_training_scripts(tmp_path: Path, wrapper: str, caplog: pytest.LogCaptureFixture) -> None:
    state = twin_state()
    torch.save(WRAPPERS[wrapper](state), tmp_path / "w.pth")
    network = load_published("rawnet2-2019", tmp_path / "w.pth", **OPTIONS["rawnet2-2019"])
    plain = load_published("rawnet2-2019", state, **OPTIONS["rawnet2-2019"])
    assert all(value.equal(plain.state_dict()[key]) for key, value in network.state_dict().items())
    left_out = wrapper in ("Lightning with a loss", "averaged weights", "a loss", "a criterion")
    assert ("left out" in caplog.text) == left_out


def test_which_of_several_weights_are_taken_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = twin_state()
    other = {key: value + 1 for key, value in state.items()}
    torch.save({"ema": other, "model": state}, tmp_path / "w.pth")
    assert read_state(tmp_path / "w.pth")["fc1_gru.bias"].equal(state["fc1_gru.bias"])
    assert "holds several sets of weights, model, ema; model were taken" in caplog.text
    torch.save(under("student.")(state) | under("teacher.")(other), tmp_path / "w.pth")
    with pytest.raises(NasError, match=r"several networks that fit rawnet2-2019, under student\., teacher\."):
        load_published("rawnet2-2019", tmp_path / "w.pth", **OPTIONS["rawnet2-2019"])


def test_weights_of_another_type_are_refused() -> None:
    for kind in (torch.bool, torch.int32, torch.complex64):
        state = {key: value.to(kind) if value.is_floating_point() else value for key, value in twin_state().items()}
        with pytest.raises(NasError, match="holds values of type"):
            load_published("rawnet2-2019", state, **OPTIONS["rawnet2-2019"])
    half = {key: value.half() if value.is_floating_point() else value for key, value in twin_state().items()}
    load_published("rawnet2-2019", half, **OPTIONS["rawnet2-2019"])


def test_compressed_entries_are_not_unpacked(tmp_path: Path) -> None:
    torch.save(twin_state(), tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as plain, zipfile.ZipFile(tmp_path / "b.pth", "w") as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
    with pytest.raises(NasError, match="compressed entries"):
        read_state(tmp_path / "b.pth")


class Trap:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    torch.save({"weight": Trap(tmp_path / "ran")}, tmp_path / "bad.pth")
    with pytest.raises(NasError, match="holds more than tensors"):
        read_state(tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("absent.pth", None, "there is no file of weights"),
        ("text.pth", b"not weights", "is not a file of weights|holds more than tensors"),
        ("lfs.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("lfs.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        ("page.pth", b"\n<!DOCTYPE html><html>", "is a web page"),
        ("archive.pth", b"PK\x03\x04 and no more", "is not a file of weights|holds more than tensors"),
        ("empty.pth", b"", "is not a file of weights"),
        ("text.safetensors", b"not weights at all", "is not a file of weights"),
        ("cut.safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{", "is not a file of weights"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, file: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(NasError, match=message):
        load_published("aasist-l", tmp_path / file)


def test_a_file_of_other_things(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(NasError, match="does not hold a state_dict"):
        load_published("aasist-l", tmp_path / "list.pth")


def test_what_does_not_fit_is_named() -> None:
    state, options = twin_state(), OPTIONS["rawnet2-2019"]
    missing = {key: value for key, value in state.items() if key != "fc1_gru.bias"}
    with pytest.raises(NasError, match=r"lacks entries that rawnet2-2019 needs: fc\.bias"):
        load_published("rawnet2-2019", missing, **options)
    with pytest.raises(NasError, match=r"has entries that rawnet2-2019 does not have: extra\.weight"):
        load_published("rawnet2-2019", {**state, "extra.weight": torch.zeros(1)}, **options)
    with pytest.raises(NasError, match=r"fc1_gru\.bias has shape \[8\], rawnet2-2019 needs \[7\]"):
        load_published("rawnet2-2019", {**state, "fc1_gru.bias": torch.zeros(8)}, **options)
    with pytest.raises(NasError, match=r"fc1_gru\.bias holds values that are not finite"):
        load_published("rawnet2-2019", {**state, "fc1_gru.bias": torch.full((7,), torch.nan)}, **options)
    with pytest.raises(NasError, match="weights of other widths need the widths as options"):
        load_published("rawnet2-2019", state)
    with pytest.raises(NasError, match="no published weights are known for 'aasist-m'; did you mean 'aasist"):
        load_published("aasist-m", state)
