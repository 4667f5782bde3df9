"""Output layers with the loss that trains them: embedding and target in, loss and score out.

Every head maps an embedding [B, E] to logits [B, 2], column 1 bona fide, and turns logits and targets (1 bona fide,
0 spoof) into one loss. The score of an utterance is higher the more it looks bona fide.

=========================  ==========================================  ====================================
head                       logits                                      score
=========================  ==========================================  ====================================
weighted-cross-entropy     W e + b                                     bona fide logit, or log-probability
focal                      W e + b                                     bona fide log-probability
p2sgrad                    cosines to two class vectors                bona fide cosine
am-softmax                 cosines to two class vectors                difference of the cosines
oc-softmax                 (-c, c), c the cosine to one centre         c
=========================  ==========================================  ====================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.complexity import PartCost
from nas.errors import NasError
from nas.options import build_with_options
from nas.registry import Registry

SHORTEST = 1e-12
"""An embedding is never divided by less, so that silence gives cosines of 0 and not NaN."""


def cosines(embedding: Tensor, weight: Tensor) -> Tensor:
    """Cosines between embeddings [B, E] and class vectors [E, K], within [-1, 1], [B, K]."""
    # The published layers rescale each class vector to length 1 up to this 1e-7 before the product.
    weight = weight / (weight.norm(dim=0) + 1e-7)
    length = embedding.norm(dim=1, keepdim=True).clamp_min(SHORTEST)
    return (embedding @ weight / length).clamp(-1, 1)


def class_vectors(embedding: int, classes: int) -> nn.Parameter:
    """Class vectors [E, K] of length 1 in random directions."""
    return nn.Parameter(F.normalize(torch.empty(embedding, classes).uniform_(-1, 1), dim=0))


def class_weights(weights: tuple[float, float]) -> Tensor:
    """(spoof, bona fide) as a tensor [2].

    Raises:
        NasError: not two positive numbers.
    """
    if len(weights) != 2 or not all(weight > 0 for weight in weights):
        raise NasError(f"class weights are two positive numbers (spoof, bona fide), not {tuple(weights)}")
    return torch.tensor(weights, dtype=torch.float32)


class Head(nn.Module):
    """An output layer, embedding [B, E] -> logits [B, 2], and what belongs to it."""

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits [B, 2], target [B] of 0 (spoof) or 1 (bona fide) -> a scalar."""
        raise NotImplementedError

    def score(self, logits: Tensor) -> Tensor:
        """Countermeasure score [B], higher = bona fide."""
        raise NotImplementedError


class WeightedCrossEntropy(Head):
    """A linear layer trained by cross entropy with a weight for each class.

    Args:
        embedding: E.
        weights: (spoof, bona fide); AASIST and RawNet2-2021 train with (0.1, 0.9), RawNet2-2019 with (1, 9).
        log_softmax: whether the logits are log-probabilities already, as in RawNet2-2021, whose cross entropy then
            takes the logarithm a second time (quirk Q4; log-softmax of log-softmax is itself, so the loss is the same).
        score_as: "logit" (AASIST: the bona fide column as it is) or "log-probability" (RawNet2).
    """

    weights: Tensor

    def __init__(
        self,
        embedding: int,
        weights: tuple[float, float] = (0.1, 0.9),
        log_softmax: bool = False,
        score_as: Literal["logit", "log-probability"] = "logit",
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding, 2)
        self.log_softmax, self.score_as = log_softmax, score_as
        self.register_buffer("weights", class_weights(weights), persistent=False)

    def forward(self, embedding: Tensor) -> Tensor:
        """embedding [B, E] -> logits [B, 2]."""
        logits = self.linear(embedding)
        return logits.log_softmax(dim=1) if self.log_softmax else logits

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits [B, 2], target [B] of 0 (spoof) or 1 (bona fide) -> sum of w_y CE / sum of w_y, a scalar."""
        return F.cross_entropy(logits, target, self.weights)

    def score(self, logits: Tensor) -> Tensor:
        """Countermeasure score [B]."""
        return (logits if self.score_as == "logit" else logits.log_softmax(dim=1))[:, 1]


class Focal(Head):
    """A linear layer trained by the focal loss w_y (1 - p_y)^gamma (-log p_y); gamma = 0 is weighted cross entropy.

    Lin et al., "Focal loss for dense object detection" (ICCV 2017), Eq. 5, averaged with the class weights as
    `WeightedCrossEntropy` does.

    Args:
        embedding: E.
        gamma: how much well-classified utterances are discounted.
        weights: (spoof, bona fide).
    """

    weights: Tensor

    def __init__(self, embedding: int, gamma: float = 2.0, weights: tuple[float, float] = (0.1, 0.9)) -> None:
        super().__init__()
        self.linear = nn.Linear(embedding, 2)
        self.gamma = gamma
        self.register_buffer("weights", class_weights(weights), persistent=False)

    def forward(self, embedding: Tensor) -> Tensor:
        """embedding [B, E] -> logits [B, 2]."""
        return self.linear(embedding)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits [B, 2], target [B] of 0 (spoof) or 1 (bona fide) -> a scalar."""
        log_p = logits.log_softmax(dim=1).gather(1, target.unsqueeze(1)).squeeze(1)
        weight = self.weights[target]
        # 1 - p from log p without cancellation; the floor keeps the gradient finite where p is 1 and gamma below 1.
        miss = (-torch.expm1(log_p)).clamp_min(1e-12) ** self.gamma
        return -(weight * miss * log_p).sum() / weight.sum()

    def score(self, logits: Tensor) -> Tensor:
        """Countermeasure score [B]: the bona fide log-probability."""
        return logits.log_softmax(dim=1)[:, 1]


