"""What every proxy has to beat: parameters and multiply-accumulates."""

from __future__ import annotations

from torch import Tensor

from nas.network import Network
from nas.networks.cost import measure_cost
from nas.searching.proxies.registry import PROXIES


@PROXIES.entry("parameters")
def parameters(network: Network, waveforms: Tensor, labels: Tensor) -> float:
    """Trained values."""
    return float(sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad))


@PROXIES.entry("macs")
def macs(network: Network, waveforms: Tensor, labels: Tensor) -> float:
    """Multiply-accumulates for one utterance."""
    return float(measure_cost(network, waveforms.shape[1]).macs)
