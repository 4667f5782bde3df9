"""What TensorBoard shows of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from nas.config import Recipe
from nas.genotype import Genotype
from nas.supernet.architecture import KINDS, Architecture
from nas.visual.genotype import genotype_figure

GROUPS = {"loss": "loss", "accuracy": "accuracy", "eer": "eer", "learning_rate": "learning rate", "rate": "throughput"}


class Board:
    """Writes event files into RUN/tensorboard."""

    def __init__(self, folder: Path, recipe: Recipe, first_epoch: int = 1) -> None:
        # Epochs from `first_epoch` on are written again after a resumption; older writings of them are dropped.
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch)
        self.writer.add_text("recipe", f"```yaml\n{recipe.to_yaml()}\n```")

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exception: object) -> None:
        self.writer.close()

    def epoch(self, row: dict[str, Any]) -> None:
        """Scalars of an epoch's row of history.csv, grouped by what they measure."""
        for name, value in row.items():
            if isinstance(value, int | float) and name != "epoch":
                group = next((title for word, title in GROUPS.items() if word in name), "run")
                self.writer.add_scalar(f"{group}/{name}", value, row["epoch"])
        self.writer.flush()

    @torch.no_grad()
    def architecture(self, epoch: int, architecture: Architecture, genotype: Genotype) -> None:
        """softmax(alpha) and its entropy per edge, the edges' weights, the genotype as text and as a picture."""
        space = architecture.space
        for kind in KINDS:
            a, b = (weights.cpu() for weights in architecture.weights(kind))
            entropy = -(a * a.clamp_min(1e-12).log()).sum(1)
            for index, (source, target) in enumerate(space.topology.edges):
                edge = f"{kind}/{source}-{target}"
                for name, weight in zip(space.primitive_names, a[index].tolist(), strict=True):
                    self.writer.add_scalar(f"alpha {edge.replace('/', ' ')}/{name}", weight, epoch)
                self.writer.add_scalar(f"entropy/{edge}", entropy[index].item(), epoch)
                self.writer.add_scalar(f"beta/{edge}", b[index].item(), epoch)
            image = (a / a.max()).unsqueeze(0).repeat_interleave(16, 1).repeat_interleave(16, 2)
            self.writer.add_image(f"alpha heat map/{kind}", image, epoch)
        self.writer.add_text("genotype", f"`{genotype}`", epoch)
        self.writer.add_figure("genotype", genotype_figure(genotype), epoch)
