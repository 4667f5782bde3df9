"""RawNet2 for anti-spoofing, in the 2019 LA variant and as the ASVspoof 2021 baseline.

Tak et al., "End-to-end anti-spoofing with RawNet2" (ICASSP 2021), and the two published codes. Sizes of
the 2019 variant:

waveform [B, 64600] -> sinc [B, 128, 64472] -> |.|, max-pool 3 -> 6 residual blocks, each followed by filter-wise
scaling and dividing the frames by 3 -> [B, 512, 29] -> GRU, last frame -> embedding [B, 1024] -> logits [B, 2]
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.frontends.fixed_sinc import POOL, FixedSinc, Scale, require_samples
from nas.losses import create_head
from nas.network import Network

LEAKY_SLOPE = 0.3
BLOCKS = 6


class ResidualBlock(nn.Module):
    """[B, C_in, T] -> [B, C, T // 3]: two convolutions of 3 taps, a 1 x 1 shortcut where C changes, max-pool, scaling.

    Filter-wise scaling: s = sigmoid(W mean_t(y) + b); y s + s.

    Args:
        channels_in: C_in.
        channels: C.
        first: whether it is the first block, which has no `norm_1`.
        conv_on_input: quirk Q1 of the 2021 code, which its released weights need: the first convolution receives the
            input of the block, so that `norm_1` and its LeakyReLU compute nothing.
    """

    def __init__(self, channels_in: int, channels: int, first: bool, conv_on_input: bool) -> None:
        super().__init__()
        self.conv_on_input = conv_on_input
        self.norm_1 = None if first else nn.BatchNorm1d(channels_in)
        self.conv_1 = nn.Conv1d(channels_in, channels, 3, padding=1)
        self.norm_2 = nn.BatchNorm1d(channels)
        self.conv_2 = nn.Conv1d(channels, channels, 3, padding=1)
        self.shortcut = None if channels_in == channels else nn.Conv1d(channels_in, channels, 1)
        self.scale = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.norm_1 is None or self.conv_on_input else F.leaky_relu(self.norm_1(x), LEAKY_SLOPE)
        y = self.conv_2(F.leaky_relu(self.norm_2(self.conv_1(y)), LEAKY_SLOPE))
        y = F.max_pool1d(y + (x if self.shortcut is None else self.shortcut(x)), POOL)
        scale = torch.sigmoid(self.scale(y.mean(dim=2))).unsqueeze(2)
        return y * scale + scale


class RawNet2(Network):
    """waveform [B, T] -> logits [B, 2], column 1 bona fide.

    Args:
        filters: sinc filters.
        first_conv: taps of a sinc filter; an even number becomes the next odd one.
        scale: "mel" (S1), "inverse-mel" (S2) or "linear" (S3) bands.
        surplus: bands that the 2019 code computes above the last filter and drops, 2; the 2021 code has none.
        channels: of the first two blocks, of the other four.
        gru_hidden: units of a GRU layer.
        gru_layers: GRU layers.
        embedding: units of the fully connected layer after the GRU.
        conv_on_input: quirk Q1, see `ResidualBlock`.
        mask: F of a filter masking in training mode; 0, as published, never masks.
        loss: name of the head in `nas.losses`.
        loss_options: its options; by default those published: class weights, log-probabilities as scores.
    """

    def __init__(
        self,
        filters: int,
        first_conv: int,
        channels: tuple[int, int],
        scale: Scale = "mel",
        surplus: int = 0,
        gru_hidden: int = 1024,
        gru_layers: int = 3,
        embedding: int = 1024,
        conv_on_input: bool = False,
        mask: int = 0,
        loss: str = "weighted-cross-entropy",
        loss_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.unused_parameters = (r"encoder\.\d+\.norm_1\..*",) if conv_on_input else ()
        self.sinc = FixedSinc(filters, first_conv, scale, surplus, mask)
        self.first_norm = nn.BatchNorm1d(filters)
        early, late = channels
        widths = [filters, early, early, late, late, late, late]
        self.encoder = nn.Sequential(
            *(ResidualBlock(widths[i], widths[i + 1], i == 0, conv_on_input) for i in range(BLOCKS))
        )
        self.norm = nn.BatchNorm1d(late)
        self.gru = nn.GRU(late, gru_hidden, gru_layers, batch_first=True)
        self.fc = nn.Linear(gru_hidden, embedding)
        self.output = create_head(loss, embedding, **(loss_options or {}))

    def embed(self, waveform: Tensor) -> Tensor:
        """waveform [B, T] -> embedding [B, E].

        Raises:
            NasError: the waveform is too short.
        """
        require_samples(waveform, POOL ** (BLOCKS + 1) + self.sinc.kernel - 1)
        x = self.encoder(F.selu(self.first_norm(self.sinc.magnitude(waveform))))
        frames, _ = self.gru(F.selu(self.norm(x)).transpose(1, 2))
        return self.fc(frames[:, -1])


def rawnet2_2019(
    filters: int = 128,
    first_conv: int = 128,
    channels: tuple[int, int] = (128, 512),
    scale: Scale = "mel",
    gru_hidden: int = 1024,
    gru_layers: int = 3,
    embedding: int = 1024,
    mask: int = 0,
    loss: str = "weighted-cross-entropy",
    loss_options: dict[str, Any] | None = None,
) -> RawNet2:
    """RawNet2 of the 2019 LA experiments: class weights (1, 9), scores are log-probabilities."""
    if loss == "weighted-cross-entropy":
        loss_options = {"weights": (1.0, 9.0), "score_as": "log-probability", **(loss_options or {})}
    return RawNet2(
        filters, first_conv, channels, scale, 2, gru_hidden, gru_layers, embedding, False, mask, loss, loss_options
    )


def rawnet2_2021(
    filters: int = 20,
    first_conv: int = 1024,
    channels: tuple[int, int] = (20, 128),
    scale: Scale = "mel",
    gru_hidden: int = 1024,
    gru_layers: int = 3,
    embedding: int = 1024,
    conv_on_input: bool = True,
    log_softmax: bool = True,
    mask: int = 0,
    loss: str = "weighted-cross-entropy",
    loss_options: dict[str, Any] | None = None,
) -> RawNet2:
    """RawNet2 as the ASVspoof 2021 baseline, with its quirks Q1 (`conv_on_input`) and Q4 (`log_softmax`)."""
    if loss == "weighted-cross-entropy":
        published = {"weights": (0.1, 0.9), "log_softmax": log_softmax, "score_as": "log-probability"}
        loss_options = {**published, **(loss_options or {})}
    return RawNet2(
        filters, first_conv, channels, scale, 0, gru_hidden, gru_layers, embedding, conv_on_input, mask, loss,
        loss_options,
    )  # fmt: skip
