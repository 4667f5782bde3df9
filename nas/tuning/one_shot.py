"""The weights of a trained supernet as a judge of genotypes: dev EER in seconds instead of a training.

The supernet's cells are computed with the architecture weights of one genotype: 1 for the primitive of a kept edge, 0
for all others, and the supernet's own edge weights renormalised over the kept edges. What the batch normalisations saw
in the search was a mixture of all candidates, so their statistics are measured anew for every genotype, on training
utterances (as in Bender et al. 2018 and Guo et al. 2020).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.config import Recipe
from nas.errors import NasError
from nas.genotype import Genotype
from nas.searching.supernet_search import build_supernet
from nas.space import SearchSpace
from nas.supernet.architecture import Architecture
from nas.supernet.network import Supernet
from nas.training.engine import start_engine
from nas.training.inputs import TrainingBatches, open_inputs
from nas.training.plausible import load_weights
from nas.training.run import Run, read_tensors
from nas.training.scoring import score_partition


class Chosen(nn.Module):
    """Stands in for `Architecture`: the weights of one genotype, constant."""

    def __init__(self, space: SearchSpace, genotype: Genotype, architecture: Architecture) -> None:
        super().__init__()
        genotype.validate(space)
        self.space = space
        for name in space.types:
            a, b = architecture.weights(name)
            kept_a, kept_b = torch.zeros_like(a), torch.zeros_like(b)
            for edges, kept in zip(space.topology.edge_slices, genotype.cells[name].nodes, strict=True):
                rows = [edges.start + edge.source for edge in kept]
                for row, edge in zip(rows, kept, strict=True):
                    kept_a[row, space.primitive_names.index(edge.primitive)] = 1.0
                kept_b[rows] = b[rows].detach() / b[rows].detach().sum()
            self.register_buffer(f"a_{name}", kept_a)
            self.register_buffer(f"b_{name}", kept_b)

    def weights(self, cell_type: str) -> tuple[Tensor, Tensor]:
        """As of `Architecture`: [E, K] and [E]."""
        return getattr(self, f"a_{cell_type}"), getattr(self, f"b_{cell_type}")

    drawn = weights


@contextmanager
def chosen(supernet: Supernet, genotype: Genotype) -> Iterator[None]:
    """Compute one genotype in the block; architecture and running statistics are brought back afterwards."""
    architecture = supernet.architecture
    norms = [m for m in supernet.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(norm, norm.momentum, {name: buffer.clone() for name, buffer in norm.named_buffers()}) for norm in norms]
    supernet.architecture = Chosen(supernet.space, genotype, architecture)  # type: ignore[assignment]
    try:
        yield
    finally:
        supernet.architecture = architecture
        for norm, momentum, buffers in before:
            norm.momentum = momentum
            for name, buffer in norm.named_buffers():
                buffer.copy_(buffers[name])


class OneShot:
    """Judges genotypes by the supernet of a search run.

    Args:
        folder: run directory of a bi-level search.
        recipe: of the search that asks; its corpus is scored, and its space must be the supernet's.
        batches: training batches from which normalisation statistics are measured.

    Raises:
        NasError: not the run of a search, or one over another space.
    """

    def __init__(self, folder: str | Path, recipe: Recipe, batches: int = 8, progress: bool = False) -> None:
        run = Run.open(folder)
        if run.kind != "search" or not (run.folder / "checkpoints" / "best.safetensors").exists():
            raise NasError(f"search.black_box.supernet: {folder} is not the run of a bi-level search")
        if run.recipe.space != recipe.space:
            raise NasError(
                f"search.black_box.supernet: {folder} searched the space {run.recipe.space!r}, not {recipe.space!r}"
            )
        self.recipe, self.accelerator = recipe, start_engine(recipe)
        supernet = build_supernet(run.recipe)
        path = run.folder / "checkpoints" / "best.safetensors"
        load_weights(supernet, read_tensors(path), path)
        self.supernet: Supernet = self.accelerator.prepare_model(supernet, evaluation_mode=True)
        self.inputs = open_inputs(recipe, ("train", "dev"), progress)
        train = TrainingBatches(
            recipe,
            self.inputs.store,
            self.inputs.partitions["train"],
            recipe.search.batch_size,
            recipe.seed,
            self.accelerator.device,
        )
        self.waveforms = [batch.waveforms for batch, _ in zip(train.epoch(0), range(batches), strict=False)]

    def eer(self, genotype: Genotype) -> float:
        """EER of the genotype on the development set, percent, with the supernet's weights."""
        with chosen(self.supernet, genotype):
            self._measure_statistics()
            return score_partition(self.supernet, self.inputs, "dev", self.recipe, self.accelerator, progress=False).eer

    def _measure_statistics(self) -> None:
        norms = [m for m in self.supernet.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        self.supernet.train()
        self.supernet.stem.frontend.eval()  # masks no filters, which would make the judgement random
        with torch.no_grad():
            for number, waveforms in enumerate(self.waveforms, start=1):
                # A momentum of 1 / n makes the running statistics the plain mean of those of n batches.
                for norm in norms:
                    norm.momentum = 1 / number
                self.supernet(waveforms)
        self.supernet.eval()
