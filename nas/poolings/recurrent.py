"""Pooling by recurrent layers."""

from __future__ import annotations

from torch import Tensor, nn


class RecurrentEmbedding(nn.Module):
    """[B, C, T] -> [B, hidden]: GRU, output at the last frame, fully connected layer (Section 3.3)."""

    def __init__(self, channels: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, hidden, layers, batch_first=True)
        self.fc = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        frames, _ = self.gru(x.transpose(1, 2))
        return self.fc(frames[:, -1])
