"""One step of the two-level optimisation (Eq. 3): min over alpha of L_val(omega*(alpha), alpha).

A bi-level step is an architecture step on a batch of the architecture half, then a weight step on a batch of the
weight half. First order takes omega as it stands for omega*; second order takes one unrolled Adam step ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from nas.errors import NasError
from nas.supernet.network import Supernet

Backward = Callable[[Tensor], None]
Average = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@contextmanager
def held(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Compute no gradients of these parameters inside the block: the other level does not pay for them."""
    held_now = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in held_now:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held_now:
            parameter.requires_grad_(True)


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Normalise by batch statistics inside the block without updating any running statistics."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


def weight_step(
    supernet: Supernet,
    optimizer: torch.optim.Optimizer,
    waveforms: Tensor,
    labels: Tensor,
    backward: Backward = torch.Tensor.backward,
    forward: nn.Module | None = None,
) -> tuple[Tensor, Tensor]:
    """One optimiser step of the weights; alpha and beta take no part. Returns the loss and the logits, detached.

    `forward` is the module to call where it is not the supernet itself (compiled, or wrapped for several processes).
    """
    with held(supernet.architecture.parameters()):
        logits = (forward or supernet)(waveforms)
        loss = supernet.output.loss(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        backward(loss)
    optimizer.step()
    return loss.detach(), logits.detach()


def architecture_step(
    supernet: Supernet,
    optimizer: torch.optim.Optimizer,
    waveforms: Tensor,
    labels: Tensor,
    backward: Backward = torch.Tensor.backward,
    forward: nn.Module | None = None,
    update_statistics: bool = False,
) -> Tensor:
    """One first-order step of alpha and beta; the weights and, unless asked, the running statistics stay as they are.

    Returns the loss, detached.
    """
    weights = list(supernet.weight_parameters())
    with held(weights), _statistics(supernet, update_statistics):
        logits = (forward or supernet)(waveforms)
        loss = supernet.output.loss(logits, labels) + supernet.architecture.penalty()
        optimizer.zero_grad(set_to_none=True)
        backward(loss)
    optimizer.step()
    return loss.detach()


def architecture_step_second_order(
    supernet: Supernet,
    optimizer: torch.optim.Optimizer,
    weight_optimizer: torch.optim.Optimizer,
    weight_batch: tuple[Tensor, Tensor],
    architecture_batch: tuple[Tensor, Tensor],
    average: Average = list,
    before: Backward = lambda loss: None,
) -> Tensor:
    """One step of alpha and beta on L_val(omega'(alpha), alpha), omega' one unrolled Adam step on the weight batch.

    The gradient is exact: omega' is built as a function of alpha, Adam's moments and weight decay included, and
    differentiated by autograd (DARTS, Liu et al. 2019, Eq. 7, has plain SGD and finite differences in its place).

    Args:
        optimizer: of alpha and beta.
        weight_optimizer: torch.optim.Adam of the weights, whose state and settings the unrolled step takes.
        weight_batch: waveforms [B, T], labels [B] of the weight half.
        architecture_batch: likewise of the architecture half.
        average: gradients of this process -> means over all processes, differentiable.
        before: called with the loss before the optimiser steps, when alpha and beta have their gradients.

    Raises:
        NasError: the weights are not optimised by plain Adam.
    """
    require_adam(weight_optimizer)
    named = {name: p for name, p in supernet.named_parameters() if not name.startswith("architecture.")}
    trained = {name: p for name, p in named.items() if p.requires_grad}
    # cuDNN's recurrent kernels have no second derivative; PyTorch's own have.
    with _statistics(supernet, False), torch.backends.cudnn.flags(enabled=False):
        loss = supernet.output.loss(supernet(weight_batch[0]), weight_batch[1])
        gradients = average(torch.autograd.grad(loss, list(trained.values()), create_graph=True))
        unrolled = {
            name: _adam_step(weight_optimizer, parameter, gradient)
            for (name, parameter), gradient in zip(trained.items(), gradients, strict=True)
        }
        logits = functional_call(supernet, unrolled, (architecture_batch[0],))
        validation = supernet.output.loss(logits, architecture_batch[1]) + supernet.architecture.penalty()
        architecture = [parameter for parameter in supernet.architecture.parameters() if parameter.requires_grad]
        # A supernet of two cells has no normal cell: its alphas are not asked, and stay.
        asked = torch.autograd.grad(validation, architecture, allow_unused=True)
        for parameter, gradient in zip(architecture, asked, strict=True):
            parameter.grad = gradient
    before(validation)
    optimizer.step()
    return validation.detach()


def require_adam(optimizer: torch.optim.Optimizer) -> None:
    """Refuse an optimiser whose step is not the one that second order unrolls.

    Raises:
        NasError: it is not torch.optim.Adam, or uses amsgrad.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    if type(inner) is not torch.optim.Adam or any(group["amsgrad"] for group in inner.param_groups):
        raise NasError("search.order: second is defined for Adam (without amsgrad) as the optimiser of the weights")


def _adam_step(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, gradient: Tensor) -> Tensor:
    """The parameter after Adam's next step, as a differentiable function of the gradient."""
    inner = getattr(optimizer, "optimizer", optimizer)
    group = next(g for g in inner.param_groups if any(parameter is p for p in g["params"]))
    state = inner.state.get(parameter, {})
    beta1, beta2 = group["betas"]
    gradient = gradient + group["weight_decay"] * parameter.detach()
    step = float(state["step"]) + 1 if state else 1.0
    zero = torch.zeros_like(parameter)
    mean = beta1 * state.get("exp_avg", zero) + (1 - beta1) * gradient
    square = beta2 * state.get("exp_avg_sq", zero) + (1 - beta2) * gradient**2
    # The root of an exact zero has no finite derivative; such an entry does not move, whatever the gradient's slope.
    root = (square / (1 - beta2**step)).clamp_min(1e-30).sqrt()
    return parameter.detach() - group["lr"] * (mean / (1 - beta1**step)) / (root + group["eps"])


@contextmanager
def _statistics(module: nn.Module, update: bool) -> Iterator[None]:
    if update:
        yield
    else:
        with frozen_statistics(module):
            yield
