"""Proxies by which side of zero the units of the cells are on: NASWOT and SWAP."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nas.network import Network
from nas.searching.proxies.registry import PROXIES

UNITS = (nn.LeakyReLU, nn.ReLU, nn.SELU, nn.GELU, nn.SiLU)
"""What counts as a unit; activations that a network calls as functions are not seen."""


@contextmanager
def watching(network: Network, look: Callable[[Tensor], None]) -> Iterator[None]:
    """Call `look` with which inputs of every activation of the cells are above zero, [B, units], in the block."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        look((inputs[0] > 0).flatten(1))

    root = getattr(network, "cells", network)
    handles = [unit.register_forward_hook(hook) for unit in root.modules() if isinstance(unit, UNITS)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@PROXIES.entry("naswot")
def naswot(network: Network, waveforms: Tensor, labels: Tensor) -> float:
    """Log-determinant of the kernel of activation patterns (Mellor et al. 2021): how differently the LeakyReLUs of the
    cells treat the utterances of the batch.

    The kernel of two utterances is the number of units on the same side of zero.
    """
    kernel = torch.zeros(len(waveforms), len(waveforms), dtype=torch.float64)

    def count(sides: Tensor) -> None:
        side = sides.double().cpu()
        kernel.add_(side @ side.T + (1 - side) @ (1 - side).T)

    with watching(network, count), torch.no_grad():
        network.train()(waveforms)
    sign, logarithm = torch.linalg.slogdet(kernel)
    return float(logarithm) if sign > 0 else -math.inf


@PROXIES.entry("swap")
def swap(network: Network, waveforms: Tensor, labels: Tensor) -> float:
    """SWAP (Peng et al. 2024): the number of different patterns that units show over the utterances of
    the batch, one bit for each utterance: how many ways the network has of dividing them.

    At most 2 ** B for B utterances, so a batch of 16 or more is wanted. Utterances beyond the 62nd are not used.
    """
    waveforms = waveforms[:62]
    bits = 2 ** torch.arange(len(waveforms), dtype=torch.int64)
    patterns: list[Tensor] = []

    def collect(sides: Tensor) -> None:
        patterns.append(torch.unique(bits @ sides.cpu().long()))

    with watching(network, collect), torch.no_grad():
        network.train()(waveforms)
    return float(torch.unique(torch.cat(patterns)).numel()) if patterns else 0.0


def regularised_swap(score: float, parameters: float, mu: float, sigma: float) -> float:
    """SWAP times exp(-((parameters - mu) / sigma) ** 2), which draws a search to networks of about
    `mu` parameters."""
    return score * math.exp(-(((parameters - mu) / sigma) ** 2))
