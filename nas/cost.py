"""What the network of a genotype costs, stated part by part without building it (Radosavovic et al. 2020, pycls).

Every primitive states its own complexity beside its construction in `nas.space`; here stand the parts around them. The
parts are those of `nas.cells.network`, in the same order. `nas.networks.cost.measure_cost` counts a network that
is built; both agree exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas.cells.skeleton import CellPlan, Skeleton
from nas.config import SearchedNetwork
from nas.frontends.sinc import PADDING, SAMPLE_RATE, SURPLUS_FILTERS
from nas.genotype import FIRST_NODE, Cell, Genotype, Nodes
from nas.space import SearchSpace, get_space

CLASSES = 2


@dataclass(frozen=True)
class View:
    """Samples that frame t of a signal sees: from `first` + t * `step` to `last` + t * `step`."""

    first: int
    last: int
    step: int

    def strided(self, before: int, after: int, stride: int = 1) -> View:
        """After an operation whose output frame u reads the input frames u * stride - before ... u * stride + after."""
        return View(self.first - before * self.step, self.last + after * self.step, self.step * stride)

    def joined(self, other: View) -> View:
        """Of a signal that is made of both."""
        return View(min(self.first, other.first), max(self.last, other.last), self.step)

    @property
    def samples(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class PartCost:
    """One part of the network for one utterance.

    Attributes:
        name: what it is, e.g. "cell 3 (normal)".
        channels: channels (or units) that it puts out.
        frames: frames that it puts out.
        parameters: values of all its parameters, fixed ones included.
        macs: multiply-accumulates of convolutions, matrix products and recurrent layers.
        activations: values that convolutions and recurrent layers put out.
        receptive_field: samples that one frame of its output sees; None where it sees all before (recurrent layers).
        views: of a cell, what a frame of its two inputs (at the cell's length) and of its nodes sees.
        cell_type: of a cell, its type.
        widens: whether it is a cell that widens the network.
    """

    name: str
    channels: int
    frames: int
    parameters: int
    macs: int
    activations: int
    receptive_field: int | None
    views: tuple[View, ...] = ()
    cell_type: str = ""
    widens: bool = False


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
    def receptive_field(self) -> int:
        """Samples that one frame sees before the recurrent layers."""
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
        return "\n".join(rows) + "\n"


def genotype_cost(
    genotype: Genotype, space: SearchSpace | str, network: SearchedNetwork, samples: int = 64_000
) -> GenotypeCost:
    """Cost of `nas.cells.derived.DerivedNetwork` with the same arguments on one utterance of `samples` samples.

    Raises:
        NasError: the genotype does not belong to the space, or the utterance is too short for the cells.
    """
    space = get_space(space) if isinstance(space, str) else space
    genotype.validate(space)
    skeleton, channels = Skeleton.of(space, network), network.channels
    skeleton.require_samples(samples)
    parts, view, frames = _stem_cost(network, samples)
    views, lengths = (view, view.strided(1, 1, 2)), (frames, (frames + 1) // 2)
    parts.append(
        PartCost(
            "stem",
            channels,
            lengths[1],
            3 * channels * channels + 2 * channels,
            3 * channels * channels * lengths[1],
            channels * lengths[1],
            views[1].samples,
        )
    )
    plans = skeleton.plans({name: len(cell.concat) for name, cell in genotype.cells.items()})
    width = channels
    for number, plan in enumerate(plans):
        part, view = _cell_cost(number, space, genotype.cells[plan.type], plan, views, lengths)
        parts.append(part)
        views, lengths, width = (views[1], view), (lengths[1], part.frames), part.channels
    parts += _head_cost(width, lengths[1], network.gru_hidden, network.gru_layers)
    return GenotypeCost(tuple(parts), samples)


def _stem_cost(network: SearchedNetwork, samples: int) -> tuple[list[PartCost], View, int]:
    """Front-end, then max-pool 3 with batch normalisation."""
    channels, kernel = network.channels, network.kernel
    if network.frontend == "conv0":
        taps, weights = kernel, channels * kernel + channels
    else:
        # The published layer holds two values for each of its filters, four more than it uses.
        taps, weights = 2 * (kernel // 2) + 1, 2 * (channels + SURPLUS_FILTERS)
    frames = samples + 2 * PADDING - taps + 1
    view = View(-PADDING, taps - 1 - PADDING, 1)
    first = PartCost("front-end", channels, frames, weights, taps * channels * frames, channels * frames, view.samples)
    pooled = view.strided(0, 2, 3)
    second = PartCost("max-pool 3", channels, frames // 3, 2 * channels, 0, 0, pooled.samples)
    return [first, second], pooled, frames // 3


def _cell_cost(
    number: int,
    space: SearchSpace,
    cell: Cell,
    plan: CellPlan,
    views: tuple[View, View],
    lengths: tuple[int, int],
) -> tuple[PartCost, View]:
    """The 1 x 1 convolutions of the inputs (the first before its max-pool 2), the operations, the final max-pool 2."""
    channels = plan.channels
    frames = min(lengths[0] // 2, lengths[1])
    inputs = (plan.before_previous * channels, plan.previous * channels)
    parameters = sum(inputs)
    macs = (2 * inputs[0] + inputs[1]) * frames
    activations = 3 * channels * frames
    states = [views[0].strided(0, 1, 2), views[1]]
    for edges in cell.nodes:
        seen: View | None = None
        for edge in edges:
            cost = space.primitive(edge.primitive).complexity(channels, frames)
            parameters += cost.parameters
            macs += cost.macs
            activations += cost.activations
            read = states[edge.source].strided(cost.reach, cost.reach)
            seen = read if seen is None else seen.joined(read)
        assert seen is not None  # a genotype has no node without edges
        states.append(seen)
    view = states[cell.concat[0]]
    for node in cell.concat[1:]:
        view = view.joined(states[node])
    view = view.strided(0, 1, 2)
    shape = (len(cell.concat) * channels, frames // 2)
    name = f"cell {number} ({plan.type})"
    part = PartCost(name, *shape, parameters, macs, activations, view.samples, tuple(states), plan.type, plan.widens)
    return part, view


def _head_cost(channels: int, frames: int, hidden: int, layers: int) -> list[PartCost]:
    """GRU (three gates, two bias vectors each), fully connected layer, class vectors."""
    weights = 3 * hidden * (channels + hidden + (layers - 1) * 2 * hidden)
    recurrent = PartCost(
        "GRU", hidden, frames, weights + 6 * hidden * layers, weights * frames, hidden * layers * frames, None
    )
    connected = PartCost("fully connected", hidden, 1, hidden * hidden + hidden, hidden * hidden, 0, None)
    output = PartCost("cosines", CLASSES, 1, CLASSES * hidden, CLASSES * hidden, 0, None)
    return [recurrent, connected, output]


def longest_path(nodes: Nodes, space: SearchSpace) -> int:
    """Most operations with weights that a signal passes one after the other inside a cell."""
    depth = [0] * FIRST_NODE
    for edges in nodes:
        depth.append(max(depth[edge.source] + (not space.primitive(edge.primitive).parameter_free) for edge in edges))
    return max(depth)
