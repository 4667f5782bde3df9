"""The quiet edges of an utterance."""

from __future__ import annotations

import numpy as np

_FRAME = 160
"""10 ms at 16 kHz."""
_RUN = 5
"""Frames in a row that must be loud for speech to have begun: a click does not count."""


def trim(waveform: np.ndarray, edge_db: float) -> np.ndarray:
    """Cut the edges off that are `edge_db` or more below the loudest 10 ms; empty where nothing is left.

    In steps of 10 ms, and speech begins and ends with 50 ms that are loud throughout (`#`):

        . . # . . # # # # # . # # # # # # . # .   ->   # # # # # . # # # # # #
    """
    count = len(waveform) // _FRAME
    power = np.square(waveform[: count * _FRAME], dtype=np.float64).reshape(count, _FRAME).mean(1)
    if count < _RUN or power.max() <= 1e-12:
        return waveform[:0]
    loud = power > power.max() * 10 ** (-edge_db / 10)
    runs = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(loud, _RUN).all(1))
    if len(runs) == 0:
        return waveform[:0]
    return waveform[runs[0] * _FRAME : (runs[-1] + _RUN) * _FRAME]
