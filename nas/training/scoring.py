"""Scoring a partition, and what an epoch's row says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from nas import processes
from nas.config import Recipe, Selection
from nas.data.batches import Batches
from nas.metrics import eer
from nas.network import Network
from nas.progress import progress_bar
from nas.training.inputs import Inputs


@dataclass(frozen=True)
class Sums:
    """What an epoch's steps add up to, over all processes."""

    loss: float
    """Mean over the utterances."""
    accuracy: float
    """Percent."""
    architecture_loss: float
    """Sum over the steps."""
    count: float
    """Utterances."""


class Totals:
    """Losses and correct decisions summed on the device; read once, at the end, so that no step waits for the host."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(4, dtype=torch.float64, device=device)

    def add(self, loss: Tensor, logits: Tensor, architecture_loss: Tensor | float, labels: Tensor) -> None:
        """loss: mean over the batch; logits [B, 2]; architecture_loss: of the step; labels [B]."""
        correct = (logits.argmax(1) == labels).sum()
        count = torch.full_like(correct, len(labels))
        held_out = torch.as_tensor(architecture_loss, dtype=torch.float64, device=self.sums.device)
        self.sums += torch.stack([loss.double() * len(labels), correct.double(), count.double(), held_out])

    def state(self) -> list[float]:
        """The sums of all processes, for a checkpoint."""
        values: list[float] = processes.total(self.sums).tolist()
        return values

    def restore(self, state: list[float]) -> None:
        """Go on from `state`, which the first process keeps for all."""
        self.sums.copy_(torch.tensor(state if processes.is_first() else [0.0] * 4, dtype=torch.float64))

    def read(self) -> Sums:
        """The sums of all processes."""
        return _sums(self.state())

    def mine(self) -> Sums:
        """The sums of this process."""
        return _sums(self.sums.tolist())


def _sums(values: list[float]) -> Sums:
    loss, correct, count, architecture_loss = values
    share = max(count, 1.0)
    return Sums(loss / share, 100 * correct / share, architecture_loss / processes.count(), count)


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
    network: Network,
    inputs: Inputs,
    partition: str,
    recipe: Recipe,
    accelerator: Accelerator,
    progress: bool,
    between: Callable[[], None] | None = None,
) -> Scored:
    """Score all utterances of a partition in evaluation mode, none left out.

    The processes take the batches in turn. A batch is the same whoever takes it, so scores and sums are, to the bit,
    those of one process. All of them call `between` before every batch, equally often.
    """
    indices, size, device = inputs.partitions[partition], recipe.engine.evaluation_batch_size, accelerator.device
    turns = range(processes.rank(), -(-len(indices) // size), processes.count())
    places = [slice(turn * size, (turn + 1) * size) for turn in turns]
    mine = np.concatenate([indices[place] for place in places]) if places else indices[:0]
    data = recipe.data
    batches = Batches(inputs.store, mine, size, data.samples, shuffle=False, seed=0, normalisation=data.normalise)
    bar = progress_bar(batches.epoch(0), total=len(batches), desc=f"score {partition}", show=progress)
    scores = torch.zeros(len(indices), dtype=torch.float64, device=device)
    sums = torch.zeros(-(-len(indices) // size), 2, dtype=torch.float64, device=device)
    network.eval()
    with torch.inference_mode():
        for turn, place, batch in zip(turns, places, bar, strict=True):
            if between is not None:
                between()
            labels = batch.labels.to(device)
            logits = network(batch.waveforms.to(device)).float()
            correct = (logits.argmax(1) == labels).sum().double()
            sums[turn] = torch.stack([network.output.loss(logits, labels).double() * len(labels), correct])
            scores[place] = network.output.score(logits).double()
        if between is not None and len(turns) < -(-len(sums) // processes.count()):
            between()
    # Every place was filled by one process and is zero in the others, so these sums are exact.
    found = processes.total(scores).cpu().numpy()
    loss, correct = (processes.total(sums).sum(0) / len(indices)).tolist()
    truth = np.array([inputs.store.utterances[index].label for index in indices])
    return Scored(found, loss, 100 * correct, 100 * eer(found[truth == 1], found[truth == 0]).value)
