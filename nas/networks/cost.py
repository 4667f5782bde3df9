"""What a network costs: parameters, multiply-accumulates and activations, counted without computing anything."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Cost:
    """Cost of one utterance.

    Attributes:
        parameters: all values of all parameters.
        trainable: those of them that require gradients.
        macs: multiply-accumulates of convolutions, matrix products and recurrent layers.
        activations: values that convolutions and recurrent layers put out (Radosavovic et al. 2020, Section 3.1).
    """

    parameters: int
    trainable: int
    macs: int
    activations: int


class _Counter(TorchDispatchMode):
    """Adds up what passes by; recurrent layers add themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = self.activations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in flop_registry:
            # A multiply-accumulate is counted as two operations there.
            self.macs += flop_registry[packet](*args, **(kwargs or {}), out_val=out) // 2
            if packet in (torch.ops.aten.convolution, torch.ops.aten._convolution):
                self.activations += out.numel()
        return out


class _CountedRecurrence(nn.Module):
    """Stands in for a GRU or an LSTM, whose kernels no counter of operations sees: zeros of the right shape."""

    def __init__(self, recurrence: nn.RNNBase, counter: _Counter) -> None:
        super().__init__()
        self.counter = counter
        self.batch_first = recurrence.batch_first
        self.width = recurrence.hidden_size * (2 if recurrence.bidirectional else 1)
        self.macs_per_frame = sum(
            parameter.numel() for name, parameter in recurrence.named_parameters() if name.startswith("weight")
        )
        self.layers = recurrence.num_layers

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        """[B, T, D] -> [B, T, H], and no state."""
        frames = x.shape[0] * x.shape[1]
        self.counter.macs += frames * self.macs_per_frame
        self.counter.activations += frames * self.width * self.layers
        return x.new_zeros(*x.shape[:2], self.width), None


def measure_cost(network: nn.Module, samples: int) -> Cost:
    """Cost of scoring one utterance of `samples` samples in evaluation mode; the network itself is left as it is."""
    return measure_module(network, 1, samples)


def measure_module(module: nn.Module, *shape: int) -> Cost:
    """Cost of one pass in evaluation mode over an input of this shape; the module itself is left as it is."""
    counter = _Counter()
    # On the meta device shapes alone are computed.
    counted = copy.deepcopy(module).to("meta").eval()
    if isinstance(counted, nn.RNNBase):
        counted = _CountedRecurrence(counted, counter)
    for name, part in list(counted.named_modules()):
        if isinstance(part, nn.RNNBase):
            counted.set_submodule(name, _CountedRecurrence(part, counter))
    with torch.no_grad(), counter:
        counted(torch.empty(*shape, device="meta"))
    return Cost(
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        trainable=sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad),
        macs=counter.macs,
        activations=counter.activations,
    )


def measure_reach(module: nn.Module, channels: int, frames: int) -> int:
    """Frames that the middle frame of the output depends on, on its further side: [1, channels, frames] -> the same.

    Measured by the gradient of that frame, in evaluation mode.
    """
    module = copy.deepcopy(module).eval()
    x = torch.randn(1, channels, frames, requires_grad=True)
    middle = frames // 2
    y = module(x)
    if not y.requires_grad:
        return 0
    (gradient,) = torch.autograd.grad(y[0, :, middle].sum(), x)
    read = gradient[0].abs().sum(0).nonzero().flatten()
    return int((read - middle).abs().max()) if len(read) else 0
