"""Published Raw PC-DARTS checkpoints by the command line: scored, evaluated, their front-end; searches refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from torch import Tensor
from typer.testing import CliRunner

import nas
from nas.cli import app
from nas.data.embedded import embedded_table, embedded_waveform
from nas.errors import NasError
from nas.metrics.scores import read_own_scores
from nas.network import Network
from nas.networks.published import load_published
from nas.networks.raw_pcdarts import sizes_of_weights
from nas.networks.scoring import score_waveform

GOLDEN = Path(__file__).parent / "golden"


def read(name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(GOLDEN / name, "pt") as stream:
        tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
        return {key[6:]: tensor for key, tensor in tensors.items() if key.startswith("state.")}, stream.metadata()


@pytest.fixture
def released(tmp_path: Path) -> tuple[Path, Path, Network]:
    """A checkpoint under the published names, its genotype as text, and the network by its stated sizes."""
    state, metadata = read("raw_pcdarts_trained_twin.safetensors")
    torch.save(state, tmp_path / "released.pth")
    (tmp_path / "genotype.txt").write_text(metadata["genotype"])
    network = load_published(
        "raw-pcdarts",
        state,
        genotype=metadata["genotype"],
        channels=int(metadata["channels"]),
        cells=int(metadata["layers"]),
        sinc_scale=metadata["sinc_scale"],
        gru_hidden=int(metadata["gru_hidden"]),
        gru_layers=int(metadata["gru_layers"]),
    )
    return tmp_path / "released.pth", tmp_path / "genotype.txt", network


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_sizes_are_read_from_the_shapes(released: tuple[Path, Path, Network]) -> None:
    weights, genotype, network = released
    loaded = load_published("raw-pcdarts", weights, genotype=genotype.read_text())
    ours: dict[str, Any] = loaded.state_dict()
    assert all(torch.equal(ours[key], value) for key, value in network.state_dict().items())
    state = torch.load(weights, weights_only=True)
    expected = sizes_of_weights(state, "here")
    assert sizes_of_weights({f"module.{key}": value for key, value in state.items()}, "here") == expected
    assert sizes_of_weights(network.state_dict(), "here") == expected


@pytest.mark.parametrize("kernel", [128, 64])
def test_sizes_of_a_convolution_as_front_end(kernel: int) -> None:
    genotype = read("raw_pcdarts_trained_twin.safetensors")[1]["genotype"]
    sizes = {"channels": 4, "cells": 3, "gru_hidden": 5, "gru_layers": 2, "frontend": "conv0", "kernel": kernel}
    network = nas.networks.registry.create("raw-pcdarts", genotype=genotype, **sizes)
    assert sizes_of_weights(network.state_dict(), "here") == sizes


def test_a_file_is_scored_by_one_command(released: tuple[Path, Path, Network], tmp_path: Path) -> None:
    weights, genotype, network = released
    audio = (0.1 * np.random.default_rng(0).standard_normal(70_000)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", audio, 16_000, subtype="FLOAT")
    run("score", tmp_path / "a.wav", "--weights", weights, "--genotype", genotype, "-o", tmp_path / "scores.csv")
    found = float((tmp_path / "scores.csv").read_text().splitlines()[1].split(",")[1])
    assert found == pytest.approx(score_waveform(network, torch.from_numpy(audio), 64_000), abs=1e-6)


def test_a_corpus_is_evaluated_by_one_command(released: tuple[Path, Path, Network], tmp_path: Path) -> None:
    weights, genotype, network = released
    arguments = ["--weights", weights, "--genotype", genotype, "--layout", "embedded", "--partition", "dev"]
    run("evaluate", *arguments, "-o", tmp_path / "scores.txt", "--json", tmp_path / "found.json", "--quiet")
    trials = read_own_scores(tmp_path / "scores.txt")
    found = dict(zip(trials.utterance.tolist(), trials.score.tolist(), strict=True))
    assert json.loads((tmp_path / "found.json").read_text())["eer"] >= 0
    dev = [utterance for utterance in embedded_table(0) if utterance.partition == "dev"]
    assert len(found) == len(dev)
    for utterance in dev[::25]:
        audio = torch.from_numpy(embedded_waveform(0, utterance)).float()
        assert found[utterance.utterance] == pytest.approx(score_waveform(network, audio, 64_000), abs=1e-6)


def test_a_published_search_is_refused_for_its_alphas(tmp_path: Path) -> None:
    state, metadata = read("raw_pcdarts_twin.safetensors")
    genotype = metadata["genotype"]
    with pytest.raises(NasError, match=r"checkpoint of a search.*holds no alphas") as caught:
        load_published("raw-pcdarts", state, genotype=genotype)
    assert "log of the search" in str(caught.value)
    torch.save(state, tmp_path / "search.pth")
    (tmp_path / "genotype.txt").write_text(genotype)
    for verb in (["score", tmp_path], ["evaluate", "--layout", "embedded"]):
        options = ["--weights", tmp_path / "search.pth", "--genotype", tmp_path / "genotype.txt"]
        soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
        result = CliRunner().invoke(app, [str(argument) for argument in (*verb, *options)])
        assert isinstance(result.exception, NasError)
        assert "holds no alphas" in str(result.exception)


@pytest.mark.parametrize("file", ["raw_pcdarts_twin.safetensors", "raw_pcdarts_trained_twin.safetensors"])
def test_a_front_end_is_taken_from_a_published_checkpoint(file: str, tmp_path: Path) -> None:
    from nas.training.train import build_network, load_frontend

    state, metadata = read(file)
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "published.pth")
    sizes = [f"network.channels={len(state['sinc.low_hz_']) - 4}", "network.cells=3", "network.gru_hidden=8"]
    recipe = nas.load_recipe("raw_pcdarts/mel_learnable", [*sizes, "data.layout=embedded"])
    network: Any = build_network(recipe, nas.Genotype.parse(metadata["genotype"]))
    load_frontend(network, recipe, None, tmp_path / "published.pth")
    assert torch.equal(network.stem.frontend.low_hz, state["sinc.low_hz_"])
    assert torch.equal(network.stem.frontend.band_hz, state["sinc.band_hz_"])


def test_what_the_weights_are_of_is_asked_for(released: tuple[Path, Path, Network]) -> None:
    weights, genotype, _ = released
    for arguments in (["score", "a.wav", "--weights", weights], ["evaluate", "--weights", weights]):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert isinstance(result.exception, NasError)
        assert "--genotype FILE" in str(result.exception)
    result = CliRunner().invoke(app, ["evaluate", "--scores", "a.txt", "--genotype", str(genotype)])
    assert "go with --weights" in str(result.exception)
