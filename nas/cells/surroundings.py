"""The parts around the stem and the cells, built as the network section of a recipe chooses them."""

from __future__ import annotations

from typing import Any

from torch import nn

from nas.config import SearchedNetwork, part_of
from nas.errors import NasError
from nas.frontends.frontend import Frontend
from nas.frontends.registry import create_frontend
from nas.losses import Head, create_head
from nas.poolings.registry import create_pooling


def make_frontend(network: SearchedNetwork) -> Frontend:
    """The front-end, which is handed the section's `channels`, `learnable`, `kernel` and `mask` where it takes them."""
    name, options = part_of(network.frontend)
    shared = network.model_dump(include={"channels", "learnable", "kernel", "mask"})
    frontend = _named("frontend", create_frontend, name, shared, **options)
    # A layer that knows nothing of `learnable` is held here.
    if not network.learnable:
        frontend.requires_grad_(False)
    return frontend


def make_pooling(network: SearchedNetwork, channels: int) -> nn.Module:
    """[B, channels, T] -> [B, E]; `gru_hidden` is E, `gru_layers` is handed to a pooling that takes `layers`."""
    name, options = part_of(network.pooling)
    return _named(
        "pooling", create_pooling, name, channels, network.gru_hidden, {"layers": network.gru_layers}, **options
    )


def make_output(network: SearchedNetwork) -> Head:
    """The output layer of embeddings [B, E]."""
    name, options = part_of(network.loss)
    return _named("loss", create_head, name, network.gru_hidden, **options)


def _named(key: str, build: Any, *arguments: Any, **options: Any) -> Any:
    """What `build` makes; its refusal names the key of the recipe."""
    try:
        return build(*arguments, **options)
    except NasError as error:
        raise NasError(f"network.{key}: {error}") from error
