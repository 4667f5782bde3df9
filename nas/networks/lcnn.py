"""LCNN: a light convolutional network with max-feature-map activations on LFCC or log-mel features.

Wang and Yamagishi, "A comparative study on recent neural spoofing countermeasures for synthetic speech detection"
(Interspeech 2021) and the published code. Three ways from frames to one embedding:

waveform [B, T] -> features [B, L, 60] -> encoder [B, 32, L / 16, 3] -> frames [B, L / 16, 96]
-> LSTM-sum, attention, or fixed length -> embedding [B, 64] -> cosines [B, 2]
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.frontends.fixed_sinc import require_samples
from nas.frontends.registry import create_frontend
from nas.losses import create_head
from nas.network import Network
from nas.poolings.registry import create_pooling

SHRINK = 16
"""Frames and feature bins are divided by this."""

PUBLISHED_POOLINGS = {"lstmsum": "lstm-sum"}
"""Poolings by the names of the published configurations, where ours differ."""


class MaxFeatureMap(nn.Module):
    """[B, 2 C, ...] -> [B, C, ...]: the larger of channel c and channel C + c."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(*x.chunk(2, dim=1))


def light_convolutions(width: int) -> nn.Sequential:
    """[B, 1, L, D] -> [B, width, L // 16, D // 16], module for module as published (width 32), without its dropout."""
    half_more, double = 3 * width // 2, 2 * width

    def conv(channels_in: int, channels: int, kernel: int) -> list[nn.Module]:
        return [nn.Conv2d(channels_in, 2 * channels, kernel, padding=kernel // 2), MaxFeatureMap()]

    def norm(channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, affine=False)

    return nn.Sequential(
        *conv(1, width, 5),
        nn.MaxPool2d(2),
        *conv(width, width, 1),
        norm(width),
        *conv(width, half_more, 3),
        nn.MaxPool2d(2),
        norm(half_more),
        *conv(half_more, half_more, 1),
        norm(half_more),
        *conv(half_more, double, 3),
        nn.MaxPool2d(2),
        *conv(double, double, 1),
        norm(double),
        *conv(double, width, 3),
        norm(width),
        *conv(width, width, 1),
        norm(width),
        *conv(width, width, 3),
        nn.MaxPool2d(2),
    )


class FixedLength(nn.Module):
    """[B, D, L] with the one L that it was made for -> [B, E]: linear, max-feature-map, linear.

    The D values of a frame are `width` channels of feature bins; the linear layer sees them channel by channel.
    """

    def __init__(self, size: int, embedding: int, dropout: float, frames: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.dropout = nn.Dropout(dropout)
        self.fc_1 = nn.Linear(frames // SHRINK * size, 160)
        self.activation = MaxFeatureMap()
        self.fc_2 = nn.Linear(80, embedding)

    def forward(self, frames: Tensor) -> Tensor:
        maps = frames.unflatten(1, (self.width, -1)).transpose(2, 3)
        return self.fc_2(self.activation(self.fc_1(self.dropout(maps.flatten(1)))))


def fit_frames(features: Tensor, frames: int, random: bool) -> Tensor:
    """[B, L, D] -> [B, frames, D]: repeated from the start where shorter, cut where longer.

    The cut is anywhere, another for each utterance, where `random`, and at the start otherwise.
    """
    batch, length, _ = features.shape
    if length <= frames:
        return features.repeat(1, -(-frames // length), 1)[:, :frames]
    if not random:
        return features[:, :frames]
    start = torch.randint(0, length - frames, (batch, 1), device=features.device)
    index = start + torch.arange(frames, device=features.device)
    return features.gather(1, index.unsqueeze(2).expand(-1, -1, features.shape[2]))


class LCNN(Network):
    """waveform [B, T] -> logits [B, 2] (cosines with the published P2SGrad), column 1 bona fide. Whole utterances.

    Args:
        features: "lfcc" (60 = 20 static, delta, delta-delta), "logmel" (60 bands), or another front-end of
            `nas.frontends` that puts out frames.
        pooling: "lstmsum", "attention", "fixed", or another one of `nas.poolings`.
        width: channels of the narrow layers, 32; the others follow.
        embedding: E.
        dropout: after the encoder.
        frames: length that "fixed" repeats or cuts to. In training it cuts anywhere; in evaluation at the start, where
            the published code cuts anywhere again, so that its scores change from run to run.
        noise: of "attention", see `nas.poolings.attention.AttentionPool`.
        noise_in_evaluation: quirk Q6, see `nas.poolings.attention.AttentionPool`.
        frontend_options: of the front-end.
        loss: name of the head in `nas.losses`.
        loss_options: its options.

    Raises:
        NasError: unknown features or pooling, or fewer than 16 values a frame.
    """

    def __init__(
        self,
        features: str = "lfcc",
        pooling: str = "lstmsum",
        width: int = 32,
        embedding: int = 64,
        dropout: float = 0.7,
        frames: int = 750,
        noise: float = 1e-5,
        noise_in_evaluation: bool = False,
        frontend_options: dict[str, Any] | None = None,
        loss: str = "p2sgrad",
        loss_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.frames = frames if pooling == "fixed" else None
        self.frontend = create_frontend(features, **(frontend_options or {}))
        self.encoder = light_convolutions(width)
        size = self.frontend.channels // SHRINK * width
        if size == 0:
            raise NasError(f"an LCNN needs features of at least {SHRINK} values, not {self.frontend.channels}")
        self.pooling: nn.Module
        if pooling == "fixed":
            self.pooling = FixedLength(size, embedding, dropout, frames, width)
        else:
            shared = {"dropout": dropout, "noise": noise, "noise_in_evaluation": noise_in_evaluation}
            self.pooling = create_pooling(PUBLISHED_POOLINGS.get(pooling, pooling), size, embedding, shared)
        self.output = create_head(loss, embedding, **(loss_options or {}))

    def embed(self, waveform: Tensor) -> Tensor:
        """waveform [B, T] -> embedding [B, E].

        Raises:
            NasError: fewer samples than the 16 frames that give one frame behind the encoder (2,400).
        """
        hop = self.frontend.hop
        require_samples(waveform, (SHRINK - 1) * hop if self.frames is None else hop)
        features = self.frontend.frames(waveform).transpose(1, 2)
        if self.frames is not None:
            # The last frame of a centred STFT is left out, as published: T // hop frames count.
            features = fit_frames(features[:, : waveform.shape[1] // hop], self.frames, self.training)
        encoded = self.encoder(features.unsqueeze(1))
        return self.pooling(encoded.transpose(1, 2).flatten(2).transpose(1, 2))
