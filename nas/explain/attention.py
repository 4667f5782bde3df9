"""What the graphs of AASIST attend to (Jung et al. 2022, Section 3)."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.networks.aasist import AASIST, Branch, GraphPool


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of one utterance; the rows of a map, a node's attention to all nodes, add up to one.

    Attributes:
        spectral: [N_s, N_s] among the spectral nodes, low bands first.
        temporal: [N_t, N_t] among the temporal nodes, in the order of time.
        stack_spectral: [N_s] attention of the stack nodes to each spectral node, mean of the two branches; 0 for a node
            that the graph pooling dropped.
        stack_temporal: [N_t] likewise.
    """

    spectral: np.ndarray
    temporal: np.ndarray
    stack_spectral: np.ndarray
    stack_temporal: np.ndarray


def attention_maps(network: nn.Module, waveform: Tensor) -> AttentionMaps:
    """The maps of one utterance.

    Args:
        network: an AASIST in evaluation mode.
        waveform: [T] at 16 kHz.

    Raises:
        NasError: another network.
    """
    if not isinstance(network, AASIST):
        raise NasError("attention maps are those of AASIST's graphs; this network has none")
    seen: dict[nn.Module, Any] = {}

    def keep(module: nn.Module, received: Any) -> None:
        seen[module] = received

    branches = [branch for branch in network.branches if isinstance(branch, Branch)]
    with ExitStack() as stack, torch.no_grad():
        for module in (network.spectral, network.temporal, network.pool_spectral, network.pool_temporal):
            stack.callback(module.register_forward_pre_hook(keep).remove)
        for branch in branches:
            stack.callback(branch.first.register_forward_pre_hook(keep).remove)
        network(waveform.unsqueeze(0))
        (spectral,), (temporal,) = seen[network.spectral], seen[network.temporal]
        kept = [_kept(pool, seen[pool][0]) for pool in (network.pool_temporal, network.pool_spectral)]
        sums = [np.zeros(temporal.shape[1]), np.zeros(spectral.shape[1])]
        for branch in branches:
            of_temporal, of_spectral, node = seen[branch.first]
            first = branch.first
            nodes = torch.cat([first.project_temporal(of_temporal), first.project_spectral(of_spectral)], dim=1)
            attention = first.attention_stack(nodes, node)[0, 0].double().numpy()
            parts = np.split(attention, [of_temporal.shape[1]])
            for total, places, part in zip(sums, kept, parts, strict=True):
                total[places] += part / len(branches)
        return AttentionMaps(
            network.spectral.attention(spectral)[0].double().numpy(),
            network.temporal.attention(temporal)[0].double().numpy(),
            stack_spectral=sums[1],
            stack_temporal=sums[0],
        )


def _kept(pool: GraphPool, nodes: Tensor) -> np.ndarray:
    """The places of the nodes that a pooling keeps, in falling order of their gates."""
    gates = torch.sigmoid(pool.gate(nodes))
    return np.asarray(gates.topk(max(int(nodes.shape[1] * pool.ratio), 1), dim=1).indices[0, :, 0].numpy())
