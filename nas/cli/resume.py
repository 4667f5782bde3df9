"""nas resume"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import Quiet, show_log


def resume(
    run: Annotated[Path, typer.Argument(help="Run directory of a search or a training that was stopped.")],
    data_root: Annotated[
        str | None, typer.Option(help="Corpus of the run, where it has moved; it must be the same.", metavar="DIR")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Go on with a run that was stopped: by Ctrl-C, by a cluster, by a power cut.

    The result is the same, to the bit, as that of a run that was never stopped.

    Example: nas resume runs/search
    """
    import nas
    from nas.commands import after_search, after_training

    show_log()
    result = nas.resume(run, progress=not quiet, data_root=data_root)
    typer.echo(f"finished: epoch {result.epoch} is the best, dev EER {result.eer:.2f} %: {result.folder}")
    typer.echo((after_training if isinstance(result, nas.TrainResult) else after_search)(result.folder))
