"""The skeleton of a searched network: everything but what is searched, as data.

    front-end -> stem -> cells at their places -> pooling over time -> embedding -> output layer with its loss

A search space and the network section of a recipe make one (`Skeleton.of`); the supernet and the network of a genotype
are both assembled from it (`nas.cells.network.CellNetwork`), so that there is no depth gap between them (Section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nas.errors import NasError
from nas.space import CellType, SearchSpace

if TYPE_CHECKING:
    from nas.config import SearchedNetwork


@dataclass(frozen=True)
class Place:
    """Where a cell stands: its type and its channels."""

    type: CellType
    channels: int


@dataclass(frozen=True)
class CellPlan:
    """What a cell at its place is built from.

    Attributes:
        type: name of its type.
        before_previous, previous: channels of its two inputs.
        channels: of its nodes.
        widens, after_widening: whether it, and whether the cell before it, widens the network.
    """

    before_previous: int
    previous: int
    channels: int
    type: str = "normal"
    widens: bool = False
    after_widening: bool = False


@dataclass(frozen=True)
class Skeleton:
    """A searched network without its cells.

    Attributes:
        space: whose cells stand at the places.
        network: the section of the recipe, with the sizes of everything.
        places: of the cells, from the stem on.
    """

    space: SearchSpace
    network: SearchedNetwork
    places: tuple[Place, ...]

    @classmethod
    def of(cls, space: SearchSpace, network: SearchedNetwork) -> Skeleton:
        """The skeleton that a search space gives to a network of these sizes."""
        channels, places = network.channels, []
        for cell_type in space.arrangement(network.cells):
            channels *= cell_type.widens
            places.append(Place(cell_type, channels))
        return cls(space, network, tuple(places))

    @property
    def types(self) -> tuple[str, ...]:
        """Names of the cell types that stand somewhere, in the order of the space."""
        present = {place.type.name for place in self.places}
        return tuple(name for name in self.space.types if name in present)

    def plans(self, concatenated: Mapping[str, int], first: int | None = None) -> tuple[CellPlan, ...]:
        """What every cell is built from.

        Args:
            concatenated: for each cell type the nodes that its output concatenates.
            first: channels of the front-end; None where they are those of the first cells.
        """
        previous = self.network.channels
        before = previous if first is None else first
        plans, after_widening = [], False
        for place in self.places:
            name, widens = place.type.name, place.type.widens > 1
            plans.append(CellPlan(before, previous, place.channels, name, widens, after_widening))
            before, previous, after_widening = previous, concatenated[name] * place.channels, widens
        return tuple(plans)

    def width(self, concatenated: Mapping[str, int]) -> int:
        """Channels of the last cell's output."""
        last = self.places[-1]
        return concatenated[last.type.name] * last.channels

    @cached_property
    def least_samples(self) -> int:
        """Samples of the shortest waveform of which the last cell still gets a frame."""
        import torch

        from nas.cells.surroundings import make_frontend

        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            frontend = make_frontend(self.network)
        frames = 2
        for place in self.places:
            frames *= place.type.shrinks
        return frontend.least_samples(frontend.pool * frames)

    def require_samples(self, samples: int) -> None:
        """Refuse waveforms from which the last cell would get nothing.

        Raises:
            NasError: with the least number of samples that works.
        """
        if samples < self.least_samples:
            raise NasError(
                f"a waveform of {samples} samples is too short for {len(self.places)} cells: at least "
                f"{self.least_samples} are needed"
            )
