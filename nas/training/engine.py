"""Devices, precision and processes, by Hugging Face Accelerate (docs/architecture.md says why)."""

from __future__ import annotations

import atexit
import os
import random
from collections.abc import Iterable

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from nas import processes
from nas.config import Recipe
from nas.errors import NasError
from nas.training.memory import require_memory

_PRECISION = {"auto": "no", "float32": "no", "bf16": "bf16", "fp16": "fp16"}
"""Accelerate's names. Auto stays float32: a search in bf16 has found other genotypes (docs/folded-supernet.md)."""


def start_engine(recipe: Recipe) -> Accelerator:
    """The accelerator that a recipe asks for, with every random state seeded and determinism set.

    All processes draw the same random numbers: the filters that are masked are those of the whole step.

    Raises:
        NasError: a GPU is asked for and there is none, or a size in the recipe is beyond all memory.
    """
    config = recipe.engine
    require_memory(recipe)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise NasError("engine.device is cuda, but PyTorch finds no GPU here; use auto or cpu")
    on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    precision = config.precision
    if precision == "fp16" and on_cpu:
        raise NasError("engine.precision fp16 needs a GPU; use bf16 or float32 on a CPU")
    if recipe.deterministic:
        # cuBLAS reads this when it starts; without it some matrix products are refused in deterministic mode.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(recipe.deterministic, warn_only=True)
    # Filling fresh memory guards against reading what was never written; it doubles the cost of small operations.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not recipe.deterministic
    processes.meet_again("gloo" if on_cpu else "nccl")
    # Accelerate keeps one global state; a second run in this process may want another precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=_PRECISION[precision])
    if processes.count() > 1:
        atexit.unregister(processes.part)
        atexit.register(processes.part)
    seed_everything(recipe.seed)
    return accelerator


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch (every device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def reduce_gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Average gradients over the processes, so that all of them take the same step; returns them."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if processes.count() > 1:
        for gradient, reduced in zip(gradients, processes.average_all(gradients), strict=True):
            gradient.copy_(reduced)
    return gradients
