"""From a recipe to decoded, checked utterances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from nas import processes
from nas.config import Data, Recipe
from nas.data.augment import Augmentation
from nas.data.batches import Batch, Batches
from nas.data.embedded import embedded_table, embedded_waveform
from nas.data.readers import read, require_both_classes
from nas.data.split import halves_from_protocols, split_halves, subset
from nas.data.store import WaveformStore
from nas.data.utterance import Utterance
from nas.errors import NasError


@dataclass(frozen=True)
class Inputs:
    """Decoded utterances, with the indices of each partition."""

    store: WaveformStore
    partitions: dict[str, np.ndarray]


def open_inputs(recipe: Recipe, partitions: tuple[str, ...], progress: bool = True) -> Inputs:
    """Read the corpus of a recipe and decode the partitions that are needed, with a bar where `progress`.

    Raises:
        NasError: the corpus is not given or not there, a file cannot be read, or a partition lacks a class.
    """
    data, utterances = recipe.data, choose_utterances(recipe, partitions)
    if data.layout == "embedded":
        store = WaveformStore.from_arrays(utterances, [_embedded(utterance) for utterance in utterances])
    else:
        cache = Path(data.cache) if data.cache else None
        workers = recipe.engine.workers or None
        show = progress and processes.is_first()
        open_store = partial(
            WaveformStore.open,
            utterances,
            cache,
            corrupt=data.corrupt,
            workers=workers,
            progress=show,
            longest_seconds=data.longest_seconds,
        )
        if cache and processes.count() > 1:
            processes.first_does(open_store)  # one process decodes, all read what it wrote
        store = open_store()
    indices = {
        partition: np.array([i for i, utterance in enumerate(store.utterances) if utterance.partition == partition])
        for partition in partitions
    }
    for partition in partitions:
        require_both_classes(store.utterances, partition, str(data.root or data.layout))
    return Inputs(store, indices)


def choose_utterances(recipe: Recipe, partitions: tuple[str, ...]) -> tuple[Utterance, ...]:
    """The utterances of a recipe; nothing is decoded.

    Raises:
        NasError: the corpus is not given or not there, or a partition lacks a class.
    """
    data = recipe.data
    if data.layout == "embedded":
        return _choose(embedded_table(seed=0), recipe, partitions)
    table = read(data.layout, _root(data), partitions=partitions)
    for partition in partitions:
        require_both_classes(table, partition, str(data.root))
    return _choose(table, recipe, partitions)


def halve_training(recipe: Recipe, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training utterances that train the weights, and of those that train the architecture.

    Raises:
        NasError: a half lacks a class or is smaller than a batch.
    """
    split = recipe.search.split
    train = inputs.partitions["train"]
    utterances = tuple(inputs.store.utterances[index] for index in train)
    if split.method == "protocols":
        assert split.weights_protocol is not None
        assert split.architecture_protocol is not None
        halves = halves_from_protocols(utterances, Path(split.weights_protocol), Path(split.architecture_protocol))
    else:
        halves = split_halves(utterances, split.method, recipe.seed)
    for half, name in zip(halves, ("weights", "architecture"), strict=True):
        require_both_classes(tuple(utterances[i] for i in half), "train", f"the half for the {name}")
        require_batch(len(half), recipe.search.batch_size, f"search.batch_size, the half for the {name}")
    weights, architecture = (train[np.asarray(half)] for half in halves)
    return weights, architecture


class TrainingBatches:
    """Shuffled, augmented batches on a device; the last, incomplete batch of an epoch is left out.

    Every epoch is a pure function of the seed and its number. Several processes share each step: `size` utterances are
    a process' part, and their augmentation depends on which part it is.

    Raises:
        NasError: an unknown augmentation, or a wrong setting of one.
    """

    def __init__(
        self, recipe: Recipe, store: WaveformStore, indices: np.ndarray, size: int, seed: int, device: torch.device
    ) -> None:
        data = recipe.data
        self.seed, self.device = seed, device
        self.augment = Augmentation.from_recipe(data.augment)
        self.batches = Batches(
            store,
            indices,
            size,
            data.samples,
            shuffle=True,
            seed=seed,
            crop=data.crop,
            drop_last=True,
            rank=processes.rank(),
            world_size=processes.count(),
            normalisation=data.normalise,
            # On a CPU the thread that cuts batches would take its core from the step; cutting costs a hundredth of it.
            prefetch=0 if device.type == "cpu" else 2,
        )

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """Every batch from number `skip` on."""
        generator = torch.Generator(self.device)
        for step, batch in enumerate(self.batches.epoch(epoch, skip), start=skip):
            batch = batch.to(self.device)
            if self.augment.steps:
                place = (self.seed, epoch, step, processes.rank())
                generator.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
                batch = replace(batch, waveforms=self.augment(batch.waveforms, generator))
            yield batch


def require_batch(count: int, batch_size: int, where: str) -> None:
    """Refuse a batch, of all processes together, larger than the data.

    Raises:
        NasError: naming both numbers.
    """
    shares = processes.count()
    if batch_size * shares > count:
        each = f" in each of {shares} processes" if shares > 1 else ""
        raise NasError(
            f"{where}: a batch of {batch_size}{each} does not fit {count} utterances; use at most {count // shares}"
        )


@lru_cache(maxsize=1024)
def _embedded(utterance: Utterance) -> np.ndarray:
    """An embedded utterance, made once for a search, a training and an evaluation in one process."""
    return embedded_waveform(0, utterance)


def _choose(table: tuple[Utterance, ...], recipe: Recipe, partitions: tuple[str, ...]) -> tuple[Utterance, ...]:
    """The utterances of these partitions, without the attacks that are left out, of each the subset asked for."""
    data, chosen = recipe.data, list[Utterance]()
    counts: Mapping[str, int] = (
        {"train": data.subset}
        if isinstance(data.subset, int)
        else {str(name): count for name, count in data.subset.items()}
    )
    unknown = set(data.leave_out) - {utterance.attack for utterance in table}
    if unknown and "train" in partitions:
        raise NasError(f"data.leave_out: the corpus has no attack {sorted(unknown)[0]!r} in {', '.join(partitions)}")
    for partition in partitions:
        left_out = () if partition == "eval" else data.leave_out
        rows = [row for row in table if row.partition == partition and row.attack not in left_out]
        count = counts.get(partition) if rows else None
        chosen += rows if count is None else [rows[index] for index in subset(rows, count, data.subset_seed)]
    return tuple(chosen)


def _root(data: Data) -> Path:
    if data.root is None:
        raise NasError("data.root is not set: give the folder (or manifest) of the corpus, data.root=/path/to/LA")
    return Path(data.root)
