"""Training: a network of a genotype from scratch, its first layer frozen (Ge et al. 2021, Sections 4.1 and 4.2); or
a hand-made network, from scratch or from published weights."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, StepLR
from tqdm import tqdm

from nas.config import RawPCDartsNetwork, Recipe
from nas.config import Train as Settings
from nas.errors import NasError
from nas.genotype import Genotype
from nas.networks import registry
from nas.networks.published import load_published
from nas.networks.raw_pcdarts import RawPCDarts
from nas.training.board import Board
from nas.training.engine import reduce_gradients, start_engine
from nas.training.inputs import TrainingBatches, open_inputs, require_batch
from nas.training.run import Run, read_tensors
from nas.training.scoring import Totals, score_partition


@dataclass(frozen=True)
class TrainResult:
    """The best epoch of a training, and the run directory that holds its weights."""

    epoch: int
    eer: float
    """EER on the development set, percent."""
    folder: Path


def build_network(recipe: Recipe, genotype: Genotype | None) -> nn.Module:
    """The network of a recipe, freshly initialised; that of a genotype has its first layer frozen.

    Raises:
        NasError: a genotype that is missing, not wanted, or not of the recipe's search space; an unknown network.
    """
    network = recipe.network
    if isinstance(network, RawPCDartsNetwork):
        if genotype is None:
            raise NasError("network raw-pcdarts is built from a genotype: give --genotype FILE")
        return RawPCDarts(genotype, recipe.space, **{**network.model_dump(exclude={"name"}), "learnable": False})
    if genotype is not None:
        raise NasError(f"network {network.name!r} is not built from a genotype; leave --genotype out")
    return registry.create(network.name, **network.options)


def load_frontend(network: nn.Module, recipe: Recipe, genotype: Path | None, frontend: Path | None) -> Path | None:
    """Give a network the front-end that the search learnt; fixed front-ends have none and stay as they are.

    Args:
        network: changed in place.
        recipe: whose `network.learnable` says whether the search trained the front-end.
        genotype: the genotype's file, beside which the front-end lies as STEM.frontend.safetensors.
        frontend: that file named explicitly.

    Raises:
        NasError: the front-end was learnt and its file is missing, or does not fit.
    """
    if not isinstance(network, RawPCDarts) or not isinstance(recipe.network, RawPCDartsNetwork):
        return None
    if frontend is None and not recipe.network.learnable:
        return None
    if frontend is None and genotype is not None:
        frontend = genotype.with_suffix(".frontend.safetensors")
    if frontend is None or not frontend.is_file():
        raise NasError(
            "network.learnable: the front-end learnt in the search is needed beside the genotype"
            f" ({frontend.name if frontend else 'STEM.frontend.safetensors'}), or named with --frontend FILE"
        )
    try:
        network.stem.frontend.load_state_dict(read_tensors(frontend))
    except RuntimeError as error:
        raise NasError(f"{frontend} does not fit the front-end {recipe.network.frontend!r} of the recipe") from error
    return frontend


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
) -> TrainResult:
    """Train the network of a genotype, or a hand-made one; everything is written to the run directory `output`.

    Args:
        recipe: on what and how (`nas.load_recipe`).
        genotype: a genotype or its file; None for a hand-made network.
        output: a folder that does not exist yet or is empty.
        frontend: file of a learnt front-end, where it does not lie beside the genotype's file.
        weights: published weights of a hand-made network to start from (fine-tuning).
        progress: whether to show progress bars.

    Raises:
        NasError: bad input; nothing is written then.
    """
    file = Path(genotype) if isinstance(genotype, str | Path) else None
    genotype = Genotype.load(file) if file else genotype  # type: ignore[assignment]
    assert genotype is None or isinstance(genotype, Genotype)
    accelerator = start_engine(recipe)
    network = build_network(recipe, genotype)
    if weights is not None:
        if isinstance(recipe.network, RawPCDartsNetwork):
            raise NasError("--weights is for hand-made networks; a genotype's network is trained from scratch")
        network = load_published(recipe.network.name, weights, **recipe.network.options)
    taken = load_frontend(network, recipe, file, Path(frontend) if frontend else None)
    inputs = open_inputs(recipe, ("train", "dev"))
    settings = recipe.train
    require_batch(len(inputs.partitions["train"]), settings.batch_size, "train.batch_size")
    batches = TrainingBatches(
        recipe, inputs.store, inputs.partitions["train"], settings.batch_size, recipe.seed, accelerator.device
    )

    run = Run.create(output, "train", recipe)
    if genotype is not None:
        assert not taken or isinstance(network, RawPCDarts)
        run.save_genotype("genotype", genotype, network.stem.frontend.state_dict() if taken else None)  # type: ignore
    run.log(f"{recipe.network.name}: {sum(p.numel() for p in network.parameters()):,} parameters")
    for what, path in (("front-end", taken), ("weights", weights)):
        if path is not None:
            run.log(f"{what} taken from {path}")
    board = Board(run.folder, recipe.to_yaml())
    network = accelerator.prepare_model(network, evaluation_mode=True)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = accelerator.prepare_optimizer(
        torch.optim.Adam(trained, settings.learning_rate, weight_decay=settings.weight_decay)
    )
    schedule = make_schedule(optimizer, settings, len(batches))
    best: tuple[tuple[float, float], TrainResult] | None = None
    for epoch in range(1, settings.epochs + 1):
        row = _train_epoch(epoch, network, batches, optimizer, schedule, recipe, accelerator, progress)
        dev = score_partition(network, inputs, "dev", recipe, accelerator, progress)
        row |= {"dev_loss": dev.loss, "dev_accuracy": dev.accuracy, "dev_eer": dev.eer}
        run.save_tensors("checkpoints/last", network.state_dict(), {"epoch": str(epoch)})
        if best is None or dev.rank(settings.select) < best[0]:
            best = dev.rank(settings.select), TrainResult(epoch, dev.eer, run.folder)
            run.save_tensors("checkpoints/best", network.state_dict(), {"epoch": str(epoch), "dev_eer": str(dev.eer)})
        run.record(row)
        board.epoch(row)
        run.log(
            f"epoch {epoch}/{settings.epochs}: loss {row['train_loss']:.4f}, dev EER {dev.eer:.2f} %, "
            f"dev accuracy {dev.accuracy:.2f} %, learning rate {row['learning_rate']:.2e}"
        )
    board.close()
    assert best is not None
    run.log(f"best epoch {best[1].epoch}, dev EER {best[1].eer:.2f} %")
    return best[1]


def _train_epoch(
    epoch: int,
    network: Any,
    batches: TrainingBatches,
    optimizer: Any,
    schedule: LRScheduler,
    recipe: Recipe,
    accelerator: Accelerator,
    progress: bool,
) -> dict[str, Any]:
    """One pass over the training set; the first values of the epoch's row."""
    network.train()
    if recipe.train.freeze_norms:
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
    every_step = recipe.train.schedule == "cosine_steps"
    totals, started = Totals(accelerator.device), time.perf_counter()
    rate = schedule.get_last_lr()[0]
    bar = tqdm(batches.epoch(epoch), total=len(batches), desc=f"epoch {epoch}", disable=not progress, leave=False)
    for step, (waveforms, labels) in enumerate(bar):
        logits = network(waveforms)
        loss = network.output.loss(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        reduce_gradients(accelerator, network.parameters())
        optimizer.step()
        if every_step:
            schedule.step()
        totals.add(loss.detach(), logits.detach(), labels)
        if progress and step % 10 == 0:
            mean, accuracy = totals.read()
            bar.set_postfix(loss=f"{mean:.4f}", accuracy=f"{accuracy:.1f} %", lr=f"{rate:.1e}")
    if not every_step:
        schedule.step()
    mean, accuracy = totals.read()
    return {
        "epoch": epoch,
        "train_loss": mean,
        "train_accuracy": accuracy,
        "learning_rate": rate,
        "utterance_rate": len(batches) * recipe.train.batch_size / (time.perf_counter() - started),
    }


def load(folder: str | Path, checkpoint: str = "best") -> nn.Module:
    """The trained network of a train run, in evaluation mode on the CPU: waveform [B, T] -> scores [B, 2], column 1
    bona fide.

    Raises:
        NasError: not a train run, or a file of it is missing or damaged.
    """
    run = Run.open(folder)
    if run.kind != "train":
        raise NasError(f"{folder} is a {run.kind} run; a network comes from a train run")
    searched = isinstance(run.recipe.network, RawPCDartsNetwork)
    network = build_network(run.recipe, Genotype.load(run.folder / "genotype.json") if searched else None)
    path = run.folder / "checkpoints" / f"{checkpoint}.safetensors"
    try:
        network.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise NasError(f"{path} does not hold the weights of this run's network") from error
    return network.eval()
