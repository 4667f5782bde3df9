"""The search: warm-up, bi-level steps, and a genotype after every epoch (Ge et al. 2021, Sections 2 and 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from nas import processes
from nas.bilevel import architecture_step, architecture_step_second_order, require_adam, weight_step
from nas.config import Recipe
from nas.data.batches import Batch
from nas.errors import NasError
from nas.genotype import Genotype
from nas.network import build_within_memory
from nas.searching.strategies import STRATEGIES, Differentiable, Progress
from nas.space import get_space
from nas.supernet.architecture import Architecture
from nas.supernet.expected_cost import CostBudget, CostModel
from nas.supernet.network import Supernet
from nas.training.board import Board
from nas.training.checkpoint import read_checkpoint
from nas.training.cost import measure
from nas.training.engine import reduce_gradients, start_engine
from nas.training.inputs import Inputs, TrainingBatches, halve_training, open_inputs
from nas.training.loop import Loop, parameters_of
from nas.training.run import Run, holding, require_output
from nas.training.scoring import Sums
from nas.training.standing import Standing


@dataclass(frozen=True)
class SearchResult:
    """What a search found, and the run directory that holds everything else."""

    genotype: Genotype
    epoch: int
    """The epoch, counted from 1, after which the genotype was taken."""
    eer: float
    """EER of the supernet on the development set at that epoch, percent."""
    folder: Path
    unit: Literal["epoch", "trial"] = "epoch"
    """What `epoch` counts."""

    @property
    def genotype_file(self) -> Path:
        return self.folder / "genotype.json"


def differentiable(recipe: Recipe) -> Differentiable:
    """The recipe's strategy, which trains a supernet.

    Raises:
        NasError: there is no such strategy, or it tries genotypes.
    """
    strategy = STRATEGIES[recipe.search.strategy]()
    if not isinstance(strategy, Differentiable):
        raise NasError(f"search.strategy: {recipe.search.strategy} tries genotypes and trains no supernet")
    return strategy


def build_supernet(recipe: Recipe, strategy: Differentiable | None = None) -> Supernet:
    """The supernet of a recipe, freshly initialised, weighed by the strategy; without one by that of the recipe.

    Raises:
        NasError: no such space, K_C does not divide the channels, or the network has no cells to search.
    """
    network, strategy = recipe.require_searched(), strategy or differentiable(recipe)
    supernet = build_within_memory(
        lambda: Supernet(
            Architecture(get_space(recipe.space), strategy),
            network,
            recipe.supernet.partial,
            recipe.supernet.implementation,
            compile=recipe.engine.compile,
            recompute=recipe.supernet.recompute,
            published_statistics=recipe.supernet.published_statistics,
        ),
        f"the supernet with {network.channels} channels and {network.cells} cells",
    )
    strategy.begin(supernet.architecture)
    if recipe.search.cost is not None:
        limit, measured = recipe.search.cost, partial(measure, recipe.search.cost.measure, recipe=recipe)
        supernet.architecture.limit = CostBudget(CostModel.of(supernet.space, measured), limit.budget, limit.weight)
        supernet.architecture.genotype()  # refuses a budget that no genotype meets before anything is written
    return supernet


def search(
    recipe: Recipe,
    output: str | Path,
    progress: bool = True,
    on_epoch: Callable[[int, dict[str, Any]], None] | None = None,
) -> SearchResult:
    """Search a genotype by a strategy that trains a supernet; everything is written to the run directory `output`.

    Args:
        recipe: what to search, on what, how (`nas.load_recipe`).
        output: a folder that does not exist yet or is empty.
        progress: whether to show progress bars.
        on_epoch: called with every epoch's number and row; what it raises ends the search.

    Raises:
        NasError: bad input; nothing is written then.
    """
    begun = Run.restarted(output, "search", recipe)
    if begun is not None:
        begun.on_epoch = on_epoch
        return resume_search(begun, progress)
    require_output(output)
    prepared = _prepare(recipe, progress)
    with holding(Path(output)):
        run = Run.create(output, "search", recipe)
        run.on_epoch = on_epoch
        run.log(f"{len(prepared.halves[0])} utterances train the weights, {len(prepared.halves[1])} the architecture")
        return _Search(run, prepared, progress).finish()


def resume_search(run: Run, progress: bool = True) -> SearchResult:
    """Go on with a search from its last good checkpoint; the result is that of a search never interrupted.

    Raises:
        NasError: the recipe was changed, the checkpoints are damaged, or the corpus is not as it was.
    """
    prepared = _prepare(run.recipe, progress)
    with run.held():
        if read_checkpoint(run.folder / "checkpoints") is None:
            run.require_no_work()
        return _Search(run, prepared, progress).finish()


@dataclass(frozen=True)
class _Prepared:
    """What a search needs before it writes anything."""

    accelerator: Accelerator
    strategy: Differentiable
    supernet: Supernet
    inputs: Inputs
    halves: tuple[np.ndarray, np.ndarray]
    batches: tuple[TrainingBatches, TrainingBatches]


def _prepare(recipe: Recipe, progress: bool) -> _Prepared:
    accelerator = start_engine(recipe)
    strategy = differentiable(recipe)
    supernet = build_supernet(recipe, strategy)
    supernet.skeleton.require_samples(recipe.data.samples)
    inputs = open_inputs(recipe, ("train", "dev"), progress)
    halves = halve_training(recipe, inputs)
    weights, architecture = (
        TrainingBatches(recipe, inputs.store, half, recipe.search.batch_size, seed, accelerator.device)
        for half, seed in zip(halves, (2 * recipe.seed, 2 * recipe.seed + 1), strict=True)
    )
    return _Prepared(accelerator, strategy, supernet, inputs, halves, (weights, architecture))


class _Search(Loop):
    """Weight steps, and architecture steps between them once the warm-up is over."""

    def __init__(self, run: Run, prepared: _Prepared, progress: bool) -> None:
        accelerator, inputs = prepared.accelerator, prepared.inputs
        weight_batches, self.architecture_batches = prepared.batches
        super().__init__(run, prepared.supernet, run.recipe.search, accelerator, inputs, weight_batches, progress)
        self.weights, self.architecture = self.optimizers["weights"], self.optimizers["architecture"]
        self.strategy = prepared.strategy
        self.schedules = {"strategy": Progress(self.strategy, self.network.architecture)}
        if run.recipe.search.order == "second":
            require_adam(self.weights)

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        supernet, settings = self.network, self.recipe.search
        return {
            "weights": torch.optim.Adam(
                supernet.weight_parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
            ),
            "architecture": torch.optim.Adam(
                supernet.architecture.parameters(),
                settings.architecture_learning_rate,
                settings.architecture_betas,
                weight_decay=settings.architecture_weight_decay,
            ),
        }

    def finish(self) -> SearchResult:
        """Run all epochs that are left."""
        best = self.run_epochs()
        genotype = Genotype.load(self.run.folder / "genotype.json")
        if not self.finished:
            self.run.log(f"genotype of epoch {best['epoch']}: {genotype}")
            self.save_finished(best)
        return SearchResult(genotype, best["epoch"], best["eer"], self.run.folder)

    def candidate(self, epoch: int) -> bool:
        return epoch > self.recipe.search.warmup_epochs

    def begin_epoch(self, begun: Standing) -> None:
        self.network.train()
        self.epoch, self.searching = begun.epoch, self.candidate(begun.epoch)
        self.strategy.begin_epoch(self.network.architecture, begun.epoch, self.recipe.search)
        done = begun.step if self.searching else 0
        self.held_out = _endless(self.architecture_batches, begun.epoch, done)

    def step(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | float]:
        """A weight step; where searching, an architecture step before it."""
        architecture_loss: Tensor | float = 0.0
        if self.searching:
            self.strategy.begin_step("architecture")
            architecture_loss = self.architecture_step(batch, next(self.held_out))
        self.strategy.begin_step("weights")
        backward = self.backward(self.weights, batch)
        return *weight_step(self.network, self.weights, batch.waveforms, batch.labels, backward), architecture_loss

    def architecture_step(self, batch: Batch, held_out: Batch) -> Tensor:
        settings = self.recipe.search
        if settings.order == "second":
            return architecture_step_second_order(
                self.network,
                self.architecture,
                self.weights,
                (batch.waveforms, batch.labels),
                (held_out.waveforms, held_out.labels),
                average=processes.average_all,
                before=lambda loss: self.finite.look(
                    loss, reduce_gradients(parameters_of(self.architecture)), held_out.indices
                ),
            )
        return architecture_step(
            self.network,
            self.architecture,
            held_out.waveforms,
            held_out.labels,
            backward=self.backward(self.architecture, held_out),
            update_statistics=settings.update_statistics,
        )

    def end_epoch(self, sums: Sums) -> dict[str, Any]:
        if self.searching:
            self.strategy.after_epoch(self.network.architecture, self.epoch, self.recipe.search)
        row: dict[str, Any] = {
            "architecture_loss": sums.architecture_loss / len(self.batches) if self.searching else ""
        }
        limit = self.network.architecture.limit
        if limit is not None:
            row["expected_cost"] = limit.model.expected(self.network.architecture).item()
            row["derived_cost"] = limit.model.cost(self.strategy.derive(self.network.architecture))
        return row

    def keep_epoch(self, epoch: int) -> None:
        """genotypes/epoch_NNN.json with alphas and betas beside, and the learnt front-end where it is trained."""
        stem = f"genotypes/epoch_{epoch:03d}"
        self.run.save_genotype(stem, self.strategy.derive(self.network.architecture), self.frontend())
        self.run.save_text(f"{stem}.architecture.json", self.network.architecture.to_json())

    def keep_best(self, epoch: int) -> None:
        self.run.save_genotype("genotype", self.strategy.derive(self.network.architecture), self.frontend())

    def show(self, board: Board, epoch: int) -> None:
        board.architecture(epoch, self.network.architecture, self.strategy.derive(self.network.architecture))

    def frontend(self) -> dict[str, Tensor] | None:
        """The front-end's weights, where the search trains them."""
        module: nn.Module = self.network.stem.frontend
        return module.state_dict() if self.recipe.require_searched().learnable else None


def _endless(batches: TrainingBatches, epoch: int, skip: int) -> Iterator[Batch]:
    """Batches of the architecture half for as long as the weight half lasts; the halves may differ in size."""
    # Each pass within an epoch has its own order, and no pass of another epoch shares it.
    passes, skip = divmod(skip, len(batches))
    while True:
        yield from batches.epoch(epoch + 1_000_000 * passes, skip)
        passes, skip = passes + 1, 0
