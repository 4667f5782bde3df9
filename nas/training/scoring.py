"""Scoring a partition, and what an epoch's row says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from nas.config import Recipe, Selection
from nas.data.batches import Batches
from nas.metrics import eer
from nas.training.inputs import Inputs


class Totals:
    """Loss and correct decisions summed on the device; read once, at the end, so that no step waits for the host."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """loss: mean over the batch; logits [B, 2]; labels [B]."""
        correct = (logits.argmax(1) == labels).sum()
        count = torch.full_like(correct, len(labels))
        self.sums += torch.stack([loss.double() * len(labels), correct.double(), count.double()])

    def state(self) -> list[float]:
        """The sums, for a checkpoint."""
        values: list[float] = self.sums.tolist()
        return values

    def restore(self, state: list[float]) -> None:
        self.sums.copy_(torch.tensor(state, dtype=torch.float64))

    def read(self) -> tuple[float, float]:
        """Mean loss, and accuracy in percent."""
        loss, correct, count = self.sums.tolist()
        return loss / count, 100 * correct / count


@dataclass(frozen=True)
class Scored:
    """A scored partition: countermeasure scores in the order of its indices, higher = bona fide."""

    scores: np.ndarray
    loss: float
    accuracy: float
    """Percent."""
    eer: float
    """Percent."""

    def rank(self, select: Selection) -> tuple[float, float]:
        """Smaller is better; ties in EER or accuracy are broken by the loss."""
        return (self.eer if select == "dev_eer" else -self.accuracy), self.loss


def score_partition(
    network: Any, inputs: Inputs, partition: str, recipe: Recipe, accelerator: Accelerator, progress: bool
) -> Scored:
    """Score all utterances of a partition in evaluation mode, none left out."""
    indices = inputs.partitions[partition]
    batches = Batches(
        inputs.store, indices, recipe.engine.evaluation_batch_size, recipe.data.samples, shuffle=False, seed=0
    )
    totals = Totals(accelerator.device)
    parts = []
    network.eval()
    with torch.inference_mode():
        for batch in tqdm(
            batches.epoch(0), total=len(batches), desc=f"score {partition}", leave=False, disable=not progress
        ):
            labels = batch.labels.to(accelerator.device)
            logits = network(batch.waveforms.to(accelerator.device)).float()
            output = network.output
            totals.add(output.loss(logits, labels), logits, labels)
            parts.append(output.score(logits))
    scores = torch.cat(parts).double().cpu().numpy()
    truth = np.array([inputs.store.utterances[index].label for index in indices])
    loss, accuracy = totals.read()
    return Scored(scores, loss, accuracy, 100 * eer(scores[truth == 1], scores[truth == 0]).value)
