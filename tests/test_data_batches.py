"""Batches: every utterance once an epoch, an order that seed and epoch alone decide, shards that add up."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.batches import Batch, Batches
from nas.data.store import WaveformStore
from nas.data.utterance import Utterance
from nas.errors import NasError


def store_of(count: int, length: int = 40) -> WaveformStore:
    rows = [Utterance(Path(f"{i}"), str(i), "s", "-", ("spoof", "bonafide")[i % 2], "train") for i in range(count)]
    return WaveformStore.from_arrays(rows, [np.arange(length, dtype=np.int16) + 1000 * (i % 30) for i in range(count)])


def indices_of(batches: Batches, epoch: int, skip: int = 0) -> list[int]:
    return [index for batch in batches.epoch(epoch, skip) for index in batch.indices.tolist()]


def same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("waveforms", "labels", "indices"))


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 60),
    size=st.integers(1, 9),
    world=st.integers(1, 4),
    drop=st.booleans(),
    shuffle=st.booleans(),
    epoch=st.integers(0, 5),
)
def test_the_shards_partition_the_epoch(
    count: int, size: int, world: int, drop: bool, shuffle: bool, epoch: int
) -> None:
    store = store_of(count)
    shards = [
        Batches(store, range(count), size, 5, shuffle, 0, "random", drop, rank, world, prefetch=0)
        for rank in range(world)
    ]
    seen = [list(shard.epoch(epoch)) for shard in shards]
    assert [len(shard) for shard in shards] == [len(batches) for batches in seen]
    together = [index for batches in seen for batch in batches for index in batch.indices.tolist()]
    step = size * world
    kept = count - count % step if drop else count
    assert len(together) == len(set(together)) == kept
    if drop:
        assert {len(batches) for batches in seen} == {count // step}
        assert all(len(batch.labels) == size for batches in seen for batch in batches)
    # Step k of the processes together is step k of one process with a larger batch, crops included.
    whole = list(Batches(store, range(count), step, 5, shuffle, 0, "random", drop, prefetch=0).epoch(epoch))
    for k, batch in enumerate(whole):
        parts = [batches[k] for batches in seen if k < len(batches)]
        crops = {int(i): crop for part in parts for i, crop in zip(part.indices, part.waveforms, strict=True)}
        assert sorted(crops) == sorted(batch.indices.tolist())
        for i, crop in zip(batch.indices.tolist(), batch.waveforms, strict=True):
            assert torch.equal(crops[i], crop)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 1000), st.integers(0, 12), st.sampled_from([0, 1, 3]))
def test_resuming_needs_only_epoch_and_position(seed: int, epoch: int, skip: int, prefetch: int) -> None:
    store = store_of(25)
    whole = list(Batches(store, range(25), 4, 7, True, seed, "random", prefetch=0).epoch(epoch))
    rest = list(Batches(store, range(25), 4, 7, True, seed, "random", prefetch=prefetch).epoch(epoch, skip))
    assert len(rest) == max(0, len(whole) - skip)
    assert all(same(a, b) for a, b in zip(whole[skip:], rest, strict=True))


def test_epochs_and_seeds_differ_and_seed_0_is_a_seed() -> None:
    store = store_of(50)
    orders = {
        (s, e): tuple(indices_of(Batches(store, range(50), 8, 5, True, s), e)) for s in range(3) for e in range(3)
    }
    assert len(set(orders.values())) == 9
    assert indices_of(Batches(store, range(50), 8, 5, True, 0), 0) == list(orders[0, 0])


def test_the_order_and_the_crops_are_these_on_every_machine() -> None:
    """Golden: a change here changes every published run."""
    order = indices_of(Batches(store_of(20), range(20), 8, 5, True, 3), 2)
    assert order == [19, 2, 9, 16, 0, 4, 12, 13, 1, 7, 3, 6, 5, 18, 10, 17, 8, 14, 11, 15]
    crops = [batch.waveforms[0, 0] for batch in Batches(store_of(20), range(20), 1, 5, True, 3, "random").epoch(2)]
    starts = [24, 5, 30, 9, 20, 13, 0, 28, 29, 0, 9, 9, 2, 23, 4, 14, 17, 17, 34, 11]
    assert [round(crop.item() * 32768) % 1000 for crop in crops] == starts


def test_without_shuffling_the_order_is_the_given_one() -> None:
    batches = Batches(store_of(10), [7, 3, 9], 2, 5, shuffle=False, seed=0)
    assert indices_of(batches, 0) == indices_of(batches, 4) == [7, 3, 9]
    assert [batch.labels.tolist() for batch in batches.epoch(0)] == [[1, 1], [1]]


def test_crops_are_the_first_samples_or_anywhere() -> None:
    store = store_of(200)
    first = torch.cat([b.waveforms for b in Batches(store, range(200), 50, 35, True, 0).epoch(0)]) * 32768
    assert set((first[:, 0] % 1000).int().tolist()) == {0}
    anywhere = torch.cat([b.waveforms for b in Batches(store, range(200), 50, 35, True, 0, "random").epoch(0)]) * 32768
    assert set((anywhere[:, 0] % 1000).int().tolist()) == set(range(6))  # 40 - 35 + 1 places, the last one included
    short = next(Batches(store, range(200), 1, 100, False, 0, "random").epoch(0)).waveforms * 32768
    assert short[0].int().tolist() == [t % 40 for t in range(100)]


def test_shapes_and_kinds() -> None:
    batch = next(Batches(store_of(9), range(9), 4, 16, True, 0).epoch(0))
    assert (batch.waveforms.shape, batch.waveforms.dtype) == ((4, 16), torch.float32)
    assert (batch.labels.shape, batch.labels.dtype) == ((4,), torch.int64)
    assert (batch.indices.shape, batch.indices.dtype) == ((4,), torch.int64)
    assert batch.labels.tolist() == [i % 2 for i in batch.indices.tolist()]
    moved = batch.to("cpu")
    assert same(moved, batch)


def test_an_abandoned_epoch_leaves_no_thread() -> None:
    before = threading.active_count()
    epoch = Batches(store_of(50), range(50), 2, 5, True, 0, prefetch=2).epoch(0)
    next(epoch)
    assert threading.active_count() == before + 1
    epoch.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_in_the_thread_is_raised_where_batches_are_used() -> None:
    batches = Batches(store_of(6), [0, 1, 99], 1, 5, shuffle=False, seed=0)
    batches.crop = "first"
    batches.store.lengths = np.append(batches.store.lengths, np.full(100, 5))
    epoch = batches.epoch(0)
    assert next(epoch).indices.tolist() == [0]
    with pytest.raises(IndexError):
        list(epoch)


def test_misuse_is_refused() -> None:
    store = store_of(4)
    with pytest.raises(NasError, match="at least one utterance, not 0"):
        Batches(store, range(4), 0, 5, True, 0)
    with pytest.raises(NasError, match="at least one sample, not 0"):
        Batches(store, range(4), 2, 0, True, 0)
    with pytest.raises(ValueError, match="rank 2 of 2"):
        Batches(store, range(4), 2, 5, True, 0, rank=2, world_size=2)
