"""Training from scratch: the network of a genotype, first layer frozen (Ge et al. 2021, Sections 4.1 and 4.2)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from nas.config import Recipe
from nas.errors import NasError
from nas.genotype import Genotype
from nas.networks.raw_pcdarts import RawPCDarts
from nas.training.board import Board
from nas.training.engine import reduce_gradients, start_engine
from nas.training.inputs import open_inputs, require_batch, training_batches
from nas.training.run import Run, read_tensors
from nas.training.scoring import Totals, score_partition


@dataclass(frozen=True)
class TrainResult:
    """The best epoch of a training, and the run directory that holds its weights."""

    epoch: int
    eer: float
    """EER on the development set, percent."""
    folder: Path


def build_network(recipe: Recipe, genotype: Genotype) -> RawPCDarts:
    """The network of a recipe and a genotype, freshly initialised, its first layer frozen.

    Raises:
        NasError: the genotype does not belong to the recipe's search space.
    """
    return RawPCDarts(genotype, recipe.space, **{**recipe.network.model_dump(exclude={"name"}), "learnable": False})


def load_frontend(network: RawPCDarts, recipe: Recipe, genotype: Path | None, frontend: Path | None) -> Path | None:
    """Give a network the front-end that the search learnt; fixed front-ends have none and stay as they are.

    Args:
        network: changed in place.
        recipe: whose `network.learnable` says whether the search trained the front-end.
        genotype: the genotype's file, beside which the front-end lies as STEM.frontend.safetensors.
        frontend: that file named explicitly.

    Raises:
        NasError: the front-end was learnt and its file is missing, or does not fit.
    """
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


def train(
    recipe: Recipe,
    genotype: Genotype | str | Path,
    output: str | Path,
    frontend: str | Path | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train the network of a genotype from scratch; everything is written to the run directory `output`.

    Args:
        recipe: on what and how (`nas.load_recipe`).
        genotype: a genotype or its file.
        output: a folder that does not exist yet or is empty.
        frontend: file of a learnt front-end, where it does not lie beside the genotype's file.
        progress: whether to show progress bars.

    Raises:
        NasError: bad input; nothing is written then.
    """
    file = None if isinstance(genotype, Genotype) else Path(genotype)
    genotype = genotype if isinstance(genotype, Genotype) else Genotype.load(genotype)
    accelerator = start_engine(recipe)
    network = build_network(recipe, genotype)
    taken = load_frontend(network, recipe, file, Path(frontend) if frontend else None)
    inputs = open_inputs(recipe, ("train", "dev"))
    settings = recipe.train
    require_batch(len(inputs.partitions["train"]), settings.batch_size, "train.batch_size")
    batches = training_batches(recipe, inputs.store, inputs.partitions["train"], settings.batch_size, recipe.seed)

    run = Run.create(output, "train", recipe)
    run.save_genotype("genotype", genotype, network.stem.frontend.state_dict() if taken else None)
    run.log(f"{sum(p.numel() for p in network.parameters()):,} parameters; {genotype}")
    if taken:
        run.log(f"front-end taken from {taken}")
    board = Board(run.folder, recipe.to_yaml())
    network = accelerator.prepare_model(network, evaluation_mode=True)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = accelerator.prepare_optimizer(
        torch.optim.Adam(trained, settings.learning_rate, weight_decay=settings.weight_decay)
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, settings.epochs, eta_min=settings.final_learning_rate
    )
    best: tuple[tuple[float, float], TrainResult] | None = None
    for epoch in range(1, settings.epochs + 1):
        network.train()
        totals, started = Totals(accelerator.device), time.perf_counter()
        rate = schedule.get_last_lr()[0]
        bar = tqdm(batches.epoch(epoch), total=len(batches), desc=f"epoch {epoch}", disable=not progress, leave=False)
        for step, batch in enumerate(bar):
            waveforms, labels = batch.waveforms.to(accelerator.device), batch.labels.to(accelerator.device)
            logits = network(waveforms)
            loss = network.output.loss(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            reduce_gradients(accelerator, trained)
            optimizer.step()
            totals.add(loss.detach(), logits.detach(), labels)
            if progress and step % 10 == 0:
                mean, accuracy = totals.read()
                bar.set_postfix(loss=f"{mean:.4f}", accuracy=f"{accuracy:.1f} %", lr=f"{rate:.1e}")
        schedule.step()
        mean, accuracy = totals.read()
        seconds = time.perf_counter() - started
        dev = score_partition(network, inputs, "dev", recipe, accelerator, progress)
        row = {
            "epoch": epoch,
            "train_loss": mean,
            "train_accuracy": accuracy,
            "dev_loss": dev.loss,
            "dev_accuracy": dev.accuracy,
            "dev_eer": dev.eer,
            "learning_rate": rate,
            "utterance_rate": len(batches) * settings.batch_size / seconds,
        }
        run.save_tensors("checkpoints/last", network.state_dict(), {"epoch": str(epoch)})
        if best is None or dev.rank(settings.select) < best[0]:
            best = dev.rank(settings.select), TrainResult(epoch, dev.eer, run.folder)
            run.save_tensors("checkpoints/best", network.state_dict(), {"epoch": str(epoch), "dev_eer": str(dev.eer)})
        run.record(row)
        board.epoch(row)
        run.log(
            f"epoch {epoch}/{settings.epochs}: loss {mean:.4f}, dev EER {dev.eer:.2f} %, "
            f"dev accuracy {dev.accuracy:.2f} %, learning rate {rate:.2e}"
        )
    board.close()
    assert best is not None
    run.log(f"best epoch {best[1].epoch}, dev EER {best[1].eer:.2f} %")
    return best[1]


def load(folder: str | Path, checkpoint: str = "best") -> RawPCDarts:
    """The trained network of a train run, in evaluation mode on the CPU: waveform [B, T] -> scores [B, 2], column 1
    bona fide.

    Raises:
        NasError: not a train run, or a file of it is missing or damaged.
    """
    run = Run.open(folder)
    if run.kind != "train":
        raise NasError(f"{folder} is a {run.kind} run; a network comes from a train run")
    network = build_network(run.recipe, Genotype.load(run.folder / "genotype.json"))
    path = run.folder / "checkpoints" / f"{checkpoint}.safetensors"
    try:
        network.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise NasError(f"{path} does not hold the weights of this run's network") from error
    return network.eval()
