"""The two steps: what each may touch, folded against per edge, precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from sized import make_supernet
from torch import Tensor

from nas.bilevel import architecture_step, architecture_step_second_order, weight_step
from nas.config import Search
from nas.errors import NasError
from nas.genotype import Genotype
from nas.recipe_file import load_recipe
from nas.supernet.network import Supernet

TRAJECTORY = Path(__file__).parent / "golden" / "search_trajectory.safetensors"
SMALL = {"channels": 4, "cells": 3, "gru_hidden": 8, "gru_layers": 1, "mask": 0}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def setup(implementation: str, dtype: torch.dtype = torch.float64) -> tuple[Supernet, ...]:
    torch.manual_seed(0)
    supernet = make_supernet(implementation=implementation, **SMALL).to(dtype)  # type: ignore[arg-type]
    weights = torch.optim.Adam(supernet.weight_parameters(), 1e-3, weight_decay=3e-4)
    architecture = torch.optim.Adam(supernet.architecture.parameters(), 6e-3, betas=(0.5, 0.999))
    return supernet, weights, architecture  # type: ignore[return-value]


def batch(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 1500, generator=generator).to(dtype), torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize("implementation", ["folded", "per_edge"])
def test_the_architecture_step_leaves_all_else_untouched(implementation: str) -> None:
    supernet, weights, architecture = setup(implementation)
    weight_step(supernet, weights, *batch(0))
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    architecture_step(supernet, architecture, *batch(1))
    for key, value in supernet.state_dict().items():
        assert torch.equal(value, before[key]) != key.startswith("architecture."), key
    architecture_step(supernet, architecture, *batch(1), update_statistics=True)
    moved = [key for key, value in supernet.state_dict().items() if not torch.equal(value, before[key])]
    assert any("running_mean" in key for key in moved)
    assert all("running" in key or "tracked" in key or key.startswith("architecture.") for key in moved)


@pytest.mark.parametrize("implementation", ["folded", "per_edge"])
def test_the_weight_step_leaves_the_architecture_untouched(implementation: str) -> None:
    supernet, weights, _ = setup(implementation)
    before = {key: value.clone() for key, value in supernet.architecture.state_dict().items()}
    weight_step(supernet, weights, *batch(0))
    assert all(torch.equal(value, before[key]) for key, value in supernet.architecture.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in supernet.architecture.parameters())
    assert all(p.grad is not None for p in supernet.weight_parameters())


@pytest.mark.parametrize("implementation", ["folded", "per_edge"])
def test_published_statistics_move_twice_in_the_cells_alone(implementation: str) -> None:
    """Candidates move as the definition evaluated twice on the same input; everything else moves once."""
    found = []
    for published in (False, True):
        torch.manual_seed(0)
        supernet = make_supernet(implementation=implementation, published_statistics=published, **SMALL).double()
        supernet(batch(0)[0])
        found.append({key: value for key, value in supernet.state_dict().items() if "running" in key})
    for key, once in found[0].items():
        start = 1.0 if "var" in key else 0.0
        twice = once + 0.9 * (once - start) if ".edges." in key else once
        torch.testing.assert_close(found[1][key], twice, rtol=1e-12, atol=1e-12, msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["folded", "per_edge"])
def test_golden_trajectory(implementation: str) -> None:
    """Warm-up and bi-level steps with the paper's settings, against golden/make_search_trajectory.py."""
    with safe_open(TRAJECTORY, "pt") as stream:
        golden = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        sizes = {key: value for key, value in stream.metadata().items() if key != "genotype"}
        genotype = Genotype.parse(stream.metadata()["genotype"])
    warmup = int(sizes.pop("warmup"))
    recipe = load_recipe("raw_pcdarts/mel_fixed")
    supernet = make_supernet(
        implementation=implementation,  # type: ignore[arg-type]
        mask=0,
        published_statistics=recipe.supernet.published_statistics,
        **{key: int(value) for key, value in sizes.items()},
    )
    initial = {n.removeprefix("initial."): t for n, t in golden.items() if n.startswith("initial.")}
    supernet.load_state_dict(initial, strict=False)
    settings: Search = recipe.search
    weights = torch.optim.Adam(supernet.weight_parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    architecture = torch.optim.Adam(
        supernet.architecture.parameters(),
        settings.architecture_learning_rate,
        settings.architecture_betas,
        weight_decay=settings.architecture_weight_decay,
    )
    waveforms, losses = golden["audio"].float() / 32_768, []
    for number, chosen in enumerate(golden["batches"]):
        data = waveforms[chosen], golden["labels"][chosen]
        if number >= warmup and (number - warmup) % 2 == 0:
            moving = settings.update_statistics
            losses.append(architecture_step(supernet, architecture, *data, update_statistics=moving))
        else:
            losses.append(weight_step(supernet, weights, *data)[0])
    torch.testing.assert_close(torch.stack(losses).double(), golden["losses"], rtol=0, atol=1e-5)
    moved, error = [], []
    for name, parameter in supernet.architecture.named_parameters():
        end, start = golden[f"final.architecture.{name}"], initial[f"architecture.{name}"]
        moved.append((end - start).flatten())
        error.append((parameter.detach() - end).flatten())
    # Measured: 4.4e-5 for both; losses 3e-7, cosines 1.2e-6.
    assert torch.cat(error).norm() < 1e-3 * torch.cat(moved).norm()
    assert supernet.architecture.genotype() == genotype
    with torch.no_grad():
        cosines = supernet.eval()(waveforms).double()
    torch.testing.assert_close(cosines, golden["cosines"], rtol=0, atol=1e-4)


def test_steps_of_both_implementations_agree() -> None:
    made = []
    for implementation in ("folded", "per_edge"):
        supernet, weights, architecture = setup(implementation)
        for step in range(3):
            architecture_step(supernet, architecture, *batch(2 * step))
            weight_step(supernet, weights, *batch(2 * step + 1))
        made.append(supernet.state_dict())
    for key, value in made[1].items():
        torch.testing.assert_close(made[0][key], value, rtol=1e-6, atol=1e-7, msg=key)


def test_second_order_steps_of_both_implementations_agree() -> None:
    found = []
    for implementation in ("folded", "per_edge"):
        supernet, weights, architecture = setup(implementation)
        weight_step(supernet, weights, *batch(0))
        loss = architecture_step_second_order(supernet, architecture, weights, batch(1), batch(2))
        found.append([loss, *(p.grad for p in supernet.architecture.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("order", ["first", "second"])
def test_architecture_that_nothing_asks_stays(order: str) -> None:
    """Two cells are both expand cells."""
    torch.manual_seed(0)
    supernet = make_supernet(**{**SMALL, "cells": 2}).double()  # type: ignore[arg-type]
    weights = torch.optim.Adam(supernet.weight_parameters(), 1e-3)
    architecture = torch.optim.Adam(supernet.architecture.parameters(), 6e-3, weight_decay=1e-3)
    before = {name: p.detach().clone() for name, p in supernet.architecture.named_parameters()}
    if order == "first":
        architecture_step(supernet, architecture, *batch(0))
    else:
        architecture_step_second_order(supernet, architecture, weights, batch(0), batch(1))
    moved = {name for name, p in supernet.architecture.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"alpha_expand", "beta_expand"}


def test_second_order_needs_adam() -> None:
    supernet, _, architecture = setup("folded")
    optimizer = torch.optim.SGD(supernet.weight_parameters(), 0.1)
    with pytest.raises(NasError, match="defined for Adam"):
        architecture_step_second_order(supernet, architecture, optimizer, batch(0), batch(1))


def tones(seed: int) -> tuple[Tensor, Tensor]:
    """Eight noisy tones, low ones bona fide: something that can be learnt."""
    generator = torch.Generator().manual_seed(seed)
    labels, t = torch.tensor([0, 1] * 4), torch.arange(1200) / 16_000
    hertz = torch.where(labels == 1, 300.0, 2500.0)[:, None] * (1 + 0.1 * torch.rand(8, 1, generator=generator))
    return torch.sin(2 * torch.pi * hertz * t) + 0.3 * torch.randn(8, 1200, generator=generator), labels


@pytest.mark.slow
def test_alphas_of_bf16_stay_close_to_float32() -> None:
    moves = []
    for enabled in (False, True):
        torch.manual_seed(0)
        supernet = make_supernet(channels=4, cells=2, gru_hidden=8, gru_layers=1, mask=0)
        weights = torch.optim.Adam(supernet.weight_parameters(), 1e-3)
        architecture = torch.optim.Adam(supernet.architecture.parameters(), 6e-4, betas=(0.5, 0.999))
        start = torch.cat([p.detach().flatten() for p in supernet.architecture.parameters()])
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            for step in range(50):
                architecture_step(supernet, architecture, *tones(2 * step))
                weight_step(supernet, weights, *tones(2 * step + 1))
        moves.append(torch.cat([p.detach().flatten() for p in supernet.architecture.parameters()]) - start)
    # Measured: 0.17 of the way that float32 moved; with C = 8, 3 cells: 0.28 (1.25 while the head was in bf16 too).
    assert (moves[1] - moves[0]).norm() < 0.6 * moves[0].norm()
