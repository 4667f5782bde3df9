"""Whether what a file holds can be what a run has written: names, types, sizes, and values within their bounds.

A checkpoint carries a checksum, which says that it is whole; not that nobody wrote other values into it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import NasError


class Implausible(ValueError):
    """What is wrong, in a few words."""


MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
"""What Adam holds of a parameter."""


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: object) -> None:
    """Give a module all of its weights and buffers.

    Args:
        source: where they come from, for the sentence.

    Raises:
        NasError: entries that are missing, left over, of another type or shape, or not finite.
    """
    try:
        require_weights(tensors, module.state_dict())
    except Implausible as error:
        raise NasError(f"{source} does not hold the weights of this network: {error}") from error
    module.load_state_dict(dict(tensors))


def require_weights(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse weights that differ from our own in more than their values.

    Raises:
        Implausible: naming the entry.
    """
    for names, word in (([n for n in own if n not in found], "lacks"), ([n for n in found if n not in own], "adds")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise Implausible(f"it {word} {names[0]}{more}")
    for name, value in own.items():
        require_tensor(name, found[name], value)


def require_tensor(name: str, found: Tensor, own: Tensor) -> None:
    """Refuse a tensor of another type or shape than our own, or with values that are not finite.

    Raises:
        Implausible: with both.
    """
    if found.dtype != own.dtype:
        raise Implausible(f"{name} is of type {_type(found)}, and should be {_type(own)}")
    if found.shape != own.shape:
        raise Implausible(f"{name} has shape {list(found.shape)}, and should have {list(own.shape)}")
    if found.is_floating_point() and not found.isfinite().all() and own.isfinite().all():
        raise Implausible(f"{name} has values that are not finite")


def require_moments(name: str, moments: Mapping[int, Mapping[str, Tensor]], parameters: Sequence[nn.Parameter]) -> None:
    """Refuse the moments of an Adam optimiser that it cannot have come to.

    Args:
        name: of the optimiser.
        moments: by the number of the parameter; one that never had a gradient has none.
        parameters: all that the optimiser trains.

    Raises:
        Implausible: naming the entry.
    """
    for index, held in moments.items():
        place = f"optimizer/{name}/{index}"
        if index >= len(parameters):
            raise Implausible(f"{place} belongs to no parameter")
        if held.keys() != MOMENTS:
            differing = sorted(held.keys() ^ MOMENTS)[0]
            raise Implausible(f"{place} {'lacks' if differing in MOMENTS else 'adds'} {differing}")
        own = torch.zeros_like(parameters[index], device="cpu")
        for moment in ("exp_avg", "exp_avg_sq"):
            require_tensor(f"{place}/{moment}", held[moment], own)
        require_tensor(f"{place}/step", held["step"], torch.zeros(()))
        if held["exp_avg_sq"].min() < 0:
            raise Implausible(f"{place}/exp_avg_sq has negative values")
        step = float(held["step"])
        if step < 0 or step != int(step):
            raise Implausible(f"{place}/step is {step:g}")


def require_groups(name: str, found: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> None:
    """Refuse settings of an optimiser that are not those of the recipe; the learning rate is that of its schedule.

    Raises:
        Implausible: naming the setting.
    """
    for group, ours in zip(found, own, strict=True):
        for key, value in ours.items():
            same = list(group[key]) == list(value) if isinstance(value, list | tuple) else group[key] == value
            if not same and key != "lr":
                raise Implausible(f"{key} of the optimiser {name} is {group[key]!r}, and {value!r} in the recipe")


def require_schedule(schedule: Any, found: Mapping[str, Any], own: Mapping[str, Any], rates: Sequence[float]) -> None:
    """Refuse a schedule that its recipe does not lead to, or learning rates that are not the schedule's.

    Args:
        schedule: one that was given `found`.
        found, own: the state of a checkpoint, and that of the recipe at the start.
        rates: learning rates of the optimiser's groups in the checkpoint.

    Raises:
        Implausible: naming the value.
    """
    moving = {"last_epoch", "_step_count", "_last_lr"}
    for key, value in own.items():
        if key not in moving and found[key] != value:
            raise Implausible(f"{key} of the schedule is {found[key]!r}, and {value!r} in the recipe")
    if found["last_epoch"] < 0 or found["_step_count"] != found["last_epoch"] + 1:
        raise Implausible(f"the schedule stands at step {found['last_epoch']}")
    for rate, expected, first in zip(rates, schedule._get_closed_form_lr(), found["base_lrs"], strict=True):
        if not math.isclose(rate, expected, rel_tol=1e-6, abs_tol=1e-6 * first):
            raise Implausible(f"the learning rate is {rate:g}, and {expected:g} by the schedule")


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