class P2SGrad(Head):
    """Cosines between an embedding and two class vectors, trained by mean squared error to one-hot targets.

    Zhang et al., "P2SGrad: refined gradients for optimizing deep face models" (CVPR 2019), in the hyper-parameter-free
    MSE form of Wang and Yamagishi (Interspeech 2021); Raw PC-DARTS, Section 3.3.
    """

    def __init__(self, embedding: int, classes: int = 2) -> None:
        super().__init__()
        self.weight = class_vectors(embedding, classes)

    def complexity(self, embedding: int, frames: None = None) -> tuple[PartCost]:
        """The product with the class vectors."""
        classes = self.weight.shape[1]
        weights = embedding * classes
        return (PartCost("cosines", classes, 1, weights, weights, 0, None, embedding + classes),)

    def forward(self, embedding: Tensor) -> Tensor:
        """embedding [B, E] -> cosines [B, 2] in [-1, 1]."""
        return cosines(embedding, self.weight)

    def loss(self, cosines: Tensor, target: Tensor) -> Tensor:
        """cosines [B, 2], target [B] of 0 (spoof) or 1 (bona fide) -> mean squared error, a scalar."""
        return F.mse_loss(cosines, F.one_hot(target, cosines.shape[1]).to(cosines.dtype))

    def score(self, cosines: Tensor) -> Tensor:
        """Countermeasure score [B]: the cosine to the bona fide class vector."""
        return cosines[:, 1]


class AMSoftmax(Head):
    """Cosines to two class vectors, trained by cross entropy of s (cos - m) for the true class and s cos for the other.

    Wang et al., "Additive margin softmax for face verification" (2018), Eq. 6; constants of Wang and Yamagishi and of
    AIR-ASVspoof.

    Args:
        embedding: E.
        scale: s.
        margin: m.
    """

    def __init__(self, embedding: int, scale: float = 20.0, margin: float = 0.9) -> None:
        super().__init__()
        self.weight = class_vectors(embedding, 2)
        self.scale, self.margin = scale, margin

    def forward(self, embedding: Tensor) -> Tensor:
        """embedding [B, E] -> cosines [B, 2] without the margin, which belongs to the loss."""
        return cosines(embedding, self.weight)

    def loss(self, cosines: Tensor, target: Tensor) -> Tensor:
        """cosines [B, 2], target [B] of 0 (spoof) or 1 (bona fide) -> a scalar."""
        margin = self.margin * F.one_hot(target, 2).to(cosines.dtype)
        return F.cross_entropy(self.scale * (cosines - margin), target)

    def score(self, cosines: Tensor) -> Tensor:
        """Countermeasure score [B]: the difference of the cosines, which ranks as the published softmax does."""
        return cosines[:, 1] - cosines[:, 0]


class OCSoftmax(Head):
    """The cosine c to one bona fide centre, trained by the mean of softplus(alpha (m_y - c) (-1)^y).

    Zhang, Jiang and Duan, "One-class learning towards synthetic voice spoofing detection" (2021), Eq. 4, where y = 0 is
    bona fide: bona fide speech is drawn above `bona_fide_margin`, spoofed speech pushed below `spoof_margin`.

    Args:
        embedding: E.
        bona_fide_margin: m_0, r_real.
        spoof_margin: m_1, r_fake.
        alpha: scale.
    """

    def __init__(
        self, embedding: int, bona_fide_margin: float = 0.9, spoof_margin: float = 0.2, alpha: float = 20.0
    ) -> None:
        super().__init__()
        self.weight = class_vectors(embedding, 1)
        self.bona_fide_margin, self.spoof_margin, self.alpha = bona_fide_margin, spoof_margin, alpha

    def forward(self, embedding: Tensor) -> Tensor:
        """embedding [B, E] -> (-c, c), [B, 2]."""
        centre = cosines(embedding, self.weight)
        return torch.cat([-centre, centre], dim=1)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits [B, 2], target [B] of 0 (spoof) or 1 (bona fide) -> a scalar."""
        centre = logits[:, 1]
        gap = torch.where(target == 1, self.bona_fide_margin - centre, centre - self.spoof_margin)
        return F.softplus(self.alpha * gap).mean()

    def score(self, logits: Tensor) -> Tensor:
        """Countermeasure score [B]: the cosine to the centre. (The published score is its negative.)"""
        return logits[:, 1]


HEADS: Registry[Callable[..., Head]] = Registry("loss")
HEADS |= {
    "weighted-cross-entropy": WeightedCrossEntropy,
    "focal": Focal,
    "p2sgrad": P2SGrad,
    "am-softmax": AMSoftmax,
    "oc-softmax": OCSoftmax,
}


def create_head(name: str, embedding: int, **options: Any) -> Head:
    """The head of that name for embeddings of `embedding` values.

    Raises:
        NasError: there is no such head, or it has no such option; the nearest name is given.
    """
    return build_with_options(HEADS[name], f"loss {name!r}", embedding, **options)
