"""Pooling by recurrent layers."""

from __future__ import annotations

from torch import Tensor, nn

from nas.complexity import PartCost
from nas.errors import NasError


class LastOfGRU(nn.Module):
    """[B, C, T] -> [B, E]: GRU of E units, its output at the last frame, linear (Ge et al. 2021, Section 3.3)."""

    def __init__(self, channels: int, embedding: int, layers: int = 3) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, embedding, layers, batch_first=True)
        self.fc = nn.Linear(embedding, embedding)

    def complexity(self, channels: int, frames: int) -> tuple[PartCost, PartCost]:
        """Three gates with two bias vectors each in every layer; the fully connected layer."""
        units, layers = self.gru.hidden_size, self.gru.num_layers
        weights = 3 * units * (channels + units + (layers - 1) * 2 * units)
        memory = (channels + 2 * units) * frames
        return (
            PartCost(
                "GRU",
                units,
                frames,
                weights + 6 * units * layers,
                weights * frames,
                units * layers * frames,
                None,
                memory,
            ),
            PartCost("fully connected", units, 1, units * units + units, units * units, 0, None, 2 * units),
        )

    def forward(self, x: Tensor) -> Tensor:
        frames, _ = self.gru(x.transpose(1, 2))
        return self.fc(frames[:, -1])


class LSTMSum(nn.Module):
    """[B, C, T] -> [B, E]: two bidirectional LSTM layers, their output added to their input, sum over time, linear.

    Raises:
        NasError: C is odd: half of the channels belong to each direction.
    """

    def __init__(self, channels: int, embedding: int, dropout: float = 0.0) -> None:
        super().__init__()
        if channels % 2:
            raise NasError(f"pooling lstm-sum needs an even number of channels, not {channels}")
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(channels, channels // 2, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(channels, embedding)

    def forward(self, x: Tensor) -> Tensor:
        frames = self.dropout(x.transpose(1, 2))
        return self.fc((frames + self.lstm(frames)[0]).sum(dim=1))
