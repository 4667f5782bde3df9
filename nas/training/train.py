"""Training: a network of a genotype from scratch, its first layer frozen (Ge et al. 2021, Sections 4.1 and 4.2); or
a hand-made network, from scratch or from published weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR
from torch.optim.swa_utils import update_bn

from nas.cells.derived import DerivedNetwork
from nas.cells.network import CellNetwork
from nas.cells.skeleton import Skeleton
from nas.config import OtherNetwork, Recipe
from nas.config import Train as Settings
from nas.data.batches import Batch
from nas.errors import NasError
from nas.genotype import Genotype, genotype_file
from nas.network import Network, build_within_memory
from nas.networks import registry
from nas.space import get_space
from nas.synchronised import average_statistics
from nas.training.average import WeightAverage
from nas.training.checkpoint import Snapshot, read_checkpoint
from nas.training.engine import start_engine
from nas.training.inputs import Inputs, TrainingBatches, open_inputs, require_batch
from nas.training.loop import Loop
from nas.training.plausible import load_weights
from nas.training.run import Run, holding, read_settings, read_tensors, require_output
from nas.training.scoring import Scored, Sums, score_partition
from nas.training.standing import Standing
from nas.training.weights import freeze, frontend_entries, hold_norms, take_weights


@dataclass(frozen=True)
class TrainResult:
    """The best epoch of a training, and the run directory that holds its weights."""

    epoch: int
    eer: float
    """EER on the development set, percent."""
    folder: Path


def build_network(recipe: Recipe, genotype: Genotype | None) -> Network:
    """The network of a recipe, freshly initialised; that of a genotype has its first layer frozen.

    Raises:
        NasError: a genotype that is missing, not wanted, or not of the recipe's search space; an unknown network.
    """
    network = recipe.network
    if isinstance(network, OtherNetwork):
        if genotype is not None:
            raise NasError(f"network {network.name!r} is not built from a genotype; leave --genotype out")
        return registry.create(network.name, **network.options)
    if genotype is None:
        raise NasError(f"network {network.name} is built from a genotype: give --genotype FILE")
    space = get_space(recipe.space)
    Skeleton.of(space, network).require_samples(recipe.data.samples)
    sizes = network.model_copy(update={"learnable": False})
    return build_within_memory(lambda: DerivedNetwork(genotype, space, sizes), f"network {network.name}")


def load_frontend(network: Network, recipe: Recipe, genotype: Path | None, frontend: Path | None) -> Path | None:
    """Give a network the front-end that the search learnt; fixed front-ends have none and stay as they are.

    Args:
        network: changed in place.
        recipe: whose `network.learnable` says whether the search trained the front-end.
        genotype: the genotype's file, beside which the front-end lies as STEM.frontend.safetensors.
        frontend: that file named explicitly; or a published checkpoint, of a search or of a training, that has it.

    Raises:
        NasError: the front-end was learnt and its file is missing, or does not fit.
    """
    if not isinstance(network, CellNetwork) or recipe.searched is None:
        return None
    if frontend is None and not recipe.searched.learnable:
        return None
    if frontend is None and genotype is not None:
        frontend = genotype.with_suffix(".frontend.safetensors")
    if frontend is None or not frontend.is_file():
        raise NasError(
            "network.learnable: the front-end learnt in the search is needed beside the genotype"
            f" ({frontend.name if frontend else 'STEM.frontend.safetensors'}), or named with --frontend FILE"
        )
    try:
        load_weights(network.stem.frontend, frontend_entries(frontend), frontend)
    except NasError as error:
        raise NasError(f"{frontend} does not fit the front-end {recipe.searched.frontend!r} of the recipe") from error
    return frontend


def memory_format(device: torch.device) -> torch.memory_format:
    """The order of values in memory that a network is trained in on a device.

    Channels last is what a GPU's two-dimensional convolutions (AASIST, LCNN) are made for. On a CPU PyTorch's batch
    normalisation adds up millions of float32 values of such tensors one by one: at [24, 32, 23, 7157] its variances are
    wrong by 1e-3 to 4e-3, where contiguous ones are right to 1e-7.
    """
    return torch.contiguous_format if device.type == "cpu" else torch.channels_last


def make_schedule(optimizer: Any, settings: Settings, steps: int) -> LRScheduler:
    """The schedule of the learning rate, stepped once an epoch, or `steps` times an epoch for "cosine_steps"."""
    if settings.schedule == "cosine":
        return CosineAnnealingLR(optimizer, settings.epochs, eta_min=settings.final_learning_rate)
    if settings.schedule == "cosine_steps":
        return CosineAnnealingLR(optimizer, settings.epochs * steps, eta_min=settings.final_learning_rate)
    factor = settings.step_factor if settings.schedule == "step" else 1.0
    return StepLR(optimizer, settings.step_epochs, factor)


def train(
    recipe: Recipe,
    genotype: Genotype | str | Path | None,
    output: str | Path,
    frontend: str | Path | None = None,
    weights: str | Path | None = None,
    progress: bool = True,
    on_epoch: Callable[[int, dict[str, Any]], None] | None = None,
) -> TrainResult:
    """Train the network of a genotype, or a hand-made one; everything is written to the run directory `output`.

    Args:
        recipe: on what and how (`nas.load_recipe`).
        genotype: a genotype or its file; None for a hand-made network.
        output: a folder that does not exist yet or is empty.
        frontend: file of a learnt front-end, where it does not lie beside the genotype's file.
        weights: where fine-tuning starts: a train run, or a file of weights, published or ours (`train.load` and
            `train.reinitialise` say which of them).
        progress: whether to show progress bars.
        on_epoch: called with every epoch's number and row; what it raises ends the training.

    Raises:
        NasError: bad input; nothing is written then.
    """
    begun = Run.restarted(output, "train", recipe)
    if begun is not None:
        begun.on_epoch = on_epoch
        return resume_train(begun, progress)
    require_output(output)
    file: Path | None = None
    if isinstance(genotype, str | Path):
        file = genotype_file(genotype)
        genotype = Genotype.load(genotype)
    accelerator = start_engine(recipe)
    network = build_network(recipe, genotype)
    started = take_weights(network, recipe.network.name, Path(weights), recipe.train) if weights is not None else None
    taken = load_frontend(network, recipe, file, Path(frontend) if frontend else None)
    frozen = freeze(network, recipe.train)
    inputs, batches = _open(recipe, accelerator, progress)
    learnt = network.stem.frontend.state_dict() if taken and isinstance(network, CellNetwork) else None
    with holding(Path(output)):
        run = Run.create(output, "train", recipe, genotype, learnt, weights)
        run.on_epoch = on_epoch
        run.log(f"{recipe.network.name}: {sum(p.numel() for p in network.parameters()):,} parameters")
        classes = describe_classes(network, inputs)
        for said in (classes, f"front-end taken from {taken}" if taken else None, started, frozen):
            if said:
                run.log(said)
        training = _Training(run, network, accelerator, inputs, batches, progress)
        # What the network starts from may not be there when the run is resumed, so it is kept from the first moment.
        training.save(Standing())
        return training.finish()


def describe_classes(network: Network, inputs: Inputs) -> str:
    """How many utterances of each class training has, and whether the loss weighs the classes for other shares."""
    labels = [inputs.store.utterances[index].label for index in inputs.partitions["train"]]
    human, spoofed = sum(labels), len(labels) - sum(labels)
    said = f"{len(labels):,} training utterances, {human:,} of them bona fide"
    weights = getattr(network.output, "weights", None)
    if isinstance(weights, Tensor) and human and spoofed:
        given, balancing = float(weights[1] / weights[0]), spoofed / human
        if not 0.5 <= given / balancing <= 2:
            said += (
                f"; a bona fide one weighs {given:.3g} times a spoofed one in the loss, where {balancing:.3g} would"
                " balance them (network.options.loss_options.weights)"
            )
    return said


def resume_train(run: Run, progress: bool = True) -> TrainResult:
    """Go on with a training from its last good checkpoint; the result is that of one never interrupted.

    Raises:
        NasError: the recipe was changed, the checkpoints are damaged, or the corpus is not as it was.
    """
    if read_checkpoint(run.folder / "checkpoints") is None:
        return _begin_anew(run, progress)
    accelerator = start_engine(run.recipe)
    with run.held():
        network = build_network(run.recipe, _genotype_of(run))
        freeze(network, run.recipe.train)
        return _Training(run, network, accelerator, *_open(run.recipe, accelerator, progress), progress).finish()


def _begin_anew(run: Run, progress: bool) -> TrainResult:
    """A training that was stopped before its first checkpoint, from the start; all that it needs is in the run.

    Raises:
        NasError: the run has results, or the weights that it starts from are no longer there.
    """
    run.require_no_work()
    genotype = run.folder / "genotype.json"
    frontend = genotype.with_suffix(".frontend.safetensors")
    weights = read_settings(run.folder)[1].get("weights")
    return train(
        run.recipe,
        genotype if genotype.exists() else None,
        run.folder,
        frontend if frontend.exists() else None,
        weights if isinstance(weights, str) else None,
        progress,
        run.on_epoch,
    )


def _open(recipe: Recipe, accelerator: Accelerator, progress: bool) -> tuple[Inputs, TrainingBatches]:
    inputs = open_inputs(recipe, ("train", "dev"), progress)
    train, size = inputs.partitions["train"], recipe.train.batch_size
    require_batch(len(train), size, "train.batch_size")
    return inputs, TrainingBatches(recipe, inputs.store, train, size, recipe.seed, accelerator.device)


def _genotype_of(run: Run) -> Genotype | None:
    return Genotype.load(run.folder / "genotype.json") if run.recipe.searched else None


class _Training(Loop):
    """Steps on batches of the training partition."""

    def __init__(
        self,
        run: Run,
        network: Network,
        accelerator: Accelerator,
        inputs: Inputs,
        batches: TrainingBatches,
        progress: bool,
    ) -> None:
        network = network.to(memory_format=memory_format(accelerator.device))  # type: ignore[call-overload]
        super().__init__(run, network, run.recipe.train, accelerator, inputs, batches, progress)
        self.optimizer = self.optimizers["network"]
        self.schedule = make_schedule(self.optimizer, run.recipe.train, len(batches))
        self.schedules = {"learning_rate": self.schedule}
        settings = run.recipe.train
        self.average = WeightAverage(self.network, settings.average_below) if settings.average else None

    @property
    def snapshot(self) -> Snapshot:
        snapshot = super().snapshot
        if self.average is not None:
            snapshot.modules = {**snapshot.modules, "average": self.average}
        return snapshot

    def scored(self, dev: Scored) -> None:
        if self.average is not None:
            self.average.offer(self.network, dev.rank(self.settings.select)[0], dev.eer)

    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        settings = self.recipe.train
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        decay = settings.weight_decay
        return {"network": torch.optim.Adam(trained, settings.learning_rate, weight_decay=decay, fused=True)}

    def finish(self) -> TrainResult:
        """Run all epochs that are left."""
        best = self.run_epochs()
        if not self.finished:
            if self.average is not None:
                best = self.try_average(self.average, best)
            self.run.log(f"best epoch {best['epoch']}, dev EER {best['eer']:.2f} %")
            self.save_finished(best)
        return TrainResult(best["epoch"], best["eer"], self.run.folder)

    def try_average(self, average: WeightAverage, best: dict[str, Any]) -> dict[str, Any]:
        """Statistics of the averaged weights from one pass over the training utterances, and a look at development;
        what is known of the best weights then."""
        if not average.n_averaged:
            self.run.log(f"nothing averaged: no epoch had a dev EER of at most {average.below:g} %")
            return best
        update_bn((batch.waveforms for batch in self.batches.epoch(self.settings.epochs + 1)), average)
        if not self.recipe.engine.sync_batchnorm:
            average_statistics(average)
        network: Any = average.module
        dev = score_partition(network, self.inputs, "dev", self.recipe, self.accelerator, self.progress)
        state, count = network.state_dict(), int(average.n_averaged)
        told = {"averaged": str(count), "dev_eer": str(dev.eer)}
        self.run.save_tensors("checkpoints/averaged", state, told)
        better = (rank := list(dev.rank(self.settings.select))) < best["rank"]
        self.run.log(f"average of {count} epochs: dev EER {dev.eer:.2f} %" + (", kept as best" if better else ""))
        if not better:
            return best
        self.run.save_tensors("checkpoints/best", state, told)
        return {"rank": rank, "epoch": best["epoch"], "eer": dev.eer}

    def begin_epoch(self, begun: Standing) -> None:
        self.network.train()
        hold_norms(self.network, self.recipe.train)

    def ended(self, epoch: int) -> bool:
        patience, best = self.recipe.train.patience, self.best
        if not patience or best is None or epoch - best["epoch"] <= patience:
            return False
        self.run.log(f"ended before epoch {epoch}: none of {patience} epochs was better than epoch {best['epoch']}")
        return True

    def step(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | float]:
        logits = self.network(batch.waveforms)
        loss = self.network.output.loss(logits, batch.labels)
        self.optimizer.zero_grad(set_to_none=True)
        self.backward(self.optimizer, batch)(loss)
        self.optimizer.step()
        if self.recipe.train.schedule == "cosine_steps":
            self.schedule.step()
        return loss.detach(), logits.detach(), 0.0

    def end_epoch(self, sums: Sums) -> dict[str, Any]:
        if self.recipe.train.schedule != "cosine_steps":
            self.schedule.step()
        return {}


def load(folder: str | Path, checkpoint: str = "best") -> Network:
    """The trained network of a train run, in evaluation mode on the CPU: waveform [B, T] -> scores [B, 2], column 1
    bona fide.

    Raises:
        NasError: not a train run, or a file of it is missing or damaged.
    """
    run = Run.open(folder)
    if run.kind != "train":
        raise NasError(f"{folder} is a {run.kind} run; a network comes from a train run")
    network = build_network(run.recipe, _genotype_of(run))
    path = run.folder / "checkpoints" / f"{checkpoint}.safetensors"
    load_weights(network, read_tensors(path), path)
    return network.eval()
