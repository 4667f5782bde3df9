"""Poolings over time by name, for recipes and networks: `network.pooling` of a searched network, `pooling` of an LCNN.

An entry is a class or function, called with the channels C and the size E of the embedding, that builds a module
[B, C, T] -> [B, E]; its further parameters are the options of a recipe. Where it takes `layers`, a searched network
hands its own on (`network.gru_layers`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from nas.options import build_with_shared
from nas.poolings.attention import AttentionPool, AttentiveStatistics
from nas.poolings.frames import FullyConnected, Max, Mean
from nas.poolings.recurrent import LastOfGRU, LSTMSum
from nas.registry import Registry

POOLINGS: Registry[Callable[..., nn.Module]] = Registry("pooling")
POOLINGS |= {
    "gru": LastOfGRU,
    "lstm-sum": LSTMSum,
    "attention": AttentionPool,
    "attentive-statistics": AttentiveStatistics,
    "mean": Mean,
    "max": Max,
    "fully-connected": FullyConnected,
}


def create_pooling(
    name: str, channels: int, embedding: int, shared: Mapping[str, Any] | None = None, **options: Any
) -> nn.Module:
    """The pooling of that name, [B, channels, T] -> [B, embedding].

    Args:
        name: as registered.
        channels, embedding: sizes.
        shared: what the network hands to a pooling that takes it.
        options: those of a recipe; they come before `shared`.

    Raises:
        NasError: there is no such pooling, or it has no such option; the nearest name is given.
    """
    return build_with_shared(POOLINGS[name], f"pooling {name!r}", shared or {}, channels, embedding, **options)
