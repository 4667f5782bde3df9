"""Batches of equal crops, in an order that is a function of (seed, epoch) and nothing else."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nas.data.normalisation import Normalisation, normalise
from nas.data.store import WaveformStore
from nas.errors import NasError


@dataclass(frozen=True, slots=True)
class Batch:
    """waveforms: float32 [B, T]; labels: int64 [B], 1 bona fide; indices: int64 [B], rows of the store."""

    waveforms: Tensor
    labels: Tensor
    indices: Tensor

    def to(self, device: str | torch.device) -> Batch:
        """The batch on a device; the indices stay on the CPU."""
        return Batch(self.waveforms.to(device), self.labels.to(device), self.indices)


class Batches:
    """The batches of one process, epoch by epoch.

    Utterances are shuffled and random crops are drawn from a generator seeded by (seed, epoch), for the whole epoch at
    once. So a resumed run needs only the epoch and the position in it, and nothing depends on the number of processes:
    step k of `world_size` processes together is step k of one process with a `world_size` times larger batch.

    Args:
        store: the waveforms.
        indices: the rows of the store that take part.
        batch_size: of this process.
        samples: length of every crop.
        shuffle: False keeps the order of `indices` in every epoch.
        seed: any integer from 0.
        crop: "first" samples (the paper), or a "random" stretch of the utterances that are longer, another every epoch.
        drop_last: leave out the incomplete step at the end, so that every process has the same number of full batches.
            Otherwise the processes share it; where it has fewer utterances than processes, the last ones make no batch.
        rank, world_size: this process and how many there are.
        normalisation: of every crop by itself, see `nas.data.normalisation`.
        prefetch: batches that a background thread prepares ahead; 0 prepares each when it is asked for.

    Raises:
        NasError: a batch size or a crop below 1.
    """

    def __init__(
        self,
        store: WaveformStore,
        indices: Sequence[int] | np.ndarray,
        batch_size: int,
        samples: int,
        shuffle: bool,
        seed: int,
        crop: Literal["first", "random"] = "first",
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        normalisation: Normalisation = "none",
        prefetch: int = 2,
    ) -> None:
        if batch_size < 1:
            raise NasError(f"a batch must have at least one utterance, not {batch_size}")
        if samples < 1:
            raise NasError(f"a crop must have at least one sample, not {samples}")
        if crop not in ("first", "random"):
            raise ValueError(f"crop must be 'first' or 'random', not {crop!r}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size} processes")
        self.store = store
        self.indices = np.asarray(indices, dtype=np.int64)
        self.batch_size, self.samples = batch_size, samples
        self.shuffle, self.seed, self.crop, self.drop_last = shuffle, seed, crop, drop_last
        self.rank, self.world_size, self.prefetch = rank, world_size, prefetch
        self.normalisation: Normalisation = normalisation

    def __len__(self) -> int:
        """Batches of this process in an epoch."""
        step = self.batch_size * self.world_size
        full, rest = divmod(len(self.indices), step)
        return full + (not self.drop_last and rest > self.rank)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from the `skip`-th on."""
        order, starts = self._draw(epoch)
        plan = (self._rows(step, order, starts) for step in range(skip, len(self)))
        made = (self._make(rows, begins) for rows, begins in plan)
        return _ahead(made, self.prefetch) if self.prefetch else made

    def _draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the store in the order of the epoch, and the first sample of each one's crop."""
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(self.indices) if self.shuffle else self.indices
        room = np.maximum(self.store.lengths[order] - self.samples, 0)
        if self.crop == "first":
            return order, np.zeros_like(room)
        return order, generator.integers(0, room, endpoint=True)

    def _rows(self, step: int, order: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = self.batch_size * self.world_size
        mine = slice(step * size + self.rank, (step + 1) * size, self.world_size)
        return order[mine], starts[mine]

    def _make(self, rows: np.ndarray, starts: np.ndarray) -> Batch:
        waveforms = normalise(self.store.batch(rows, self.samples, starts), self.normalisation)
        labels = torch.from_numpy(self.store.labels[rows]).to(waveforms.device)
        return Batch(waveforms, labels, torch.from_numpy(rows.copy()))


def _ahead(batches: Iterator[Batch], depth: int) -> Iterator[Batch]:
    """The same batches, made by one background thread up to `depth` ahead. The thread ends with the iterator."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for batch in batches:
                put(batch)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:  # shown where the batches are used
            put(error)

    thread = threading.Thread(target=produce, name="nas-batches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
