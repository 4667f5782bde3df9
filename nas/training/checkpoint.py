"""Checkpoints from which a loop goes on as if nothing had happened: tensors in safetensors, the rest in JSON.

RUN/checkpoints/resume.safetensors holds all of it; resume.previous.safetensors is the one before, kept until the next
is safely written. Both carry a checksum of their content. Nothing in them can run code.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from nas import processes
from nas.errors import NasError
from nas.files import write_bytes
from nas.tensor_files import read_safetensors
from nas.text_files import parse_json
from nas.training.plausible import (
    Implausible,
    require_groups,
    require_moments,
    require_schedule,
    require_weights,
)

CURRENT, PREVIOUS, NEXT = "resume.safetensors", "resume.previous.safetensors", "resume.next.safetensors"


class Snapshot:
    """Saves and restores what a loop changes: modules, optimisers and schedules by name, and every random state.

    Args:
        folder: the checkpoints folder of a run.
        modules: weights and buffers.
        optimizers: moments and settings.
        schedules: learning-rate schedules.
    """

    def __init__(
        self,
        folder: Path,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, Any],
        schedules: Mapping[str, Any],
    ) -> None:
        self.folder, self.modules, self.optimizers, self.schedules = folder, modules, optimizers, schedules

    def save(self, values: Mapping[str, Any]) -> None:
        """Write a checkpoint with these JSON-able values (where the loop stands, the best so far, the history)."""
        tensors: dict[str, Tensor] = {}
        state: dict[str, Any] = {"values": values, "optimizers": {}, "schedules": {}}
        for name, module in self.modules.items():
            tensors |= {f"module/{name}/{key}": tensor for key, tensor in module.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            content = optimizer.state_dict()
            state["optimizers"][name] = content["param_groups"]
            for index, moments in content["state"].items():
                tensors |= {f"optimizer/{name}/{index}/{key}": tensor for key, tensor in moments.items()}
        for name, schedule in self.schedules.items():
            state["schedules"][name] = schedule.state_dict()
        state["random"] = _plain_random_state()
        tensors |= {f"random/{name}": tensor for name, tensor in _tensor_random_state().items()}
        state["tensors"] = sorted(tensors)
        write_checkpoint(self.folder, tensors, state)

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and state of the last good checkpoint, for `restore`; None where there is none.

        Raises:
            NasError: checkpoints are there, but none of them is whole.
        """
        return read_checkpoint(self.folder)

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any], moments: bool = True) -> None:
        """Bring everything back to a checkpoint.

        Args:
            tensors, state: of `read`.
            moments: whether the optimisers' too, which a run that has ended does not need.

        Raises:
            NasError: it does not fit.
        """
        try:
            if lacking := sorted(set(state["tensors"]) - set(tensors)) if moments else []:
                raise Implausible(f"it lacks {lacking[0]}")
            for name, module in self.modules.items():
                weights = _below(tensors, f"module/{name}/")
                require_weights(weights, module.state_dict())
                module.load_state_dict(weights)
            for name, optimizer in self.optimizers.items():
                self._restore_optimizer(name, optimizer, tensors, state["optimizers"][name], moments)
            for name, schedule in self.schedules.items():
                # A schedule takes whatever attributes it is given, so it is given none but its own.
                found, own = state["schedules"][name], dict(schedule.state_dict())
                require_like(found, own)
                schedule.load_state_dict(found)
                if isinstance(schedule, LRScheduler):
                    # It warns where it has seen no step of its optimiser; those before the stop it has not seen.
                    setattr(schedule.optimizer, "_opt_called", True)  # noqa: B010 (no attribute of its class)
                    require_schedule(schedule, found, own, [group["lr"] for group in schedule.optimizer.param_groups])
            _restore_random_state(state["random"], _below(tensors, "random/"))
        except Implausible as error:
            raise NasError(f"{self.folder}: the checkpoint does not fit the recipe of this run: {error}") from error
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise NasError(f"{self.folder}: the checkpoint does not fit the recipe of this run") from error

    def _restore_optimizer(
        self, name: str, optimizer: Any, tensors: Mapping[str, Tensor], groups: Any, moments: bool
    ) -> None:
        found: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _below(tensors, f"optimizer/{name}/").items() if moments else ():
            index, _, moment = key.partition("/")
            found.setdefault(int(index), {})[moment] = tensor
        own = optimizer.state_dict()["param_groups"]
        require_like(groups, own)
        require_groups(name, groups, own)
        require_moments(name, found, [parameter for group in optimizer.param_groups for parameter in group["params"]])
        rates = [(group["lr"], ours["lr"]) for group, ours in zip(groups, own, strict=True)]
        scheduled = any(isinstance(schedule, LRScheduler) for schedule in self.schedules.values())
        if not scheduled and any(rate != ours for rate, ours in rates):
            raise Implausible(f"the learning rate of the optimiser {name} is {rates[0][0]!r}, not the recipe's")
        optimizer.load_state_dict({"state": found, "param_groups": groups})


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write resume.safetensors; the one that was there becomes the previous one."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(state)
    content = to_safetensors(plain, {"state": text, "sha256": _checksum(plain, text)})
    # Whole before anything moves: a full disk leaves both that were there.
    write_bytes(folder / NEXT, content)
    if (folder / CURRENT).exists():
        os.replace(folder / CURRENT, folder / PREVIOUS)
    os.replace(folder / NEXT, folder / CURRENT)


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The last good checkpoint of a folder; None where there is none at all.

    Raises:
        NasError: there are checkpoints, and none is whole.
    """
    damaged: list[str] = []
    for name in (CURRENT, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        found = _read(path)
        if found is not None:
            if damaged:
                logging.getLogger("nas").warning("%s is damaged; going on from the one before", folder / damaged[0])
            return found
        damaged.append(name)
    if damaged:
        raise NasError(f"{folder}: {' and '.join(damaged)} are damaged; there is no checkpoint to go on from")
    return None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Content of a checkpoint, or None where it is not whole."""
    try:
        tensors, metadata = read_safetensors(path)
        if _checksum(tensors, metadata["state"]) != metadata["sha256"]:
            return None
        state = parse_json(metadata["state"], path)
        return (tensors, state) if isinstance(state, dict) else None
    except (NasError, OSError, LookupError, ValueError, TypeError, RuntimeError, MemoryError):
        return None


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def digests(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """A digest of every tensor; none where only one process could compare them."""
    if processes.count() == 1:
        return {}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return {name: _checksum({name: tensor}, "") for name, tensor in plain.items()}


def require_like(found: Any, own: Any) -> None:
    """Refuse values of other names, types or lengths than our own.

    Raises:
        TypeError: one is.
    """
    if isinstance(own, dict):
        if not isinstance(found, dict) or {str(key) for key in found} != {str(key) for key in own}:
            raise TypeError("other names")
        for key, value in own.items():
            require_like(found[str(key)], value)
    elif isinstance(own, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(own):
            raise TypeError("another length")
        for one, other in zip(found, own, strict=True):
            require_like(one, other)
    elif isinstance(own, float):
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise TypeError("not a number")
    elif type(found) is not type(own):
        raise TypeError("another type")


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _plain_random_state() -> dict[str, Any]:
    numpy_state = np.random.get_state(legacy=False)
    assert isinstance(numpy_state, dict)
    keys = numpy_state["state"]
    numpy_plain = {**numpy_state, "state": {"key": keys["key"].tolist(), "pos": int(keys["pos"])}}
    return {"python": random.getstate(), "numpy": numpy_plain}


def _tensor_random_state() -> dict[str, Tensor]:
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), **{f"cuda{index}": state for index, state in enumerate(devices)}}


