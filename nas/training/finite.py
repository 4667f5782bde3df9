"""Watching for losses and gradients that are not finite, and naming the utterances that gave them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nas import processes
from nas.data.utterance import Utterance
from nas.errors import Untrainable

EVERY = 50
"""Steps after which a flag that was raised on a GPU is read."""


class StepSkipped(Exception):
    """The step must not be taken."""


class FiniteWatch:
    """Looks at the loss and the gradients of a step before it is taken.

    Args:
        utterances: rows of the store.
        skip: leave the step out and count it, in place of stopping.
        device: on a CPU every step is looked at. On a GPU, where that would make each step wait for the host, a flag is
            raised on the device and read every EVERY steps and before anything is saved; skipping looks every time.
        scaled: gradients are scaled for fp16, whose scaler looks after those that overflow; only losses are looked at.
    """

    def __init__(self, utterances: Sequence[Utterance], skip: bool, device: torch.device, scaled: bool = False) -> None:
        self.utterances, self.skip, self.scaled = utterances, skip, scaled
        self.at_once = skip or device.type == "cpu"
        self.skipped = 0
        self._recent: list[tuple[Tensor, Tensor, Tensor]] = []

    def look(self, loss: Tensor, gradients: Sequence[Tensor], indices: Tensor) -> None:
        """loss: a scalar; gradients: of the step; indices: rows of the batch.

        Raises:
            Untrainable: something is not finite.
            StepSkipped: it is, and the step is to be left out.
        """
        largest = [] if self.scaled or not gradients else torch._foreach_norm(list(gradients), float("inf"))
        sizes = [loss.detach().abs().float(), *(size.float() for size in largest)]
        self._recent.append((torch.isfinite(torch.stack(sizes)).all(), torch.isfinite(loss.detach()), indices))
        if self.at_once or len(self._recent) >= EVERY:
            self.read()

    def read(self) -> None:
        """Look at what was not looked at yet. Raises as `look` does."""
        recent, self._recent = self._recent, []
        if not recent or not processes.anywhere(not bool(torch.stack([finite for finite, _, _ in recent]).all())):
            return
        if self.skip:
            self.skipped += 1
            raise StepSkipped
        mine = [(self._names(indices), not bool(whole)) for finite, whole, indices in recent if not finite or not whole]
        # The first step that went wrong; what follows it is wrong because of it.
        found = [parts[0] for parts in processes.gather(mine[:1]) if parts]
        guilty = [names for names, loss in found if loss] or [names for names, _ in found]
        what = "loss is" if any(loss for _, loss in found) else "gradients are"
        raise Untrainable(
            f"the {what} not finite on the batch of {', '.join(name for names in guilty for name in names)}; the last "
            "checkpoint is intact: look at these files, or start again with a lower learning rate or "
            "engine.non_finite=skip"
        )

    def _names(self, indices: Tensor) -> list[str]:
        return [self.utterances[index].utterance for index in indices.tolist()]
