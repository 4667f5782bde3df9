"""One battery that every registered network passes: a new network is tested by being registered."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

from nas.errors import NasError
from nas.networks import registry
from nas.networks.benchmark import measure_scoring
from nas.networks.cost import measure_cost
from nas.networks.inference import prepare_for_inference
from nas.networks.scoring import first_samples, score_waveform

GENOTYPE = (
    "Genotype(normal=[('dil_conv_5', 1), ('dil_conv_3', 0), ('dil_conv_5', 1), ('dil_conv_5', 2), ('std_conv_5', 2), "
    "('skip_connect', 3), ('std_conv_5', 2), ('skip_connect', 4)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3', 0), ('std_conv_3', 1), ('dil_conv_3', 0), ('dil_conv_3', 2), ('skip_connect', 0), "
    "('dil_conv_5', 2), ('dil_conv_3', 0), ('avg_pool_3', 1)], reduce_concat=range(2, 6))"
)
NEEDED: dict[str, dict[str, Any]] = {"raw-pcdarts": {"genotype": GENOTYPE}}
"""Options without which a network cannot be built."""

_AASIST = {"filters": 12, "channels": (4, 6), "graph": (6, 4), "first_conv": 32}
_RAWNET2 = {"filters": 6, "channels": (4, 6), "gru_hidden": 5, "gru_layers": 2, "embedding": 7, "first_conv": 64}
SMALL: dict[str, dict[str, Any]] = {
    "aasist": _AASIST,
    "aasist-l": _AASIST,
    "rawnet2-2019": _RAWNET2,
    "rawnet2-2021": _RAWNET2,
    "raw-pcdarts": {"channels": 4, "cells": 3, "gru_hidden": 5, "gru_layers": 1, "kernel": 32},
}
"""Widths that keep the battery quick; a network that is not listed is tested at its own."""

COUNTS = {
    "aasist": 297_866,
    "aasist-l": 85_306,
    "rawnet2-2019": 25_433_602,
    "rawnet2-2021": 17_621_410,
    "lcnn-lfcc-lstmsum": 275_968,
    "lcnn-lfcc-attention": 170_080,
    "lcnn-lfcc-fixed": 869_536,
    "raw-pcdarts": 24_478_344,
}
"""Published parameter counts (Raw PC-DARTS: with the 136 of its frozen filters)."""

SECOND = 16_000


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These networks are too small for more than one thread; on a busy machine a second one only waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=registry.names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def small_width(name: str) -> dict[str, Any]:
    return {"width": 4} if name.startswith("lcnn") else SMALL.get(name, {})


def build(name: str, seed: int = 0, **options: Any) -> nn.Module:
    """A small network whose normalisations have seen data, so that folding them away is noticed."""
    torch.manual_seed(seed)
    network = registry.create(name, **{**NEEDED.get(name, {}), **small_width(name), **options})
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 2)
            if module.affine:
                module.weight.data.normal_(0, 1)
                module.bias.data.normal_(0, 0.3)
    return network.eval()


def noise(batch: int, samples: int, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("samples", [SECOND // 4, SECOND // 4 + 1, SECOND, SECOND + 161, 64_600])
def test_any_length_gives_two_logits(name: str, samples: int) -> None:
    network = build(name)
    waveform = noise(2, samples)
    with torch.inference_mode():
        logits, embedding = network(waveform), network.embed(waveform)
        assert logits.shape == (2, 2)
        assert embedding.dim() == 2
        assert logits.isfinite().all()
        torch.testing.assert_close(network.output(embedding), logits)
        assert network.output.score(logits).shape == (2,)


def test_silence_and_full_scale_give_finite_logits(name: str) -> None:
    network = build(name)
    with torch.inference_mode():
        for waveform in (torch.zeros(1, SECOND), torch.ones(1, SECOND), noise(1, SECOND).sign()):
            assert network(waveform).isfinite().all()


def test_evaluation_treats_each_utterance_by_itself(name: str) -> None:
    network = build(name)
    waveform = noise(3, SECOND)
    with torch.inference_mode():
        together = network(waveform)
        apart = torch.cat([network(row.unsqueeze(0)) for row in waveform])
        mixed = network(torch.cat([waveform[:1], 100 * waveform[1:]]))
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[:1], mixed[:1], rtol=1e-4, atol=1e-5)


def test_the_waveform_is_left_as_it_was(name: str) -> None:
    waveform = noise(2, SECOND)
    kept = waveform.clone()
    build(name)(waveform)
    assert waveform.equal(kept)


def test_the_same_twice(name: str) -> None:
    waveform = noise(2, SECOND)
    for training in (False, True):
        results = []
        for _ in range(2):
            network = build(name).train(training)
            torch.manual_seed(5)
            results.append(network(waveform))
        assert results[0].equal(results[1])


def test_gradients_reach_every_live_parameter(name: str) -> None:
    network = build(name).train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # a dropped channel has no gradient
    waveform = noise(4, 2 * SECOND).requires_grad_()
    logits = network(waveform)
    network.output.loss(logits, torch.tensor([0, 1, 1, 0])).backward()
    unused = getattr(network, "unused_parameters", ())
    for key, parameter in network.named_parameters():
        if any(re.fullmatch(pattern, key) for pattern in unused):
            assert parameter.grad is None, f"{key} is said to be unused"
        elif parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.any(), key
    assert waveform.grad is not None
    assert waveform.grad.any()


@pytest.mark.parametrize("published", sorted(COUNTS))
def test_parameter_count(published: str) -> None:
    network = registry.create(published, **NEEDED.get(published, {}))
    assert sum(parameter.numel() for parameter in network.parameters()) == COUNTS[published]


def test_state_round_trip(name: str) -> None:
    first, second = build(name, seed=0), build(name, seed=1)
    waveform = noise(2, SECOND)
    with torch.inference_mode():
        assert not first(waveform).equal(second(waveform))
        second.load_state_dict(load(save({k: v.contiguous() for k, v in first.state_dict().items()})))
        assert first(waveform).equal(second(waveform))


@pytest.mark.parametrize(("batch", "samples"), [(1, SECOND // 4), (1, 50_017), (3, SECOND + 7)])
def test_preparation_keeps_the_logits(name: str, batch: int, samples: int) -> None:
    network = build(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    prepared = prepare_for_inference(network.train())
    waveform = noise(batch, samples)
    with torch.inference_mode():
        torch.testing.assert_close(prepared(waveform), network.eval()(waveform), rtol=1e-4, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in prepared.parameters())
    assert all(value.equal(before[key]) for key, value in network.state_dict().items())
    assert any(parameter.requires_grad for parameter in network.parameters())


def test_cost_grows_with_the_waveform(name: str) -> None:
    network = build(name)
    one, two = measure_cost(network, 2 * SECOND), measure_cost(network, 4 * SECOND)
    assert one.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert one.trainable <= one.parameters
    assert 0 < one.macs <= two.macs
    assert 0 < one.activations <= two.activations
    if not name.endswith("fixed"):
        assert two.macs == pytest.approx(2 * one.macs, rel=0.1)
    assert network(noise(1, SECOND)).shape == (1, 2)


def test_cost_and_latency_are_recorded(name: str, record_property: Callable[[str, object], None]) -> None:
    """For the record of the test run (`pytest --junitxml`): the small network on one second of audio."""
    network = build(name)
    cost, times = measure_cost(network, SECOND), measure_scoring(network, SECOND, rounds=3)
    record_property("parameters", cost.parameters)
    record_property("macs", cost.macs)
    record_property("plain_ms", 1000 * statistics.median(times.plain))
    record_property("prepared_ms", 1000 * statistics.median(times.prepared))
    assert times.difference < 1e-4


@pytest.mark.parametrize("hand_made", [n for n in registry.names() if n != "raw-pcdarts"])
def test_bad_waveforms_are_refused_in_a_sentence(hand_made: str) -> None:
    network = build(hand_made)
    with pytest.raises(NasError, match="a waveform of 100 samples is too short: at least"):
        network(noise(1, 100))
    with pytest.raises(NasError, match=r"waveforms of shape \[utterances, samples\], not \[16000\]"):
        network(noise(1, SECOND)[0])


@pytest.mark.parametrize("hand_made", [n for n in registry.names() if n != "raw-pcdarts"])
def test_any_network_takes_any_head(hand_made: str) -> None:
    network = build(hand_made, loss="oc-softmax", loss_options={"alpha": 5.0})
    logits = network(noise(2, SECOND))
    assert network.output.alpha == 5.0
    assert math.isfinite(network.output.loss(logits, torch.tensor([0, 1])).item())


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(NasError, match="there is no network 'aasist-xl'; did you mean 'aasist-l'"):
        registry.create("aasist-xl")
    with pytest.raises(NasError, match="network 'aasist' has no option 'filter'; did you mean 'filters'"):
        registry.create("aasist", filter=70)
    with pytest.raises(NasError, match="network 'raw-pcdarts' needs genotype"):
        registry.create("raw-pcdarts")
    with pytest.raises(NasError, match="there is no pooling 'median'; did you mean 'mean'"):
        registry.create("lcnn-lfcc-fixed", pooling="median")
    with pytest.raises(NasError, match="there is no front-end 'cqt'"):
        registry.create("lcnn-lfcc-fixed", features="cqt")


def test_cost_is_counted_as_by_hand() -> None:
    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 4, 3, stride=2, padding=1)
            self.gru = nn.GRU(4, 5, num_layers=2, batch_first=True, bidirectional=True)
            self.linear = nn.Linear(10, 2)

        def forward(self, waveform: torch.Tensor) -> torch.Tensor:
            return self.linear(self.gru(self.conv(waveform.unsqueeze(1)).transpose(1, 2))[0][:, -1])

    cost = measure_cost(Tiny(), 20)
    convolution = 10 * 4 * 3
    recurrence = 10 * 2 * (3 * 5 * (4 + 5) + 3 * 5 * (10 + 5))
    assert cost.macs == convolution + recurrence + 10 * 2
    assert cost.activations == 10 * 4 + 10 * 10 * 2


def test_published_sizes_cost_what_is_known() -> None:
    """Reference facts, table 3.k: GMAC of one item of 64,600 samples."""
    for published, gmac in (("aasist", 9.6), ("aasist-l", 6.6), ("rawnet2-2019", 8.7), ("rawnet2-2021", 2.1)):
        assert measure_cost(registry.create(published), 64_600).macs / 1e9 == pytest.approx(gmac, abs=0.06)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.one_of(st.none(), st.integers(1, 120)))
def test_the_first_samples_tiled(length: int, samples: int | None) -> None:
    fitted = first_samples(torch.arange(length), samples)
    assert fitted.tolist() == [i % length for i in range(length if samples is None else samples)]


def test_one_waveform_gets_one_score() -> None:
    network = build("lcnn-lfcc-lstmsum")
    waveform = noise(1, SECOND)[0]
    score = score_waveform(network, waveform, None)
    assert score == pytest.approx(network(waveform.unsqueeze(0))[0, 1].item(), abs=1e-6)
    assert abs(score_waveform(network, waveform, 2 * SECOND) - score) > 1e-6
    with pytest.raises(ValueError, match="evaluation mode"):
        score_waveform(network.train(), waveform, None)
    with pytest.raises(ValueError, match="shape"):
        score_waveform(network.eval(), waveform[:0], 100)


def test_the_benchmark_takes_turns() -> None:
    threads = torch.get_num_threads()
    times = measure_scoring(build("lcnn-lfcc-lstmsum"), samples=SECOND, batch=2, rounds=3, threads=2)
    assert len(times.plain) == len(times.prepared) == 3
    assert times.ratio == statistics.median(times.plain) / statistics.median(times.prepared)
    assert (times.samples, times.batch, times.threads) == (SECOND, 2, 2)
    assert torch.get_num_threads() == threads
