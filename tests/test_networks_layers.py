"""The layers of the hand-made networks against their definitions, written out in NumPy."""

from __future__ import annotations

import copy
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from nas.errors import NasError
from nas.frontends.fixed_sinc import FixedSinc, band_edges
from nas.frontends.lfcc import LFCC
from nas.frontends.logmel import LogMel
from nas.frontends.spectrum import triangular_filters
from nas.networks import registry
from nas.networks.aasist import GraphAttention, GraphPool, HeterogeneousAttention, ResidualBlock
from nas.networks.inference import StridedSinc, TiledBlock, fold_sequence
from nas.networks.lcnn import MaxFeatureMap, fit_frames, light_convolutions
from nas.networks.rawnet2 import ResidualBlock as RawNet2Block
from nas.poolings.attention import AttentionPool
from nas.poolings.recurrent import LSTMSum

seeds = st.integers(0, 2**31 - 1)


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def affine(layer: nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ array(layer.weight).T + array(layer.bias)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def selu(x: np.ndarray) -> np.ndarray:
    return 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(np.minimum(x, 0)) - 1))


def draw_norms(module: nn.Module) -> None:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.5)
            norm.running_var.uniform_(0.3, 2)
            if norm.affine:
                norm.weight.data.normal_()
                norm.bias.data.normal_()


def normalise(norm: nn.BatchNorm1d, x: np.ndarray) -> np.ndarray:
    scale = array(norm.weight) / np.sqrt(array(norm.running_var) + norm.eps)
    return (x - array(norm.running_mean)) * scale + array(norm.bias)


# AASIST


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(1, 5))
def test_graph_attention_is_its_equations(seed: int, count: int) -> None:
    """Above all the axis of the softmax (trap Q2): node i sums its neighbours j with weights that add up to one."""
    torch.manual_seed(seed)
    layer = GraphAttention(4, 3, temperature=2.0).eval()
    draw_norms(layer)
    nodes = torch.randn(2, count, 4)
    ours = array(layer(nodes))
    w = array(layer.weight)[:, 0]
    for b, x in enumerate(array(nodes)):
        for i in range(count):
            pairs = np.array([w @ np.tanh(affine(layer.pair, x[i] * x[j])) / 2.0 for j in range(count)])
            attended = sum(a * x[j] for j, a in enumerate(softmax(pairs)))
            out = affine(layer.attended, attended) + affine(layer.own, x[i])
            np.testing.assert_allclose(ours[b, i], selu(normalise(layer.norm, out)), atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(1, 3), st.integers(1, 3))
def test_heterogeneous_attention_is_its_equations(seed: int, temporal: int, spectral: int) -> None:
    torch.manual_seed(seed)
    layer = HeterogeneousAttention(4, 3, temperature=5.0).eval()
    draw_norms(layer)
    inputs = torch.randn(2, temporal, 4), torch.randn(2, spectral, 4), torch.randn(1, 1, 4)
    with torch.no_grad():
        ours = [array(x) for x in layer(*inputs)]
    vectors = {
        (True, True): layer.weight_temporal,
        (False, False): layer.weight_spectral,
        (True, False): layer.weight_mixed,
        (False, True): layer.weight_mixed,
    }
    for b in range(2):
        x = np.concatenate(
            [
                affine(layer.project_temporal, array(inputs[0])[b]),
                affine(layer.project_spectral, array(inputs[1])[b]),
            ]
        )
        stack = array(inputs[2])[0, 0]
        for i in range(temporal + spectral):
            pairs = np.array(
                [
                    array(vectors[i < temporal, j < temporal])[:, 0] @ np.tanh(affine(layer.pair, x[i] * x[j])) / 5.0
                    for j in range(temporal + spectral)
                ]
            )
            out = affine(layer.attended, softmax(pairs) @ x) + affine(layer.own, x[i])
            expected = selu(normalise(layer.norm, out))
            got = ours[0][b, i] if i < temporal else ours[1][b, i - temporal]
            np.testing.assert_allclose(got, expected, atol=1e-5)
        pairs = np.array(
            [array(layer.weight_stack)[:, 0] @ np.tanh(affine(layer.pair_stack, n * stack)) / 5.0 for n in x]
        )
        out = affine(layer.attended_stack, softmax(pairs) @ x) + affine(layer.own_stack, stack)
        np.testing.assert_allclose(ours[2][b, 0], out, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 9), st.floats(0.01, 1.0))
