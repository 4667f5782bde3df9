"""Pooling by weights of the frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionPool(nn.Module):
    """[B, C, T] -> [B, E]: frames weighted by softmax(tanh(w . x)), their sum and standard deviation, linear.

    Args:
        noise: deviation of the noise that is added before the standard deviation, 1e-5 as published.
        noise_in_evaluation: quirk Q6 of the published code, which adds the noise in evaluation too, so that the same
            utterance never gets the same score twice; no released weight depends on it, so it is off.
    """

    def __init__(
        self,
        channels: int,
        embedding: int,
        dropout: float = 0.0,
        noise: float = 1e-5,
        noise_in_evaluation: bool = False,
    ) -> None:
        super().__init__()
        self.noise, self.noise_in_evaluation = noise, noise_in_evaluation
        self.dropout = nn.Dropout(dropout)
        self.weight = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(1, channels)))
        self.fc = nn.Linear(2 * channels, embedding)

    def forward(self, x: Tensor) -> Tensor:
        frames = self.dropout(x.transpose(1, 2))
        weighted = frames * torch.tanh(frames @ self.weight.T).softmax(dim=1)
        total = weighted.sum(dim=1)
        if self.training or self.noise_in_evaluation:
            weighted = weighted + self.noise * torch.randn_like(weighted)
        # One frame has no deviation: 0, where torch gives NaN.
        deviation = weighted.std(dim=1) if weighted.shape[1] > 1 else torch.zeros_like(total)
        return self.fc(torch.cat([total, deviation], dim=1))


class AttentiveStatistics(nn.Module):
    """[B, C, T] -> [B, E]: mean and standard deviation of the frames under learnt weights, linear.

    Okabe, Koshinaka and Shinoda, "Attentive statistics pooling for deep speaker embedding" (Interspeech 2018), Eq. 2 to
    6: the weight of frame h is the softmax over time of v . tanh(W h + b).

    Args:
        channels: C.
        embedding: E.
        hidden: rows of W.
    """

    def __init__(self, channels: int, embedding: int, hidden: int = 128) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Conv1d(channels, hidden, 1), nn.Tanh(), nn.Conv1d(hidden, 1, 1))
        self.fc = nn.Linear(2 * channels, embedding)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.score(x).softmax(dim=2)
        mean = (weight * x).sum(dim=2)
        # Around the mean, which does not cancel; the floor keeps the gradient of the root finite.
        variance = (weight * (x - mean.unsqueeze(2)).square()).sum(dim=2)
        return self.fc(torch.cat([mean, variance.clamp_min(1e-9).sqrt()], dim=1))
