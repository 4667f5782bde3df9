"""Decode once: all waveforms of a corpus as ONE int16 array, memory-mapped from a cache file or in memory.

int16 is what the corpora hold, so 16-bit sources come back bit for bit; other sources are rounded to 16 bits.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nas.data.cache import cache_path, collect, read_cache, sources_digest, write_cache
from nas.data.decode import LONGEST_SECONDS, SAMPLE_RATE, decode
from nas.data.utterance import Utterance
from nas.errors import NasError
from nas.progress import progress_bar
from nas.temporary import sweep

SCALE = 1 / 32768
"""int16 -> float32 in [-1, 1)."""

_LOG = logging.getLogger(__name__)


class WaveformStore:
    """Waveforms of utterances, at one rate, ready to be cut into batches.

    Attributes:
        utterances: the rows, in the given order, without the ones that were skipped as corrupt.
        lengths: int64 [N], samples of each.
        labels: int64 [N], 1 bona fide, 0 spoof.
        rate: Hz.
        skipped: (utterance, reason) of the files that `corrupt="skip"` left out.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        samples: np.ndarray,
        lengths: Sequence[int] | np.ndarray,
        rate: int = SAMPLE_RATE,
        skipped: Sequence[tuple[Utterance, str]] = (),
    ) -> None:
        """samples: int16 [sum of lengths], the waveforms one after the other. Use `open` or `from_arrays`."""
        self.utterances = tuple(utterances)
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.labels = np.array([utterance.label for utterance in self.utterances], dtype=np.int64)
        self.rate = rate
        self.skipped = tuple(skipped)
        if len(self.lengths) != len(self.utterances) or int(self.lengths.sum()) != len(samples):
            raise ValueError("lengths must say how the samples are shared among the utterances")
        if (self.lengths < 1).any():
            raise ValueError("an utterance has no samples")
        self._samples = samples
        self._offsets = np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64)
        self._resident: Tensor | None = None

    @classmethod
    def open(
        cls,
        utterances: Sequence[Utterance],
        cache: str | Path | None,
        rate: int = SAMPLE_RATE,
        corrupt: Literal["strict", "skip"] = "strict",
        workers: int | None = None,
        progress: bool = True,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> WaveformStore:
        """Decode all utterances, or map what an earlier run decoded.

        Args:
            cache: folder for the cache file (made if absent), or None to hold the waveforms in memory.
            rate: Hz; files at other rates are resampled.
            corrupt: "strict" stops with the list of unreadable files, "skip" leaves them out and reports the count.
            workers: decoding threads (default: one a core). Threads, not processes: both decoders and the resampler
                work outside the interpreter lock, and threads need no `if __name__ == "__main__"` in a user's script.
            progress: show a progress bar.
            longest_seconds: a longer file counts as unreadable.

        Raises:
            NasError: files are unreadable (strict), none is readable (skip), or the cache cannot be written.
        """
        if corrupt not in ("strict", "skip"):
            raise ValueError(f"corrupt must be 'strict' or 'skip', not {corrupt!r}")
        utterances = tuple(utterances)
        if not utterances:
            raise NasError("there are no utterances to decode")
        decoded = _decode_all(utterances, rate, workers or os.cpu_count() or 1, progress, longest_seconds)
        if cache is None:
            memory = bytearray()  # grows in place: a list of arrays would need twice the memory to be joined
            index = collect(decoded, lambda samples: memory.extend(samples.tobytes()))
            _check_corrupt(utterances, index.errors, corrupt)
            samples = np.frombuffer(memory, dtype=np.int16)
        else:
            path = cache_path(Path(cache), utterances, rate)
            sweep(path.parent, "waveforms-*")
            sources = sources_digest(utterances, longest_seconds)
            known = read_cache(path, sources)
            if known:
                _check_corrupt(utterances, known.errors, corrupt)
            index = known or write_cache(path, sources, decoded, lambda e: _check_corrupt(utterances, e, corrupt))
            samples = np.memmap(path, dtype="<i2", mode="r", shape=(sum(index.lengths),))
        kept = [utterance for position, utterance in enumerate(utterances) if position not in index.errors]
        skipped = [(utterances[position], reason) for position, reason in sorted(index.errors.items())]
        return cls(kept, samples, index.lengths, rate, skipped)

    @classmethod
    def from_arrays(
        cls, utterances: Sequence[Utterance], arrays: Sequence[np.ndarray], rate: int = SAMPLE_RATE
    ) -> WaveformStore:
        """A store of waveforms that are already here: `arrays[i]` is float [T] (full scale 1) or int16 [T]."""
        quantised = [_quantise(np.asarray(array)) for array in arrays]
        if len(quantised) != len(utterances):
            raise ValueError(f"{len(quantised)} arrays for {len(utterances)} utterances")
        if not quantised:
            raise NasError("there are no utterances to hold")
        return cls(utterances, np.concatenate(quantised), [len(array) for array in quantised], rate)

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def device(self) -> torch.device:
        """Where `batch` puts its result."""
        return self._resident.device if self._resident is not None else torch.device("cpu")

    def to(self, device: str | torch.device) -> WaveformStore:
        """A view of this store that is resident on `device` (2 bytes a sample), where `batch` then gathers."""
        other = WaveformStore(self.utterances, self._samples, self.lengths, self.rate, self.skipped)
        if torch.device(device).type != "cpu":
            # Copied first: a read-only map cannot become a tensor.
            other._resident = torch.from_numpy(np.array(self._samples)).to(device)
        return other

    def waveform(self, index: int) -> Tensor:
        """The whole utterance: float32 [T] in [-1, 1), on the CPU."""
        start = self._offsets[index]
        piece = np.array(self._samples[start : start + self.lengths[index]])
        return torch.from_numpy(piece).to(torch.float32).mul_(SCALE)

    def batch(
        self,
        indices: Sequence[int] | np.ndarray | Tensor,
        samples: int,
        starts: Sequence[int] | np.ndarray | None = None,
    ) -> Tensor:
        """Crops of one length: float32 [B, samples] in [-1, 1).

        Args:
            starts: first sample of each crop (default 0, the paper's rule: the first samples). A crop that reaches the
                end of its utterance goes on at the beginning: with start 0 this repeats a short utterance until it is
                long enough and takes the first samples, as the published code does by doubling.

        Raises:
            NasError: `samples` is below 1.
            ValueError: a start outside its utterance.
        """
        if samples < 1:
            raise NasError(f"a crop must have at least one sample, not {samples}")
        rows = np.asarray(indices, dtype=np.int64)
        offsets, lengths = self._offsets[rows], self.lengths[rows]
        begins = np.zeros(len(rows), np.int64) if starts is None else np.asarray(starts, dtype=np.int64)
        if len(begins) != len(rows) or ((begins < 0) | (begins >= lengths)).any():
            raise ValueError("starts must lie inside their utterances, one for each index")
        if self._resident is not None:
            return self._gather(self._resident, offsets, lengths, begins, samples)
        crops = np.empty((len(rows), samples), dtype=np.int16)
        for crop, offset, length, begin in zip(crops, offsets, lengths, begins, strict=True):
            if begin + samples <= length:
                crop[:] = self._samples[offset + begin : offset + begin + samples]
            else:
                waveform = self._samples[offset : offset + length]
                crop[:] = np.resize(np.roll(waveform, -begin), samples)
        return torch.from_numpy(crops).to(torch.float32).mul_(SCALE)

    @staticmethod
    def _gather(source: Tensor, offsets: np.ndarray, lengths: np.ndarray, begins: np.ndarray, samples: int) -> Tensor:
        offset, length, begin = (
            torch.from_numpy(part).to(source.device, non_blocking=True)[:, None] for part in (offsets, lengths, begins)
        )
        within = (begin + torch.arange(samples, device=source.device)) % length
        return source[offset + within].to(torch.float32).mul_(SCALE)


def _quantise(waveform: np.ndarray) -> np.ndarray:
    """float [T], full scale 1 -> int16 [T], rounded and limited; exact for what 16 bits can hold."""
    if waveform.dtype == np.int16:
        return waveform
    return np.clip(np.rint(waveform.astype(np.float32) * 32768), -32768, 32767).astype(np.int16)


def _decode_all(
    utterances: Sequence[Utterance], rate: int, workers: int, progress: bool, longest: float
) -> Iterator[np.ndarray | str]:
    """int16 [T] of each utterance in order, or why it is unreadable. At most a few hundred wait to be taken."""

    def one(utterance: Utterance) -> np.ndarray | str:
        try:
            return _quantise(decode(utterance.path, rate, longest))
        except NasError as error:
            return str(error)
        except Exception as error:  # a decoder that dies takes its file with it, not the run's reasons
            return f"{utterance.path}: decoding failed ({type(error).__name__}: {error})"

    show = progress and len(utterances) >= 50
    bar = progress_bar(total=len(utterances), desc="decode", unit="file", leave=True, show=show)
    with ThreadPoolExecutor(workers) as pool, bar:
        waiting: deque[Future[np.ndarray | str]] = deque()
        try:
            for utterance in utterances:
                waiting.append(pool.submit(one, utterance))
                if len(waiting) >= 32 * workers:
                    yield waiting.popleft().result()
                    bar.update()
            while waiting:
                yield waiting.popleft().result()
                bar.update()
        finally:
            for future in waiting:
                future.cancel()


def _check_corrupt(utterances: Sequence[Utterance], errors: dict[int, str], corrupt: str) -> None:
    if not errors:
        return
    first = "; ".join(list(errors.values())[:3]) + ("; ..." if len(errors) > 3 else "")
    if corrupt == "strict":
        count = f"{len(errors)} of {len(utterances)} audio files are unreadable"
        raise NasError(f"{count}: {first} (data.corrupt=skip leaves them out)")
    if len(errors) == len(utterances):
        raise NasError(f"none of the {len(utterances)} audio files is readable: {first}")
    _LOG.warning("%d of %d audio files are unreadable and left out: %s", len(errors), len(utterances), first)
