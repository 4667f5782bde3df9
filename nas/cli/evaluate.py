"""nas evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Quiet, SpaceFile, import_space, print_table
from nas.errors import NasError


def evaluate(
    run: Annotated[
        Path | None, typer.Argument(help="Train run whose best network scores the evaluation partition.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="Evaluate this score file instead of a run.")] = None,
    protocol: Annotated[Path | None, typer.Option(help="Protocol with the keys, for score files without them.")] = None,
    asv_scores: Annotated[
        Path | None, typer.Option(help="ASV score file (SOURCE KEY SCORE), for the min t-DCF.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the metrics here as JSON.", metavar="FILE")] = None,
    partition: Annotated[str, typer.Option(help="Partition that a run scores: eval, dev or train.")] = "eval",
    data_root: Annotated[
        str | None, typer.Option(help="Corpus to score, if it is not where it was in training.", metavar="DIR")
    ] = None,
    space_file: SpaceFile = None,
    quiet: Quiet = False,
) -> None:
    """Score a partition with a trained network, or take a score file, and measure EER, min t-DCF and each attack.

    Scores are higher for bona fide speech, always. One score file, UTTERANCE ATTACK KEY SCORE, is written to
    RUN/scores/.

    Example: nas evaluate runs/train --asv-scores ASVspoof2019.LA.asv.eval.gi.trl.scores.txt
    """
    from nas.training.evaluate import evaluate_run, evaluate_scores

    if (run is None) == (scores is None):
        raise NasError("give either a run directory or --scores FILE")
    import_space(space_file)
    if run is not None:
        evaluation = evaluate_run(run, partition, asv_scores, data_root, progress=not quiet)
        typer.echo(f"scores: {run / 'scores' / f'{partition}.txt'}")
    else:
        assert scores is not None
        evaluation = evaluate_scores(scores, protocol, asv_scores)
    if json is not None:
        from nas.files import write_text

        write_text(json, evaluation.to_json())
    print_evaluation(evaluation)


def print_evaluation(evaluation: object) -> None:
    """The pooled figures and a line an attack."""
    from nas.metrics import Evaluation

    assert isinstance(evaluation, Evaluation)
    dcf = "" if evaluation.min_tdcf is None else f", min t-DCF {evaluation.min_tdcf:.4f}"
    typer.echo(f"EER {evaluation.eer:.2f} %{dcf}, worst attack {evaluation.worst_attack}\n")
    rows = []
    for name, attack in evaluation.per_attack.items():
        row = [name, attack.trials, f"{attack.eer:.2f}"]
        rows.append(row + ([] if attack.min_tdcf is None else [f"{attack.min_tdcf:.4f}"]))
    header = ["attack", "trials", "EER %"] + ([] if evaluation.min_tdcf is None else ["min t-DCF"])
    print_table(header, rows)
