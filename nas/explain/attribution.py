"""Integrated gradients of the score, over time and over the bands of the front-end.

Sundararajan et al., "Axiomatic attribution for deep networks" (ICML 2017): from silence to the utterance, the output
of the front-end goes along a straight line; the gradients of the score along it, times the way, say what each value
added. They add up to the difference of the two scores (completeness). The integration is Captum's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.frontends.fixed_sinc import FixedSinc
from nas.frontends.frontend import Frontend
from nas.frontends.logmel import LogMel
from nas.frontends.sinc import SAMPLE_RATE, SincFilters
from nas.network import Network

CAPTUM = "explanations need Captum: pip install 'nas-antispoofing[explain]'"


@dataclass(frozen=True)
class Attribution:
    """What each band of the front-end added to the score in each frame.

    Attributes:
        values: [bands, frames]; positive speaks for bona fide, negative for spoof.
        score: of the utterance, higher = bona fide.
        silence: the score of silence, from which the integration starts.
        seconds: length of the utterance that the frames span.
    """

    values: np.ndarray
    score: float
    silence: float
    seconds: float

    @property
    def gap(self) -> float:
        """How far the values' sum is from score - silence: the error of the integration."""
        return float(self.values.sum()) - (self.score - self.silence)

    def over_time(self, parts: int) -> np.ndarray:
        """Sums over all bands, and over the frames of each of `parts` equal stretches of time, [parts]."""
        frames = self.values.sum(axis=0)
        edges = np.linspace(0, len(frames), min(parts, len(frames)) + 1).round().astype(int)
        return np.add.reduceat(frames, edges[:-1])

    def over_bands(self) -> np.ndarray:
        """Sums over time, [bands]."""
        return np.asarray(self.values.sum(axis=1))


def frontend_of(network: nn.Module) -> Frontend | FixedSinc:
    """The layer that turns waveforms [B, T] into bands.

    Raises:
        NasError: the network has none that is known here.
    """
    for module in network.modules():
        if isinstance(module, Frontend | FixedSinc):
            return module
    raise NasError("explanations start from the front-end (sinc, Conv 0, LFCC, log-mel), and this network has none")


def band_centres(frontend: Frontend | FixedSinc) -> np.ndarray | None:
    """The middle of every band in Hz, [bands]; None where the bands are no frequencies (Conv 0, LFCC)."""
    if isinstance(frontend, SincFilters):
        low, high = frontend.cutoffs()
        return ((low + high) / 2).detach().cpu().numpy().ravel()
    if isinstance(frontend, FixedSinc):
        taps = frontend.taps.squeeze(1).double().cpu().numpy()
        response = np.abs(np.fft.rfft(taps, 4096)) ** 2
        return np.asarray((response * np.fft.rfftfreq(4096, 1 / SAMPLE_RATE)).sum(1) / response.sum(1))
    if isinstance(frontend, LogMel):
        weights = frontend.filters.double().cpu().numpy()
        return np.asarray(np.linspace(0, SAMPLE_RATE / 2, len(weights)) @ weights / weights.sum(0))
    return None


def integrated_gradients(network: Network, waveform: Tensor, steps: int = 32) -> Attribution:
    """What the bands and frames of one utterance added to its score.

    Args:
        network: in evaluation mode.
        waveform: [T] at 16 kHz, as the network is to see it.
        steps: points on the way from silence to the utterance; the error of the integration is told by `gap`.

    Raises:
        NasError: Captum is not installed, or the network has no front-end that is known here.
        ValueError: the network is in training mode, or the waveform is not [T].
    """
    try:
        from captum.attr import LayerIntegratedGradients
    except ImportError as error:
        raise NasError(CAPTUM) from error
    if network.training or waveform.dim() != 1:
        raise ValueError("explained are a network in evaluation mode and a waveform of shape [samples]")
    frontend = frontend_of(network)

    def score(batch: Tensor) -> Tensor:
        return network.output.score(network(batch))

    batch = waveform.unsqueeze(0)
    silence = torch.zeros_like(batch)
    with torch.no_grad():
        here, without = (float(score(each)) for each in (batch, silence))
    # One point at a time: the front-end's output of a single utterance is tens of megabytes.
    method = LayerIntegratedGradients(score, frontend)
    found = method.attribute(batch, silence, n_steps=steps, internal_batch_size=1).detach()[0]
    if isinstance(frontend, Frontend) and frontend.frames_first:
        found = found.T
    return Attribution(found.double().cpu().numpy(), here, without, len(waveform) / SAMPLE_RATE)