def _restore_random_state(plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    version, internal, gauss = plain["python"]
    random.setstate((version, tuple(internal), gauss))
    keys = plain["numpy"]["state"]
    np.random.set_state({**plain["numpy"], "state": {"key": np.array(keys["key"], np.uint32), "pos": keys["pos"]}})
    torch.set_rng_state(tensors["torch"])
    if torch.cuda.is_available():
        devices = [tensors[name] for name in sorted(tensors) if name.startswith("cuda")]
        if len(devices) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(devices)


class Watch:
    """Says when a loop must save: every few minutes, and when it is asked to stop (SIGTERM, Ctrl-C)."""

    def __init__(self, minutes: float) -> None:
        self.seconds, self.saved, self.stopping = 60 * minutes, time.monotonic(), False

    @property
    def due(self) -> bool:
        """Whether to save now; the processes of a run are of one mind."""
        return processes.anywhere(self.stopping or time.monotonic() - self.saved >= self.seconds)

    def has_saved(self) -> None:
        self.saved = time.monotonic()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Turn the first stop signal into `stopping`; a second one acts as usual.

        Of several processes torchrun and the cluster may each signal every one, so there all signals are the first.
        """

        def stop(number: int, frame: FrameType | None) -> None:
            self.stopping = True
            if processes.count() == 1:
                signal.signal(number, before[number])

        before: dict[int, Any] = {}
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                before[int(number)] = signal.signal(number, stop)
        except ValueError:
            # Only the main thread may listen; a run in another thread is stopped by whoever started it.
            pass
        try:
            yield
        finally:
            for listened, handler in before.items():
                signal.signal(listened, handler)
