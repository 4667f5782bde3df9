"""The one door for files of tensors: safetensors and PyTorch's. Nothing in them is run, and what they declare is held
against their size before it is read, so that a small file cannot fill the memory."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas.errors import NasError

LARGEST_FILE = 4 * 2**30
"""Bytes of a file of tensors; a tensor takes as many in memory as in the file. Networks of this kind have 1.3 GB."""
LARGEST_HEADER = 16 * 2**20
"""Bytes of the header of a safetensors file: names, shapes, and a checkpoint's state."""
_LEGACY_PICKLES = 5
"""Pickles at the begin of a file that PyTorch wrote before version 1.6."""

# What PyTorch's reader meets in files that are something else.
_DAMAGED = (RuntimeError, EOFError, ValueError, OSError, LookupError, TypeError, AttributeError, zipfile.BadZipFile)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file by name, and its metadata.

    Raises:
        NasError: there is no such file, it is damaged, or too large.
    """
    try:
        size = path.stat().st_size
        _require_size(path, size)
        with open(path, "rb") as file:
            header = int.from_bytes(file.read(8), "little")
        if not 2 <= header <= min(size - 8, LARGEST_HEADER):
            raise ValueError(f"a header of {header} bytes")
        # The library sees to it that the tensors fill the rest of the file, each byte being of one of them.
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
            return tensors, stream.metadata() or {}
    except FileNotFoundError as error:
        raise NasError(f"there is no file {path}") from error
    except (SafetensorError, *_DAMAGED) as error:
        raise NasError(f"{path} is not a file of weights (.safetensors), or not a complete one") from error


def read_pytorch(path: Path) -> Any:
    """What a PyTorch file holds: tensors in plain containers.

    Raises:
        NasError: there is no such file, it is damaged, holds anything else, or more than its size.
    """
    try:
        _require_size(path, path.stat().st_size)
        if zipfile.is_zipfile(path):
            _require_stored(path)
        if "bytearray" in _classes(path):
            # The one class that PyTorch takes which makes as many bytes as a number says.
            raise pickle.UnpicklingError("bytearray")
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise NasError(f"there is no file {path}") from error
    except pickle.UnpicklingError as error:
        raise NasError(
            f"{path} holds more than tensors and is not loaded: it should be a state_dict, as "
            "torch.save(network.state_dict(), ...) writes it"
        ) from error
    except _DAMAGED as error:
        raise NasError(f"{path} is not a file of weights (.safetensors, or a state_dict saved by PyTorch)") from error


def _require_size(path: Path, size: int) -> None:
    if size > LARGEST_FILE:
        raise NasError(f"{path} has {size:,} bytes; a file of weights has at most {LARGEST_FILE:,}")


def _require_stored(path: Path) -> None:
    """PyTorch stores the entries of its archives as they are; packed ones may unpack to any size."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    declared = sum(entry.file_size for entry in entries)
    if declared > path.stat().st_size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise NasError(
            f"{path} holds compressed entries, which PyTorch does not write, and is not loaded (it would have "
            f"{declared:,} bytes in memory)"
        )


def _classes(path: Path) -> set[str]:
    """Names of the classes and functions that the pickles of a PyTorch file call for."""
    names: set[str] = set()
    for stream in _pickles(path):
        try:
            for _, argument, _ in pickletools.genops(stream):
                # A name is an argument of its own, or of text on the stack: both are looked at.
                if isinstance(argument, str):
                    names.update(argument.split())
        except (ValueError, UnicodeDecodeError):
            return names
    return names


def _pickles(path: Path) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".pkl"):
                    with archive.open(entry) as stream:
                        yield stream
        return
    with open(path, "rb") as file:
        for _ in range(_LEGACY_PICKLES):
            yield file
