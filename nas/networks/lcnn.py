"""LCNN: a light convolutional network with max-feature-map activations on LFCC or log-mel features.

Wang and Yamagishi, "A comparative study on recent neural spoofing countermeasures for synthetic speech detection"
(Interspeech 2021) and the published code. Three ways from frames to one embedding:

waveform [B, T] -> features [B, L, 60] -> encoder [B, 32, L / 16, 3] -> frames [B, L / 16, 96]
-> LSTM-sum, attention, or fixed length -> embedding [B, 64] -> cosines [B, 2]
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.frontends.fixed_sinc import require_samples
from nas.frontends.lfcc import LFCC
from nas.frontends.logmel import LogMel
from nas.losses import create_head
from nas.network import Network

SHRINK = 16
"""Frames and feature bins are divided by this."""

Pooling = Literal["lstmsum", "attention", "fixed"]


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


class LSTMSum(nn.Module):
    """[B, L, D] -> [B, E]: two bidirectional LSTM layers, their output added to their input, sum over time, linear."""

    def __init__(self, size: int, embedding: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(size, size // 2, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(size, embedding)

    def forward(self, frames: Tensor) -> Tensor:
        frames = self.dropout(frames)
        return self.fc((frames + self.lstm(frames)[0]).sum(dim=1))


class AttentionPool(nn.Module):
    """[B, L, D] -> [B, E]: frames weighted by softmax(tanh(w . x)), their sum and standard deviation, linear.

    Args:
        noise: deviation of the noise that is added before the standard deviation, 1e-5 as published.
        noise_in_evaluation: quirk Q6 of the published code, which adds the noise in evaluation too, so that the same
            utterance never gets the same score twice; no released weight depends on it, so it is off.
    """

    def __init__(self, size: int, embedding: int, dropout: float, noise: float, noise_in_evaluation: bool) -> None:
        super().__init__()
        self.noise, self.noise_in_evaluation = noise, noise_in_evaluation
        self.dropout = nn.Dropout(dropout)
        self.weight = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(1, size)))
        self.fc = nn.Linear(2 * size, embedding)

    def forward(self, frames: Tensor) -> Tensor:
        frames = self.dropout(frames)
        weighted = frames * torch.tanh(frames @ self.weight.T).softmax(dim=1)
        total = weighted.sum(dim=1)
        if self.training or self.noise_in_evaluation:
            weighted = weighted + self.noise * torch.randn_like(weighted)
        # One frame has no deviation: 0, where torch gives NaN.
        deviation = weighted.std(dim=1) if weighted.shape[1] > 1 else torch.zeros_like(total)
        return self.fc(torch.cat([total, deviation], dim=1))


class FixedLength(nn.Module):
    """[B, L, D] with the one L that it was made for -> [B, E]: linear, max-feature-map, linear.

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
        maps = frames.unflatten(2, (self.width, -1)).transpose(1, 2)
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
        features: "lfcc" (60 = 20 static, delta, delta-delta) or "logmel" (60 bands).
        pooling: "lstmsum", "attention", or "fixed".
        width: channels of the narrow layers, 32; the others follow.
        embedding: E.
        dropout: after the encoder.
        frames: length that "fixed" repeats or cuts to. In training it cuts anywhere; in evaluation at the start, where
            the published code cuts anywhere again, so that its scores change from run to run.
        noise: of "attention", see `AttentionPool`.
        noise_in_evaluation: quirk Q6, see `AttentionPool`.
        frontend_options: of `LFCC` or `LogMel`.
        loss: name of the head in `nas.losses`.
        loss_options: its options.

    Raises:
        NasError: unknown features or pooling, or fewer than 16 values a frame.
    """

    def __init__(
        self,
        features: Literal["lfcc", "logmel"] = "lfcc",
        pooling: Pooling = "lstmsum",
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
        if features not in ("lfcc", "logmel") or pooling not in ("lstmsum", "attention", "fixed"):
            raise NasError(
                f"an LCNN takes features lfcc or logmel and pooling lstmsum, attention or fixed, not {features!r} and "
                f"{pooling!r}"
            )
        self.frames = frames if pooling == "fixed" else None
        self.frontend = LFCC(**(frontend_options or {})) if features == "lfcc" else LogMel(**(frontend_options or {}))
        self.encoder = light_convolutions(width)
        size = self.frontend.dimensions // SHRINK * width
        if size == 0:
            raise NasError(f"an LCNN needs features of at least {SHRINK} values, not {self.frontend.dimensions}")
        self.pooling: nn.Module
        if pooling == "lstmsum":
            self.pooling = LSTMSum(size, embedding, dropout)
        elif pooling == "attention":
            self.pooling = AttentionPool(size, embedding, dropout, noise, noise_in_evaluation)
        else:
            self.pooling = FixedLength(size, embedding, dropout, frames, width)
        self.output = create_head(loss, embedding, **(loss_options or {}))

    def embed(self, waveform: Tensor) -> Tensor:
        """waveform [B, T] -> embedding [B, E].

        Raises:
            NasError: fewer samples than the 16 frames that give one frame behind the encoder (2,400).
        """
        hop = self.frontend.spectrum.hop
        require_samples(waveform, (SHRINK - 1) * hop if self.frames is None else hop)
        features = self.frontend(waveform)
        if self.frames is not None:
            # The last frame of a centred STFT is left out, as published: T // hop frames count.
            features = fit_frames(features[:, : waveform.shape[1] // hop], self.frames, self.training)
        encoded = self.encoder(features.unsqueeze(1))
        return self.pooling(encoded.transpose(1, 2).flatten(2))
