"""The supernet and the network of a genotype: the published figures, the golden files, and every length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from published_names import supernet_state
from safetensors import safe_open
from sized import make_supernet

from nas.errors import NasError
from nas.frontends.sinc import Conv0, SincFilters, band_edges, filter_mask
from nas.genotype import Genotype
from nas.networks.raw_pcdarts import raw_pcdarts
from nas.space import get_space
from nas.supernet.architecture import Architecture
from nas.supernet.per_edge import MixedOperation, channel_shuffle

PUBLISHED = (
    "Genotype(normal=[('dil_conv_5', 1), ('dil_conv_3', 0), ('dil_conv_5', 1), ('dil_conv_5', 2), ('std_conv_5', 2), "
    "('skip_connect', 3), ('std_conv_5', 2), ('skip_connect', 4)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3', 0), ('std_conv_3', 1), ('dil_conv_3', 0), ('dil_conv_3', 2), ('skip_connect', 0), "
    "('dil_conv_5', 2), ('dil_conv_3', 0), ('avg_pool_3', 1)], reduce_concat=range(2, 6))"
)
IMPLEMENTATIONS = ("per_edge", "folded")
TWIN = Path(__file__).parent / "golden" / "raw_pcdarts_twin.safetensors"


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, "pt") as stream:
        return {name: stream.get_tensor(name) for name in stream.keys()}, stream.metadata()  # noqa: SIM118


def test_published_parameter_counts() -> None:
    network = raw_pcdarts(Genotype.parse(PUBLISHED))
    assert count(network) == 24_478_344
    assert count(network.head.gru) == 18_892_800
    assert count(network.cells) == 4_521_216
    assert sum(p.numel() for p in network.parameters() if not p.requires_grad) == 136
    supernet = make_supernet()
    assert count(supernet) - count(supernet.architecture) == 30_420_360
    assert count(supernet.architecture) == 2 * (14 * 8 + 14)


def test_cell_lengths_of_four_seconds() -> None:
    network = raw_pcdarts(Genotype.parse(PUBLISHED), channels=4, gru_hidden=4, gru_layers=1).eval()
    lengths = []
    for cell in network.cells:
        cell.register_forward_hook(lambda module, inputs, output: lengths.append(output.shape[2]))
    with torch.no_grad():
        network(torch.randn(1, 64_000))
    assert lengths == [5323, 2661, 1330, 665, 332, 166, 83, 41]


@pytest.mark.parametrize("frontend", ["mel", "conv0"])
@pytest.mark.parametrize("samples", [4000, 4001, 4005, 6001, 16_000, 16_003])
def test_every_length_from_a_quarter_second(frontend: str, samples: int) -> None:
    waveform = torch.randn(2, samples)
    options = {"channels": 4, "gru_hidden": 4, "gru_layers": 1, "frontend": frontend}
    assert raw_pcdarts(Genotype.parse(PUBLISHED), **options)(waveform).shape == (2, 2)
    assert make_supernet(implementation="per_edge", **options)(waveform).shape == (2, 2)


def test_too_short_says_how_long() -> None:
    network = raw_pcdarts(Genotype.parse(PUBLISHED), channels=4, gru_hidden=4, gru_layers=1)
    with pytest.raises(NasError, match=r"1000 samples is too short for 8 cells: at least 1660") as caught:
        network(torch.randn(2, 1000))
    least = int(str(caught.value).rsplit("least ", 1)[1].split()[0])
    assert network(torch.randn(2, least)).shape == (2, 2)


def check_trained(path: Path) -> None:
    import nas

    tensors, metadata = read(path)
    network = nas.load_published(
        "raw-pcdarts",
        {name.removeprefix("state."): tensor for name, tensor in tensors.items() if name.startswith("state.")},
        genotype=metadata["genotype"],
        channels=int(metadata["channels"]),
        cells=int(metadata["layers"]),
        sinc_scale=metadata["sinc_scale"],
        gru_hidden=int(metadata["gru_hidden"]),
        gru_layers=int(metadata["gru_layers"]),
    )
    torch.testing.assert_close(network(tensors["input"]), tensors["cosine"], atol=1e-5, rtol=0)
    torch.testing.assert_close(network.embed(tensors["input"]), tensors["embedding"], atol=1e-5, rtol=0)
    network.stem.frontend.mask = 0
    network.train()
    torch.testing.assert_close(network(tensors["input"]), tensors["cosine_train"], atol=1e-5, rtol=0)


@pytest.mark.shared
def test_golden_trained_network(shared: Path) -> None:
    check_trained(shared / "golden" / "raw_pcdarts_trained_mel.safetensors")


def test_golden_trained_network_twin() -> None:
    check_trained(TWIN.with_name("raw_pcdarts_trained_twin.safetensors"))


def check_supernet(path: Path, implementation: str) -> None:
    tensors, metadata = read(path)
    supernet = make_supernet(
        implementation=implementation,
        channels=int(metadata["channels"]),
        cells=int(metadata["layers"]),
        gru_hidden=int(metadata["gru_hidden"]),
        gru_layers=int(metadata["gru_layers"]),
        mask=0,
    )
    keys = supernet.load_state_dict(supernet_state(tensors), strict=False)
    assert not keys.unexpected_keys
    assert all("running" in key or "num_batches" in key for key in keys.missing_keys)
    supernet.train()
    cosines = supernet(tensors["input"])
    loss = supernet.output.loss(cosines, tensors["target"])
    loss.backward()
    assert relative(cosines, tensors["cosine"]) < 1e-5
    assert relative(loss, tensors["loss"]) < 1e-5
    architecture = supernet.architecture
    for ours, theirs in (
        (architecture.alpha_normal, "alphas_normal"),
        (architecture.alpha_expand, "alphas_reduce"),
        (architecture.beta_normal, "betas_normal"),
        (architecture.beta_expand, "betas_reduce"),
        (supernet.stem.conv.weight, "stem.0.weight"),
        (supernet.cells[0].edges[0].candidates[4][1].weight, "cells.0._ops.0._ops.4.op.1.weight"),
    ):
        assert relative(ours.grad, tensors[f"grad.{theirs}"]) < 1e-5, theirs
    assert architecture.genotype() == Genotype.parse(metadata["genotype"])


@pytest.mark.shared
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_golden_supernet(shared: Path, implementation: str) -> None:
    check_supernet(shared / "golden" / "raw_pcdarts_supernet_mel.safetensors", implementation)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_golden_supernet_twin(implementation: str) -> None:
    check_supernet(TWIN, implementation)


@pytest.mark.parametrize("partial", [1, 2, 4])
def test_mixed_operation_is_the_weighted_sum(partial: int) -> None:
    space = get_space("raw_waveform")
    edge = MixedOperation(space, 8, partial).double()
    x, a = torch.randn(3, 8, 50, dtype=torch.float64), torch.rand(8, dtype=torch.float64)
    active = 8 // partial
    expected = torch.zeros(3, active, 50, dtype=torch.float64)
    for weight, candidate in zip(a, edge.candidates, strict=True):
        expected = expected + weight * candidate(x[:, :active])
    output = edge(x, a)
    joined = torch.cat([expected, x[:, active:]], dim=1)
    for group in range(partial):
        for channel in range(8 // partial):
            source = joined[:, group * (8 // partial) + channel]
            torch.testing.assert_close(output[:, channel * partial + group], source)


def test_channel_shuffle_is_a_permutation() -> None:
    x = torch.arange(12.0).view(1, 12, 1)
    assert channel_shuffle(x, 3).flatten().tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert torch.equal(channel_shuffle(channel_shuffle(x, 3), 4), x)


def test_partial_factor_must_divide() -> None:
    with pytest.raises(NasError, match="K_C = 3 does not divide the 8 channels"):
        make_supernet(channels=8, partial=3, cells=3, gru_hidden=4)


def test_architecture_is_in_the_state_dict_and_normalised() -> None:
    supernet = make_supernet(channels=4, cells=2, gru_hidden=4, gru_layers=1)
    names = [name for name in supernet.state_dict() if name.startswith("architecture.")]
    assert names == [f"architecture.{p}_{k}" for p in ("alpha", "beta") for k in ("normal", "expand")]
    a, b = supernet.architecture.weights("expand")
    torch.testing.assert_close(a.sum(1), torch.ones(14))
    torch.testing.assert_close(torch.stack([b[s].sum() for s in supernet.space.topology.edge_slices]), torch.ones(4))
    weights = {id(p) for p in supernet.weight_parameters()}
    assert not weights & {id(p) for p in supernet.architecture.parameters()}


def test_derive_ignores_none_and_weighs_alpha_by_beta() -> None:
    architecture = Architecture(get_space("raw_waveform"))
    with torch.no_grad():
        architecture.alpha_normal.zero_()
        architecture.beta_normal.zero_()
        architecture.alpha_normal[:, 0] = 9.0  # none never wins
        architecture.alpha_normal[2, 5] = 8.0  # edge 0 -> 3
        architecture.beta_normal[4] = 5.0  # edge 2 -> 3
    genotype = architecture.genotype()
    assert [edge.source for edge in genotype.cells["normal"].nodes[1]] == [0, 2]
    assert genotype.cells["normal"].nodes[1][0].primitive == "std_conv_5"
    assert all(edge.primitive != "none" for node in genotype.cells["normal"].nodes for edge in node)


def test_filter_masking_silences_neighbours_in_training_only() -> None:
    torch.manual_seed(0)
    widths, firsts = set(), set()
    for _ in range(500):
        mask = filter_mask(64, 16, torch.device("cpu")).flatten()
        zeros = torch.nonzero(mask == 0).flatten()
        widths.add(len(zeros))
        if len(zeros):
            assert len(zeros) == zeros[-1] - zeros[0] + 1
            firsts.add(int(zeros[0]))
    assert widths == set(range(16))
    assert min(firsts) == 0
    assert max(firsts) > 45
    assert filter_mask(4, 16, torch.device("cpu")).sum() >= 1
    for layer in (SincFilters(8, mask=8), Conv0(8, mask=8)):
        layer.eval()
        waveform = torch.randn(2, 500)
        assert torch.equal(layer(waveform), layer(waveform))
        layer.train()
        assert any((layer(waveform).abs().sum((0, 2)) == 0).any() for _ in range(20))


@pytest.mark.parametrize("scale", ["mel", "inverse-mel", "linear"])
def test_sinc_filters_are_band_passes_at_their_cutoffs(scale: str) -> None:
    layer = SincFilters(16, scale, kernel=1024, mask=0)
    low, high = (edge.flatten().numpy() for edge in layer.cutoffs())
    assert (low >= 50).all()
    assert (high <= 8000).all()
    assert (high > low).all()
    response = np.abs(np.fft.rfft(layer.filters()[:, 0].numpy(), 16_000))
    for index in range(16):
        centre, width = (low[index] + high[index]) / 2, high[index] - low[index]
        outside = np.r_[0 : max(0, int(low[index] - width - 100)), min(8000, int(high[index] + width + 100)) : 8001]
        assert response[index, int(centre)] > 20 * response[index, outside].mean()


def test_band_edges_span_the_band() -> None:
    for scale in ("mel", "linear"):
        edges = band_edges(scale, 68)
        assert len(edges) == 69
        assert edges[0] == 0
        assert edges[-1] == pytest.approx(7900)
        assert (np.diff(edges) > 0).all()
    assert (np.diff(band_edges("inverse-mel", 68)) < 0).any()


def test_learnable_cutoffs_get_gradients_and_fixed_ones_do_not() -> None:
    for learnable in (True, False):
        layer = SincFilters(8, learnable=learnable, mask=0)
        assert layer(torch.randn(1, 400)).requires_grad == learnable
