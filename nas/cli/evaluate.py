"""nas evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nas.cli.options import Quiet, warnings_told
from nas.errors import NasError, printable


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="Train run whose best network scores the evaluation partition.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="Evaluate this score file instead of a run.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Published weights that score the partition of --data-root, without a run.")
    ] = None,
    genotype: Annotated[
        Path | None, typer.Option("--genotype", "-g", help="Their genotype, where they are of Raw PC-DARTS.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Else the hand-made network that they are of.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the scores of --weights here.", metavar="FILE")
    ] = None,
    protocol: Annotated[
        Path | None, typer.Option(help="Protocol with keys, attacks and speakers, for score files without them.")
    ] = None,
    asv_scores: Annotated[
        Path | None, typer.Option(help="ASV score file (SOURCE KEY SCORE), for the min t-DCF.")
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option(
            help="Subset of the protocol to evaluate, such as eval, progress or hidden_track of ASVspoof 2021, or all; "
            "the only one with scores, else eval, if not said."
        ),
    ] = None,
    higher: Annotated[
        Literal["bonafide", "spoof"] | None,
        typer.Option(help="What high scores of a file mean; detected if not said."),
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Rounds of the bootstrap for 95 % intervals; 0 for none.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Write the metrics here as JSON.", metavar="FILE")] = None,
    partition: Annotated[str, typer.Option(help="Partition that a run scores: eval, dev or train.")] = "eval",
    whole: Annotated[
        bool, typer.Option("--whole", help="Score all of the partition, also where the recipe takes a subset of it.")
    ] = False,
    data_root: Annotated[
        str | None,
        typer.Option(
            help="Another corpus to score, whose result then lies in RUN/scores/CORPUS/, or where the own one is now.",
            metavar="DIR",
        ),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="How the other corpus is laid out (`nas data layouts`), if not as the own one.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score a partition with a trained network, or take a score file, and measure EER, min t-DCF and each attack.

    Scores are higher for bona fide speech, always. One score file, UTTERANCE ATTACK KEY SCORE, is written to
    RUN/scores/, the metrics beside it.

    Example: nas evaluate --weights raw_pcdarts_mel.pth --genotype genotype.txt --data-root /data/LA

    Example: nas evaluate runs/train --asv-scores ASVspoof2019.LA.asv.eval.gi.trl.scores.txt
    """
    if sum(source is not None for source in (run, scores, weights)) != 1:
        raise NasError("give either a run directory, --scores FILE, or --weights FILE")
    if weights is None and any(option is not None for option in (genotype, model, output)):
        raise NasError("--genotype, --model and --output go with --weights FILE")
    if weights is not None and (model is None) == (genotype is None):
        raise NasError("say what the weights are of: --genotype FILE for Raw PC-DARTS, or --model NAME")
    if weights is not None:
        from nas.training.evaluate import evaluate_weights

        known = layout or "asvspoof2019_la"
        evaluation = evaluate_weights(
            weights, genotype, data_root, known, partition, asv_scores, bootstrap or None, not quiet, model, output
        )
        if output is not None:
            typer.echo(f"scores: {printable(str(output))}")
    elif run is not None:
        from nas.training.evaluate import evaluate_run

        evaluation = evaluate_run(run, partition, asv_scores, data_root, bootstrap or None, not quiet, whole, layout)
        if evaluation.source:
            typer.echo(f"scores: {printable(str(run / evaluation.source))}")
    elif scores is not None:
        from nas.metrics import evaluate_scores

        with warnings_told():
            evaluation = evaluate_scores(scores, protocol, asv_scores, bootstrap or None, higher, subset)
    if json is not None:
        from nas.files import write_text

        write_text(json, evaluation.to_json())
    typer.echo(evaluation.summary())
