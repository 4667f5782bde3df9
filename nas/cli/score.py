"""nas score"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.errors import NasError


def score(
    audio: Annotated[list[Path], typer.Argument(help="Audio files of any length and rate, or folders of them.")],
    run: Annotated[Path | None, typer.Option(help="Train run whose best network scores.", metavar="DIR")] = None,
    model: Annotated[str | None, typer.Option(help="Hand-made network, with --weights, e.g. aasist-l.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Its published weights (.pth, .safetensors).")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write UTTERANCE SCORE lines here, for nas evaluate.", metavar="FILE"),
    ] = None,
    threshold: Annotated[
        Path | None, typer.Option(help="Threshold file of `nas calibrate`; adds the decision.", metavar="FILE")
    ] = None,
) -> None:
    """Score audio on a CPU: a line FILE SCORE each, higher = bona fide.

    Example: nas score call.wav --weights AASIST-L.pth --model aasist-l

    Example: nas score flac/ --weights AASIST-L.pth --model aasist-l -o scores.txt, then
    nas evaluate --scores scores.txt --protocol protocol.txt
    """
    from nas.training.score import audio_files, open_scorer

    if (run is None) == (model is None) or (model is None) != (weights is None):
        raise NasError("say what scores: --run DIR, or --model NAME with --weights FILE")
    decision = None
    if threshold is not None:
        from nas.metrics import read_decision

        decision = read_decision(threshold)
    scorer = open_scorer(run, model, weights)
    if output is not None:
        from tqdm import tqdm

        from nas.files import write_text

        lines = [f"{path.stem} {scorer(path)!r}\n" for path in tqdm(list(audio_files(audio)), unit="file")]
        typer.echo(f"scores: {write_text(output, ''.join(lines))}")
        return
    for path in audio_files(audio):
        value = scorer(path)
        verdict = "" if decision is None else (" bonafide" if decision.accepts([value])[0] else " spoof")
        typer.echo(f"{path} {value:.6g}{verdict}")
