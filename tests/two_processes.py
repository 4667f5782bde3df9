"""What two processes are asked by tests/test_processes.py; each prints nothing and fails with a traceback.

Every check computes the same twice: on this process' half of a batch, synchronised, and alone on the whole of it.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from sized import make_supernet
from torch import Tensor, nn

import nas
from nas import processes
from nas.bilevel import architecture_step, architecture_step_second_order, weight_step
from nas.errors import NasError
from nas.supernet.network import Supernet
from nas.synchronised import synchronise_norms
from nas.training.checkpoint import digests
from nas.training.engine import reduce_gradients
from nas.training.loop import Loop

SAMPLES = 700


def batch(seed: int, size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.rand(size, 1, generator=generator, dtype=torch.float64) + 0.1  # the halves differ in level
    return torch.randn(size, SAMPLES, generator=generator, dtype=torch.float64) * scale, torch.arange(size) % 2


def mine(whole: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return whole[0][processes.rank() :: 2], whole[1][processes.rank() :: 2]


def close(one: nn.Module, other: nn.Module) -> None:
    for (name, found), expected in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def supernet_steps(order: str = "first", **options: Any) -> None:
    """Two bi-level steps end in the same weights, alphas, betas and running statistics."""
    torch.manual_seed(0)
    alone = make_supernet(channels=4, cells=3, gru_hidden=6, gru_layers=1, mask=2, **options).double()
    for parameter in alone.architecture.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    together = copy.deepcopy(alone)
    synchronise_norms(together)
    take(alone, order, lambda whole: whole, lambda parameters: None, list)
    take(together, order, mine, reduce_gradients, processes.average_all)
    close(together, alone)
    processes.require_equal(digests(together.state_dict()))


def take(supernet: Supernet, order: str, part: Any, reduce: Callable[[Any], object], average: Any) -> None:
    """Two bi-level steps on a part of their batches."""
    torch.manual_seed(1)
    supernet.train()
    # Plain descent: Adam's division would turn rounding into whole steps where a gradient is nearly zero.
    weights = torch.optim.SGD(supernet.weight_parameters(), 0.1)
    architecture = torch.optim.SGD(supernet.architecture.parameters(), 0.1)
    if order == "second":
        weights = torch.optim.Adam(supernet.weight_parameters(), 0.01, eps=1e-2)

    def backward(loss: Tensor) -> None:
        loss.backward()
        reduce(supernet.parameters())

    for step in range(2):
        one, other = part(batch(2 * step)), part(batch(2 * step + 1))
        if order == "second":
            before = lambda loss: reduce(supernet.architecture.parameters())  # noqa: E731
            architecture_step_second_order(supernet, architecture, weights, one, other, average=average, before=before)
        else:
            architecture_step(supernet, architecture, *one, backward, update_statistics=True)
        weight_step(supernet, weights, *other, backward)


def norms() -> None:
    """SynchronisedBatchNorm on half of a batch is nn.BatchNorm on the whole."""
    generator = torch.Generator().manual_seed(3)
    for build, shape in (
        (lambda: nn.BatchNorm1d(5), (8, 5)),
        (lambda: nn.BatchNorm1d(5, affine=False), (8, 5, 7)),
        (lambda: nn.BatchNorm2d(5, momentum=None), (8, 5, 3, 2)),
    ):
        alone = nn.Sequential(build()).double()
        together = copy.deepcopy(alone)
        synchronise_norms(together)
        for _ in range(2):
            x = torch.randn(shape, generator=generator, dtype=torch.float64) + 100
            slope = torch.randn(shape, generator=generator, dtype=torch.float64)
            whole, half = x.clone().requires_grad_(), x[processes.rank() :: 2].clone().requires_grad_()
            (alone(whole) * slope).sum().backward()
            (together(half) * slope[processes.rank() :: 2]).sum().backward()
            torch.testing.assert_close(half.grad, whole.grad[processes.rank() :: 2], rtol=1e-7, atol=1e-9)
        close(together, alone)
        torch.testing.assert_close(together.eval()(x), alone.eval()(x))


def agreement() -> None:
    """Flags, texts and refusals are the same everywhere; what has drifted is named."""
    assert processes.anywhere(processes.rank() == 1)
    assert not processes.anywhere(False)
    assert processes.gather({"rank": processes.rank(), "é": "x" * processes.rank()}) == [
        {"rank": 0, "é": ""},
        {"rank": 1, "é": "x"},
    ]

    def refuse() -> None:
        raise NasError("no room")

    with pytest.raises(NasError, match="no room"):
        processes.first_does(refuse)
    network = nn.Linear(3, 2)
    torch.nn.init.ones_(network.weight)
    torch.nn.init.zeros_(network.bias)
    processes.require_equal(digests(network.state_dict()))
    with torch.no_grad():
        network.weight[0, 0] += 1e-7 * processes.rank()
    with pytest.raises(NasError, match=r"2 processes no longer hold the same weight;"):
        processes.require_equal(digests(network.state_dict()))


def drift() -> None:
    """A search whose alphas come apart in one process ends in all of them, naming the alphas."""
    step = Loop.backward

    def pushed(loop: Loop, *arguments: Any) -> Any:
        with torch.no_grad():
            loop.network.architecture.alpha_normal[0, 0] += 1e-7 * processes.rank()
        return step(loop, *arguments)

    Loop.backward = pushed  # type: ignore[method-assign]
    recipe = nas.load_recipe("raw_pcdarts/toy", ["data.samples=1000", "engine.pictures=0", "search.batch_size=4"])
    with tempfile.TemporaryDirectory() as folder, pytest.raises(NasError, match=r"architecture\.alpha_normal"):
        nas.search(recipe, processes.gather(folder)[0] + "/run", progress=False)
    processes.wait()


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    agreement()
    norms()
    supernet_steps()
    supernet_steps(implementation="per_edge")
    supernet_steps(recompute=True)
    supernet_steps("second")
    drift()
    dist.destroy_process_group()
