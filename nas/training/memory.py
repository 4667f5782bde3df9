"""Sizes in a recipe that no step could fit: refused before anything is read or built."""

from __future__ import annotations

import os

import torch

from nas.config import Recipe
from nas.errors import NasError


def require_memory(recipe: Recipe) -> None:
    """Refuse a batch whose waveforms, or what the front-end makes of them, are larger than all memory there is.

    This is a lower bound of what a step needs: it stops slips of the keyboard, not every step that is too large.

    Raises:
        NasError: naming the keys, what they need and what there is.
    """
    network, samples = recipe.searched, recipe.data.samples
    batch = min(recipe.search.batch_size, recipe.train.batch_size, recipe.engine.evaluation_batch_size)
    needs = {f"data.samples={samples} (a batch of {batch} waveforms, float32)": 4 * batch * samples}
    if network is not None:
        channels, hidden = network.channels, network.gru_hidden
        needs[f"network.channels={channels} with data.samples={samples} (one front-end output, float32)"] = (
            4 * channels * samples
        )
        needs[f"network.gru_hidden={hidden} (weights of one layer, float32)"] = 4 * 3 * hidden * hidden
    there = _memory()
    for what, need in needs.items():
        if need > there:
            raise NasError(f"{what} takes {need / 2**30:,.1f} GiB, and this machine has {there / 2**30:,.1f} GiB")


def _memory() -> int:
    """Bytes of the larger of main memory and the memory of a GPU."""
    try:
        main = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # no such figure on this system
        return 1 << 50
    devices = [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
    return max(main, *devices, 0)
