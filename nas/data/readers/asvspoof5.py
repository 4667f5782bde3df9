"""ASVspoof 5, track 1: `flac_T/`, `flac_D/`, `flac_E_eval/` and three ten-column protocols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nas.columns import ASVSPOOF5
from nas.data.readers.protocol import first_file, first_folder, locate, read_protocol
from nas.data.readers.registry import reader
from nas.data.utterance import PARTITIONS, Utterance
from nas.errors import NasError

_PROTOCOLS = {
    "train": ("ASVspoof5.train.tsv", "ASVspoof5.train.metadata.txt"),
    "dev": ("ASVspoof5.dev.track_1.tsv", "ASVspoof5.dev.metadata.txt"),
    "eval": ("ASVspoof5.eval.track_1.tsv", "ASVspoof5.eval.metadata.txt"),
}
_AUDIO = {"train": ("flac_T",), "dev": ("flac_D",), "eval": ("flac_E_eval", "flac_E")}


@reader("asvspoof5")
def asvspoof5(
    root: Path, partitions: Sequence[str] | None = None, protocols: Mapping[str, Path] | None = None
) -> Iterator[Utterance]:
    """182,357 / 140,950 / 680,774 utterances. Protocols lie in `ASVspoof5_protocols/` or in the root.

    The columns are separated by white space in spite of the suffix .tsv.
    """
    found = {
        partition: first_file(root, [f"{folder}/{name}" for folder in ("ASVspoof5_protocols", ".") for name in names])
        for partition, names in _PROTOCOLS.items()
    } | dict(protocols or {})
    wanted = partitions or (tuple(protocols) if protocols else [name for name in PARTITIONS if found[name]])
    if not wanted:
        raise NasError(f"{root} has no ASVspoof5.train.tsv; looked in ASVspoof5_protocols and in the folder itself")
    for partition in wanted:
        protocol = found[partition]
        if protocol is None:
            raise NasError(f"{root} has no protocol {_PROTOCOLS[partition][0]}, so there is no partition {partition!r}")
        folder = first_folder(root, _AUDIO[partition])
        yield from locate(read_protocol(protocol, ASVSPOOF5), folder, partition, protocol)
