"""What a part of a network costs, and what of the waveform one of its frames sees.

Every block states its complexity beside its construction, in a method `complexity`; a part of one's own that states
none is counted (`nas.cost`).
"""

from __future__ import annotations

from dataclasses import dataclass


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
        memory: values that are there at the same time at its fullest moment, without what one operation needs inside.
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
    memory: int = 0
    views: tuple[View, ...] = ()
    cell_type: str = ""
    widens: bool = False
