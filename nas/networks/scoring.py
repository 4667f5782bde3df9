"""One waveform of any length to one score, at the length that a network sees."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.network import Network


def first_samples(waveform: Tensor, samples: int | None) -> Tensor:
    """The first `samples` of a waveform [T], tiled where it is shorter; all of it where `samples` is None."""
    if samples is None:
        return waveform
    return waveform.repeat(-(-samples // len(waveform)))[:samples]


def score_waveform(network: Network, waveform: Tensor, samples: int | None) -> float:
    """Countermeasure score of a waveform [T] at 16 kHz, higher = bona fide.

    Args:
        network: in evaluation mode; a prepared one is quicker.
        waveform: float [T], full scale 1.
        samples: the length that the network sees, `registry.entry(name).samples`; None for the whole of it.

    Raises:
        NasError: the waveform is too short for a network that sees the whole of it.
        ValueError: the network is in training mode, or the waveform is not [T] or is empty.
    """
    if network.training:
        raise ValueError("a network scores in evaluation mode")
    if waveform.dim() != 1 or not len(waveform):
        raise ValueError(f"a waveform has the shape [samples], not {list(waveform.shape)}")
    with torch.inference_mode():
        logits = network(first_samples(waveform, samples).unsqueeze(0))
        return float(network.output.score(logits).item())
