"""Scoring audio files one by one, with a trained run or published weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from nas.data.decode import decode
from nas.data.normalisation import Normalisation, normalise
from nas.errors import NasError
from nas.networks import registry
from nas.networks.inference import prepare_for_inference
from nas.networks.network import Network
from nas.networks.published import load_published
from nas.networks.scoring import first_samples, score_waveform
from nas.training.run import Run
from nas.training.train import load

AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".mp3")


def open_network(
    run: Path | None, model: str | None, weights: Path | None
) -> tuple[Network, int | None, Normalisation]:
    """A network in evaluation mode, of a train run or of published weights; the samples that it sees (None: all of an
    utterance), and what its waveforms are scaled to.

    Raises:
        NasError: not a train run, an unknown network, weights that do not fit.
    """
    if run is not None:
        data = Run.open(run).recipe.data
        return load(run), data.samples, data.normalise
    assert model is not None
    assert weights is not None
    return load_published(model, weights), registry.entry(model).samples, "none"


def open_scorer(run: Path | None, model: str | None, weights: Path | None) -> Callable[[Path], float]:
    """A function from an audio file to its score, higher = bona fide: of a train run, or of published weights.

    Raises:
        NasError: see `open_network`.
    """
    network, samples, normalisation = open_network(run, model, weights)
    prepared = prepare_for_inference(network)

    return lambda path: score_waveform(prepared, read_waveform(path, samples, normalisation), samples)


def read_waveform(path: Path, samples: int | None, normalisation: Normalisation) -> Tensor:
    """A file as a network of `open_network` hears it, [T].

    Raises:
        NasError: the file cannot be read.
    """
    waveform = first_samples(torch.from_numpy(decode(path)), samples)
    return normalise(waveform.unsqueeze(0), normalisation).squeeze(0)


def audio_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files themselves, and the audio files below folders, in order.

    Raises:
        NasError: a path that is not there, or a folder without audio.
    """
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
            if not found:
                raise NasError(f"{path} holds no {', '.join(AUDIO_SUFFIXES)} file")
            yield from found
        elif path.exists():
            yield path
        else:
            raise NasError(f"there is no file {path}")
