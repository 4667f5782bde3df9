"""nas calibrate"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nas.cli.options import warnings_told
from nas.errors import printable


def calibrate(
    scores: Annotated[Path, typer.Argument(help="Score file of the development set, or a run scored on dev.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Threshold file to write (JSON).")],
    criterion: Annotated[
        Literal["bayes", "min_dcf", "eer"],
        typer.Option(help="bayes: cheapest if the calibration is right; min_dcf: cheapest on these trials."),
    ] = "bayes",
    protocol: Annotated[Path | None, typer.Option(help="Protocol with the keys, for score files without.")] = None,
) -> None:
    """Choose the threshold of a deployed system on a development set, and turn scores into log-likelihood ratios.

    Example: nas evaluate runs/train --partition dev && nas calibrate runs/train -o threshold.json
    """
    from nas.metrics import fit_decision, read_scores, write_decision
    from nas.metrics.scores import read_own_scores, scores_of_run

    ours = scores.is_dir()
    path = scores_of_run(scores, "dev") if ours else scores
    with warnings_told():
        trials = read_own_scores(path, protocol) if ours else read_scores(path, protocol)
    for remark in trials.remarks:
        typer.echo(f"note: {printable(remark)}")
    decision = fit_decision(trials, criterion)
    write_decision(output, decision)
    typer.echo(f"accept scores from {decision.threshold:.6g}: rejects {decision.frr:.2f} % of bona fide speech,")
    typer.echo(f"accepts {decision.far:.2f} % of spoofed speech on {printable(str(path))}")
    typer.echo(f"log-likelihood ratio = {decision.calibration.scale:.6g} * score + {decision.calibration.offset:.6g}")
    typer.echo(f"threshold file: {output}")
