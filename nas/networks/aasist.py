"""AASIST and AASIST-L: sinc filters, a residual encoder, and attention over a spectral and a temporal graph.

Jung et al., "AASIST: Audio anti-spoofing using integrated spectro-temporal graph attention networks" (ICASSP 2022), and
the published code and configurations. Shapes below are those of 64,600 samples and the larger network:

waveform [B, 64600] -> sinc [B, 70, 64472] -> |.|, max-pool 3 x 3 -> [B, 1, 23, 21490] -> encoder [B, 64, 23, 29]
-> spectral nodes [B, 23, 64], temporal nodes [B, 29, 64] -> graphs -> embedding [B, 160] -> logits [B, 2]
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.frontends.fixed_sinc import POOL, FixedSinc, require_samples
from nas.losses import create_head
from nas.network import Network

BLOCKS = 6


class ResidualBlock(nn.Module):
    """[B, C_in, F, T] -> [B, C, F, T // 3]: two 2 x 3 convolutions, a 1 x 3 shortcut where C changes, max-pool (1, 3).

    Args:
        channels_in: C_in.
        channels: C.
        first: whether it is the first block, which has no `norm_1`.
        conv_on_input: quirk Q1 of the published code, which the released weights need: the first convolution receives
            the input of the block, so that `norm_1` and its SELU compute nothing. False is the pre-activation of the
            paper.
    """

    def __init__(self, channels_in: int, channels: int, first: bool = False, conv_on_input: bool = True) -> None:
        super().__init__()
        self.conv_on_input = conv_on_input
        self.norm_1 = None if first else nn.BatchNorm2d(channels_in)
        self.conv_1 = nn.Conv2d(channels_in, channels, (2, 3), padding=(1, 1))
        self.norm_2 = nn.BatchNorm2d(channels)
        self.conv_2 = nn.Conv2d(channels, channels, (2, 3), padding=(0, 1))
        self.shortcut = None if channels_in == channels else nn.Conv2d(channels_in, channels, (1, 3), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.norm_1 is None or self.conv_on_input else F.selu(self.norm_1(x))
        y = self.conv_2(F.selu(self.norm_2(self.conv_1(y))))
        return F.max_pool2d(y + (x if self.shortcut is None else self.shortcut(x)), (1, POOL))


def attention_vector(size: int) -> nn.Parameter:
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(size, 1)))


def normalise_nodes(norm: nn.BatchNorm1d, nodes: Tensor) -> Tensor:
    """Batch normalisation of [B, N, D] over utterances and nodes."""
    return norm(nodes.flatten(0, 1)).view_as(nodes)


def pairwise(nodes: Tensor) -> Tensor:
    """Products of all pairs of nodes: [B, N, D] -> [B, N, N, D]."""
    return nodes.unsqueeze(2) * nodes.unsqueeze(1)


class GraphAttention(nn.Module):
    """Attention among the nodes of one graph, [B, N, D_in] -> [B, N, D] (Eq. 1 to 4).

    a_ij = softmax over the neighbours j of w . tanh(W_a (x_i * x_j)) / temperature; out = SELU(BN(W_1 A x + W_2 x)).
    The softmax runs over j, so that the rows of A, by which the neighbours are summed, add up to one; a port that
    drops the last axis of the published 4-D tensor and keeps "axis -2" normalises the wrong one (trap Q2).
    """

    def __init__(self, size_in: int, size: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.pair = nn.Linear(size_in, size)
        self.weight = attention_vector(size)
        self.attended = nn.Linear(size_in, size)
        self.own = nn.Linear(size_in, size)
        self.norm = nn.BatchNorm1d(size)
        self.dropout = nn.Dropout(0.2)

    def attention(self, nodes: Tensor) -> Tensor:
        """nodes [B, N, D_in] -> attention [B, N, N], rows adding up to one."""
        pairs = torch.tanh(self.pair(pairwise(nodes))) @ self.weight
        return (pairs.squeeze(-1) / self.temperature).softmax(dim=2)

    def forward(self, nodes: Tensor) -> Tensor:
        nodes = self.dropout(nodes)
        attended = self.attention(nodes) @ nodes
        return F.selu(normalise_nodes(self.norm, self.attended(attended) + self.own(nodes)))


class HeterogeneousAttention(nn.Module):
    """Attention over temporal and spectral nodes together, and the stack node that sums them up (Section 3.2).

    temporal [B, N_t, D_in], spectral [B, N_s, D_in], stack [B or 1, 1, D_in] -> the same with D. Three attention
    vectors serve the pairs: temporal-temporal, spectral-spectral, and one for both mixed directions.
    """

    def __init__(self, size_in: int, size: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.project_temporal = nn.Linear(size_in, size_in)
        self.project_spectral = nn.Linear(size_in, size_in)
        self.pair = nn.Linear(size_in, size)
        self.pair_stack = nn.Linear(size_in, size)
        self.weight_temporal = attention_vector(size)
        self.weight_spectral = attention_vector(size)
        self.weight_mixed = attention_vector(size)
        self.weight_stack = attention_vector(size)
        self.attended = nn.Linear(size_in, size)
        self.own = nn.Linear(size_in, size)
        self.attended_stack = nn.Linear(size_in, size)
        self.own_stack = nn.Linear(size_in, size)
        self.norm = nn.BatchNorm1d(size)
        self.dropout = nn.Dropout(0.2)

    def attention(self, nodes: Tensor, temporal: int) -> Tensor:
        """nodes [B, N, D_in], the first `temporal` of them temporal -> attention [B, N, N], rows adding up to one."""
        weights = torch.cat([self.weight_temporal, self.weight_spectral, self.weight_mixed], dim=1)
        within_temporal, within_spectral, mixed = (torch.tanh(self.pair(pairwise(nodes))) @ weights).unbind(-1)
        is_temporal = torch.arange(nodes.shape[1], device=nodes.device) < temporal
        pairs = torch.where(is_temporal, within_temporal, mixed)
        pairs = torch.where(is_temporal.unsqueeze(1), pairs, torch.where(is_temporal, mixed, within_spectral))
        return (pairs / self.temperature).softmax(dim=2)

    def attention_stack(self, nodes: Tensor, stack: Tensor) -> Tensor:
        """Attention [B, 1, N] of the stack node to all nodes."""
        pairs = torch.tanh(self.pair_stack(nodes * stack)) @ self.weight_stack
        return (pairs / self.temperature).softmax(dim=1).transpose(1, 2)

    def forward(self, temporal: Tensor, spectral: Tensor, stack: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        count = temporal.shape[1]
        nodes = torch.cat([self.project_temporal(temporal), self.project_spectral(spectral)], dim=1)
        nodes = self.dropout(nodes)
        attended = self.attention(nodes, count) @ nodes
        stack = self.attended_stack(self.attention_stack(nodes, stack) @ nodes) + self.own_stack(stack)
        nodes = F.selu(normalise_nodes(self.norm, self.attended(attended) + self.own(nodes)))
        return nodes[:, :count], nodes[:, count:], stack


class GraphPool(nn.Module):
    """Keep the int(N * ratio) (at least one) nodes of the highest gate s = sigmoid(w . h + b): [B, N, D] -> [B, N', D].

    The kept nodes are scaled by their gate and stand in falling order of it: the two branches are compared by rank.
    """

    def __init__(self, size: int, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.gate = nn.Linear(size, 1)
        self.dropout = nn.Dropout(0.3)

    def forward(self, nodes: Tensor) -> Tensor:
        gates = torch.sigmoid(self.gate(self.dropout(nodes)))
        kept = gates.topk(max(int(nodes.shape[1] * self.ratio), 1), dim=1).indices
        return (nodes * gates).gather(1, kept.expand(-1, -1, nodes.shape[2]))


class Branch(nn.Module):
    """One of the two parallel branches: attention, pooling, attention added to what it received.

    It owns the stack node that it starts from, [1, 1, D].
    """

    def __init__(self, size_in: int, size: int, ratio: float, temperature: float) -> None:
        super().__init__()
        self.stack = nn.Parameter(torch.randn(1, 1, size_in))
        self.first = HeterogeneousAttention(size_in, size, temperature)
        self.pool_spectral = GraphPool(size, ratio)
        self.pool_temporal = GraphPool(size, ratio)
        self.second = HeterogeneousAttention(size, size, temperature)

    def forward(self, temporal: Tensor, spectral: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        temporal, spectral, stack = self.first(temporal, spectral, self.stack)
        temporal, spectral = self.pool_temporal(temporal), self.pool_spectral(spectral)
        more_temporal, more_spectral, more_stack = self.second(temporal, spectral, stack)
        return temporal + more_temporal, spectral + more_spectral, stack + more_stack


class AASIST(Network):
    """waveform [B, T] -> logits [B, 2], column 1 bona fide. The published systems see T = 64,600 samples.

    Args:
        filters: sinc filters; a third of them are the spectral nodes.
        first_conv: taps of a sinc filter; the published value is 128, which becomes 129.
        channels: of the first two blocks, of the others.
        graph: width of the graphs before and after they are joined.
        pool_ratios: spectral, temporal, and joined nodes kept. (The published configurations name a fourth, unused.)
        temperatures: spectral, temporal, joined. (Likewise.)
        conv_on_input: quirk Q1, see `ResidualBlock`.
        mask: F of the filter masking in training mode (`freq_aug` of the published code is 20); 0 never masks.
        loss: name of the head in `nas.losses`.
        loss_options: its options.
    """

    def __init__(
        self,
        filters: int = 70,
        first_conv: int = 128,
        channels: tuple[int, int] = (32, 64),
        graph: tuple[int, int] = (64, 32),
        pool_ratios: tuple[float, float, float] = (0.5, 0.7, 0.5),
        temperatures: tuple[float, float, float] = (2.0, 2.0, 100.0),
        conv_on_input: bool = True,
        mask: int = 0,
        loss: str = "weighted-cross-entropy",
        loss_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.unused_parameters = (r"encoder\.\d+\.norm_1\..*",) if conv_on_input else ()
        self.sinc = FixedSinc(filters, first_conv, mask=mask)
        self.first_norm = nn.BatchNorm2d(1)
        early, late = channels
        widths = [1, early, early, late, late, late, late]
        self.encoder = nn.Sequential(
            *(ResidualBlock(widths[i], widths[i + 1], i == 0, conv_on_input) for i in range(BLOCKS))
        )
        separate, joined = graph
        self.position = nn.Parameter(torch.randn(1, filters // POOL, late))
        self.spectral = GraphAttention(late, separate, temperatures[0])
        self.temporal = GraphAttention(late, separate, temperatures[1])
        self.pool_spectral = GraphPool(separate, pool_ratios[0])
        self.pool_temporal = GraphPool(separate, pool_ratios[1])
        self.branches = nn.ModuleList(Branch(separate, joined, pool_ratios[2], temperatures[2]) for _ in range(2))
        self.dropout_branch = nn.Dropout(0.2)
        self.dropout = nn.Dropout(0.5)
        self.output = create_head(loss, 5 * joined, **(loss_options or {}))

    def spectrogram(self, waveform: Tensor) -> Tensor:
        """waveform [B, T] -> what the encoder sees, [B, 1, filters // 3, (T - 128) // 3]."""
        require_samples(waveform, POOL ** (BLOCKS + 1) + self.sinc.kernel - 1)
        return F.selu(self.first_norm(self.sinc.magnitude(waveform, bands=POOL).unsqueeze(1)))

    def graphs(self, encoded: Tensor) -> Tensor:
        """encoded [B, C, F, T'] -> embedding [B, 5 * D]."""
        magnitude = encoded.abs()
        spectral = magnitude.amax(dim=3).transpose(1, 2) + self.position
        temporal = magnitude.amax(dim=2).transpose(1, 2)
        spectral = self.pool_spectral(self.spectral(spectral))
        temporal = self.pool_temporal(self.temporal(temporal))
        first, second = (branch(temporal, spectral) for branch in self.branches)
        temporal, spectral, stack = (
            torch.maximum(self.dropout_branch(a), self.dropout_branch(b)) for a, b in zip(first, second, strict=True)
        )
        parts = [temporal.abs().amax(1), temporal.mean(1), spectral.abs().amax(1), spectral.mean(1), stack.squeeze(1)]
        return self.dropout(torch.cat(parts, dim=1))

    def embed(self, waveform: Tensor) -> Tensor:
        """waveform [B, T] -> embedding [B, 160], after its dropout in training mode.

        Raises:
            NasError: the waveform is too short (2,315 samples at the published sizes).
        """
        return self.graphs(self.encoder(self.spectrogram(waveform)))
