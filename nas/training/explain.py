"""Explaining the score of an audio file, with a trained run or published weights."""

from __future__ import annotations

from pathlib import Path

from nas.errors import NasError
from nas.explain.attention import attention_maps
from nas.explain.attribution import band_centres, frontend_of, integrated_gradients
from nas.networks.aasist import AASIST
from nas.training.score import open_network, read_waveform
from nas.visual.explanation import draw_explanation
from nas.visual.look import FORMATS, save_figure


def explain_file(source: Path, audio: Path, output: Path, model: str | None = None, steps: int = 32) -> float:
    """Write the picture of where a network looks in an audio file; returns the error of the integration.

    Args:
        source: a train run, or with `model` a file of published weights.
        audio: any length and rate; the network sees what it would see in scoring.
        output: .svg, .png or .pdf.
        model: the network's name in the registry.
        steps: points of the integration.

    Raises:
        NasError: bad input, or Captum is not installed.
    """
    if output.suffix.lower().removeprefix(".") not in FORMATS:
        raise NasError(f"{output}: a picture ends in .svg, .png or .pdf, not {output.suffix or 'nothing'!r}")
    if model is None and source.is_file():
        raise NasError(f"{source} is a file of weights: say of which network with --model NAME")
    network, samples, normalisation = open_network(None if model else source, model, source if model else None)
    waveform = read_waveform(audio, samples, normalisation)
    attribution = integrated_gradients(network, waveform, steps)
    attention = attention_maps(network, waveform) if isinstance(network, AASIST) else None
    centres = band_centres(frontend_of(network))
    save_figure(draw_explanation(waveform.numpy(), attribution, centres, attention, audio.stem), output)
    return attribution.gap
