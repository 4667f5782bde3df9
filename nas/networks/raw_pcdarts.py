"""The Raw PC-DARTS network of a genotype, and the parts that it shares with the supernet (Ge et al. 2021, Table 1).

waveform [B, T] -> front-end, max-pool 3, BN -> s0 [B, C, L] -> stem, stride 2 -> s1 [B, C, L / 2]
-> cells, each halving the frames, expand cells doubling the channels -> GRU, last frame -> embedding -> cosines
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.errors import NasError
from nas.frontends.sinc import Conv0, SincFilters
from nas.genotype import Cell, Genotype
from nas.losses import P2SGrad
from nas.networks.network import Network
from nas.space import LEAKY_SLOPE, SearchSpace, get_space, nearest

FrontendKind = Literal["mel", "inverse-mel", "linear", "conv0"]


@dataclass(frozen=True)
class CellPlan:
    """Where a cell stands: its channels, those of the two cells before, and whether it (or the one before) expands."""

    before_previous: int
    previous: int
    channels: int
    expand: bool
    after_expand: bool


def plan_cells(channels: int, cells: int, concatenated: dict[bool, int]) -> tuple[CellPlan, ...]:
    """The stack of cells: expand cells at one third and two thirds of the depth, where C doubles (Section 3.2).

    Args:
        channels: C, the channels of the front-end and of the first cells.
        cells: how many cells.
        concatenated: nodes that the output concatenates, of the normal (False) and the expand (True) cell.
    """
    plans: list[CellPlan] = []
    before, previous, after_expand = channels, channels, False
    for position in range(cells):
        expand = position in (cells // 3, 2 * cells // 3)
        channels *= 2 if expand else 1
        plans.append(CellPlan(before, previous, channels, expand, after_expand))
        before, previous, after_expand = previous, concatenated[expand] * channels, expand
    return tuple(plans)


class Halve(nn.Module):
    """[B, C_in, T] -> [B, C, T // 2]: LeakyReLU, 1 x 1 convolution, max-pool 2, BN. Brings s0 to the length of s1."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels, 1, bias=False)
        self.norm = nn.BatchNorm1d(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.leaky_relu(x, LEAKY_SLOPE))
        return self.norm(F.max_pool1d(x, 2))


class FactorizedHalve(nn.Module):
    """Halve, after an expand cell: the convolution in two halves, as published (one convolution, mathematically)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv1d(channels_in, channels // 2, 1, bias=False)
        self.conv_2 = nn.Conv1d(channels_in, channels // 2, 1, bias=False)
        self.norm = nn.BatchNorm1d(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.cat([self.conv_1.weight, self.conv_2.weight])
        return self.norm(F.max_pool1d(F.conv1d(F.leaky_relu(x, LEAKY_SLOPE), weight), 2))


class Preprocess(nn.Module):
    """The two inputs of a cell, [B, ., 2 T] and [B, ., T], brought to [B, C, T] each.

    With an odd number of frames the two differ by one; both are cut to the shorter, so that every length works.
    """

    def __init__(self, plan: CellPlan) -> None:
        super().__init__()
        halve = FactorizedHalve if plan.after_expand else Halve
        self.first = halve(plan.before_previous, plan.channels)
        self.second = nn.Sequential(
            nn.LeakyReLU(LEAKY_SLOPE),
            nn.Conv1d(plan.previous, plan.channels, 1, bias=False),
            nn.BatchNorm1d(plan.channels, affine=False),
        )

    def forward(self, s0: Tensor, s1: Tensor) -> tuple[Tensor, Tensor]:
        frames = min(s0.shape[2] // 2, s1.shape[2])
        return self.first(s0[:, :, : 2 * frames]), self.second(s1[:, :, :frames])


class DerivedCell(nn.Module):
    """A cell of a genotype: each node is the sum of its kept operations; the output is their concatenation, max-pool 2.

    s0 [B, C_before, 2 T], s1 [B, C_previous, T] -> [B, nodes * C, T // 2]
    """

    def __init__(self, space: SearchSpace, nodes: Cell, concat: tuple[int, ...], plan: CellPlan) -> None:
        super().__init__()
        self.preprocess = Preprocess(plan)
        self.sources = tuple(tuple(edge.source for edge in edges) for edges in nodes)
        self.concat = concat
        self.operations = nn.ModuleList(
            space.primitive(edge.primitive).operation(plan.channels) for edges in nodes for edge in edges
        )

    def forward(self, s0: Tensor, s1: Tensor) -> Tensor:
        states = list(self.preprocess(s0, s1))
        operations = iter(self.operations)
        for sources in self.sources:
            terms = [next(operations)(states[source]) for source in sources]
            states.append(sum(terms[1:], start=terms[0]))
        return F.max_pool1d(torch.cat([states[node] for node in self.concat], dim=1), 2)


class Stem(nn.Module):
    """waveform [B, T] -> s0 [B, C, L], s1 [B, C, ceil(L / 2)]: front-end, max-pool 3, BN, LeakyReLU; convolution."""

    def __init__(self, frontend: FrontendKind, channels: int, learnable: bool, kernel: int, mask: int) -> None:
        super().__init__()
        self.frontend: SincFilters | Conv0
        if frontend == "conv0":
            self.frontend = Conv0(channels, kernel, mask)
            self.frontend.requires_grad_(learnable)
        else:
            self.frontend = SincFilters(channels, frontend, learnable, kernel, mask)
        self.norm = nn.BatchNorm1d(channels)
        self.conv = nn.Conv1d(channels, channels, 3, stride=2, padding=1, bias=False)
        self.conv_norm = nn.BatchNorm1d(channels)

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        s0 = F.leaky_relu(self.norm(F.max_pool1d(self.frontend(waveform), 3)), LEAKY_SLOPE)
        return s0, F.leaky_relu(self.conv_norm(self.conv(s0)), LEAKY_SLOPE)


class RecurrentEmbedding(nn.Module):
    """[B, C, T] -> [B, hidden]: GRU, output at the last frame, fully connected layer (Section 3.3)."""

    def __init__(self, channels: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, hidden, layers, batch_first=True)
        self.fc = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        frames, _ = self.gru(x.transpose(1, 2))
        return self.fc(frames[:, -1])


class RawPCDarts(Network):
    """The network of a genotype: waveform [B, T] -> cosines [B, 2], column 1 bona fide.

    Args:
        genotype: the normal and the expand cell.
        space: the search space that names their primitives.
        channels: C, doubled by each of the two expand cells.
        cells: number of cells; each halves the frames, so a waveform needs about 6 * 2 ** cells + 124 samples.
        gru_hidden: units of each GRU layer and size of the embedding.
        gru_layers: GRU layers.
        frontend: "mel", "inverse-mel" or "linear" sinc filters, or "conv0".
        learnable: whether the front-end is trained.
        kernel: taps of the front-end.
        mask: F of filter masking in training mode; 0 never masks.

    Raises:
        NasError: the genotype does not belong to the space.
    """

    def __init__(
        self,
        genotype: Genotype,
        space: SearchSpace | str = "raw_waveform",
        channels: int = 64,
        cells: int = 8,
        gru_hidden: int = 1024,
        gru_layers: int = 3,
        frontend: FrontendKind = "mel",
        learnable: bool = False,
        kernel: int = 128,
        mask: int = 16,
    ) -> None:
        super().__init__()
        space = get_space(space) if isinstance(space, str) else space
        self.genotype = genotype.validate(space)
        self.stem = Stem(frontend, channels, learnable, kernel, mask)
        plans = plan_cells(channels, cells, {False: len(genotype.normal_concat), True: len(genotype.expand_concat)})
        self.cells = nn.ModuleList(
            DerivedCell(space, genotype.expand, genotype.expand_concat, plan)
            if plan.expand
            else DerivedCell(space, genotype.normal, genotype.normal_concat, plan)
            for plan in plans
        )
        concatenated = genotype.expand_concat if plans[-1].expand else genotype.normal_concat
        self.head = RecurrentEmbedding(len(concatenated) * plans[-1].channels, gru_hidden, gru_layers)
        self.output = P2SGrad(gru_hidden)

    def embed(self, waveform: Tensor) -> Tensor:
        """waveform [B, T] -> embedding [B, gru_hidden].

        Raises:
            NasError: the waveform is too short for the number of cells.
        """
        require_samples(waveform.shape[1], len(self.cells))
        s0, s1 = self.stem(waveform)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1)
        return self.head(s1)


SCALES: dict[str, FrontendKind] = {
    "mel": "mel",
    "lem": "inverse-mel",
    "inverse-mel": "inverse-mel",
    "linear": "linear",
    "conv": "conv0",
    "conv0": "conv0",
}
"""Front-ends by the names of the published code, and by ours."""


def raw_pcdarts(
    genotype: Genotype | str,
    space: str = "raw_waveform",
    channels: int = 64,
    cells: int = 8,
    gru_hidden: int = 1024,
    gru_layers: int = 3,
    sinc_scale: str = "mel",
    learnable: bool = False,
    kernel: int = 128,
    mask: int = 16,
) -> RawPCDarts:
    """`RawPCDarts` of a genotype given as text, with the published names of the front-ends: "mel", "lem" or
    "inverse-mel", "linear", "conv" or "conv0".

    Raises:
        NasError: no genotype, one that does not belong to the space, or no such front-end.
    """
    if sinc_scale not in SCALES:
        raise NasError(f"there is no front-end {sinc_scale!r}{nearest(sinc_scale, list(SCALES))}")
    genotype = genotype if isinstance(genotype, Genotype) else Genotype.parse(genotype)
    return RawPCDarts(
        genotype, space, channels, cells, gru_hidden, gru_layers, SCALES[sinc_scale], learnable, kernel, mask
    )


def require_samples(samples: int, cells: int) -> None:
    """Refuse waveforms from which the last cell would get nothing.

    Raises:
        NasError: with the least number of samples that works.
    """
    least = 3 * 2 ** (cells + 1) + 124
    if samples < least:
        raise NasError(f"a waveform of {samples} samples is too short for {cells} cells: at least {least} are needed")
