"""ASVspoof 2021 LA and DF: evaluation audio, and the keys that were released after the challenge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nas.columns import ASVSPOOF2021_DF, ASVSPOOF2021_LA
from nas.data.readers.protocol import Trial, first_file, first_folder, locate, read_protocol
from nas.data.readers.registry import reader
from nas.data.utterance import Utterance
from nas.errors import NasError

_FORMS = {"LA": ASVSPOOF2021_LA, "DF": ASVSPOOF2021_DF}
_SUBSET_OF_PARTITION = {"dev": "progress", "eval": "eval"}


@reader("asvspoof2021_la")
def asvspoof2021_la(
    root: Path, partitions: Sequence[str] | None = None, protocols: Mapping[str, Path] | None = None
) -> Iterator[Utterance]:
    """`ASVspoof2021_LA_eval/flac/*.flac` and `keys/LA/CM/trial_metadata.txt` (in the root or beside `flac/`).

    The evaluation phase is the partition "eval", the progress phase "dev"; the hidden track is left out. There is no
    "train": train on ASVspoof 2019 LA.
    """
    yield from _read(root, "LA", partitions, protocols)


@reader("asvspoof2021_df")
def asvspoof2021_df(
    root: Path, partitions: Sequence[str] | None = None, protocols: Mapping[str, Path] | None = None
) -> Iterator[Utterance]:
    """`ASVspoof2021_DF_eval/flac/*.flac` with `keys/DF/CM/trial_metadata.txt`; otherwise as `asvspoof2021_la`."""
    yield from _read(root, "DF", partitions, protocols)


def _read(
    root: Path, track: str, partitions: Sequence[str] | None, protocols: Mapping[str, Path] | None
) -> Iterator[Utterance]:
    folder = f"ASVspoof2021_{track}_eval"
    name = "CM/trial_metadata.txt"
    places = [f"keys/{track}/{name}", f"{folder}/keys/{track}/{name}", f"{track}-keys-full/keys/{track}/{name}"]
    own = first_file(root, [*places, f"keys/{name}", f"{folder}/keys/{name}", "trial_metadata.txt"])
    audio = first_folder(root, (f"{folder}/flac", folder, "flac"))
    read: dict[Path, tuple[Trial, ...]] = {}
    for partition in partitions or tuple(protocols or _SUBSET_OF_PARTITION):
        if partition not in _SUBSET_OF_PARTITION:
            raise NasError(
                f"ASVspoof 2021 {track} has no partition {partition!r}: only 'eval', and 'dev' (progress phase)"
            )
        protocol = (protocols or {}).get(partition, own)
        if protocol is None:
            raise NasError(
                f"{root} has no keys: {places[0]} is missing (it is in the archive {track}-keys-full.tar.gz)"
            )
        if protocol not in read:
            read[protocol] = read_protocol(protocol, _FORMS[track])
        subset = _SUBSET_OF_PARTITION[partition]
        yield from locate([trial for trial in read[protocol] if trial.subset == subset], audio, partition, protocol)
