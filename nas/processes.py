"""The processes of one run: what they sum, agree on and hold in common. A run of one process needs none of it.

Every function here is called by all processes together, in the same order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nas.errors import NasError


def count() -> int:
    """How many processes the run has."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0; that of torchrun before the processes have met."""
    initialized = dist.is_available() and dist.is_initialized()
    return dist.get_rank() if initialized else int(os.environ.get("RANK", "0"))


def launched() -> int:
    """How many processes torchrun has started; they may not have met yet."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes the run directory and speaks."""
    return rank() == 0


def part() -> None:
    """Leave the group, at the end of the program."""
    if count() > 1:
        dist.destroy_process_group()


def restarted() -> bool:
    """Whether torchrun has started these processes anew, because one of them had ended."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def meet_again(backend: str) -> None:
    """Let processes that were started anew find each other.

    torchrun without `--standalone` or `--rdzv-backend c10d` keeps one store for all attempts, in which the addresses of
    processes that have ended would be taken for those of the new ones.
    """
    if not restarted() or dist.is_initialized() or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    attempt = dist.PrefixStore(f"attempt_{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    world_size = int(os.environ["WORLD_SIZE"])
    dist.init_process_group(backend, store=attempt, rank=int(os.environ["RANK"]), world_size=world_size)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return total(gradient)


def total(x: Tensor) -> Tensor:
    """The sum of x over all processes, differentiable any number of times: d(sum of all processes' losses) / dx."""
    return x if count() == 1 else _Total.apply(x)  # type: ignore[no-any-return]


def total_all(tensors: Sequence[Tensor]) -> list[Tensor]:
    """`total` of each, in one exchange."""
    if count() == 1:
        return list(tensors)
    parts = total(torch.cat([tensor.flatten() for tensor in tensors])).split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def average(x: Tensor) -> Tensor:
    """The mean of x over all processes, differentiable."""
    return x if count() == 1 else total(x) / count()


def average_all(tensors: Sequence[Tensor]) -> list[Tensor]:
    """`average` of each, in one exchange."""
    return [tensor / count() for tensor in total_all(tensors)] if count() > 1 else list(tensors)


def mean_and_variance(x: Tensor, over: tuple[int, ...], synchronised: bool) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of x over some dimensions, which are kept with size 1; over all processes if asked.

    Each process must hold equally many values.
    """
    mean = x.mean(over, keepdim=True)
    mean = average(mean) if synchronised else mean
    # About the common mean: squares of means would cancel where a mean is large.
    variance = (x - mean).square().mean(over, keepdim=True)
    return mean, average(variance) if synchronised else variance


@cache
def _control() -> dist.ProcessGroup | None:
    """Exchanges between hosts: what the processes agree on never waits for a GPU."""
    return None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")


def anywhere(flag: bool) -> bool:
    """Whether the flag is up in any process."""
    if count() == 1:
        return flag
    raised = torch.tensor(int(flag))
    dist.all_reduce(raised, dist.ReduceOp.MAX, group=_control())
    return bool(raised)


def wait() -> None:
    """Until all processes are here."""
    anywhere(False)


def gather(value: Any) -> list[Any]:
    """The JSON-able values of all processes, by rank."""
    if count() == 1:
        return [value]
    content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.long) for _ in range(count())]
    dist.all_gather(sizes, torch.tensor([len(content)]), group=_control())
    room = torch.zeros(max(int(size) for size in sizes), dtype=torch.uint8)
    room[: len(content)] = content
    rooms = [torch.zeros_like(room) for _ in sizes]
    dist.all_gather(rooms, room, group=_control())
    return [json.loads(bytes(one[: int(size)].tolist())) for one, size in zip(rooms, sizes, strict=True)]


def first_does(work: Callable[[], object]) -> None:
    """Let the first process do something while the others wait; what it refuses is refused by all.

    Raises:
        NasError: what `work` raised.
    """
    refused: NasError | None = None
    if is_first():
        try:
            work()
        except NasError as error:
            refused = error
    said = gather(None if refused is None else str(refused))[0]
    if refused is not None:
        raise refused
    if said is not None:
        raise NasError(said)


def require_equal(digests: Mapping[str, str]) -> None:
    """Refuse to go on where something that all processes must hold in common has drifted.

    Raises:
        NasError: with its names.
    """
    if count() == 1:
        return
    found = gather(dict(digests))
    drifted = [name for name in digests if len({held.get(name) for held in found}) > 1]
    if drifted:
        names = ", ".join(drifted[:5]) + (f" and {len(drifted) - 5} more" if len(drifted) > 5 else "")
        raise NasError(f"the {count()} processes no longer hold the same {names}; go on from the last checkpoint")
