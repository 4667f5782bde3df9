"""The search: warm-up, bi-level steps, and a genotype after every epoch (Ge et al. 2021, Sections 2 and 4.2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from nas.bilevel import architecture_step, architecture_step_second_order, require_adam, weight_step
from nas.config import RawPCDartsNetwork, Recipe
from nas.errors import Interrupted, NasError
from nas.files import write_text
from nas.genotype import Genotype
from nas.networks.raw_pcdarts import require_samples
from nas.supernet.network import Supernet
from nas.training.board import Board
from nas.training.checkpoint import Snapshot, Watch
from nas.training.engine import reduce_gradients, start_engine
from nas.training.inputs import Inputs, TrainingBatches, halve_training, open_inputs
from nas.training.run import Run
from nas.training.scoring import Scored, Totals, score_partition
from nas.training.standing import Standing, resume_from


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
        compile=recipe.engine.compile,
        recompute=recipe.supernet.recompute,
        **recipe.network.model_dump(exclude={"name"}),
    )


def search(
    recipe: Recipe,
    output: str | Path,
    progress: bool = True,
    on_epoch: Callable[[int, dict[str, Any]], None] | None = None,
) -> SearchResult:
    """Search a genotype by Raw PC-DARTS; everything is written to the run directory `output`.

    Args:
        recipe: what to search, on what, how (`nas.load_recipe`).
        output: a folder that does not exist yet or is empty.
        progress: whether to show progress bars.
        on_epoch: called with every epoch's number and row; what it raises ends the search.

    Raises:
        NasError: bad input; nothing is written then.
    """
    prepared = _prepare(recipe)
    run = Run.create(output, "search", recipe)
    run.on_epoch = on_epoch
    run.log(f"{len(prepared.halves[0])} utterances train the weights, {len(prepared.halves[1])} the architecture")
    return _Search(run, prepared, progress).run_epochs()


def resume_search(run: Run, progress: bool = True) -> SearchResult:
    """Go on with a search from its last good checkpoint; the result is that of a search never interrupted.

    Raises:
        NasError: the recipe was changed, the checkpoints are damaged, or the corpus is not as it was.
    """
    return _Search(run, _prepare(run.recipe), progress).run_epochs()


@dataclass(frozen=True)
class _Prepared:
    """What a search needs before it writes anything."""

    accelerator: Accelerator
    supernet: Supernet
    inputs: Inputs
    halves: tuple[np.ndarray, np.ndarray]
    batches: tuple[TrainingBatches, TrainingBatches]


def _prepare(recipe: Recipe) -> _Prepared:
    accelerator = start_engine(recipe)
    supernet = build_supernet(recipe)
    require_samples(recipe.data.samples, len(supernet.cells))
    inputs = open_inputs(recipe, ("train", "dev"))
    halves = halve_training(recipe, inputs)
    weights, architecture = (
        TrainingBatches(recipe, inputs.store, half, recipe.search.batch_size, seed, accelerator.device)
        for half, seed in zip(halves, (2 * recipe.seed, 2 * recipe.seed + 1), strict=True)
    )
    return _Prepared(accelerator, supernet, inputs, halves, (weights, architecture))


class _Search:
    """The state of a search between its epochs."""

    def __init__(self, run: Run, prepared: _Prepared, progress: bool) -> None:
        recipe, settings, accelerator = run.recipe, run.recipe.search, prepared.accelerator
        self.recipe, self.run, self.accelerator, self.progress = recipe, run, accelerator, progress
        self.inputs = prepared.inputs
        self.weight_batches, self.architecture_batches = prepared.batches
        self.supernet: Supernet = accelerator.prepare_model(prepared.supernet, evaluation_mode=True)
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

        optimizers = {"weights": self.weights, "architecture": self.architecture}
        self.snapshot = Snapshot(run.folder / "checkpoints", {"supernet": self.supernet}, optimizers, {})
        self.watch = Watch(recipe.engine.checkpoint_minutes)
        self.best: dict[str, Any] | None = None

    def run_epochs(self) -> SearchResult:
        """From the last checkpoint, or the start, to the last epoch."""
        epochs = self.recipe.search.epochs
        begun = resume_from(self.snapshot, self.run)
        self.best = begun.best
        with self.watch.listening(), Board(self.run.folder, self.recipe, begun.epoch) as board:
            for epoch in range(begun.epoch, epochs + 1):
                self.run_epoch(epoch, begun if epoch == begun.epoch else Standing(epoch), board)
        assert self.best is not None  # the recipe leaves at least one epoch after the warm-up
        genotype = Genotype.load(self.run.folder / "genotype.json")
        self.run.log(f"genotype of epoch {self.best['epoch']}: {genotype}")
        return SearchResult(genotype, self.best["epoch"], self.best["eer"], self.run.folder)

    def run_epoch(self, epoch: int, begun: Standing, board: Board) -> None:
        """Train, score the development set, save."""
        settings = self.recipe.search
        row = self.train_epoch(begun, searching=epoch > settings.warmup_epochs)
        dev = score_partition(self.supernet, self.inputs, "dev", self.recipe, self.accelerator, self.progress)
        row |= {"dev_loss": dev.loss, "dev_accuracy": dev.accuracy, "dev_eer": dev.eer}
        genotype = self.supernet.architecture.genotype()
        self.save_epoch(epoch, genotype)
        rank = list(dev.rank(settings.select))
        if epoch > settings.warmup_epochs and (self.best is None or rank < self.best["rank"]):
            self.best = {"rank": rank, "epoch": epoch, "eer": dev.eer}
            self.save_best(genotype, epoch, dev)
        self.run.record(row)
        self.save(Standing(epoch + 1))
        board.epoch(row)
        board.architecture(epoch, self.supernet.architecture, genotype)
        self.run.log(
            f"epoch {epoch}/{settings.epochs}: loss {row['train_loss']:.4f}, dev EER {dev.eer:.2f} %, "
            f"dev accuracy {dev.accuracy:.2f} %"
        )

    def save(self, standing: Standing) -> None:
        """A checkpoint from which the search goes on; where a stop was asked for, stop."""
        self.snapshot.save(replace(standing, best=self.best).values(self.run))
        self.watch.has_saved()
        if self.watch.stopping:
            raise Interrupted(self.run.folder)

    def train_epoch(self, begun: Standing, searching: bool) -> dict[str, Any]:
        """One pass over the weight half; where searching, each weight step follows an architecture step."""
        self.supernet.train()
        device, epoch = self.accelerator.device, begun.epoch
        weights = Totals(device)
        weights.restore(begun.totals)
        architecture = torch.tensor(begun.architecture_loss, device=device)
        architecture_batches = _endless(self.architecture_batches, epoch, begun.step if searching else 0)
        started, steps = time.perf_counter(), len(self.weight_batches)
        bar = tqdm(
            self.weight_batches.epoch(epoch, begun.step),
            total=steps,
            initial=begun.step,
            desc=f"epoch {epoch} {'search' if searching else 'warm-up'}",
            disable=not self.progress,
            leave=False,
        )
        for step, (waveforms, labels) in enumerate(bar, start=begun.step + 1):
            if searching:
                architecture = architecture + self.architecture_step(waveforms, labels, next(architecture_batches))
            loss, logits = weight_step(self.supernet, self.weights, waveforms, labels, self.backward(self.weights))
            weights.add(loss, logits, labels)
            if self.progress and step % 10 == 1:
                mean, accuracy = weights.read()
                bar.set_postfix(loss=f"{mean:.4f}", accuracy=f"{accuracy:.1f} %")
            if self.watch.due:
                self.save(Standing(epoch, step, weights.state(), float(architecture)))
        mean, accuracy = weights.read()
        return {
            "epoch": epoch,
            "train_loss": mean,
            "train_accuracy": accuracy,
            "architecture_loss": float(architecture) / steps if searching else "",
            "learning_rate": self.recipe.search.learning_rate,
            "utterance_rate": (steps - begun.step) * self.recipe.search.batch_size / (time.perf_counter() - started),
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


def _endless(batches: TrainingBatches, epoch: int, skip: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the architecture half for as long as the weight half lasts; the halves may differ in size."""
    # Each pass within an epoch has its own order, and no pass of another epoch shares it.
    passes, skip = divmod(skip, len(batches))
    while True:
        yield from batches.epoch(epoch + 1_000_000 * passes, skip)
        passes, skip = passes + 1, 0
