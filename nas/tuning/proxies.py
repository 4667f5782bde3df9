"""Training-free proxies: a guess, from an untrained network and one batch, at which genotypes are worth training.

A proxy is a function of a freshly initialised network, waveforms [B, T] and labels [B]; higher is taken for better. The
network is left as it was, except for gradients and running statistics; it is thrown away afterwards.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.networks.raw_pcdarts import RawPCDarts
from nas.registry import Registry

Proxy = Callable[[RawPCDarts, Tensor, Tensor], float]

PROXIES: Registry[Proxy] = Registry("training-free proxy")


@PROXIES.entry("synflow")
def synflow(network: RawPCDarts, waveforms: Tensor, labels: Tensor) -> float:
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
def gradient_norm(network: RawPCDarts, waveforms: Tensor, labels: Tensor) -> float:
    """Euclidean norm of the gradient of the loss with respect to all trained weights (Abdelfattah et al. 2021)."""
    trained = [parameter for parameter in network.train().parameters() if parameter.requires_grad]
    loss = network.output.loss(network(waveforms), labels)
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    return float(torch.stack([g.square().sum() for g in gradients if g is not None]).sum().sqrt())


@PROXIES.entry("naswot")
def naswot(network: RawPCDarts, waveforms: Tensor, labels: Tensor) -> float:
    """Log-determinant of the kernel of activation patterns (Mellor et al. 2021): how differently the LeakyReLUs of the
    cells treat the utterances of the batch.

    The kernel of two utterances is the number of units on the same side of zero.
    """
    kernel = torch.zeros(len(waveforms), len(waveforms), dtype=torch.float64)

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        side = (inputs[0] > 0).flatten(1).double().cpu()
        kernel.add_(side @ side.T + (1 - side) @ (1 - side).T)

    units = [module for module in network.cells.modules() if isinstance(module, nn.LeakyReLU)]
    handles = [unit.register_forward_hook(count) for unit in units]
    try:
        with torch.no_grad():
            network.train()(waveforms)
    finally:
        for handle in handles:
            handle.remove()
    sign, logarithm = torch.linalg.slogdet(kernel)
    return float(logarithm) if sign > 0 else -math.inf
