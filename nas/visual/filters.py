"""The filters of a front-end as pictures: frequency responses, and where the bands of learnable ones have moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from nas.frontends.fixed_sinc import FixedSinc
from nas.frontends.sinc import SAMPLE_RATE, Conv0, Scale, SincFilters
from nas.visual.look import INK, MUTED, RULE

Values = NDArray[np.float64]
FLOOR_DB = -60.0
POINTS = 512
BEFORE, NOW = "#A9B4C0", "#0072B2"


@dataclass(frozen=True)
class FilterPicture:
    """Responses in dB of each filter's peak, [C, POINTS]; bands in Hz, (low, high) of each filter, [C, 2].

    `start` is where the bands were before they were learnt; None for filters that stay as they are.
    """

    responses: Values
    bands: Values | None = None
    start: Values | None = None

    @property
    def mean_shift_hz(self) -> float:
        """How far an edge of a band has moved on average, in Hz; 0 for filters that stay as they are."""
        return 0.0 if self.bands is None or self.start is None else float(np.abs(self.bands - self.start).mean())


@torch.no_grad()
def gather_filters(network: nn.Module, scale: Scale | None = None) -> FilterPicture | None:
    """What there is to see of a network's first layer; None for a network that has no filters on the waveform.

    Args:
        network: any network; its first `SincFilters`, `FixedSinc` or `Conv0` is taken.
        scale: how the bands of learnable sinc filters were spread at the start.
    """
    for module in network.modules():
        if isinstance(module, SincFilters):
            bands = _bands(module)
            start = _bands(SincFilters(module.channels, scale)) if scale is not None else None
            return FilterPicture(_responses(module.filters()), bands, start)
        if isinstance(module, FixedSinc):
            return FilterPicture(_responses(module.taps))
        if isinstance(module, Conv0):
            return FilterPicture(_responses(module.conv.weight))
    return None


def _responses(taps: Tensor) -> Values:
    """Impulse responses [C, 1, K] -> dB below the peak of each, [C, POINTS], from 0 Hz to half the sampling rate."""
    magnitude = np.abs(np.fft.rfft(taps.squeeze(1).double().cpu().numpy(), 2 * POINTS))[:, :POINTS]
    peak = np.maximum(magnitude.max(axis=1, keepdims=True), 1e-12)
    return np.asarray(20 * np.log10(np.maximum(magnitude / peak, 10 ** (FLOOR_DB / 20))))


def _bands(filters: SincFilters) -> Values:
    return torch.cat(filters.cutoffs(), dim=1).double().cpu().numpy()


def draw_filters(picture: FilterPicture, title: str = "") -> Figure:
    """Responses as a heat map, a row a filter; beside them, where the bands were learnt, the bands before and now."""
    moved = picture.bands is not None and picture.start is not None
    figure = Figure(figsize=(9.5 if moved else 6.5, 4.4), layout="constrained")
    axes = figure.add_subplot(1, 2 if moved else 1, 1)
    filters = len(picture.responses)
    half = SAMPLE_RATE / 2000
    shown = axes.imshow(
        picture.responses,
        aspect="auto",
        cmap="cividis",
        vmin=FLOOR_DB,
        vmax=0,
        origin="lower",
        extent=(0, half, -0.5, filters - 0.5),
        interpolation="nearest",
    )
    figure.colorbar(shown, ax=axes, label="dB below the filter's peak", pad=0.01)
    axes.set_title(title or "Frequency responses of the first layer", loc="left", fontsize=10, color=INK)
    axes.set_ylabel("filter")
    panels = [axes]
    if picture.bands is not None and picture.start is not None:
        beside = figure.add_subplot(1, 2, 2, sharey=axes)
        places = np.arange(filters)
        for bands, colour, label, width in (
            (picture.start, BEFORE, "at the start", 4.0),
            (picture.bands, NOW, "now", 1.5),
        ):
            beside.hlines(places, bands[:, 0] / 1000, bands[:, 1] / 1000, colour, linewidth=width, label=label)
        beside.set_xlim(0, half)
        beside.set_title(f"Bands; mean shift {picture.mean_shift_hz:.2f} Hz", loc="left", fontsize=10, color=INK)
        beside.legend(frameon=False, fontsize=8.5, loc="lower right")
        panels.append(beside)
    for panel in panels:
        panel.set_xlabel("frequency, kHz")
        for side in panel.spines.values():
            side.set_color(RULE)
        panel.tick_params(labelsize=8, colors=MUTED)
    return figure
