"""Files of tensors: what they declare is held against their size before it is read."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nas.errors import NasError
from nas.network import build_within_memory
from nas.networks import registry
from nas.networks.published import read_state
from nas.tensor_files import read_pytorch, read_safetensors


def test_both_forms(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1)}
    save_file(tensors, tmp_path / "w.safetensors", {"state": "x"})
    torch.save(tensors, tmp_path / "w.pth")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    found, metadata = read_safetensors(tmp_path / "w.safetensors")
    assert metadata == {"state": "x"}
    for state in (found, read_pytorch(tmp_path / "w.pth"), read_pytorch(tmp_path / "old.pth")):
        assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items())
    for read in (read_safetensors, read_pytorch):
        with pytest.raises(NasError, match="there is no file"):
            read(tmp_path / "absent")
        with pytest.raises(NasError):
            read(tmp_path)


@pytest.mark.parametrize("length", [0, 1, 10**6, 2**40, 2**64 - 1])
def test_a_header_longer_than_its_file(tmp_path: Path, length: int) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    for content in (length.to_bytes(8, "little") + header, len(header).to_bytes(8, "little") + header):
        (tmp_path / "w").write_bytes(content)
        with pytest.raises(NasError, match="not a file of weights"):
            read_safetensors(tmp_path / "w")


def test_a_file_of_holes_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "w", "wb") as file:
        file.truncate(2**42)
    for read in (read_safetensors, read_pytorch):
        with pytest.raises(NasError, match=r"4,398,046,511,104 bytes; a file of weights has at most"):
            read(tmp_path / "w")


def test_entries_that_unpack_to_more_than_the_file(tmp_path: Path) -> None:
    torch.save({"t": torch.zeros(10)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "bomb.pth", "w") as bomb:
        for entry in plain.infolist():
            content = bytes(10**8) if entry.filename.endswith("data/0") else plain.read(entry)
            bomb.writestr(entry.filename, content, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pth").stat().st_size < 10**6
    with pytest.raises(NasError, match=r"bomb\.pth holds compressed entries"):
        read_state(tmp_path / "bomb.pth")


class Filler:
    """Unpickled, as many bytes as it says."""

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return bytearray, (10**11,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_fills_the_memory_is_refused(tmp_path: Path, legacy: bool) -> None:
    torch.save({"a": Filler()}, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(NasError, match="holds more than tensors"):
        read_pytorch(tmp_path / "w.pth")
    (tmp_path / "bare").write_bytes(pickle.dumps(Filler(), 2))
    with pytest.raises(NasError):
        read_pytorch(tmp_path / "bare")


def test_tensors_that_are_not_plain_are_none_of_a_state(tmp_path: Path) -> None:
    torch.save({"a": torch.eye(3).to_sparse(), "b": torch.empty(3, device="meta")}, tmp_path / "w.pth")
    with pytest.raises(NasError, match="does not hold a state_dict"):
        read_state(tmp_path / "w.pth")


def test_networks_beyond_memory_are_refused_and_others_built_as_ever() -> None:
    with pytest.raises(NasError, match="this machine has"):
        build_within_memory(lambda: torch.nn.Linear(10**7, 10**7), "a layer")
    with pytest.raises(NasError, match="this machine has"):
        build_within_memory(lambda: torch.nn.Linear(10**12, 10**12), "a layer")
    with pytest.raises(NasError, match="this machine has"):
        registry.create("rawnet2-2019", gru_hidden=10**7)
    torch.manual_seed(1)
    plain = torch.nn.Linear(3, 3)
    torch.manual_seed(1)
    assert torch.equal(build_within_memory(lambda: torch.nn.Linear(3, 3), "a layer").weight, plain.weight)
