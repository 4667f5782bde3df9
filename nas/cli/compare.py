"""nas compare"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import warnings_told


def compare(
    systems: Annotated[
        list[str], typer.Argument(metavar="[NAME=]RUN...", help="Run directories or score files, of the same trials.")
    ],
    asv_scores: Annotated[Path | None, typer.Option(help="ASV score file, for the min t-DCF.")] = None,
    protocol: Annotated[Path | None, typer.Option(help="Protocol with keys and speakers, for files without.")] = None,
    reference: Annotated[str | None, typer.Option(help="System that the others are tested against; the first.")] = None,
    bootstrap: Annotated[int, typer.Option(help="Rounds of the bootstrap.")] = 1000,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the table and the pictures.", metavar="DIR")
    ] = None,
) -> None:
    """Systems side by side: metrics with intervals, and whether each differs from the reference by more than chance.

    Runs of searches are compared by what they cost and found. With --output, intervals, DET curves, score histograms
    and the EER of each attack are drawn as PNG and SVG.

    Example: nas compare mel=runs/mel/train linear=runs/linear/train --output comparison/

    Example: nas compare runs/pcdarts runs/random runs/evolution
    """
    from nas.files import write_text
    from nas.metrics import Bootstrap, read_asv_scores, read_scores
    from nas.metrics import compare as compare_systems
    from nas.metrics.comparison import name_systems
    from nas.metrics.scores import read_own_scores, scores_of_run

    paths = name_systems(systems)
    if all((path / "cost.json").exists() for path in paths.values()):
        from nas.tuning.spending import compare_searches

        typer.echo(compare_searches(paths))
        return
    trials = {}
    with warnings_told():
        for name, path in paths.items():
            if path.is_dir():
                trials[name] = read_own_scores(scores_of_run(path, "eval"), protocol)
            else:
                trials[name] = read_scores(path, protocol)
    asv = read_asv_scores(asv_scores) if asv_scores else None
    comparison = compare_systems(trials, asv, Bootstrap(rounds=bootstrap), reference)
    typer.echo(comparison.to_markdown())
    if output is not None:
        from nas.visual.detection import draw_all, draw_intervals
        from nas.visual.look import save_figure

        written = [
            write_text(output / "comparison.md", comparison.to_markdown()),
            write_text(output / "comparison.json", comparison.to_json()),
            *draw_all(trials, output),
            *(save_figure(draw_intervals(comparison), output / f"intervals.{suffix}") for suffix in ("png", "svg")),
        ]
        typer.echo("\n".join(str(path) for path in written))
