"""Optuna's own plots of a study: PNG with matplotlib; also HTML to move about in where plotly is installed."""

from __future__ import annotations

import io
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import TrialState

from nas.files import write_bytes, write_text

PLOTS = ("optimization_history", "intermediate_values", "param_importances", "parallel_coordinate", "slice", "timeline")


def draw_study(study: Study, folder: Path) -> list[Path]:
    """Draw every plot that the study has enough trials for; returns the files."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    written: list[Path] = []
    if len(complete) < 2:
        return written
    interactive = find_spec("plotly") is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in PLOTS:
            try:
                written.append(write_bytes(folder / f"{name}.png", _png(getattr(_matplotlib(), f"plot_{name}")(study))))
                if interactive:
                    figure = getattr(optuna.visualization, f"plot_{name}")(study)
                    written.append(write_text(folder / f"{name}.html", figure.to_html(include_plotlyjs="directory")))
            except (ValueError, RuntimeError, ImportError) as error:
                # A plot may not exist for a study: the importance of a parameter that never varied, for instance.
                logging.getLogger("nas").info(f"plot {name} is left out: {error}")
    if interactive:
        from plotly.offline import get_plotlyjs

        # One copy beside the pages, which then open without a network.
        write_text(folder / "plotly.min.js", get_plotlyjs())
    return written


def _matplotlib() -> Any:
    import matplotlib

    # Pictures are written, never shown, so a display is not needed.
    matplotlib.use("Agg")
    import optuna.visualization.matplotlib as plots

    return plots


def _png(axes: Any) -> bytes:
    """Optuna's axes (one, or an array of them) as a PNG; the figure is closed."""
    import matplotlib.pyplot as plt

    axes = getattr(axes, "flat", [axes])[0]
    figure = axes.get_figure()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return stream.getvalue()
