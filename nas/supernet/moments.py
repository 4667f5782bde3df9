"""What is kept of a state, so that statistics of candidates follow from it (see `folding.py`), and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from nas import processes
from nas.space import Computed, Identity, Linear, Pool, SearchSpace


@dataclass(frozen=True)
class Kinds:
    """The primitives of a space sorted by kind (indices into `space.primitives`), and what the linear ones need."""

    linear: tuple[tuple[int, Linear], ...]
    pools: tuple[tuple[int, Pool], ...]
    identity: tuple[int, ...]
    computed: tuple[int, ...]
    primitives: int
    taps: tuple[int, ...]
    """Offsets in frames that some linear primitive reads, rising, e.g. (-4, -2, -1, 0, 1, 2, 4)."""
    lags: tuple[int, ...]
    """Differences between two taps of one primitive, from 0, rising, e.g. (0, 1, 2, 3, 4, 6, 8)."""

    @classmethod
    def of(cls, space: SearchSpace) -> Kinds:
        numbered = list(enumerate(space.primitives))
        linear = tuple((k, p) for k, p in numbered if isinstance(p, Linear))
        return cls(
            linear=linear,
            pools=tuple((k, p) for k, p in numbered if isinstance(p, Pool)),
            identity=tuple(k for k, p in numbered if isinstance(p, Identity)),
            computed=tuple(k for k, p in numbered if isinstance(p, Computed)),
            primitives=len(numbered),
            taps=tuple(sorted({tap for _, p in linear for tap in p.offsets})),
            lags=tuple(sorted({abs(q - o) for _, p in linear for o in p.offsets for q in p.offsets})),
        )

    @property
    def reach(self) -> int:
        """H: frames that the farthest tap looks ahead."""
        return max(self.taps, default=0)

    @cached_property
    def widest(self) -> dict[int, Linear]:
        """For each dilation its dense primitive with the largest kernel."""
        return {p.dilation: p for _, p in sorted(self.linear, key=lambda pair: pair[1].kernel) if not p.depthwise}


@dataclass(frozen=True)
class Moments:
    """What the statistics of every linear candidate that leaves a state are made of."""

    kinds: Kinds
    autocorrelations: Tensor
    """r_d for each lag of `Kinds.lags`, [lags, C', C']."""
    total: Tensor
    """Sum of p over utterances and frames, [C']."""
    ends: Tensor
    """The first 2 H frames of p after 2 H zeros, and its last 2 H frames before 2 H zeros: [C', 2 B, 4 H]."""
    shift: Tensor
    """The mean that was subtracted, [C']; it has no gradient, because no result depends on it."""
    count: int
    """Frames in all: B * T."""

    @classmethod
    def of(
        cls, kinds: Kinds, padded: Tensor, shift: Tensor, synchronised: bool, total: Tensor | None = None
    ) -> Moments:
        """Of p [B, C', T + 2 H], and of its sum where that is known; of all processes' utterances together if asked.

        Processes must hold equally many frames and have shifted them by the same mean.
        """
        edge = 2 * kinds.reach
        frames = padded.shape[2] - edge
        head, tail = padded[:, :, :edge], padded[:, :, frames:]
        ends = torch.cat([F.pad(head, (edge, 0)), F.pad(tail, (0, edge))]).transpose(0, 1)
        correlations = autocorrelations(padded, kinds.lags)
        total = padded.sum((0, 2)) if total is None else total
        count = padded.shape[0] * frames
        if synchronised:
            places = [torch.zeros_like(ends)] * processes.count()
            places[processes.rank()] = ends
            correlations, total, ends = processes.total_all([correlations, total, torch.cat(places, dim=1)])
            count *= processes.count()
        return cls(kinds, correlations, total, ends, shift, count)

    @property
    def channels(self) -> int:
        """C', the active channels."""
        return self.total.shape[0]

    def lagged(self, primitive: Linear) -> list[Tensor]:
        """r_d for each difference between two taps of a primitive, from its farthest back to its farthest ahead."""
        by_lag = dict(zip(self.kinds.lags, self.autocorrelations, strict=True))
        ahead = [by_lag[primitive.dilation * n] for n in range(primitive.kernel)]
        return [*(matrix.t() for matrix in ahead[:0:-1]), *ahead]

    def window(self, offset: int) -> tuple[slice, slice, slice]:
        """Where in `ends` a tap reads at the frames t = -2 H ... -1 and T ... T + 2 H - 1, which are outside."""
        start = self.kinds.reach + offset
        return slice(None), slice(None), slice(start, start + 2 * self.kinds.reach)

    def outside(self, offsets: Sequence[int]) -> Tensor:
        """What taps read at the frames outside 0 ... T - 1 that p reaches, [taps, C', 4 H B]."""
        return torch.stack([self.ends[self.window(offset)].flatten(1) for offset in offsets])


def autocorrelations(padded: Tensor, lags: Sequence[int]) -> Tensor:
    """r_d = sum over utterances and t of p[t] p[t + d]^T for p [B, C', T] and each lag d: [lags, C', C']."""
    frames = padded.shape[2]
    return torch.stack(
        [torch.matmul(padded[:, :, : frames - lag], padded[:, :, lag:].transpose(1, 2)).sum(0) for lag in lags]
    )


class Gradients:
    """Gradients of autocorrelations, total and ends of a state, gathered from its candidates."""

    def __init__(self, state: Moments) -> None:
        self.state = state
        self.autocorrelations = torch.zeros_like(state.autocorrelations)
        self.total = torch.zeros_like(state.total)
        self.ends = torch.zeros_like(state.ends)

    def add_lagged(self, primitive: Linear, gradients: Sequence[Tensor]) -> None:
        """To r_d of each lag from 0 to a primitive's farthest; those of negative lags are the same once more."""
        for n, gradient in enumerate(gradients):
            place = self.state.kinds.lags.index(primitive.dilation * n)
            self.autocorrelations[place].add_(gradient, alpha=2 if n else 1)

    def add_outside(self, offsets: Sequence[int], gradient: Tensor) -> None:
        """To the ends, from that of `Moments.outside`."""
        for offset, part in zip(offsets, gradient, strict=True):
            view = self.ends[self.state.window(offset)]
            view += part.view_as(view)

    def own(self, synchronised: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Those of this process's autocorrelations and total, and of its first and last 2 H frames, [B, C', 2 H]."""
        found = self.autocorrelations, self.total, self.ends
        correlations, total, ends = processes.total_all(found) if synchronised else found
        if synchronised:
            ends = ends.chunk(processes.count(), dim=1)[processes.rank()]
        head, tail = ends.transpose(0, 1).chunk(2)
        edge = 2 * self.state.kinds.reach
        return correlations, total, head[:, :, edge:], tail[:, :, :edge]
