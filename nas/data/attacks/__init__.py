"""Spoofing attacks that the corpus builder can carry out, each a small registered function.

An attack takes a bona fide waveform and gives a spoofed one of about its length. Resynthesis attacks take the signal
apart and put it together again; text-to-speech attacks only take its length and speak a text of their own.

    @attack("my_vocoder", engine="my-vocoder", extra="corpus")
    def my_vocoder(waveform, random, speaker_random, order=20):
        '''waveform float32 [T] at 16 kHz -> (float32 [about T], the parameters that were used)'''

`random` is the generator of this utterance and `speaker_random` the generator of its speaker, so that a draw from the
second is the same for all utterances of a speaker. An attack must use no other source of randomness and keep no state.
What follows them are settings with defaults, which a recipe may change.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import numpy as np

from nas.errors import NasError
from nas.registry import Registry

RATE = 16000
"""Sample rate of every attack's input and output in Hz."""

Parameters = dict[str, float | int | str]
AttackFunction = Callable[..., tuple[np.ndarray, Parameters]]


@dataclass(frozen=True)
class Attack:
    """A registered attack: its function, the distribution package that does the work, and the extra that brings it."""

    name: str
    engine: str
    extra: str | None
    function: AttackFunction

    def __call__(
        self,
        waveform: np.ndarray,
        random: np.random.Generator,
        speaker_random: np.random.Generator,
        **options: float | int | str,
    ) -> tuple[np.ndarray, Parameters]:
        return self.function(waveform, random, speaker_random, **options)

    def options(self) -> dict[str, object]:
        """The settings that the attack takes besides its waveform and its two generators, with their defaults."""
        parameters = list(inspect.signature(self.function).parameters.values())[3:]
        return {parameter.name: parameter.default for parameter in parameters}

    def engine_version(self) -> str:
        """The installed version of the engine.

        Raises:
            NasError: it is not installed; the command that installs it is given.
        """
        try:
            return version(self.engine)
        except PackageNotFoundError:
            raise NasError(missing_engine(self.name, self.engine, self.extra)) from None


_ATTACKS: Registry[Attack] = Registry("attack")


def attack(name: str, engine: str, extra: str | None = None) -> Callable[[AttackFunction], AttackFunction]:
    """Register a function as the attack `name`, done by the distribution package `engine`."""

    def register(function: AttackFunction) -> AttackFunction:
        _ATTACKS[name] = Attack(name, engine, extra, function)
        return function

    return register


def get_attack(name: str) -> Attack:
    """The attack of that name.

    Raises:
        NasError: there is none; the nearest name is given.
    """
    return _ATTACKS[name]


def attack_names() -> tuple[str, ...]:
    """The names of all registered attacks."""
    return _ATTACKS.names()


def import_engine(module: str, engine: str, extra: str | None, attack_name: str) -> ModuleType:
    """Import an optional engine at its first use.

    Raises:
        NasError: it is not installed; the command that installs it is given.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NasError(f"{missing_engine(attack_name, engine, extra)} ({error})") from error


def missing_engine(attack_name: str, engine: str, extra: str | None) -> str:
    command = f"pip install 'nas-antispoofing[{extra}]'" if extra else f"pip install {engine}"
    return f"attack {attack_name!r} needs the package {engine}, which is not installed: {command}"


# Importing a module registers its attacks; their engines are imported at first use.
from nas.data.attacks import (  # noqa: E402, F401
    espeak,
    griffin_lim,
    hibari,
    lpc,
    mel_inversion,
    phase_random,
    piper,
    world,
)
