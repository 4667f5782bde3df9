"""The networks by their names: plain functions that build one, each option a keyword with the published value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from nas.errors import NasError
from nas.network import Network, build_within_memory
from nas.networks.aasist import AASIST
from nas.networks.lcnn import LCNN
from nas.networks.raw_pcdarts import raw_pcdarts
from nas.networks.rawnet2 import rawnet2_2019, rawnet2_2021
from nas.options import build_with_options
from nas.registry import Registry

FOUR_SECONDS = 64_600
"""Samples that AASIST and RawNet2 see: 4.0375 s at 16 kHz."""


@dataclass(frozen=True)
class Entry:
    """How a network is built, and the samples of an utterance that the published system sees (None: all of them)."""

    build: Callable[..., Network]
    samples: int | None


_NETWORKS: Registry[Entry] = Registry("network")


def register(name: str, build: Callable[..., Network], samples: int | None = None) -> None:
    """Make a network known by its name.

    Args:
        name: lower case, as recipes and the command line say it.
        build: called with the options.
        samples: length to which the published system cuts or tiles an utterance; None for whole utterances.
    """
    _NETWORKS[name] = Entry(build, samples)


def names() -> tuple[str, ...]:
    """All registered names."""
    return tuple(sorted(_NETWORKS))


def entry(name: str) -> Entry:
    """What is registered under the name.

    Raises:
        NasError: nothing is; the nearest name is given.
    """
    return _NETWORKS[name]


def create(name: str, **options: Any) -> Network:
    """A network with random weights, waveform [B, T] at 16 kHz -> logits [B, 2], column 1 bona fide.

    Raises:
        NasError: there is no such network, or it has no such option; the nearest name is given.
    """
    what = f"network {name!r}"
    try:
        return build_within_memory(lambda: build_with_options(entry(name).build, what, **options), what)
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError, MemoryError) as error:
        if not options:
            raise
        raise NasError(f"{what} cannot be built with the options {str(options)[:80]}: {error}") from error


register("raw-pcdarts", raw_pcdarts, 64_000)
register("aasist", AASIST, FOUR_SECONDS)
register(
    "aasist-l",
    partial(AASIST, channels=(32, 24), graph=(24, 32), pool_ratios=(0.4, 0.5, 0.7)),
    FOUR_SECONDS,
)
register("rawnet2-2019", rawnet2_2019, FOUR_SECONDS)
register("rawnet2-2021", rawnet2_2021, FOUR_SECONDS)
for _features in ("lfcc", "logmel"):
    for _pooling in ("lstmsum", "attention", "fixed"):
        register(f"lcnn-{_features}-{_pooling}", partial(LCNN, features=_features, pooling=_pooling))
