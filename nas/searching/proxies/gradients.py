"""Proxies by gradients: synflow, the norm of the gradient, ZiCo."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.network import Network
from nas.searching.proxies.registry import PROXIES


@PROXIES.entry("synflow")
def synflow(network: Any, waveforms: Tensor, labels: Tensor) -> float:
    """Log of the synaptic flow (Tanaka et al. 2020) of the cells: the sum of |w * dR/dw| over their weights, where R
    is what the cells put out for ones, with all weights made positive and normalisations left out.

    Only the cells differ between genotypes, and what surrounds them (cosines, gates) has no positive, linear form.
    No audio is used: `waveforms` gives the length alone.
    """
    with torch.no_grad():
        s0, s1 = (torch.ones_like(s, dtype=torch.float64) for s in network.eval().stem(waveforms[:1]))
    cells = copy.deepcopy(network.cells).double()
    for name, module in list(cells.named_modules()):
        if isinstance(module, _BatchNorm):
            cells.set_submodule(name, nn.Identity())
    weights = list(cells.parameters())
    with torch.no_grad():
        for weight in weights:
            weight.abs_()
    for cell in cells:
        s0, s1 = s1, cell(s0, s1)
    # A cell that keeps one input a node may not use one of its own inputs.
    gradients = torch.autograd.grad(s1.sum(), weights, allow_unused=True)
    used = [(w.detach(), g) for w, g in zip(weights, gradients, strict=True) if g is not None]
    flow = sum((w * g).abs().sum().item() for w, g in used)
    return math.log(flow) if flow > 0 else -math.inf


@PROXIES.entry("gradient_norm")
def gradient_norm(network: Network, waveforms: Tensor, labels: Tensor) -> float:
    """Euclidean norm of the gradient of the loss with respect to all trained weights (Abdelfattah et al. 2021)."""
    trained = [parameter for parameter in network.train().parameters() if parameter.requires_grad]
    loss = network.output.loss(network(waveforms), labels)
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    return float(torch.stack([g.square().sum() for g in gradients if g is not None]).sum().sqrt())


@PROXIES.entry("zico")
def zico(network: Network, waveforms: Tensor, labels: Tensor) -> float:
    """ZiCo (Li et al. 2023): the sum over layers of log of the sum over weights of mean |g| / std g, where g is
    the gradient of the loss on each half of the batch; weights whose gradient does not vary are left out.

    A layer is one trained tensor of two dimensions or more.
    """
    layers = [parameter for parameter in network.train().parameters() if parameter.requires_grad and parameter.ndim > 1]
    found: list[list[Tensor]] = [[] for _ in layers]
    # Alternating, so that halves of a batch sorted by class hold both classes.
    for part in (slice(0, None, 2), slice(1, None, 2)):
        loss = network.output.loss(network(waveforms[part]), labels[part])
        for store, gradient in zip(found, torch.autograd.grad(loss, layers, allow_unused=True), strict=True):
            if gradient is not None:
                store.append(gradient.detach().double())
    total = 0.0
    for gradients in found:
        if not gradients:
            continue
        stacked = torch.stack(gradients)
        spread = stacked.std(0, correction=0)
        moving = spread > 0
        signal = float((stacked.abs().mean(0)[moving] / spread[moving]).sum())
        total += math.log(signal) if signal > 0 else 0.0
    return total
