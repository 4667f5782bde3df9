"""What `nas tune` tries: ranges and choices of a recipe's keys, from its section `tune.ranges`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.config import Recipe
from nas.errors import NasError, nearest
from nas.recipe_file import recipe_from

if TYPE_CHECKING:
    from optuna import Trial

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole numbers where both are whole."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        return all(isinstance(value, int) for value in (self.low, self.high))

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.low, self.high

    def suggest(self, trial: Trial, key: str) -> Any:
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of some values of YAML. A list or a section is offered to Optuna as its JSON text."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.values

    def suggest(self, trial: Trial, key: str) -> Any:
        texts = [json.dumps(v) if isinstance(v, list | dict) else v for v in self.values]
        chosen = trial.suggest_categorical(key, texts)
        at = next(i for i, text in enumerate(texts) if text == chosen and type(text) is type(chosen))
        return self.values[at]


def read_ranges(recipe: Recipe) -> dict[str, Range | Choice]:
    """The ranges of a recipe, every end of them checked in its place.

    Raises:
        NasError: no ranges, a key that the recipe does not have, ends in the wrong order or of the wrong kind, or a
            value that the recipe does not allow.
    """
    if not recipe.tune.ranges:
        example = "train.learning_rate: {low: 1e-5, high: 1e-3, log: true}"
        raise NasError(f"tune.ranges is empty: give keys to try, e.g. {example}")
    ranges = {key: _range(key, value) for key, value in recipe.tune.ranges.items()}
    for key, tried in ranges.items():
        if key.split(".")[0] == "tune":
            raise NasError(f"tune.ranges: {key} belongs to the tuning itself and is not tried")
        for end in tried.ends:
            try:
                apply(recipe, {key: end})
            except NasError as error:
                raise NasError(f"tune.ranges: {str(error).removeprefix('recipe: ')}") from None
    return ranges


def apply(recipe: Recipe, values: Values) -> Recipe:
    """The recipe with these keys (as dotted paths) set.

    Raises:
        NasError: a key that is not in the recipe, or a value that it does not allow.
    """
    content = recipe.model_dump(mode="json")
    for key, value in values.items():
        section: Any = content
        *sections, last = key.split(".")
        for name in sections:
            if not isinstance(section, dict) or not isinstance(section.get(name), dict):
                known = list(section) if isinstance(section, dict) else []
                raise NasError(f"{key}: {name!r} is not a section of the recipe{nearest(name, known) if known else ''}")
            section = section[name]
        section[last] = value
    return recipe_from(content)


def suggest(trial: Trial, ranges: Mapping[str, Range | Choice]) -> dict[str, Any]:
    """A value for every key."""
    return {key: tried.suggest(trial, key) for key, tried in ranges.items()}


def _range(key: str, value: Any) -> Range | Choice:
    if isinstance(value, list):
        if not value:
            raise NasError(f"tune.ranges: {key} has no choices")
        return Choice(tuple(value))
    if not isinstance(value, dict):
        raise NasError(f"tune.ranges: {key} is {value!r}; expected {{low: ..., high: ...}} or a list of choices")
    valid = ["low", "high", "log", "step"]
    surplus = sorted(set(value) - set(valid), key=str)
    if surplus:
        raise NasError(f"tune.ranges: {key}: unknown key {surplus[0]!r}{nearest(str(surplus[0]), valid)}")
    numbers = [value.get("low"), value.get("high"), value.get("step", 1)]
    if any(isinstance(n, bool) or not isinstance(n, int | float) or not math.isfinite(n) for n in numbers):
        raise NasError(f"tune.ranges: {key}: low, high and step are numbers, and low and high are needed")
    if not isinstance(value.get("log", False), bool):
        raise NasError(f"tune.ranges: {key}: log is true or false, not {value['log']!r}")
    found = Range(value["low"], value["high"], value.get("log", False), value.get("step"))
    if found.low >= found.high:
        raise NasError(f"tune.ranges: {key}: low ({found.low}) must be below high ({found.high})")
    if found.log and (found.low <= 0 or found.step is not None):
        raise NasError(f"tune.ranges: {key}: a log range is above 0 and has no step")
    if found.step is not None and (found.step <= 0 or (found.whole and not isinstance(found.step, int))):
        raise NasError(f"tune.ranges: {key}: step must be above 0, and whole between whole numbers, not {found.step}")
    return found
