"""The search: warm-up, bi-level steps, and a genotype after every epoch (Ge et al. 2021, Sections 2 and 4.2)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from nas.bilevel import architecture_step, architecture_step_second_order, require_adam, weight_step
from nas.config import RawPCDartsNetwork, Recipe
from nas.errors import NasError
from nas.files import write_text
from nas.genotype import Genotype
from nas.supernet.network import Supernet
from nas.training.board import Board
from nas.training.engine import reduce_gradients, start_engine
from nas.training.inputs import Inputs, TrainingBatches, halve_training, open_inputs
from nas.training.run import Run
from nas.training.scoring import Scored, Totals, score_partition


@dataclass(frozen=True)
class SearchResult:
    """What a search found, and the run directory that holds everything else."""

    genotype: Genotype
    epoch: int
    """The epoch, counted from 1, after which the genotype was taken."""
    eer: float
    """EER of the supernet on the development set at that epoch, percent."""
    folder: Path

    @property
    def genotype_file(self) -> Path:
        return self.folder / "genotype.json"


def build_supernet(recipe: Recipe) -> Supernet:
    """The supernet of a recipe, freshly initialised.

    Raises:
        NasError: no such space, K_C does not divide the channels, or the network has no cells to search.
    """
    if not isinstance(recipe.network, RawPCDartsNetwork):
        raise NasError(f"network.name: a search needs raw-pcdarts, not {recipe.network.name!r}")
    return Supernet(
        recipe.space,
        recipe.supernet.partial,
        recipe.supernet.implementation,
        **recipe.network.model_dump(exclude={"name"}),
    )


def search(recipe: Recipe, output: str | Path, progress: bool = True) -> SearchResult:
    """Search a genotype by Raw PC-DARTS; everything is written to the run directory `output`.

    Args:
        recipe: what to search, on what, how (`nas.load_recipe`).
        output: a folder that does not exist yet or is empty.
        progress: whether to show progress bars.

    Raises:
        NasError: bad input; nothing is written then.
    """
    accelerator = start_engine(recipe)
    supernet = build_supernet(recipe)
    inputs = open_inputs(recipe, ("train", "dev"))
    halves = halve_training(recipe, inputs)
    size = recipe.search.batch_size
    loaders = [
        TrainingBatches(recipe, inputs.store, half, size, seed, accelerator.device)
        for half, seed in zip(halves, (2 * recipe.seed, 2 * recipe.seed + 1), strict=True)
    ]
    run = Run.create(output, "search", recipe)
    run.log(f"{len(halves[0])} utterances train the weights, {len(halves[1])} the architecture")
    return _Search(recipe, run, accelerator, supernet, loaders[0], loaders[1], progress).run_epochs(inputs)


class _Search:
    """The state of a search between its epochs."""

    def __init__(
        self,
        recipe: Recipe,
        run: Run,
        accelerator: Accelerator,
        supernet: Supernet,
        weight_batches: TrainingBatches,
        architecture_batches: TrainingBatches,
        progress: bool,
    ) -> None:
        settings = recipe.search
        self.recipe, self.run, self.accelerator, self.progress = recipe, run, accelerator, progress
        self.weight_batches, self.architecture_batches = weight_batches, architecture_batches
        self.supernet: Supernet = accelerator.prepare_model(supernet, evaluation_mode=True)
        self.weights = accelerator.prepare_optimizer(
            torch.optim.Adam(
                self.supernet.weight_parameters(), settings.learning_rate, weight_decay=settings.weight_decay
            )
        )
        self.architecture = accelerator.prepare_optimizer(
            torch.optim.Adam(
                self.supernet.architecture.parameters(),
                settings.architecture_learning_rate,
                settings.architecture_betas,
                weight_decay=settings.architecture_weight_decay,
            )
        )
        if settings.order == "second":
            require_adam(self.weights)

    def run_epochs(self, inputs: Inputs) -> SearchResult:
        settings = self.recipe.search
        board = Board(self.run.folder, self.recipe.to_yaml())
        best: tuple[tuple[float, float], SearchResult] | None = None
        for epoch in range(1, settings.epochs + 1):
            row = self.train_epoch(epoch, searching=epoch > settings.warmup_epochs)
            dev = score_partition(self.supernet, inputs, "dev", self.recipe, self.accelerator, self.progress)
            row |= {"dev_loss": dev.loss, "dev_accuracy": dev.accuracy, "dev_eer": dev.eer}
            genotype = self.supernet.architecture.genotype()
            self.save_epoch(epoch, genotype)
            if epoch > settings.warmup_epochs and (best is None or dev.rank(settings.select) < best[0]):
                best = dev.rank(settings.select), SearchResult(genotype, epoch, dev.eer, self.run.folder)
                self.save_best(genotype, epoch, dev)
            self.run.record(row)
            board.epoch(row)
            board.architecture(epoch, self.supernet.architecture, genotype)
            self.run.log(
                f"epoch {epoch}/{settings.epochs}: loss {row['train_loss']:.4f}, dev EER {dev.eer:.2f} %, "
                f"dev accuracy {dev.accuracy:.2f} %"
            )
        board.close()
        assert best is not None  # the recipe leaves at least one epoch after the warm-up
        self.run.log(f"genotype of epoch {best[1].epoch}: {best[1].genotype}")
        return best[1]

    def train_epoch(self, epoch: int, searching: bool) -> dict[str, Any]:
        """One pass over the weight half; where searching, each weight step follows an architecture step."""
        self.supernet.train()
        device = self.accelerator.device
        weights = Totals(device)
        architecture = torch.zeros((), device=device)
        architecture_batches = _endless(self.architecture_batches, epoch)
        started = time.perf_counter()
        bar = tqdm(
            self.weight_batches.epoch(epoch),
            total=len(self.weight_batches),
            desc=f"epoch {epoch} {'search' if searching else 'warm-up'}",
            disable=not self.progress,
            leave=False,
        )
        for step, (waveforms, labels) in enumerate(bar):
            if searching:
                architecture = architecture + self.architecture_step(waveforms, labels, next(architecture_batches))
            loss, logits = weight_step(self.supernet, self.weights, waveforms, labels, self.backward(self.weights))
            weights.add(loss, logits, labels)
            if self.progress and step % 10 == 0:
                mean, accuracy = weights.read()
                bar.set_postfix(loss=f"{mean:.4f}", accuracy=f"{accuracy:.1f} %")
        mean, accuracy = weights.read()
        steps = len(self.weight_batches)
        return {
            "epoch": epoch,
            "train_loss": mean,
            "train_accuracy": accuracy,
            "architecture_loss": float(architecture) / steps if searching else "",
            "learning_rate": self.recipe.search.learning_rate,
            "utterance_rate": steps * self.recipe.search.batch_size / (time.perf_counter() - started),
        }

    def architecture_step(self, waveforms: Tensor, labels: Tensor, held_out: tuple[Tensor, Tensor]) -> Tensor:
        settings = self.recipe.search
        if settings.order == "second":
            return architecture_step_second_order(
                self.supernet, self.architecture, self.weights, (waveforms, labels), held_out
            )
        return architecture_step(
            self.supernet,
            self.architecture,
            *held_out,
            backward=self.backward(self.architecture),
            update_statistics=settings.update_statistics,
        )

    def backward(self, optimizer: Any) -> Any:
        """Gradients of a loss, scaled for the precision and averaged over the processes."""

        def compute(loss: Tensor) -> None:
            self.accelerator.backward(loss)
            reduce_gradients(self.accelerator, (p for group in optimizer.param_groups for p in group["params"]))

        return compute

    def save_epoch(self, epoch: int, genotype: Genotype) -> None:
        """genotypes/epoch_NNN.json with alphas and betas beside, and the learnt front-end where it is trained."""
        stem = f"genotypes/epoch_{epoch:03d}"
        self.run.save_genotype(stem, genotype, self.frontend())
        write_text(self.run.folder / f"{stem}.architecture.json", self.supernet.architecture.to_json())
        self.run.save_tensors("checkpoints/last", self.supernet.state_dict(), {"epoch": str(epoch)})

    def save_best(self, genotype: Genotype, epoch: int, dev: Scored) -> None:
        self.run.save_genotype("genotype", genotype, self.frontend())
        self.run.save_tensors(
            "checkpoints/best", self.supernet.state_dict(), {"epoch": str(epoch), "dev_eer": str(dev.eer)}
        )

    def frontend(self) -> dict[str, Tensor] | None:
        """The front-end's weights, where the search trains them."""
        module: nn.Module = self.supernet.stem.frontend
        return module.state_dict() if getattr(self.recipe.network, "learnable", False) else None


def _endless(batches: TrainingBatches, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the architecture half for as long as the weight half lasts; the halves may differ in size."""
    # Each pass within an epoch has its own order, and no pass of another epoch shares it.
    passes = 0
    while True:
        yield from batches.epoch(epoch + 1_000_000 * passes)
        passes += 1
