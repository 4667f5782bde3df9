"""nas explain"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def explain(
    source: Annotated[
        Path, typer.Argument(help="Train run, or with --model published weights.", metavar="RUN|WEIGHTS")
    ],
    audio: Annotated[Path, typer.Argument(help="Audio file of any length and rate.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write: .svg, .png or .pdf.")],
    model: Annotated[str | None, typer.Option(help="Hand-made network of the weights, e.g. aasist-l.")] = None,
    steps: Annotated[int, typer.Option(help="Points of the integration; more are more exact and slower.", min=1)] = 32,
) -> None:
    """Draw where a network looks: what each moment and each band of the front-end added to the score of an utterance.

    Integrated gradients from silence to the utterance, over waveform and spectrogram; for AASIST also what its graphs
    attend to. On a CPU about as long as 3 scorings a step.

    Example: nas explain runs/finetuned call.wav -o call.png

    Example: nas explain AASIST-L.pth call.wav --model aasist-l -o call.png
    """
    from nas.training.explain import explain_file

    gap = explain_file(source, audio, output, model, steps)
    typer.echo(f"drawn: {output} (the attributions miss the score's difference by {gap:.3g})")
