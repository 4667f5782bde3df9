"""What the network of a genotype costs: the sum over its parts, without building the cells (Radosavovic et al. 2020).

Each part states its complexity beside its construction: primitives in `nas.space`, cells in `nas.cells.derived`, stem,
front-ends and poolings in their files. A part of one's own that states none is counted on the meta device.
`nas.networks.cost.measure_cost` counts a network that is built; both agree exactly.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nas.cells.derived import cell_complexity
from nas.cells.skeleton import Skeleton
from nas.cells.stem import Stem
from nas.cells.surroundings import make_frontend, make_output, make_pooling
from nas.complexity import PartCost, View
from nas.config import SearchedNetwork
from nas.frontends.frontend import Frontend
from nas.frontends.sinc import SAMPLE_RATE
from nas.genotype import FIRST_NODE, Genotype, Nodes
from nas.networks.cost import measure_module
from nas.space import SearchSpace, get_space

CLASSES = 2


@dataclass(frozen=True)
class GenotypeCost:
    """The parts in the order of the signal, for utterances of `samples` samples."""

    parts: tuple[PartCost, ...]
    samples: int

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts)

    @property
    def macs(self) -> int:
        return sum(part.macs for part in self.parts)

    @property
    def activations(self) -> int:
        return sum(part.activations for part in self.parts)

    @property
    def peak_memory(self) -> int:
        """Bytes of the float32 activations at the fullest moment of a pass without gradients."""
        return 4 * max(part.memory for part in self.parts)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees before the pooling over time."""
        return max(part.receptive_field or 0 for part in self.parts)

    @property
    def receptive_field_ms(self) -> float:
        """The same in milliseconds at 16 kHz."""
        return 1000 * self.receptive_field / SAMPLE_RATE

    def to_markdown(self) -> str:
        """A table with a row a part and the totals."""
        rows = [
            "| part | channels x frames | parameters | MACs | activations | receptive field |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for part in self.parts:
            seen = "all" if part.receptive_field is None else f"{1000 * part.receptive_field / SAMPLE_RATE:.1f} ms"
            rows.append(
                f"| {part.name} | {part.channels} x {part.frames} | {part.parameters:,} | {part.macs:,} | "
                f"{part.activations:,} | {seen} |"
            )
        rows.append(f"| all | | {self.parameters:,} | {self.macs:,} | {self.activations:,} | |")
        memory = f"Activations at the fullest moment of scoring one utterance: {self.peak_memory / 2**20:.1f} MiB"
        return "\n".join(rows) + f"\n\n{memory}\n"


def genotype_cost(
    genotype: Genotype, space: SearchSpace | str, network: SearchedNetwork, samples: int = 64_000
) -> GenotypeCost:
    """Cost of `nas.cells.derived.DerivedNetwork` with the same arguments on one utterance of `samples` samples.

    Raises:
        NasError: the genotype does not belong to the space, or the utterance is too short for the cells.
    """
    space = get_space(space) if isinstance(space, str) else space
    cells = genotype.validate(space).cells
    skeleton = Skeleton.of(space, network)
    skeleton.require_samples(samples)
    concatenated = {name: len(cell.concat) for name, cell in cells.items()}
    # Shapes are all that is needed of the parts that are not searched.
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        stem = Stem(make_frontend(network), network.channels)
        pooling, output = make_pooling(network, skeleton.width(concatenated)), make_output(network)
    first, view = _frontend_cost(stem.frontend, samples)
    parts = [first, *stem.complexity(first.frames, view)]
    views = tuple(view.strided(*window) for window in stem.windows)
    lengths = (parts[-2].frames, parts[-1].frames)
    for number, plan in enumerate(skeleton.plans(concatenated, stem.frontend.channels)):
        part, view = cell_complexity(number, space, cells[plan.type], plan, (views[0], views[1]), lengths)
        parts.append(part)
        views, lengths = (views[1], view), (lengths[1], part.frames)
    last = parts[-1]
    parts += _stated(pooling, "pooling", last.channels, last.frames, network.gru_hidden)
    parts += _stated(output, "output", network.gru_hidden, None, CLASSES)
    return GenotypeCost(tuple(parts), samples)


def _frontend_cost(frontend: Frontend, samples: int) -> tuple[PartCost, View]:
    stated: Any = getattr(frontend, "complexity", None)
    if stated is not None:
        return stated(samples)
    cost = measure_module(frontend, 1, samples)
    with torch.no_grad():
        frames = copy.deepcopy(frontend).to("meta").frames(torch.empty(1, samples, device="meta")).shape[2]
    # What a frame sees is not measured: its own samples at least.
    view = View(0, frontend.hop - 1, frontend.hop)
    size = frontend.channels * frames
    part = PartCost(
        "front-end", frontend.channels, frames, cost.parameters, cost.macs, cost.activations, view.samples,
        samples + size,
    )  # fmt: skip
    return part, view


def _stated(module: nn.Module, name: str, channels: int, frames: int | None, size: int) -> list[PartCost]:
    """The parts that a module [1, channels, frames] (or [1, channels]) -> [1, size] states, or one that is counted."""
    stated: Any = getattr(module, "complexity", None)
    if stated is not None:
        return list(stated(channels, frames))
    shape = (1, channels) if frames is None else (1, channels, frames)
    cost = measure_module(module, *shape)
    memory = channels * (frames or 1) + size
    return [PartCost(name, size, 1, cost.parameters, cost.macs, cost.activations, None, memory)]


def longest_path(nodes: Nodes, space: SearchSpace) -> int:
    """Most operations with weights that a signal passes one after the other inside a cell."""
    depth = [0] * FIRST_NODE
    for edges in nodes:
        depth.append(max(depth[edge.source] + (not space.primitive(edge.primitive).parameter_free) for edge in edges))
    return max(depth)
