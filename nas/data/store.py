"""Decode once: all waveforms of a corpus as ONE int16 array, memory-mapped from a cache file or in memory.

int16 is what the corpora hold, so 16-bit sources come back bit for bit; other sources are rounded to 16 bits.

The cache is a single file `waveforms-NAME.nas`, NAME from the paths and the rate:

    samples, little-endian int16 | index, JSON | length of the index, uint64 | b"NASWAV01"

It is written beside its final name and renamed, carries a checksum of samples and index, and is built again when a
source file changes (size or modification time) or the file is damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from nas.data.decode import SAMPLE_RATE, decode
from nas.data.utterance import Utterance
from nas.errors import NasError

SCALE = 1 / 32768
"""int16 -> float32 in [-1, 1)."""

_MAGIC = b"NASWAV01"
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
    ) -> WaveformStore:
        """Decode all utterances, or map what an earlier run decoded.

        Args:
            cache: folder for the cache file (made if absent), or None to hold the waveforms in memory.
            rate: Hz; files at other rates are resampled.
            corrupt: "strict" stops with the list of unreadable files, "skip" leaves them out and reports the count.
            workers: decoding threads (default: one a core). Threads, not processes: both decoders and the resampler
                work outside the interpreter lock, and threads need no `if __name__ == "__main__"` in a user's script.
            progress: show a progress bar.

        Raises:
            NasError: files are unreadable (strict), none is readable (skip), or the cache cannot be written.
        """
        if corrupt not in ("strict", "skip"):
            raise ValueError(f"corrupt must be 'strict' or 'skip', not {corrupt!r}")
        utterances = tuple(utterances)
        if not utterances:
            raise NasError("there are no utterances to decode")
        decoded = _decode_all(utterances, rate, workers or os.cpu_count() or 1, progress)
        if cache is None:
            memory = bytearray()  # grows in place: a list of arrays would need twice the memory to be joined
            lengths, errors = _collect(decoded, lambda samples: memory.extend(samples.tobytes()))
            _check_corrupt(utterances, errors, corrupt)
            samples = np.frombuffer(memory, dtype=np.int16)
        else:
            path = _cache_path(Path(cache), utterances, rate)
            sources = _sources(utterances)
            index = _read_cache(path, sources)
            if index is None:
                index = _write_cache(path, sources, decoded, lambda errors: _check_corrupt(utterances, errors, corrupt))
            else:
                _check_corrupt(utterances, _errors(index), corrupt)
            errors = _errors(index)
            lengths = index["lengths"]
            samples = np.memmap(path, dtype="<i2", mode="r", shape=(sum(lengths),))
        kept = [utterance for position, utterance in enumerate(utterances) if position not in errors]
        return cls(kept, samples, lengths, rate, [(utterances[p], reason) for p, reason in sorted(errors.items())])

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


def _decode_all(utterances: Sequence[Utterance], rate: int, workers: int, progress: bool) -> Iterator[np.ndarray | str]:
    """int16 [T] of each utterance in order, or why it is unreadable. At most a few hundred wait to be taken."""

    def one(utterance: Utterance) -> np.ndarray | str:
        try:
            return _quantise(decode(utterance.path, rate))
        except NasError as error:
            return str(error)

    bar = tqdm(total=len(utterances), desc="decode", unit="file", disable=not progress or len(utterances) < 50)
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


def _collect(
    decoded: Iterable[np.ndarray | str], keep: Callable[[np.ndarray], object]
) -> tuple[list[int], dict[int, str]]:
    """Hand every waveform to `keep`; return the lengths, and the reasons by position of what is unreadable."""
    lengths: list[int] = []
    errors: dict[int, str] = {}
    for position, result in enumerate(decoded):
        if isinstance(result, str):
            errors[position] = result
        else:
            keep(result)
            lengths.append(len(result))
    return lengths, errors


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


# --- the cache file --------------------------------------------------------------------------------------------------


def _cache_path(folder: Path, utterances: Iterable[Utterance], rate: int) -> Path:
    names = "\n".join([str(rate), *(os.path.abspath(utterance.path) for utterance in utterances)])
    return folder / f"waveforms-{hashlib.sha256(names.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.nas"


def _sources(utterances: Iterable[Utterance]) -> str:
    """A digest of the size and modification time of every source file."""
    digest = hashlib.sha256()
    for utterance in utterances:
        try:
            status = os.stat(utterance.path)
            digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(b"absent\n")
    return digest.hexdigest()


def _errors(index: dict[str, Any]) -> dict[int, str]:
    return {int(position): reason for position, reason in index["errors"].items()}


def _write_cache(
    path: Path, sources: str, decoded: Iterable[np.ndarray | str], check: Callable[[dict[int, str]], None]
) -> dict[str, Any]:
    """Write the cache file and return its index. `check` raises where the errors forbid the store: nothing stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise NasError(f"cannot write the waveform cache {path}: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            index = _write_waveforms(stream, sources, decoded)
            check(_errors(index))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise NasError(f"cannot write the waveform cache {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return index


def _write_waveforms(stream: IO[bytes], sources: str, decoded: Iterable[np.ndarray | str]) -> dict[str, Any]:
    checksum = 0

    def keep(samples: np.ndarray) -> None:
        nonlocal checksum
        content = samples.astype("<i2", copy=False).tobytes()
        checksum = zlib.crc32(content, checksum)
        stream.write(content)

    lengths, errors = _collect(decoded, keep)
    index = {"sources": sources, "lengths": lengths, "errors": {str(place): text for place, text in errors.items()}}
    text = json.dumps(index).encode()
    stream.write(text + len(text).to_bytes(8, "little") + zlib.crc32(text, checksum).to_bytes(4, "little") + _MAGIC)
    return index


def _read_cache(path: Path, sources: str) -> dict[str, Any] | None:
    """The index of a whole, current cache file; None where it must be built."""
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size < 20:
                raise ValueError("too short")
            stream.seek(size - 20)
            tail = stream.read(20)
            length = int.from_bytes(tail[:8], "little")
            if tail[12:] != _MAGIC or length > size - 20:
                raise ValueError("no end mark")
            stream.seek(size - 20 - length)
            text = stream.read(length)
            index: dict[str, Any] = json.loads(text)
            if index["sources"] != sources:
                return None
            if 2 * sum(index["lengths"]) != size - 20 - length:
                raise ValueError("wrong size")
            stream.seek(0)
            checksum, left = 0, size - 20 - length
            while left and (block := stream.read(min(left, 1 << 22))):
                checksum = zlib.crc32(block, checksum)
                left -= len(block)
            if zlib.crc32(text, checksum) != int.from_bytes(tail[8:12], "little"):
                raise ValueError("wrong checksum")
            return index
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.warning("the waveform cache %s is damaged (%s) and is built again", path, error)
        return None
