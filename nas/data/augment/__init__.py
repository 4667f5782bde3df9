"""Augmentation of waveforms in batches, on the device that they are on, with an explicit generator.

An augmentation is a registered function of waveforms [B, T] (float32, full scale 1, 16 kHz) and a torch.Generator of
the same device. It gives waveforms [B, T] and draws its settings anew for every utterance of the batch. A recipe names
augmentations in order, each with the settings that differ from its defaults and the share of utterances that get it:

    augment:
      - {name: rawboost, algorithm: 5}
      - {name: noise, snr: [10, 30], probability: 0.5}

    augment = Augmentation.from_recipe([...])
    waveforms = augment(waveforms, generator)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nas.errors import NasError, nearest
from nas.registry import Registry

RATE = 16000
"""Sample rate in Hz that frequencies and durations refer to."""

AugmentFunction = Callable[..., Tensor]

_AUGMENTATIONS: Registry[AugmentFunction] = Registry("augmentation")

augmentation = _AUGMENTATIONS.entry
"""Decorator: register `function(waveforms, generator, **settings)` as the augmentation of a name."""


def get_augmentation(name: str) -> AugmentFunction:
    """The augmentation of that name.

    Raises:
        NasError: there is none; the nearest name is given.
    """
    return _AUGMENTATIONS[name]


def augmentation_names() -> tuple[str, ...]:
    """The names of all registered augmentations."""
    return _AUGMENTATIONS.names()


@dataclass(frozen=True)
class Step:
    """One augmentation with its settings; `probability` is the share of utterances that it changes.

    Raises:
        NasError: an unknown name or setting, a setting of the wrong form, or a probability outside 0 to 1.
    """

    name: str
    probability: float = 1.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parameters = list(inspect.signature(get_augmentation(self.name)).parameters.values())[2:]
        valid = {parameter.name: parameter.default for parameter in parameters}
        if isinstance(self.probability, bool) or not isinstance(self.probability, int | float):
            raise NasError(f"augmentation {self.name!r}: probability must be a number, not {self.probability!r}")
        if not 0 <= self.probability <= 1:
            raise NasError(f"augmentation {self.name!r}: probability must be from 0 to 1, not {self.probability}")
        for key, value in self.settings.items():
            if key not in valid:
                raise NasError(f"augmentation {self.name!r} has no setting {key!r}{nearest(key, tuple(valid))}")
            _check_form(f"augmentation {self.name!r}: {key}", value, valid[key])

    def __call__(self, waveforms: Tensor, generator: torch.Generator) -> Tensor:
        function = get_augmentation(self.name)
        if self.probability == 0:
            return waveforms
        changed = function(waveforms, generator, **self.settings)
        if self.probability == 1:
            return changed
        chosen = uniform(generator, waveforms, 0, 1) < self.probability
        return torch.where(chosen[:, None], changed, waveforms)


@dataclass(frozen=True)
class Augmentation:
    """Augmentations in order. Calling it with waveforms [B, T] and a generator gives waveforms [B, T]."""

    steps: tuple[Step, ...] = ()

    @classmethod
    def from_recipe(cls, entries: Sequence[Mapping[str, Any]]) -> Augmentation:
        """Read a recipe's list of mappings `{name: ..., probability: ..., SETTING: ...}`.

        Raises:
            NasError: an entry without a name, or see `Step`.
        """
        steps = []
        for number, entry in enumerate(entries, start=1):
            if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
                raise NasError(f"augmentation {number} of the recipe must be a mapping with a name, not {entry!r}")
            settings = {key: value for key, value in entry.items() if key not in ("name", "probability")}
            steps.append(Step(entry["name"], entry.get("probability", 1.0), settings))
        return cls(tuple(steps))

    @torch.no_grad()
    def __call__(self, waveforms: Tensor, generator: torch.Generator) -> Tensor:
        for step in self.steps:
            waveforms = step(waveforms, generator)
        return waveforms


Range = tuple[float, float] | Sequence[float]
"""Lowest and highest value of a uniform draw."""


def uniform(generator: torch.Generator, like: Tensor, low: float, high: float, *shape: int) -> Tensor:
    """Uniform draws [B, *shape] for waveforms `like` [B, T], on their device."""
    draws = torch.rand(len(like), *shape, generator=generator, device=like.device, dtype=like.dtype)
    return low + (high - low) * draws


def normal(generator: torch.Generator, like: Tensor) -> Tensor:
    """White noise of unit power in the shape of `like`, on its device."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def level(waveforms: Tensor) -> Tensor:
    """Root mean square [B, 1] of waveforms [B, T]."""
    return waveforms.square().mean(1, keepdim=True).sqrt()


def _check_form(what: str, value: Any, default: Any) -> None:
    if isinstance(default, tuple):
        is_range = isinstance(value, list | tuple) and len(value) == 2
        if not is_range or not all(_is_number(end) for end in value) or value[0] > value[1]:
            raise NasError(f"{what} must be two numbers, lowest and highest, not {value!r}")
    elif _is_number(default):
        if not _is_number(value):
            raise NasError(f"{what} must be a number, not {value!r}")
    elif not isinstance(value, type(default)):
        raise NasError(f"{what} must be a {type(default).__name__}, not {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# Importing a module registers its augmentations.
from nas.data.augment import (  # noqa: E402, F401
    codec,
    gain,
    masking,
    noise,
    rawboost,
    resampling,
    reverberation,
)
