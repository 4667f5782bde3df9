"""How much of a training loop's speed is left when its batches come from disk: a measurement, not a test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.data.batches import Batch, Batches
from nas.data.store import WaveformStore
from nas.data.utterance import Utterance

Step = Callable[[Tensor, Tensor], object]
"""A training step on (waveforms [B, T], labels [B])."""


@dataclass(frozen=True)
class Feeding:
    """Speeds in utterances a second: the fastest of the repeats, which other work on the machine disturbed least.

    Attributes:
        fed: the loop on batches cut at random from the cache file.
        in_memory: the same loop on batches that were cut before.
        alone: cutting the batches, without training.
        decoding_seconds: what opening the store took: decoding, or reading what an earlier run decoded.
        ratio: `fed` over `in_memory`; 1 is a loop that never waits. On a machine with other work it scatters.
        least_ratio: what it would be if cutting a batch never overlapped with training one; it scatters little.
    """

    fed: float
    in_memory: float
    alone: float
    decoding_seconds: float

    @property
    def ratio(self) -> float:
        return self.fed / self.in_memory

    @property
    def least_ratio(self) -> float:
        return self.alone / (self.alone + self.in_memory)


def feeding_ratio(
    utterances: Sequence[Utterance],
    cache: str | Path,
    step: Step | None = None,
    batch_size: int = 16,
    samples: int = 64_000,
    steps: int = 20,
    repeats: int = 5,
    workers: int | None = None,
) -> Feeding:
    """Run the same loop on batches from the store and on batches in memory, in turn, and compare.

    Args:
        cache: folder of the decoded waveforms.
        step: one training step; by default a small convolutional network on the raw waveform, on the CPU.
        steps: of each loop; all their batches are held in memory at once for the comparison.

    Raises:
        NasError: as `WaveformStore.open`.
    """
    started = time.perf_counter()
    store = WaveformStore.open(utterances, cache, workers=workers, progress=False)
    decoding = time.perf_counter() - started
    # As a training on a CPU takes them.
    batches = Batches(store, range(len(store)), batch_size, samples, shuffle=True, seed=0, crop="random", prefetch=0)
    ready = list(islice(_endless(batches), steps))
    train = step or small_network_step()
    _seconds(ready, train)  # the first steps pay for allocations
    fed, memory, alone = [], [], []
    for _ in range(repeats):
        fed.append(_seconds(islice(_endless(batches), steps), train))
        memory.append(_seconds(ready, train))
        alone.append(_seconds(islice(_endless(batches), steps), lambda waveforms, labels: None))
    count = sum(len(batch.labels) for batch in ready)
    return Feeding(count / min(fed), count / min(memory), count / min(alone), decoding)


def small_network_step(channels: int = 16, seed: int = 0) -> Step:
    """A light training step, which is the hardest to feed."""
    generator = torch.random.get_rng_state()
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv1d(1, channels, 129, stride=3),
        nn.LeakyReLU(),
        nn.Conv1d(channels, channels, 3, stride=4),
        nn.LeakyReLU(),
        nn.Conv1d(channels, 2, 3),
    )
    torch.random.set_rng_state(generator)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step(waveforms: Tensor, labels: Tensor) -> None:
        optimiser.zero_grad()
        F.cross_entropy(network(waveforms[:, None]).mean(2), labels).backward()
        optimiser.step()

    return step


def _endless(batches: Batches) -> Iterable[Batch]:
    epoch = 0
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


def _seconds(batches: Iterable[Batch], step: Step) -> float:
    started = time.perf_counter()
    for batch in batches:
        step(batch.waveforms, batch.labels)
    return time.perf_counter() - started
