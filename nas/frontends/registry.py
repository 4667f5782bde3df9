"""Front-ends by name, for recipes and networks: `network.frontend` of a searched network, `features` of an LCNN.

An entry is a class or function that builds a `Frontend`; its keyword parameters are the options of a recipe. Where it
takes `channels`, `learnable`, `kernel` or `mask`, a searched network hands its own on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nas.frontends.frontend import Frontend
from nas.frontends.lfcc import LFCC
from nas.frontends.logmel import LogMel
from nas.frontends.sinc import Conv0, inverse_mel_filters, linear_filters, mel_filters
from nas.options import build_with_shared
from nas.registry import Registry

FRONTENDS: Registry[Callable[..., Frontend]] = Registry("front-end")
FRONTENDS |= {
    "mel": mel_filters,
    "inverse-mel": inverse_mel_filters,
    "linear": linear_filters,
    "conv0": Conv0,
    "lfcc": LFCC,
    "logmel": LogMel,
}


def create_frontend(name: str, shared: Mapping[str, Any] | None = None, **options: Any) -> Frontend:
    """The front-end of that name.

    Args:
        name: as registered.
        shared: what the network hands to a front-end that takes it.
        options: those of a recipe; they come before `shared`.

    Raises:
        NasError: there is no such front-end, or it has no such option; the nearest name is given.
    """
    return build_with_shared(FRONTENDS[name], f"front-end {name!r}", shared or {}, **options)
