"""Pooling without an order of the frames: their mean or their maximum, and fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from nas.errors import NasError


class Mean(nn.Module):
    """[B, C, T] -> [B, E]: mean over time, linear."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, embedding)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean(dim=2))


class Max(Mean):
    """[B, C, T] -> [B, E]: maximum over time, linear."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.amax(dim=2))


class FullyConnected(nn.Module):
    """[B, C, T] -> [B, E]: maximum or mean over time, then fully connected layers with ReLU between (as Res-TSSDNet).

    Args:
        channels: C.
        embedding: E.
        widths: units of the layers before the last.
        over: what is taken over time.

    Raises:
        NasError: another `over`.
    """

    def __init__(
        self, channels: int, embedding: int, widths: Sequence[int] = (64,), over: Literal["max", "mean"] = "max"
    ) -> None:
        super().__init__()
        if over not in ("max", "mean"):
            raise NasError(f"pooling fully-connected takes the max or the mean over time, not {over!r}")
        self.over = over
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.Linear(channels, width), nn.ReLU()]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Linear(channels, embedding))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.amax(dim=2) if self.over == "max" else x.mean(dim=2))
