"""The norm of an optimiser's gradients over an epoch, at no cost that is felt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

NORM_EVERY = 8
"""Gradient norms are taken of one step in so many, so that they cost nothing that is felt."""


class GradientNorm:
    """Norm of an optimiser's gradients, averaged over the steps in which it is taken, and its learning rate."""

    def __init__(self, optimizer: Any) -> None:
        plain_optimizer: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
        self.steps = self.taken = 0
        self.total: Tensor | float = 0.0
        self.learning_rate = 0.0
        self.handle = plain_optimizer.register_step_pre_hook(self._before_step)

    def _before_step(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        if self.steps % NORM_EVERY == 0:
            norms = [
                torch.linalg.vector_norm(parameter.grad)
                for group in optimizer.param_groups
                for parameter in group["params"]
                if parameter.grad is not None
            ]
            if norms:
                # Stays on the device: a step never waits for the host.
                self.total = self.total + torch.linalg.vector_norm(torch.stack(norms))
                self.taken += 1
            self.learning_rate = float(optimizer.param_groups[0]["lr"])
        self.steps += 1

    def state(self) -> dict[str, Any]:
        """The sums of the epoch so far, for a checkpoint."""
        return {"steps": self.steps, "taken": self.taken, "total": float(self.total), "rate": self.learning_rate}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.steps, self.taken = state["steps"], state["taken"]
        self.total, self.learning_rate = state["total"], state["rate"]

    def mean_norm(self) -> float:
        """The mean since the last call."""
        mean = float(self.total) / self.taken
        self.steps = self.taken = 0
        self.total = 0.0
        return mean
