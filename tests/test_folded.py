"""The folded supernet equals its definition: outputs, every gradient, running statistics, second derivatives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sized import make_supernet
from torch import Tensor, nn
from torch.optim import SGD

from nas.bilevel import architecture_step, weight_step
from nas.cells.skeleton import CellPlan
from nas.errors import NasError
from nas.space import CellTopology, Computed, Identity, Linear, Pool, SearchSpace, Zero, get_space
from nas.supernet import native, passes
from nas.supernet.benchmark import Variant, bench_cells, bench_search
from nas.supernet.folded import FoldedCell
from nas.supernet.moments import Kinds
from nas.supernet.pass_set import COMPILED, NATIVE, TORCH, PassSet
from nas.supernet.per_edge import SearchCell
from nas.supernet.recurrent import GatheredGRU

RAW = get_space("raw_waveform").primitives


class Separable(nn.Module):
    """A candidate that is not linear before its normalisation: a ReLU inside."""

    def __init__(self, channels: int, affine: bool) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv1d(channels, channels, 3, padding=1, bias=False),
            nn.Conv1d(channels, channels, 1, bias=False),
        )
        self.norm = nn.BatchNorm1d(channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.second(torch.relu(self.first(x))))


SPACES = {
    "raw": RAW,
    "no pools": (Zero("none"), Identity("skip"), Linear("conv", kernel=3), Linear("wide", kernel=7, dilation=3)),
    "no linear": (Identity("skip"), Pool("max", kind="max", kernel=3), Pool("average", kind="average", kernel=5)),
    "computed": (*RAW[2:6], Computed("separable", build=Separable)),
    "one": (Linear("point", kernel=1), Pool("max", kind="max", kernel=5)),
    "depthwise": (Linear("separable", kernel=5, dilation=2, depthwise=True),),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def space_of(name: str, intermediate: int = 4) -> SearchSpace:
    return SearchSpace(name, SPACES[name], CellTopology(intermediate=intermediate))


def pair(
    space: SearchSpace, plan: CellPlan, partial: int, dtype: torch.dtype, **options: object
) -> tuple[SearchCell, FoldedCell]:
    definition = SearchCell(space, plan, partial).to(dtype)
    folded = FoldedCell(space, plan, partial, **options).to(dtype)  # type: ignore[arg-type]
    folded.load_state_dict(definition.state_dict(), strict=True)
    folded.pays_from = 0  # however few the frames
    return definition, folded


def results(
    cell: nn.Module, space: SearchSpace, inputs: list[Tensor], seed: Tensor | None
) -> tuple[list[Tensor], Tensor]:
    """Output, then the gradients of s0, s1, alpha, beta and every parameter, for a random output gradient."""
    leaves = [t.clone().requires_grad_() for t in inputs]
    b = torch.cat([leaves[3][edges].softmax(0) for edges in space.topology.edge_slices])
    cell.zero_grad()
    output = cell(leaves[0], leaves[1], leaves[2].softmax(1), b)
    seed = torch.randn_like(output) if seed is None else seed
    (output * seed).sum().backward()
    zeros = [torch.zeros_like(p) if p.grad is None else p.grad for p in cell.parameters()]
    return [output.detach(), *(t.grad for t in leaves if t.grad is not None), *zeros], seed


def worst(definition: list[Tensor], folded: list[Tensor], floor: float) -> float:
    """Largest relative distance; what is zero but for rounding is measured against the largest gradient."""
    largest = max(t.norm().item() for t in definition[1:])
    pairs = zip(definition, folded, strict=True)
    return max(((x - y).norm() / max(x.norm().item(), floor * largest, 1e-300)).item() for x, y in pairs)


def random_inputs(space: SearchSpace, channels: int, batch: int, frames: int, dtype: torch.dtype) -> list[Tensor]:
    edges = len(space.topology.edges)
    return [
        torch.randn(batch, channels, 2 * frames + 1, dtype=dtype),
        torch.randn(batch, channels, frames, dtype=dtype),
        torch.randn(edges, len(space.primitives), dtype=dtype),
        torch.randn(edges, dtype=dtype),
    ]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["raw", "raw", *SPACES]),
    partial=st.sampled_from([1, 2, 4, 8]),
    intermediate=st.integers(2, 5),
    frames=st.one_of(st.integers(9, 40), st.integers(9, 400)),
    batch=st.integers(1, 3),
    after_expand=st.booleans(),
    passes=st.sampled_from(["auto", "torch"]),
    recompute=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_equal_to_the_definition(
    name: str,
    partial: int,
    intermediate: int,
    frames: int,
    batch: int,
    after_expand: bool,
    passes: str,
    recompute: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    space, channels = space_of(name, intermediate), 8
    plan = CellPlan(channels, channels, channels, after_widening=after_expand)
    for dtype, tolerance, floor in ((torch.float64, 1e-10, 1e-5), (torch.float32, 1e-4, 1e-2)):
        definition, folded = pair(space, plan, partial, dtype, passes=passes, recompute=recompute)
        inputs = random_inputs(space, channels, batch, frames, dtype)
        expected, seed_gradient = results(definition, space, inputs, None)
        found, _ = results(folded, space, inputs, seed_gradient)
        assert worst(expected, found, floor) < tolerance
        for (key, mine), theirs in zip(folded.state_dict().items(), definition.state_dict().values(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance, msg=key)


@pytest.mark.parametrize("frames", [3, 4, 5, 8])
def test_a_few_frames(frames: int) -> None:
    torch.manual_seed(frames)
    space = space_of("raw")
    definition, folded = pair(space, CellPlan(8, 8, 8), 2, torch.float64)
    inputs = random_inputs(space, 8, 3, frames, torch.float64)
    expected, seed = results(definition, space, inputs, None)
    assert worst(expected, results(folded, space, inputs, seed)[0], 1e-6) < 1e-10


def test_does_as_the_definition_where_folding_does_not_pay() -> None:
    torch.manual_seed(0)
    space = space_of("raw")
    definition, folded = pair(space, CellPlan(8, 8, 8), 1, torch.float32)
    folded.pays_from = FoldedCell.pays_from
    for frames, same in ((9, True), (10, False)):  # of two utterances, for eight channels
        inputs = random_inputs(space, 8, 2, frames, torch.float32)
        expected, seed = results(definition, space, inputs, None)
        found, _ = results(folded, space, inputs, seed)
        assert same == all(torch.equal(*each) for each in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", SPACES)
def test_state_dicts_both_ways_and_evaluation_mode(name: str) -> None:
    torch.manual_seed(0)
    space = space_of(name, 3)
    definition, folded = pair(space, CellPlan(8, 8, 8), 2, torch.float64)
    for _ in range(3):
        inputs = random_inputs(space, 8, 2, 21, torch.float64)
        _, seed = results(definition, space, inputs, None)
        results(folded, space, inputs, seed)
    assert list(definition.state_dict()) == list(folded.state_dict())
    for key, value in definition.state_dict().items():
        torch.testing.assert_close(folded.state_dict()[key], value, rtol=1e-11, atol=1e-12, msg=key)
    # Running statistics of a checkpoint may differ from edge to edge, also those of pools.
    with torch.no_grad():
        for key, value in folded.state_dict().items():
            if "running" in key:
                value += torch.rand_like(value)
    definition.load_state_dict(folded.state_dict(), strict=True)
    definition.eval()
    folded.eval()
    inputs = random_inputs(space, 8, 2, 30, torch.float64)
    expected, seed = results(definition, space, inputs, None)
    assert worst(expected, results(folded, space, inputs, seed)[0], 1e-6) < 1e-10


def test_equal_frames_send_the_gradient_the_same_way() -> None:
    space = space_of("no linear")
    definition, folded = pair(space, CellPlan(4, 4, 4), 2, torch.float64)
    torch.manual_seed(1)
    # Constant stretches, as in digital silence: max-pools meet equal values.
    s0, s1 = (torch.randn(2, 4, n, dtype=torch.float64).repeat_interleave(6, dim=2) for n in (12, 6))
    edges = len(space.topology.edges)
    inputs = [s0, s1, torch.randn(edges, 3, dtype=torch.float64), torch.randn(edges, dtype=torch.float64)]
    x = s1.clone().requires_grad_()
    primitive = space.primitives[1]
    assert isinstance(primitive, Pool)
    gradient = torch.randn_like(s1)
    (primitive.operation(4)(x) * gradient).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(passes.pool_backward(gradient, s1, passes.pool(s1, primitive), primitive), x.grad)
    assert results(definition, space, inputs, None)[0][0].shape == results(folded, space, inputs, None)[0][0].shape


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(
            NATIVE, id="C", marks=pytest.mark.skipif(native.load_passes(torch.float64) is None, reason="no C compiler")
        ),
        pytest.param(COMPILED, id="compiled", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("frames", [3, 17, 100])
def test_every_pass_equals_its_definition(runs: PassSet, frames: int) -> None:
    """All of the interface, on ties and on lengths down to a few frames."""
    torch.manual_seed(0)
    pools = tuple(p for name in ("raw", "no linear") for p in SPACES[name] if isinstance(p, Pool))
    x = torch.randn(2, 8, frames, dtype=torch.float64).round(decimals=1)
    weights, bypass = torch.rand(3, 1 + len(pools), dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    gradients, rest = torch.randn(2, 3, 4, frames + 8, dtype=torch.float64), torch.randn(2, 3, 4, frames).double()
    du, half = torch.randn(2, 4, frames, dtype=torch.float64), torch.randn(2, 8, frames // 2, dtype=torch.float64)
    found: list[list[Tensor]] = []
    for each in (TORCH, runs):
        padded, node = torch.empty(2, 4, frames + 16, dtype=torch.float64), torch.empty_like(x)
        shift, means, variances = each.prepare(x[:, :4], padded, pools, 4)
        scales = (variances + 1e-5).rsqrt()
        sources = [x, x.flip(2), x.roll(1, 1)]
        each.mix_node(
            du.clone(), sources, weights, torch.stack([means] * 3), torch.stack([scales] * 3), bypass, node, pools
        )
        products, sums, direct = each.project(x, gradients[..., 4:-4], means, scales, rest, pools)
        total = torch.ones_like(x)
        each.collect(
            x, du, gradients[..., 4:-4], weights, products, sums, means, scales, rest, bypass, total, pools
        )  # fmt: skip
        normal, mean, variance = each.normalise(x, 1e-5)
        back = each.normalise_backward(x.flip(2).contiguous(), normal, (variance + 1e-5).rsqrt())
        made = [padded, node, shift, means, variances, products, sums, direct, total, normal, mean, variance, back]
        found.append([*made, each.halve(x), each.halve_backward(half, x)])
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected)


def test_second_derivatives_equal_the_definition() -> None:
    torch.manual_seed(0)
    space = space_of("raw", 3)
    definition, folded = pair(space, CellPlan(4, 4, 4), 2, torch.float64)
    inputs = random_inputs(space, 4, 2, 12, torch.float64)
    directions = [torch.randn_like(p) for p in definition.parameters()]
    found = []
    for cell in (definition, folded):
        alpha = inputs[2].clone().requires_grad_()
        b = torch.cat([inputs[3][edges].softmax(0) for edges in space.topology.edge_slices])
        output = cell(inputs[0], inputs[1], alpha.softmax(1), b)
        gradients = torch.autograd.grad(output.square().sin().sum(), list(cell.parameters()), create_graph=True)
        product = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
        assert isinstance(product, Tensor)
        found.append(torch.autograd.grad(product, [alpha, *cell.parameters()]))
    assert worst(list(found[0]), list(found[1]), 1e-6) < 1e-9


def test_gathered_gru_equals_nn_gru() -> None:
    torch.manual_seed(0)
    gru = nn.GRU(5, 6, 3, batch_first=True).double()
    gathered = GatheredGRU.like(gru).double()
    gathered.load_state_dict(gru.state_dict())
    x = torch.randn(3, 7, 5, dtype=torch.float64)
    found = []
    for module in (gru, gathered):
        leaf = x.clone().requires_grad_()
        output, last = module(leaf)
        first = torch.autograd.grad(
            output.square().sum() + last.sin().sum(), [leaf, *module.parameters()], create_graph=True
        )
        second = torch.autograd.grad(sum(g.square().sum() for g in first), list(module.parameters()))
        found.append([output.detach(), last.detach(), *first, *second])
    for expected, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)


def test_same_seed_same_parameters() -> None:
    made = []
    for implementation in ("folded", "per_edge"):
        torch.manual_seed(3)
        made.append(make_supernet(implementation=implementation, channels=4, cells=2, gru_hidden=4).state_dict())
    assert list(made[0]) == list(made[1])
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])


def test_autocast_keeps_statistics_in_float32() -> None:
    torch.manual_seed(0)
    space = space_of("raw")
    definition, folded = pair(space, CellPlan(8, 8, 8), 2, torch.float32)
    inputs = random_inputs(space, 8, 2, 60, torch.float32)
    weights = inputs[2].softmax(1), torch.full((14,), 0.3)
    exact = definition(*inputs[:2], *weights)
    with torch.autocast("cpu", torch.bfloat16):
        found = folded(*inputs[:2], *weights)
    assert found.dtype == torch.float32
    assert ((found - exact).norm() / exact.norm()).item() < 0.02
    for key, value in definition.state_dict().items():
        if "0.candidates" in key and "running" in key and key.startswith("edges.0."):
            torch.testing.assert_close(folded.state_dict()[key], value, rtol=1e-4, atol=1e-5)


def test_backward_under_autocast_is_that_outside() -> None:
    torch.manual_seed(0)
    space = space_of("raw")
    _, folded = pair(space, CellPlan(8, 8, 8), 2, torch.float32)
    inputs = random_inputs(space, 8, 2, 60, torch.float32)
    leaves = [*folded.parameters(), *(t.requires_grad_() for t in inputs[:2])]
    with torch.autocast("cpu", torch.bfloat16):
        output = folded(*inputs[:2], inputs[2].softmax(1), torch.full((14,), 0.3))
        inside = torch.autograd.grad(output.square().sum(), leaves, retain_graph=True)
    outside = torch.autograd.grad(output.square().sum(), leaves)
    assert all(torch.equal(*each) for each in zip(inside, outside, strict=True))


def test_kinds_name_taps_and_lags() -> None:
    kinds = Kinds.of(space_of("raw"))
    assert kinds.taps == (-4, -2, -1, 0, 1, 2, 4)
    assert kinds.lags == (0, 1, 2, 3, 4, 6, 8)
    assert kinds.reach == 4


def test_refuses_a_factor_that_does_not_divide() -> None:
    with pytest.raises(NasError, match="K_C = 3 does not divide"):
        FoldedCell(space_of("raw"), CellPlan(8, 8, 8), 3)


def test_benchmark_rows() -> None:
    small = {"channels": 4, "cells": 2, "repeats": 1, "batch": 2}
    report = bench_search(
        [Variant("per_edge"), Variant("folded", recompute=True)], samples=600, memory=False, gru_hidden=4, **small
    )
    assert [row["variant"] for row in report["rows"]] == [
        "per_edge, eager, float32",
        "folded, eager, float32, recompute",
    ]
    assert report["rows"][0]["ratio"] == 1.0
    assert report["rows"][1]["bilevel_step_s"] > 0
    cells = bench_cells(frames=64, **small)
    assert [row["frames"] for row in cells["rows"]] == [64, 32]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_on_a_gpu_equals_the_definition() -> None:
    torch.manual_seed(0)
    space = space_of("raw")
    definition, folded = pair(space, CellPlan(8, 8, 8), 2, torch.float64)
    definition.cuda()
    folded.cuda()
    inputs = [t.cuda() for t in random_inputs(space, 8, 2, 300, torch.float64)]
    expected, seed = results(definition, space, inputs, None)
    assert worst(expected, results(folded, space, inputs, seed)[0], 1e-6) < 1e-10


@pytest.mark.slow
def test_compiled_both_steps_are_the_same() -> None:
    """Also the second one, whose parameters the first one holds."""
    small = {"channels": 4, "cells": 2, "gru_hidden": 8, "gru_layers": 1, "mask": 0}
    eager, compiled = make_supernet(**small), make_supernet(compile="whole", **small)  # type: ignore[arg-type]
    compiled.load_state_dict(eager.state_dict())
    waveforms, labels = 0.1 * torch.randn(2, 4000), torch.tensor([0, 1])
    for supernet in (eager, compiled):
        for _ in range(2):
            architecture_step(supernet, SGD(supernet.architecture.parameters(), 0.1), waveforms, labels)
            weight_step(supernet, SGD(supernet.weight_parameters(), 0.1), waveforms, labels)
    for (name, ours), theirs in zip(compiled.state_dict().items(), eager.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")
