"""nas score"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import Quiet
from nas.errors import NasError, printable

if TYPE_CHECKING:
    from nas.training.score import ScoredFile


def score(
    audio: Annotated[
        list[Path],
        typer.Argument(help="Audio files of any length and rate, or folders of them; the network hears the beginning."),
    ],
    run: Annotated[Path | None, typer.Option(help="Train run whose best network scores.", metavar="DIR")] = None,
    model: Annotated[str | None, typer.Option(help="Hand-made network, with --weights, e.g. aasist-l.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Its published weights (.pth, .safetensors).")] = None,
    genotype: Annotated[
        Path | None, typer.Option("--genotype", "-g", help="Genotype of --weights that are of Raw PC-DARTS.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write UTTERANCE SCORE lines here, for nas evaluate.", metavar="FILE"),
    ] = None,
    threshold: Annotated[
        Path | None, typer.Option(help="Threshold file of `nas calibrate`; adds the decision.", metavar="FILE")
    ] = None,
    longest: Annotated[
        float | None,
        typer.Option(
            help="Refuse files longer than this; data.longest_seconds of the run, or 3600.", metavar="SECONDS"
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score audio on a CPU: a line FILE SCORE each, higher = bona fide, and how much of the file was heard.

    A network hears the first `data.samples` of a file (about four seconds of the published ones), no more. A file that
    cannot be scored does not cost the others: it is named at the end, and the exit code is 2.

    Example: nas score call.wav --weights AASIST-L.pth --model aasist-l

    Example: nas score call.wav --weights raw_pcdarts_mel.pth --genotype genotype.txt

    Example: nas score flac/ --weights AASIST-L.pth --model aasist-l -o scores.txt, then
    nas evaluate --scores scores.txt --protocol protocol.txt
    """
    from nas.data.audio_files import find_audio
    from nas.training.score import open_scorer, score_files, write_file_scores

    named = model is not None or genotype is not None
    if (run is None) != named or named != (weights is not None):
        raise NasError("say what scores: --run DIR, or --weights FILE with --model NAME or --genotype FILE")
    if longest is not None and not longest > 0:
        raise NasError(f"--longest must be more than 0 seconds, not {longest:g}")
    decision = None
    if threshold is not None:
        from nas.metrics import read_decision

        decision = read_decision(threshold)
    found = find_audio(audio)
    scorer = open_scorer(run, model, weights, longest, genotype)
    scored: list[ScoredFile] = []
    failed: list[str] = []
    for row in score_files(found, scorer, decision, progress=output is not None and not quiet):
        if isinstance(row, str):
            failed.append(row)
            continue
        scored.append(row)
        if output is None:
            verdict = f" {row.decision}" if row.decision else ""
            typer.echo(f"{printable(str(row.path))} {row.heard.score:.6g}{verdict}  ({row.heard})")
    if output is not None and scored:
        typer.echo(f"scores: {printable(str(write_file_scores(output, scored)))}")
        _tell_heard(scored)
    if told := found.passed_over_text():
        typer.echo(printable(told), err=True)
    if failed and len(found.files) == 1:
        raise NasError(failed[0])
    if failed:
        for sentence in failed:
            typer.echo(f"not scored: {sentence}", err=True)
        raise NasError(f"{len(failed)} of {len(found.files)} files could not be scored; they are named above")


def _tell_heard(scored: Sequence[ScoredFile]) -> None:
    """How much of the files the scores are of."""
    partly = [row for row in scored if row.heard.heard_seconds < row.heard.seconds]
    silent = [row for row in scored if row.heard.silent]
    whole = len(scored) - len(partly)
    if partly:
        first, all_seconds = partly[0].heard.heard_seconds, sum(row.heard.seconds for row in partly)
        typer.echo(
            f"heard: {whole} of {len(scored)} files whole; of {len(partly)} only the first {first:.2f} s each "
            f"({first * len(partly):.0f} of their {all_seconds:.0f} s)",
            err=True,
        )
    if silent:
        names = ", ".join(printable(str(row.path)) for row in silent[:3]) + (", ..." if len(silent) > 3 else "")
        typer.echo(f"digital silence was scored: {len(silent)} of {len(scored)} files ({names})", err=True)
