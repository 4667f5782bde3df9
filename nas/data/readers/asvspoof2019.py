"""ASVspoof 2019 as distributed: `ASVspoof2019_LA_train/flac/*.flac`, `ASVspoof2019_LA_cm_protocols/*.txt`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nas.data.readers.protocol import first_file, first_folder, locate, read_protocol
from nas.data.readers.registry import reader
from nas.data.utterance import PARTITIONS, Utterance
from nas.errors import NasError

_ENDING = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}


@reader("asvspoof2019_la")
def asvspoof2019_la(
    root: Path, partitions: Sequence[str] | None = None, protocols: Mapping[str, Path] | None = None
) -> Iterator[Utterance]:
    """Logical access: 25,380 / 24,844 / 71,237 utterances.

    Protocols may lie in `ASVspoof2019_LA_cm_protocols/`, in a `protocols/` folder, beside the audio of a partition, or
    in the root itself; the root may be the folder that holds `LA/`. Where a protocol is given for a partition, its
    audio may also lie in `flac/` or in the root.
    """
    yield from _read(root, "LA", partitions, protocols)


@reader("asvspoof2019_pa")
def asvspoof2019_pa(
    root: Path, partitions: Sequence[str] | None = None, protocols: Mapping[str, Path] | None = None
) -> Iterator[Utterance]:
    """Physical access: the same tree and columns as logical access, with PA in the names; attacks are AA to CC."""
    yield from _read(root, "PA", partitions, protocols)


def _read(
    root: Path, access: str, partitions: Sequence[str] | None, protocols: Mapping[str, Path] | None
) -> Iterator[Utterance]:
    if not root.is_dir():
        raise NasError(f"{root} is not a folder; give the folder that holds ASVspoof2019_{access}_train")
    while (root / access).is_dir():  # also LA/LA, as copies of the corpus are unpacked
        root = root / access
    found = {partition: _protocol(root, access, partition) for partition in PARTITIONS} | dict(protocols or {})
    wanted = partitions or (tuple(protocols) if protocols else [name for name in PARTITIONS if found[name]])
    if not wanted:
        raise NasError(
            f"{root} has no ASVspoof2019.{access}.cm.*.txt; looked in ASVspoof2019_{access}_cm_protocols, protocols, "
            f"ASVspoof2019_{access}_train, ASVspoof2019_{access}_dev, ASVspoof2019_{access}_eval and the folder itself"
        )
    for partition in wanted:
        protocol = found[partition]
        if protocol is None:
            name = f"ASVspoof2019.{access}.cm.{_ENDING[partition]}.txt"
            raise NasError(f"{root} has no protocol {name}, so there is no partition {partition!r}")
        own = f"ASVspoof2019_{access}_{partition}"
        folder = first_folder(root, (f"{own}/flac", own, f"{partition}/flac", "flac"))
        yield from locate(read_protocol(protocol), folder, partition, protocol)


def _protocol(root: Path, access: str, partition: str) -> Path | None:
    name = f"ASVspoof2019.{access}.cm.{_ENDING[partition]}.txt"
    stem = f"ASVspoof2019_{access}_"
    folders = (f"{stem}cm_protocols", "protocols", f"{stem}{partition}", f"{stem}{partition}/flac", ".")
    return first_file(root, (f"{folder}/{name}" for folder in folders))
