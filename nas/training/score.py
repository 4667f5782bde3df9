"""Scoring audio files one by one, with a trained run or published weights."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas.data.audio_files import AudioFiles
from nas.data.decode import LONGEST_SECONDS, SAMPLE_RATE, decode
from nas.data.normalisation import Normalisation, normalise
from nas.errors import NasError
from nas.files import require_line_safe, write_text
from nas.genotype import Genotype
from nas.metrics import Decision
from nas.network import Network
from nas.networks import registry
from nas.networks.inference import prepare_for_inference
from nas.networks.published import load_published
from nas.networks.scoring import first_samples, score_waveform
from nas.progress import progress_bar
from nas.training.run import Run
from nas.training.train import load


def open_network(
    run: Path | None, model: str | None, weights: Path | None, genotype: Path | None = None
) -> tuple[Network, int | None, Normalisation]:
    """A network in evaluation mode, of a train run or of published weights; the samples that it sees (None: all of an
    utterance), and what its waveforms are scaled to.

    Raises:
        NasError: not a train run, an unknown network, weights that do not fit.
    """
    if run is not None:
        data = Run.open(run).recipe.data
        return load(run), data.samples, data.normalise
    assert weights is not None
    return *open_published(model, weights, genotype), "none"


def open_published(model: str | None, weights: Path, genotype: Path | None) -> tuple[Network, int | None]:
    """A network with published weights in evaluation mode, and the samples that it sees.

    Args:
        model: its name; None for Raw PC-DARTS, whose `genotype` is given.

    Raises:
        NasError: see `load_published`; a genotype that is missing, not wanted, or not a genotype.
    """
    model = model or "raw-pcdarts"
    if (model == "raw-pcdarts") != (genotype is not None):
        raise NasError(
            "weights of raw-pcdarts need --genotype FILE" if genotype is None else f"{model} takes no --genotype"
        )
    options = {} if genotype is None else {"genotype": Genotype.load(genotype)}
    return load_published(model, weights, **options), registry.entry(model).samples


@dataclass(frozen=True, slots=True)
class Heard:
    """A score (higher = bona fide), and what it is of.

    Attributes:
        seconds: duration of the file.
        heard_seconds: how much of its beginning the network was given.
        silent: whether that is digital silence.
    """

    score: float
    seconds: float
    heard_seconds: float
    silent: bool

    def __str__(self) -> str:
        silence = ", digital silence" if self.silent else ""
        return f"heard {self.heard_seconds:.2f} of {self.seconds:.2f} s{silence}"


def open_scorer(
    run: Path | None,
    model: str | None,
    weights: Path | None,
    longest_seconds: float | None = None,
    genotype: Path | None = None,
) -> Callable[[Path], Heard]:
    """A function from an audio file to its score: of a train run, or of published weights.

    Args:
        genotype: of weights of Raw PC-DARTS.
        longest_seconds: longest file that is decoded; by default that of the run's recipe, or an hour.

    Raises:
        NasError: see `open_network`; from the function, a file that cannot be read or is too short for the network.
    """
    network, samples, normalisation = open_network(run, model, weights, genotype)
    prepared = prepare_for_inference(network)
    default = LONGEST_SECONDS if run is None else Run.open(run).recipe.data.longest_seconds
    longest = longest_seconds or default

    def score(path: Path) -> Heard:
        whole = decode(path, longest_seconds=longest)
        waveform = as_heard(whole, samples, normalisation)
        value = score_waveform(prepared, waveform, samples)
        heard = len(whole) if samples is None else min(len(whole), samples)
        return Heard(value, len(whole) / SAMPLE_RATE, heard / SAMPLE_RATE, not whole[:heard].any())

    return score


def read_waveform(path: Path, samples: int | None, normalisation: Normalisation) -> Tensor:
    """A file as a network of `open_network` hears it, [T].

    Raises:
        NasError: the file cannot be read.
    """
    return as_heard(decode(path), samples, normalisation)


def as_heard(waveform: np.ndarray, samples: int | None, normalisation: Normalisation) -> Tensor:
    """float32 [T] at 16 kHz -> what a network of `open_network` is given, [samples]."""
    return normalise(first_samples(torch.from_numpy(waveform), samples).unsqueeze(0), normalisation).squeeze(0)


@dataclass(frozen=True)
class ScoredFile:
    """A line of the result: a file, its name, its score, and the decision where a threshold was given."""

    path: Path
    name: str
    heard: Heard
    decision: str | None


def score_files(
    found: AudioFiles, scorer: Callable[[Path], Heard], decision: Decision | None, progress: bool
) -> Iterator[ScoredFile | str]:
    """Each file's result, or the sentence that says why it has none: one bad file does not cost the others."""
    pairs = zip(found.files, found.names, strict=True)
    for path, name in progress_bar(pairs, total=len(found.files), desc="score", unit="file", show=progress):
        try:
            require_line_safe(name, "an utterance", blanks=True)
            heard = scorer(path)
        except NasError as error:
            yield str(error)
            continue
        verdict = None if decision is None else ("bonafide" if decision.accepts([heard.score])[0] else "spoof")
        yield ScoredFile(path, name, heard, verdict)


def write_file_scores(path: Path, scored: Sequence[ScoredFile]) -> Path:
    """Write what `nas evaluate` reads: `UTTERANCE SCORE` lines, or CSV for names with blanks and for decisions."""
    if not any(row.decision or " " in row.name for row in scored) and path.suffix.lower() != ".csv":
        return write_text(path, "".join(f"{row.name} {row.heard.score!r}\n" for row in scored))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    decided = any(row.decision for row in scored)
    writer.writerow(["utterance", "score", *(["decision"] if decided else [])])
    writer.writerows([row.name, repr(row.heard.score), *([row.decision] if decided else [])] for row in scored)
    return write_text(path, text.getvalue())
