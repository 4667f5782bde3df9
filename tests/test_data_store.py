"""The waveform store: exact samples, honest crops, a cache that is never half-written nor stale."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.data.store import WaveformStore
from nas.data.utterance import Utterance
from nas.errors import NasError


def row(path: Path, key: str = "spoof") -> Utterance:
    return Utterance(path, path.stem, "s", "-" if key == "bonafide" else "A01", key, "train")


def rows_of(lengths: list[int]) -> tuple[list[Utterance], list[np.ndarray]]:
    """Utterances whose samples say who they are: utterance i, sample t is 100 i + t."""
    names = [row(Path(f"{i}.wav"), ("spoof", "bonafide")[i % 2]) for i in range(len(lengths))]
    return names, [np.arange(length, dtype=np.int16) + 100 * i for i, length in enumerate(lengths)]


@pytest.fixture
def corpus(tmp_path: Path) -> list[Utterance]:
    generator = np.random.default_rng(0)
    rows = []
    for number in range(12):
        path = tmp_path / "audio" / f"{number}.flac"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, generator.integers(-9000, 9000, 400 + 10 * number, dtype=np.int16), 16_000)
        rows.append(row(path, ("bonafide", "spoof")[number % 2]))
    return rows


def cached(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


# --- samples and crops -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cached_too", [False, True])
def test_16_bit_sources_come_back_bit_for_bit(tmp_path: Path, corpus: list[Utterance], cached_too: bool) -> None:
    store = WaveformStore.open(corpus, tmp_path / "cache" if cached_too else None)
    for index, utterance in enumerate(corpus):
        expected, _ = soundfile.read(utterance.path, dtype="float32")
        waveform = store.waveform(index)
        assert waveform.dtype == torch.float32
        np.testing.assert_array_equal(waveform.numpy(), expected)
    assert store.lengths.tolist() == [400 + 10 * number for number in range(12)]
    assert store.labels.tolist() == [1, 0] * 6


def brute_crop(waveform: np.ndarray, samples: int, start: int) -> np.ndarray:
    return np.array([waveform[(start + t) % len(waveform)] for t in range(samples)])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=6),
    st.integers(1, 130),
    st.data(),
)
def test_a_batch_is_its_definition(lengths: list[int], samples: int, data: st.DataObject) -> None:
    utterances, arrays = rows_of(lengths)
    store = WaveformStore.from_arrays(utterances, arrays)
    indices = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=8))
    starts = [data.draw(st.integers(0, lengths[index] - 1)) for index in indices]
    batch = store.batch(indices, samples, starts)
    expected = np.stack([brute_crop(arrays[i], samples, start) for i, start in zip(indices, starts, strict=True)])
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(batch.numpy() * 32768, expected)
    gathered = store._gather(
        torch.from_numpy(np.concatenate(arrays)),
        store._offsets[indices],
        store.lengths[indices],
        np.array(starts),
        samples,
    )
    np.testing.assert_array_equal(gathered.numpy(), batch.numpy())


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 50), st.integers(1, 200))
def test_a_short_utterance_is_doubled_until_it_is_long_enough(length: int, samples: int) -> None:
    """The published rule, written as it reads: double, then take the first samples."""
    utterances, arrays = rows_of([length])
    waveform = arrays[0]
    while len(waveform) < samples:
        waveform = np.concatenate([waveform, waveform])
    batch = WaveformStore.from_arrays(utterances, arrays).batch([0], samples)
    np.testing.assert_array_equal(batch[0].numpy() * 32768, waveform[:samples])


def test_floats_are_rounded_and_limited() -> None:
    utterances, _ = rows_of([5])
    store = WaveformStore.from_arrays(utterances, [np.array([0.0, 1.0, -1.0, 3.0, 0.4 / 32768], np.float32)])
    assert (store.waveform(0) * 32768).tolist() == [0, 32767, -32768, 32767, 0]


def test_misuse_is_refused() -> None:
    utterances, arrays = rows_of([10, 20])
    store = WaveformStore.from_arrays(utterances, arrays)
    with pytest.raises(NasError, match="at least one sample, not 0"):
        store.batch([0], 0)
    for starts in ([10], [-1], [0, 0]):
        with pytest.raises(ValueError, match="starts must lie inside"):
            store.batch([0], 5, starts)
    with pytest.raises(ValueError, match="2 arrays for 1 utterances"):
        WaveformStore.from_arrays(utterances[:1], arrays)
    with pytest.raises(ValueError, match="has no samples"):
        WaveformStore.from_arrays(utterances[:1], [np.zeros(0, np.int16)])
    with pytest.raises(NasError, match="no utterances"):
        WaveformStore.open([], None)


@pytest.mark.gpu
def test_a_resident_store_gathers_on_the_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    utterances, arrays = rows_of([30, 7, 51])
    store = WaveformStore.from_arrays(utterances, arrays)
    resident = store.to("cuda")
    batch = resident.batch([2, 0, 1, 1], 40, [3, 0, 6, 1])
    assert batch.device.type == "cuda"
    assert torch.equal(batch.cpu(), store.batch([2, 0, 1, 1], 40, [3, 0, 6, 1]))


# --- the cache -------------------------------------------------------------------------------------------------------


def test_the_cache_is_used_and_is_one_file(
    tmp_path: Path, corpus: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "deep" / "cache"
    first = WaveformStore.open(corpus, cache)
    assert [path.suffix for path in cached(cache)] == [".nas"]
    monkeypatch.setattr("nas.data.store.decode", None)  # a second decoding would fail
    second = WaveformStore.open(corpus, cache)
    for index in range(len(corpus)):
        assert torch.equal(first.waveform(index), second.waveform(index))


def test_a_changed_source_is_decoded_again(tmp_path: Path, corpus: list[Utterance]) -> None:
    WaveformStore.open(corpus, tmp_path / "cache")
    soundfile.write(corpus[3].path, np.full(777, 1234, np.int16), 16_000)
    store = WaveformStore.open(corpus, tmp_path / "cache")
    assert store.lengths[3] == 777
    same_size = corpus[5].path.read_bytes()
    os.utime(corpus[5].path, ns=(1, 1))
    assert corpus[5].path.read_bytes() == same_size
    WaveformStore.open(corpus, tmp_path / "cache")
    assert len(cached(tmp_path / "cache")) == 1  # replaced, not piled up


def test_other_rates_and_other_sets_have_their_own_cache(tmp_path: Path, corpus: list[Utterance]) -> None:
    WaveformStore.open(corpus, tmp_path / "cache")
    half = WaveformStore.open(corpus, tmp_path / "cache", rate=8_000)
    assert half.lengths.tolist() == [200 + 5 * number for number in range(12)]
    WaveformStore.open(corpus[:5], tmp_path / "cache")
    assert len(cached(tmp_path / "cache")) == 3


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9), st.booleans())
def test_a_damaged_cache_is_built_again(tmp_path_factory: pytest.TempPathFactory, where: int, cut: bool) -> None:
    folder = tmp_path_factory.mktemp("damage")
    soundfile.write(folder / "a.wav", np.arange(50, dtype=np.int16), 16_000)
    rows = [row(folder / "a.wav")]
    WaveformStore.open(rows, folder / "cache")
    (path,) = cached(folder / "cache")
    content = bytearray(path.read_bytes())
    where %= len(content)
    if cut:
        content = content[:where]
    else:
        content[where] ^= 0x5A
    path.write_bytes(content)
    store = WaveformStore.open(rows, folder / "cache")
    assert (store.waveform(0) * 32768).tolist() == list(range(50))
    assert path.read_bytes() != bytes(content)


def test_a_cache_that_cannot_be_written(tmp_path: Path, corpus: list[Utterance]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NasError, match="cannot write the waveform cache"):
        WaveformStore.open(corpus, tmp_path / "file")


# --- damaged audio ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cached_too", [False, True])
def test_strict_stops_with_the_list_and_leaves_nothing(
    tmp_path: Path, corpus: list[Utterance], cached_too: bool
) -> None:
    cache = tmp_path / "cache" if cached_too else None
    for number in (1, 4, 6, 9):
        corpus[number].path.write_bytes(b"no audio")
    with pytest.raises(NasError, match=r"4 of 12 audio files are unreadable: .*1\.flac.*4\.flac.*6\.flac.*; \.\.\."):
        WaveformStore.open(corpus, cache)
    if cache:
        assert cached(cache) == []


@pytest.mark.parametrize("cached_too", [False, True])
def test_skip_leaves_out_and_counts(
    tmp_path: Path, corpus: list[Utterance], cached_too: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache" if cached_too else None
    for number in (1, 4):
        corpus[number].path.write_bytes(b"no audio")
    for attempt in range(2):  # the second time from the cache
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            store = WaveformStore.open(corpus, cache, corrupt="skip")
        assert len(caplog.records) == 1, attempt
        assert "2 of 12 audio files are unreadable and left out" in caplog.text
        assert [utterance.path.stem for utterance, _ in store.skipped] == ["1", "4"]
        assert [utterance.path.stem for utterance in store.utterances] == [str(i) for i in range(12) if i not in (1, 4)]
        expected, _ = soundfile.read(corpus[5].path, dtype="float32")
        np.testing.assert_array_equal(store.waveform(3).numpy(), expected)
    with pytest.raises(NasError, match="2 of 12 audio files are unreadable"):  # also where the cache knows them
        WaveformStore.open(corpus, cache)


def test_nothing_readable_is_an_error(tmp_path: Path, corpus: list[Utterance]) -> None:
    for utterance in corpus:
        utterance.path.write_bytes(b"no audio")
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(NasError, match="none of the 12 audio files is readable"):
            WaveformStore.open(corpus, cache, corrupt="skip")


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(corpus: list[Utterance], workers: int) -> None:
    one = WaveformStore.open(corpus, None, workers=workers)
    assert [one.waveform(i)[0].item() for i in range(12)] == [
        soundfile.read(utterance.path, dtype="float32")[0][0] for utterance in corpus
    ]