def test_graph_pool_keeps_the_highest_gates_in_order(seed: int, count: int, ratio: float) -> None:
    torch.manual_seed(seed)
    layer = GraphPool(4, ratio).eval()
    nodes = torch.randn(2, count, 4)
    ours = array(layer(nodes))
    kept = max(int(count * ratio), 1)
    assert ours.shape == (2, kept, 4)
    for b, x in enumerate(array(nodes)):
        gates = 1 / (1 + np.exp(-affine(layer.gate, x)[:, 0]))
        order = np.argsort(-gates)[:kept]
        np.testing.assert_allclose(ours[b], x[order] * gates[order, None], atol=1e-5)


def conv2d(x: np.ndarray, layer: nn.Conv2d) -> np.ndarray:
    """[C, F, T] by the definition of a convolution."""
    weight, bias = array(layer.weight), array(layer.bias)
    rows, columns = layer.padding
    x = np.pad(x, ((0, 0), (rows, rows), (columns, columns)))
    _, _, height, width = weight.shape
    out = np.empty((len(weight), x.shape[1] - height + 1, x.shape[2] - width + 1))
    for f in range(out.shape[1]):
        for t in range(out.shape[2]):
            out[:, f, t] = np.tensordot(weight, x[:, f : f + height, t : t + width], 3) + bias
    return out


