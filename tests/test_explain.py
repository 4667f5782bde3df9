"""Explanations: completeness of integrated gradients, attention that adds up, a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

from nas.cli import app
from nas.errors import NasError
from nas.explain.attention import attention_maps
from nas.explain.attribution import Attribution, band_centres, frontend_of, integrated_gradients
from nas.frontends.fixed_sinc import FixedSinc, band_edges
from nas.losses import create_head
from nas.networks import registry
from nas.training.explain import explain_file

captum = pytest.importorskip("captum", reason="explanations need Captum (extra explain)")

SECOND = 16_000
RAWNET2: dict[str, Any] = {
    "filters": 6, "channels": (4, 6), "gru_hidden": 5, "gru_layers": 2, "embedding": 7, "first_conv": 64,
}  # fmt: skip
AASIST: dict[str, Any] = {"filters": 12, "channels": (4, 6), "graph": (6, 4), "first_conv": 32}


def noise(seed: int, samples: int = SECOND) -> Tensor:
    return 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


class Energies(nn.Module):
    """Sinc bands, a smooth curve of each, and a linear score: integrated gradients are known in closed form."""

    def __init__(self, filters: int, power: int) -> None:
        super().__init__()
        self.sinc, self.power = FixedSinc(filters, 32), power
        self.output = create_head("weighted-cross-entropy", filters)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.output((self.sinc(waveform) ** self.power).mean(dim=2))


@pytest.mark.parametrize("power", [1, 2, 3])
def test_attributions_are_those_of_the_definition(power: int) -> None:
    torch.manual_seed(power)
    network, waveform = Energies(5, power).eval(), noise(power, 4000)
    found = integrated_gradients(network, waveform, 32)
    # F = sum_b w_b mean_t s_b(t)^p + bias is a sum of terms of one variable each, and each gets its own term.
    with torch.no_grad():
        bands = network.sinc(waveform.unsqueeze(0))[0] ** power
        own = network.output.linear.weight[1, :, None] * bands / bands.shape[1]
    np.testing.assert_allclose(found.values, own.numpy(), atol=1e-4 * float(own.abs().max()))
    assert found.silence == pytest.approx(network.output.linear.bias[1].item(), abs=1e-6)
    assert abs(found.gap) < 1e-4 * np.abs(found.values).sum()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["rawnet2-2019", "lcnn-logmel-lstmsum", "lcnn-lfcc-fixed"])
def test_completeness(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    options = RAWNET2 if name.startswith("rawnet2") else {"width": 4, "embedding": 8}
    if name.endswith("fixed"):
        options = {**options, "frames": 64}
    network = registry.create(name, **options).eval()
    waveform = noise(seed, SECOND // 2)
    found = integrated_gradients(network, waveform, 64)
    with torch.no_grad():
        scores = [float(network.output.score(network(w[None]))) for w in (waveform, torch.zeros_like(waveform))]
    assert [found.score, found.silence] == pytest.approx(scores, abs=1e-6)
    assert abs(found.gap) < 0.02 * np.abs(found.values).sum() + 1e-6


def test_sums_over_time_and_bands_lose_nothing() -> None:
    values = np.random.default_rng(0).normal(size=(7, 101))
    found = Attribution(values, 1.0, 0.0, 1.0)
    for parts in (1, 3, 50, 101, 500):
        over_time = found.over_time(parts)
        assert len(over_time) == min(parts, 101)
        assert over_time.sum() == pytest.approx(values.sum())
    assert found.over_bands() == pytest.approx(values.sum(1))
    assert found.gap == pytest.approx(values.sum() - 1)


def test_centres_lie_in_their_bands() -> None:
    edges = band_edges("mel", 20)
    centres = band_centres(FixedSinc(20, 512))
    assert centres is not None
    assert (np.diff(centres) > 0).all()
    # A short filter leaks; the middle of its energy stays within its band all the same, but for the lowest.
    assert ((centres > edges[:-1]) & (centres < edges[1:]))[2:].all()
    logmel = band_centres(frontend_of(registry.create("lcnn-logmel-lstmsum", width=4)))
    assert logmel is not None
    assert len(logmel) == 60
    assert (np.diff(logmel) > 0).all()
    assert band_centres(frontend_of(registry.create("lcnn-lfcc-lstmsum", width=4))) is None


def test_attention_adds_up_and_is_that_of_the_forward_pass() -> None:
    torch.manual_seed(0)
    network = registry.create("aasist", **AASIST).eval()
    seen: dict[str, Tensor] = {}
    for name, layer in (("spectral", network.spectral), ("temporal", network.temporal)):
        layer.attended.register_forward_pre_hook(lambda _, args, n=name: seen.update({f"{n} attended": args[0]}))
        layer.own.register_forward_pre_hook(lambda _, args, n=name: seen.update({f"{n} nodes": args[0]}))
    maps = attention_maps(network, noise(0))
    for name, found in (("spectral", maps.spectral), ("temporal", maps.temporal)):
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
        attended = torch.from_numpy(found).float() @ seen[f"{name} nodes"][0]
        torch.testing.assert_close(attended, seen[f"{name} attended"][0], atol=1e-5, rtol=1e-4)
    assert maps.stack_spectral.sum() + maps.stack_temporal.sum() == pytest.approx(1)
    # Pooling keeps 0.5 and 0.7 of the nodes; the others are attended to by no stack node.
    for found, ratio in ((maps.stack_spectral, 0.5), (maps.stack_temporal, 0.7)):
        assert (found > 0).sum() == max(int(len(found) * ratio), 1)


def test_what_cannot_be_explained_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(NasError, match="AASIST"):
        attention_maps(registry.create("lcnn-logmel-lstmsum", width=4).eval(), noise(0))
    with pytest.raises(NasError, match="front-end"):
        frontend_of(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="evaluation mode"):
        integrated_gradients(Energies(3, 2), noise(0))
    for source, output, sentence in (
        ("absent", "picture.gif", "ends in .svg, .png or .pdf"),
        (__file__, "picture.png", "--model NAME"),
        ("absent", "picture.png", "is not a run directory"),
    ):
        with pytest.raises(NasError, match=sentence):
            explain_file(Path(source), Path("a.wav"), tmp_path / output)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(NasError, match="explain"):
        integrated_gradients(Energies(3, 2).eval(), noise(0))


@pytest.mark.parametrize(("model", "options"), [("aasist-l", AASIST), ("lcnn-lfcc-fixed", {"width": 4, "frames": 64})])
def test_a_picture_from_the_command_line(
    model: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = registry.create(model, **options).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    monkeypatch.setattr("nas.training.score.load_published", lambda *_: network)
    soundfile.write(tmp_path / "call.wav", noise(1).numpy(), SECOND)
    picture = tmp_path / "picture.svg"
    command = ["explain", str(tmp_path / "weights.safetensors"), str(tmp_path / "call.wav"), "--steps", "2"]
    result = CliRunner().invoke(app, [*command, "--model", model, "-o", str(picture)])
    assert result.exit_code == 0, result.output
    assert picture.read_text().startswith("<?xml")
