"""Training-free proxies: each against a case computed by hand, all on networks of genotypes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.genotype import Cell, Edge, Genotype
from nas.networks.raw_pcdarts import raw_pcdarts
from nas.networks.registry import create
from nas.searching.proxies import PROXIES, aggregate_ranks
from nas.searching.proxies.activations import regularised_swap
from nas.searching.proxies.spectra import spectral_entropy


class Output(nn.Module):
    """The mean of squares as a loss, so that gradients can be written down."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits * labels).sum()


class Scalar(nn.Module):
    """x [B, T] -> w x summed over T; activation and convolution where asked for."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.cells = nn.ModuleList(layers)
        self.output = Output()
        self.weight = nn.Parameter(torch.ones(1, 1))

    def forward(self, waveform: Tensor) -> Tensor:
        x = waveform.unsqueeze(1)
        for layer in self.cells:
            x = layer(x)
        return (x * self.weight).flatten(1).sum(1)


@pytest.mark.parametrize("name", PROXIES.names())
def test_proxies_tell_networks_apart_and_repeat(name: str) -> None:
    proxy = PROXIES[name]
    torch.manual_seed(0)
    waveforms, labels = torch.randn(16, 1000), torch.tensor([0, 1] * 8)
    genotypes = {
        primitive: Genotype({"normal": Cell(cell), "expand": Cell(cell)})
        for primitive in ("skip_connect", "std_conv_3")
        for cell in [tuple(tuple((Edge(primitive, s)) for s in (0, 1)) for _ in range(4))]
    }

    def score(primitive: str) -> float:
        torch.manual_seed(1)
        network = raw_pcdarts(genotypes[primitive], channels=4, cells=3, gru_hidden=8, gru_layers=1, mask=0)
        return proxy(network, waveforms, labels)

    assert score("std_conv_3") == score("std_conv_3")
    assert score("std_conv_3") != score("skip_connect")
    if name in ("synflow", "naswot"):
        # More weights and more units to flow through.
        assert score("std_conv_3") > score("skip_connect")


def test_an_unknown_proxy_is_named() -> None:
    with pytest.raises(NasError, match="did you mean 'synflow'"):
        PROXIES["synflo"]


def test_zico_is_the_log_of_mean_over_deviation() -> None:
    # Halves of the batch: rows 0 and 2, rows 1 and 3. d loss / d w = sum of label * x.
    waveforms = torch.tensor([[1.0], [2.0], [3.0], [5.0]])
    gradients = np.array([1.0 + 3.0, 2.0 + 5.0])
    expected = math.log(gradients.mean() / gradients.std())
    assert PROXIES["zico"](Scalar(), waveforms, torch.ones(4)) == pytest.approx(expected)


def test_swap_counts_patterns() -> None:
    # Four units (samples), three utterances: columns +++, +-+, +++, --- are three different patterns.
    waveforms = torch.tensor([[1.0, 1, 1, -1], [1, -1, 1, -1], [1, 1, 1, -1]])
    assert PROXIES["swap"](Scalar(nn.ReLU()), waveforms, torch.ones(3)) == 3
    assert regularised_swap(3.0, 10.0, 10.0, 5.0) == 3.0
    assert regularised_swap(3.0, 15.0, 10.0, 5.0) == pytest.approx(3 / math.e)


def test_meco_is_the_smallest_eigenvalue_of_the_correlations() -> None:
    class Twice(nn.Conv1d):
        """Two channels whose correlation is known: x and -x have eigenvalues 0 and 2."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, -x], dim=1)

    class Orthogonal(nn.Conv1d):
        """Channels that are uncorrelated by construction: eigenvalues 1 and 1."""

        def forward(self, x: Tensor) -> Tensor:
            time = torch.arange(8, dtype=x.dtype) * 2 * math.pi / 8
            return torch.stack([time.sin(), time.cos()]).expand(len(x), 2, 8)

    waveforms, labels = torch.randn(2, 8), torch.ones(2)
    assert PROXIES["meco"](Scalar(Twice(1, 2, 1)), waveforms, labels) == pytest.approx(0, abs=1e-6)
    assert PROXIES["meco"](Scalar(Orthogonal(1, 2, 1)), waveforms, labels) == pytest.approx(1)


def test_the_entropy_of_equal_eigenvalues_is_the_log_of_their_number() -> None:
    time = torch.arange(64, dtype=torch.float64) * 2 * math.pi / 64
    equal = torch.stack([(k * time).sin() for k in (1, 2, 3)])[None]
    assert spectral_entropy(equal) == pytest.approx(math.log(3))
    assert spectral_entropy(equal[:, :1].expand(1, 3, 64)) == pytest.approx(0, abs=1e-6)


class Stage(nn.Module):
    """A cell of two inputs that multiplies the second by a factor and halves its frames."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, s0: Tensor, s1: Tensor) -> Tensor:
        return self.factor * s1[:, :, ::2]


class Stages(nn.Module):
    def __init__(self, *factors: float) -> None:
        super().__init__()
        self.cells = nn.ModuleList(Stage(factor) for factor in factors)
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, waveform: Tensor) -> Tensor:
        s0 = s1 = waveform.unsqueeze(1) * self.gain
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1)
        return s1


def test_trainability_is_best_where_gradients_keep_their_size() -> None:
    waveforms, labels = torch.randn(2, 64), torch.ones(2)
    for factor in (0.5, 1.0, 3.0):
        # One channel: the product of gradients is the factor itself.
        expected = 2 - factor - 1 / factor
        assert PROXIES["az_trainability"](Stages(factor), waveforms, labels) == pytest.approx(expected, abs=1e-4)


def test_ranks_are_aggregated() -> None:
    found = aggregate_ranks({"one": [1.0, 2.0, 3.0], "other": [10.0, 30.0, 20.0]})
    expected = [math.log(1 / 3) * 2, math.log(2 / 3) + math.log(3 / 3), math.log(3 / 3) + math.log(2 / 3)]
    assert found == pytest.approx(expected)
    assert aggregate_ranks({"one": [1.0, float("nan")]})[0] > aggregate_ranks({"one": [1.0, float("nan")]})[1]
    with pytest.raises(NasError):
        aggregate_ranks({"one": [1.0], "other": [1.0, 2.0]})
    with pytest.raises(NasError):
        aggregate_ranks({})


@pytest.mark.parametrize("name", ["parameters", "macs", "gradient_norm", "zico", "meco"])
def test_hand_made_networks_have_proxies_too(name: str) -> None:
    torch.manual_seed(0)
    network = create("rawnet2-2021")
    value = PROXIES[name](network, torch.randn(4, 4000), torch.tensor([0, 1, 0, 1]))
    assert math.isfinite(value)
    assert value > 0
