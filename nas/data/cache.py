"""The cache file of decoded waveforms, `waveforms-NAME.nas`, NAME from the paths and the rate:

    samples, little-endian int16 | index, JSON | length of the index, uint64 | CRC-32, uint32 | b"NASWAV02"

It is written beside its final name and renamed, carries a checksum of samples and index, and is built again when a
source file changes (size or modification time) or the file is damaged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from nas.data.utterance import Utterance
from nas.errors import NasError
from nas.temporary import replacing
from nas.text_files import parse_json

_MAGIC = b"NASWAV02"
"""The number goes up when the layout or the decoding changes, so that no older file is taken for a current one."""
_TAIL = 20
_LOG = logging.getLogger(__name__)

Decoded = Iterable[np.ndarray | str]
"""int16 [T] of each utterance in order, or why it is unreadable."""


@dataclass(frozen=True, slots=True)
class Index:
    """lengths: samples of each readable utterance; errors: reasons by position of the unreadable ones."""

    lengths: list[int]
    errors: dict[int, str]


def collect(decoded: Decoded, keep: Callable[[np.ndarray], object]) -> Index:
    """Hand every waveform to `keep`."""
    lengths: list[int] = []
    errors: dict[int, str] = {}
    for position, result in enumerate(decoded):
        if isinstance(result, str):
            errors[position] = result
        else:
            keep(result)
            lengths.append(len(result))
    return Index(lengths, errors)


def cache_path(folder: Path, utterances: Iterable[Utterance], rate: int) -> Path:
    names = "\n".join([str(rate), *(os.path.abspath(utterance.path) for utterance in utterances)])
    return folder / f"waveforms-{hashlib.sha256(names.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}.nas"


def sources_digest(utterances: Iterable[Utterance], longest_seconds: float) -> str:
    """A digest of the size and modification time of every source file, and of the limit that refuses some of them."""
    digest = hashlib.sha256(f"{longest_seconds!r}\n".encode())
    for utterance in utterances:
        try:
            status = os.stat(utterance.path)
            digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(b"absent\n")
    return digest.hexdigest()


def write_cache(path: Path, sources: str, decoded: Decoded, check: Callable[[dict[int, str]], None]) -> Index:
    """Write the cache file. `check` is given the errors and raises where they forbid the store: nothing stays then.

    Raises:
        NasError: the folder cannot be made or written to, or the disk is full; and what `check` raises.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            index = _write_waveforms(stream, sources, decoded)
            check(index.errors)
    except OSError as error:
        raise NasError(f"cannot write the waveform cache {path}: {error.strerror or error}") from error
    return index


def _write_waveforms(stream: IO[bytes], sources: str, decoded: Decoded) -> Index:
    checksum = 0

    def keep(samples: np.ndarray) -> None:
        nonlocal checksum
        content = samples.astype("<i2", copy=False).tobytes()
        checksum = zlib.crc32(content, checksum)
        stream.write(content)

    index = collect(decoded, keep)
    errors = {str(position): reason for position, reason in index.errors.items()}
    text = json.dumps({"sources": sources, "lengths": index.lengths, "errors": errors}).encode()
    stream.write(text + len(text).to_bytes(8, "little") + zlib.crc32(text, checksum).to_bytes(4, "little") + _MAGIC)
    return index


def read_cache(path: Path, sources: str) -> Index | None:
    """The index of a whole, current cache file; None where it must be built."""
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size < _TAIL:
                raise ValueError("too short")
            stream.seek(size - _TAIL)
            tail = stream.read(_TAIL)
            length = int.from_bytes(tail[:8], "little")
            if tail[12:] != _MAGIC or length > size - _TAIL:
                raise ValueError("no end mark")
            stream.seek(size - _TAIL - length)
            text = stream.read(length)
            index = parse_json(text.decode(), path)
            if index["sources"] != sources:
                return None
            if 2 * sum(index["lengths"]) != size - _TAIL - length:
                raise ValueError("wrong size")
            stream.seek(0)
            checksum, left = 0, size - _TAIL - length
            while left and (block := stream.read(min(left, 1 << 22))):
                checksum = zlib.crc32(block, checksum)
                left -= len(block)
            if zlib.crc32(text, checksum) != int.from_bytes(tail[8:12], "little"):
                raise ValueError("wrong checksum")
            errors = {int(position): reason for position, reason in index["errors"].items()}
            return Index(index["lengths"], errors)
    except FileNotFoundError:
        return None
    except (NasError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _LOG.warning("the waveform cache %s is damaged (%s) and is built again", path, error)
        return None
