"""Make sinc_taps.safetensors: the fixed filters of AASIST and RawNet2 by the published formula, in plain PyTorch.

Time is a float32 tensor, and NumPy takes the sinc of it; gain and difference are float64 (NumPy 2), and come back to
float32 before they meet the Hamming window. Nothing of the package computes anything.

    python tests/golden/make_sinc_taps.py
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

FILTERS = {"aasist": (70, 129, "mel", 0), "rawnet2-2021": (20, 1025, "mel", 0), "rawnet2-2019": (128, 129, "linear", 2)}
"""Filters, taps, scale, and further bands that are computed and dropped."""


def taps(filters: int, kernel: int, scale: str, surplus: int) -> Tensor:
    if scale == "linear":
        edges = np.linspace(0, 8000, filters + 1 + surplus)[: filters + 1]
    else:
        mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), filters + 1 + surplus)[: filters + 1]
        edges = 700 * (10 ** (mel / 2595) - 1)
    time = torch.arange(-(kernel - 1) / 2, (kernel - 1) / 2 + 1)
    rows = []
    for low, high in pairwise(edges):
        passes = [
            np.float64(2 * edge / 16_000) * np.sinc((float(2 * edge) * time / 16_000).numpy()) for edge in (low, high)
        ]
        rows.append(torch.tensor(passes[1] - passes[0]).float() * torch.tensor(np.hamming(kernel)).float())
    return torch.stack(rows)


if __name__ == "__main__":
    save_file(
        {name: taps(*settings) for name, settings in FILTERS.items()},
        Path(__file__).parent / "sinc_taps.safetensors",
    )