def norm2d(x: np.ndarray, norm: nn.BatchNorm2d) -> np.ndarray:
    return np.moveaxis(normalise(norm, np.moveaxis(x, 0, -1)), -1, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("conv_on_input", [True, False])
@pytest.mark.parametrize(("channels_in", "channels", "first"), [(1, 3, True), (3, 3, False), (3, 2, False)])
def test_aasist_block_is_its_definition(channels_in: int, channels: int, first: bool, conv_on_input: bool) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(channels_in, channels, first, conv_on_input).eval()
    draw_norms(block)
    x = torch.randn(1, channels_in, 4, 11)
    given = array(x)[0]
    y = given if first or conv_on_input else selu(norm2d(given, block.norm_1))
    y = conv2d(selu(norm2d(conv2d(y, block.conv_1), block.norm_2)), block.conv_2)
    y = y + (given if block.shortcut is None else conv2d(given, block.shortcut))
    expected = y[:, :, :9].reshape(channels, 4, 3, 3).max(axis=3)
    np.testing.assert_allclose(array(block(x))[0], expected, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from([(1, 3), (3, 3), (3, 2)]), st.integers(3, 60), st.integers(1, 4), st.booleans())
def test_tiles_have_no_seams(seed: int, widths: tuple[int, int], length: int, batch: int, conv_on_input: bool) -> None:
    torch.manual_seed(seed)
    block = ResidualBlock(*widths, first=widths[0] == 1, conv_on_input=conv_on_input).eval()
    draw_norms(block)
    tiled = TiledBlock(block)
    x = torch.randn(batch, widths[0], 4, length)
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr("nas.networks.inference.TILE", 4)
        torch.testing.assert_close(tiled(x.clone()), block(x), rtol=1e-4, atol=1e-4)


def test_tiles_on_several_threads() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(3, 2).eval()
    draw_norms(block)
    tiled, x = TiledBlock(block), torch.randn(2, 3, 4, 3 * 40)
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.networks.inference.TILE", 4)
        try:
            torch.set_num_threads(1)
            alone = tiled(x)
            for threads in (2, 3):
                torch.set_num_threads(threads)
                for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
                    with mode():
                        assert tiled(x).equal(alone)
                assert torch.get_num_threads() == threads
            with pytest.raises(RuntimeError, match="channels"):
                tiled(x[:, :2])
            with ThreadPoolExecutor(2) as callers:
                assert all(result.equal(alone) for result in callers.map(lambda _: tiled(x), range(6)))
        finally:
            torch.set_num_threads(before)


# RawNet2


@pytest.mark.parametrize("conv_on_input", [True, False])
def test_rawnet2_block_is_its_definition(conv_on_input: bool) -> None:
    torch.manual_seed(0)
    block = RawNet2Block(2, 3, first=False, conv_on_input=conv_on_input).eval()
    draw_norms(block)
    x = torch.randn(1, 2, 10)

    def conv(signal: np.ndarray, layer: nn.Conv1d) -> np.ndarray:
        weight = array(layer.weight)
        padded = np.pad(signal, ((0, 0), (layer.padding[0],) * 2))
        frames = range(padded.shape[1] - weight.shape[2] + 1)
        columns = [np.tensordot(weight, padded[:, t : t + weight.shape[2]], 2) for t in frames]
        return np.stack(columns, axis=1) + array(layer.bias)[:, None]

    def activated(signal: np.ndarray, norm: nn.BatchNorm1d) -> np.ndarray:
        y = normalise(norm, signal.T).T
        return np.where(y > 0, y, 0.3 * y)

    given = array(x)[0]
    y = given if conv_on_input else activated(given, block.norm_1)
    y = conv(activated(conv(y, block.conv_1), block.norm_2), block.conv_2) + conv(given, block.shortcut)
    y = y[:, :9].reshape(3, 3, 3).max(axis=2)
    scale = 1 / (1 + np.exp(-affine(block.scale, y.mean(axis=1))))
    np.testing.assert_allclose(array(block(x))[0], y * scale[:, None] + scale[:, None], atol=1e-5)


# Sinc filters


@pytest.mark.parametrize("name", ["aasist", "rawnet2-2021", "rawnet2-2019"])
def test_taps_are_the_published_ones_to_the_bit(name: str) -> None:
    """Against golden/make_sinc_taps.py; AASIST-L and both RawNet2 differ in numbers alone."""
    golden = load_file(Path(__file__).parent / "golden" / "sinc_taps.safetensors")[name]
    options: dict[str, Any] = {}
    if name.startswith("rawnet2"):
        options = {"gru_hidden": 4, "gru_layers": 1, "embedding": 4}
    if name == "rawnet2-2019":
        options["scale"] = "linear"
    network: Any = registry.create(name, **options)
    assert torch.equal(network.sinc.taps.squeeze(1), golden)


def test_fixed_sinc_is_its_definition() -> None:
    layer = FixedSinc(5, 16)
    mel = np.linspace(0, 2595 * math.log10(1 + 8000 / 700), 6)
    edges = 700 * (10 ** (mel / 2595) - 1)
    for i in range(5):
        for k, n in enumerate(range(-8, 9)):

            def low_pass(f: float, n: int = n) -> float:
                x = 2 * f * n / 16_000
                return 2 * f / 16_000 * (1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x))

            window = 0.54 - 0.46 * math.cos(2 * math.pi * k / 16)
            expected = (low_pass(edges[i + 1]) - low_pass(edges[i])) * window
            assert layer.taps[i, 0, k].item() == pytest.approx(expected, abs=1e-7)


def test_scales_of_the_fixed_sinc() -> None:
    assert band_edges("mel", 70)[[0, -1]] == pytest.approx([0, 8000])
    assert band_edges("linear", 4) == pytest.approx([0, 2000, 4000, 6000, 8000])
    assert band_edges("linear", 4, surplus=4) == pytest.approx([0, 1000, 2000, 3000, 4000])
    assert len(band_edges("mel", 128, surplus=2)) == 129
    np.testing.assert_allclose(band_edges("inverse-mel", 6)[::-1][1:], band_edges("mel", 6)[1:] - 1)
    with pytest.raises(NasError, match="mel, inverse-mel or linear, not 'bark'"):
        band_edges("bark", 3)


def test_a_fixed_sinc_filter_passes_its_band() -> None:
    layer = FixedSinc(10, 512)
    edges = band_edges("mel", 10)
    t = torch.arange(16_000) / 16_000
    for i in range(1, 9):
        tone = torch.sin(2 * math.pi * (edges[i] + edges[i + 1]) / 2 * t).unsqueeze(0)
        energies = layer(tone).square().mean(dim=2)[0]
        assert energies.argmax() == i


