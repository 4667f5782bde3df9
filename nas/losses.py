"""Output layers with the loss that trains them: embedding and target in, loss and score out.

Every head maps an embedding [B, E] to logits [B, 2], column 1 bona fide, and turns logits and targets (1 bona fide,
0 spoof) into one loss. The score of an utterance is higher the more it looks bona fide.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class P2SGrad(nn.Module):
    """Cosines between an embedding and two class vectors, trained by mean squared error to one-hot targets.

    Zhang et al., "P2SGrad: refined gradients for optimizing deep face models" (CVPR 2019), in the hyper-parameter-free
    MSE form of Wang and Yamagishi (Interspeech 2021); Raw PC-DARTS, Section 3.3.
    """

    def __init__(self, embedding: int, classes: int = 2) -> None:
        super().__init__()
        weight = torch.empty(embedding, classes).uniform_(-1, 1)
        self.weight = nn.Parameter(F.normalize(weight, dim=0))

    def forward(self, embedding: Tensor) -> Tensor:
        """embedding [B, E] -> cosines [B, 2] in [-1, 1]."""
        # The published layer rescales each class vector to length 1 up to this 1e-7 before the product.
        weight = self.weight / (self.weight.norm(dim=0) + 1e-7)
        length = embedding.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return (embedding @ weight / length).clamp(-1, 1)

    def loss(self, cosines: Tensor, target: Tensor) -> Tensor:
        """cosines [B, 2], target [B] of 0 (spoof) or 1 (bona fide) -> mean squared error, a scalar."""
        return F.mse_loss(cosines, F.one_hot(target, cosines.shape[1]).to(cosines.dtype))

    def score(self, cosines: Tensor) -> Tensor:
        """Countermeasure score [B]: the cosine to the bona fide class vector."""
        return cosines[:, 1]
