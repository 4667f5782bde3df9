"""Proxies by eigenvalues of what layers put out: MeCo, and three parts of AZ-NAS."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from nas.network import Network
from nas.searching.proxies.registry import PROXIES

SAMPLED = 8
"""Channels that MeCo's "opt" form draws from each layer."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


@PROXIES.entry("meco")
def meco(network: Network, waveforms: Tensor, labels: Tensor) -> float:
    """MeCo in its "opt" form (Jiang et al. 2023): the sum over convolutions of C / 8 times the smallest eigenvalue of
    the Pearson correlation matrix of 8 of their C output channels, for one utterance of noise. Forward only.

    Drawing a fixed number of channels keeps layers of different widths comparable; narrower layers count whole.
    """
    chance = random.Random(0)
    smallest: list[float] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        features = output[0].flatten(1).double().cpu()
        channels = len(features)
        if channels > SAMPLED:
            features = features[chance.sample(range(channels), SAMPLED)]
        if len(features) > 1 and features.shape[1] > 1:
            # A channel that does not vary correlates with nothing.
            correlation = torch.corrcoef(features).nan_to_num(0.0)
            smallest.append(channels / len(features) * float(torch.linalg.eigvalsh(correlation)[0]))

    handles = [m.register_forward_hook(look) for m in network.modules() if isinstance(m, CONVOLUTIONS)]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, waveforms.shape[1], generator=generator).to(waveforms)
    try:
        with torch.no_grad():
            network.train()(noise)
    finally:
        for handle in handles:
            handle.remove()
    return float(sum(smallest))


@contextmanager
def _blocks(network: Any) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """(input, output) of every cell, in order, filled as the network runs; the input is the cell before."""
    found: list[tuple[Tensor, Tensor]] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append((inputs[1], output))

    handles = [cell.register_forward_hook(look) for cell in network.cells]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def spectral_entropy(features: Tensor) -> float:
    """Entropy of the normalised eigenvalues of the channels' covariance, features [B, C, T]; at most log C."""
    values = features.detach().double().transpose(1, 2).flatten(0, 1)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(values.T)).clamp_min(0)
    shares = eigenvalues / eigenvalues.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return float(torch.special.entr(shares).sum())


def _entropies(network: Network, waveforms: Tensor) -> list[float]:
    with _blocks(network) as blocks, torch.no_grad():
        network.train()(waveforms)
    return [spectral_entropy(output) for _, output in blocks]


@PROXIES.entry("az_expressivity")
def expressivity(network: Network, waveforms: Tensor, labels: Tensor) -> float:
    """Expressivity of AZ-NAS (Lee and Ham 2024): the sum over cells of the entropy of their channels' spectrum."""
    return sum(_entropies(network, waveforms))


@PROXIES.entry("az_progressivity")
def progressivity(network: Network, waveforms: Tensor, labels: Tensor) -> float:
    """Progressivity of AZ-NAS: the smallest increase of that entropy from one cell to the next."""
    entropies = _entropies(network, waveforms)
    return min((after - before for before, after in pairwise(entropies)), default=0.0)


@PROXIES.entry("az_trainability")
def trainability(network: Network, waveforms: Tensor, labels: Tensor) -> float:
    """Trainability of AZ-NAS: the mean over cells of 2 - s - 1 / s, where s is the largest singular value of the
    product of a cell's output gradient, random signs, with the gradient that it gives at its input, over frames and
    utterances. At most 0, where gradients neither grow nor fade.

    A cell halves the frames; each frame of its output stands beside the two of its input, summed.
    """
    generator = torch.Generator().manual_seed(0)
    found = []
    with _blocks(network) as blocks:
        network.train()(waveforms)
    for before, after in blocks:
        signs = (torch.randint(0, 2, after.shape, generator=generator) * 2 - 1).to(after)
        if not before.requires_grad:
            continue
        (gradient,) = torch.autograd.grad(after, before, signs, retain_graph=True, allow_unused=True)
        if gradient is None:
            continue
        frames = after.shape[2]
        factor = max(gradient.shape[2] // frames, 1)
        at_input = gradient[:, :, : factor * frames].unflatten(2, (frames, factor)).sum(3)
        product = torch.einsum("bct,bdt->cd", at_input.double(), signs.double()) / (len(after) * frames)
        largest = float(torch.linalg.matrix_norm(product, 2))
        found.append(2 - largest - 1 / (largest + 1e-6))
    return sum(found) / len(found) if found else 0.0