def test_masking_silences_neighbouring_filters_in_training_only() -> None:
    layer = FixedSinc(30, 16, mask=20)
    waveform = torch.randn(1, 200)
    torch.manual_seed(0)
    widths = set()
    for _ in range(60):
        silent = (layer.train()(waveform).abs().sum(dim=(0, 2)) == 0).nonzero().flatten().tolist()
        widths.add(len(silent))
        assert silent == list(range(silent[0], silent[0] + len(silent))) if silent else True
    assert max(widths) <= 19
    assert len(widths) > 5
    assert layer.eval()(waveform).abs().sum(dim=(0, 2)).all()


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 9), st.sampled_from([1, 2, 3]), st.integers(20, 90), st.integers(1, 3))
def test_strided_sinc_is_the_pooled_magnitude(seed: int, filters: int, bands: int, samples: int, batch: int) -> None:
    if filters < bands:
        return
    layer = FixedSinc(filters, 10)
    waveform = torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))
    magnitude = array(layer(waveform)).__abs__()
    frames = magnitude.shape[2] // 3
    cut = magnitude[:, : filters // bands * bands, : 3 * frames]
    expected = cut.reshape(batch, filters // bands, bands, frames, 3).max(axis=(2, 4))
    np.testing.assert_allclose(layer.magnitude(waveform, bands), expected, atol=1e-6)
    np.testing.assert_allclose(StridedSinc(layer, bands).magnitude(waveform, bands), expected, atol=1e-6)


# Features


def numpy_power(waveform: np.ndarray, fft: int) -> np.ndarray:
    """Power spectra [1 + T // 160, 1 + fft // 2] frame by frame."""
    emphasised = np.concatenate([waveform[:1], waveform[1:] - 0.97 * waveform[:-1]])
    padded = np.pad(emphasised, fft // 2)
    window = np.zeros(fft)
    left = (fft - 320) // 2
    window[left : left + 320] = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(320) / 320)
    frames = [padded[start : start + fft] * window for start in range(0, len(waveform) + 1, 160)]
    return np.abs(np.fft.rfft(np.stack(frames), axis=1)) ** 2


def numpy_triangles(edges: np.ndarray, fft: int) -> np.ndarray:
    bank = np.zeros((1 + fft // 2, len(edges) - 2))
    for k in range(len(bank)):
        for i in range(bank.shape[1]):
            bank[k, i] = np.interp(16_000 * k / fft, edges[i : i + 3], [0, 1, 0], left=0, right=0)
    return bank


@settings(max_examples=10, deadline=None)
@given(seeds, st.integers(400, 3000))
def test_lfcc_is_its_definition(seed: int, samples: int) -> None:
    waveform = 0.3 * np.random.default_rng(seed).standard_normal((2, samples)).astype(np.float32)
    ours = LFCC()(torch.from_numpy(waveform))
    assert ours.shape == (2, 1 + samples // 160, 60)
    eps = np.finfo(np.float32).eps
    for b in range(2):
        power = numpy_power(waveform[b].astype(np.float64), 512)
        bands = np.log10(power @ numpy_triangles(np.linspace(0, 8000, 22), 512) + eps)
        static = scipy.fft.dct(bands, type=2, norm="ortho", axis=1)
        static[:, 0] = np.log10(power.sum(axis=1) / 512 + eps)

        def delta(x: np.ndarray) -> np.ndarray:
            wide = np.concatenate([x[:1], x, x[-1:]])
            return wide[2:] - wide[:-2]

        expected = np.concatenate([static, delta(static), delta(delta(static))], axis=1)
        np.testing.assert_allclose(ours[b], expected, atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(seeds, st.integers(600, 3000))
def test_logmel_is_its_definition(seed: int, samples: int) -> None:
    waveform = 0.3 * np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    ours = LogMel()(torch.from_numpy(waveform).unsqueeze(0))[0]
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 62)
    bank = numpy_triangles(700 * (10 ** (mel / 2595) - 1), 1024)
    expected = np.log10(numpy_power(waveform.astype(np.float64), 1024) @ bank + np.finfo(np.float32).eps)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert bank.any(axis=0).all()


def test_silence_has_finite_features() -> None:
    for frontend in (LFCC(), LogMel()):
        assert frontend(torch.zeros(1, 1600)).isfinite().all()


def test_features_stay_in_single_precision_under_mixed_precision() -> None:
    waveform = torch.randn(1, 1600, generator=torch.Generator().manual_seed(0))
    for frontend in (LFCC(), LogMel()):
        with torch.autocast("cpu", torch.bfloat16):
            mixed = frontend(waveform)
        assert mixed.equal(frontend(waveform))


def test_triangles_need_rising_edges() -> None:
    with pytest.raises(ValueError, match="rise"):
        triangular_filters(np.array([0.0, 100.0, 100.0]), 512)


# LCNN


def test_max_feature_map_takes_the_larger_half() -> None:
    x = torch.randn(2, 6, 3, 4)
    assert MaxFeatureMap()(x).equal(torch.maximum(x[:, :3], x[:, 3:]))


def test_lstm_sum_adds_what_it_receives() -> None:
    torch.manual_seed(0)
    pool = LSTMSum(6, 4, dropout=0.7).eval()
    frames = torch.randn(2, 5, 6)
    first, second = (nn.LSTM(6, 3, batch_first=True, bidirectional=True) for _ in range(2))
    for layer, lstm in enumerate((first, second)):
        for key in dict(lstm.named_parameters()):
            getattr(lstm, key).data = getattr(pool.lstm, key.replace("_l0", f"_l{layer}")).data
    hidden = second(first(frames)[0])[0]
    torch.testing.assert_close(pool(frames.transpose(1, 2)), pool.fc((hidden + frames).sum(1)))


def test_attention_pool_is_its_definition() -> None:
    torch.manual_seed(0)
    pool = AttentionPool(4, 3, dropout=0.7, noise=1e-5, noise_in_evaluation=False).eval()
    frames = torch.randn(2, 5, 4)
    for b, x in enumerate(array(frames)):
        weighted = x * softmax(np.tanh(x @ array(pool.weight)[0]))[:, None]
        both = np.concatenate([weighted.sum(axis=0), weighted.std(axis=0, ddof=1)])
        np.testing.assert_allclose(array(pool(frames.transpose(1, 2)))[b], affine(pool.fc, both), atol=1e-5)
    assert pool(frames[:, :1].transpose(1, 2)).isfinite().all()
    assert pool(frames.transpose(1, 2)).equal(pool(frames.transpose(1, 2)))


def test_published_noise_in_evaluation_is_an_option() -> None:
    pool = AttentionPool(4, 3, dropout=0.7, noise=1e-2, noise_in_evaluation=True).eval()
    frames = torch.randn(2, 4, 5)
    assert not pool(frames).equal(pool(frames))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), st.booleans())
def test_fixed_length_repeats_or_cuts(length: int, frames: int, random: bool) -> None:
    features = torch.arange(length).float().reshape(1, length, 1).expand(3, length, 2)
    fitted = fit_frames(features, frames, random)
    assert fitted.shape == (3, frames, 2)
    for row in fitted[:, :, 0].long():
        start = row[0].item()
        expected = [(start + i) % length for i in range(frames)]
        assert row.tolist() == expected
        assert start == 0 or (random and start + frames <= length)


def test_folding_goes_through_max_feature_map_and_pooling() -> None:
    torch.manual_seed(0)
    plain = light_convolutions(4).eval()
    draw_norms(plain)
    folded = copy.deepcopy(plain)
    fold_sequence(folded)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded)
    x = torch.randn(2, 1, 48, 60)
    torch.testing.assert_close(folded(x), plain(x), rtol=1e-4, atol=1e-4)


def test_folding_leaves_alone_what_it_must() -> None:
    """An affine scale may be negative, which a maximum does not survive; and a ReLU does not commute with a shift."""
    torch.manual_seed(0)
    for between in (nn.MaxPool1d(2), nn.ReLU()):
        plain = nn.Sequential(nn.Conv1d(1, 3, 3), between, nn.BatchNorm1d(3)).eval()
        draw_norms(plain)
        folded = copy.deepcopy(plain)
        fold_sequence(folded)
        x = torch.randn(2, 1, 20)
        torch.testing.assert_close(folded(x), plain(x))
        assert isinstance(folded[2], nn.BatchNorm1d)
