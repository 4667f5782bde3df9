"""Who runs the elementwise passes of a folded cell: C, torch operations, or these compiled; behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor

from nas.space import Pool
from nas.supernet import native, passes

Passes = Literal["auto", "compiled", "torch"]
"""What runs them. Auto: C where it can (`native`), else torch operations; compiled: C where it can, else torch
operations compiled by inductor; torch: torch operations."""


class PassSet(Protocol):
    """The passes; `passes.py` says what each computes."""

    def prepare(self, x: Tensor, out: Tensor, pools: Sequence[Pool], reach: int) -> tuple[Tensor, Tensor, Tensor]: ...

    def mix_node(
        self,
        mix: Tensor,
        states: Sequence[Tensor],
        weights: Tensor,
        means: Tensor,
        scales: Tensor,
        bypass: Tensor,
        node: Tensor,
        pools: Sequence[Pool],
    ) -> None: ...

    def project(
        self, x: Tensor, gradients: Tensor, means: Tensor, scales: Tensor, rest: Tensor, pools: Sequence[Pool]
    ) -> tuple[Tensor, Tensor, Tensor]: ...

    def collect(
        self,
        x: Tensor,
        du: Tensor,
        gradients: Tensor,
        weights: Tensor,
        products: Tensor,
        sums: Tensor,
        means: Tensor,
        scales: Tensor,
        rest: Tensor,
        bypass: Tensor,
        out: Tensor,
        pools: Sequence[Pool],
    ) -> None: ...

    def halve(self, nodes: Tensor) -> Tensor: ...

    def halve_backward(self, gradient: Tensor, x: Tensor) -> Tensor: ...

    def normalise(self, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]: ...

    def normalise_backward(self, gradient: Tensor, normal: Tensor, scale: Tensor) -> Tensor: ...


class _Compiled:
    """The torch operations, each compiled when it is first asked for."""

    @cache  # noqa: B019 (there is one of these)
    def __getattr__(self, name: str) -> Callable[..., Any]:
        return torch.compile(getattr(passes, name), dynamic=True)


TORCH: PassSet = passes
NATIVE: PassSet = native
COMPILED = cast(PassSet, _Compiled())


def pass_set(which: Passes, x: Tensor) -> PassSet:
    """What runs the passes over tensors like x."""
    if which != "torch" and native.available(x):
        return NATIVE
    return COMPILED if which == "compiled" else TORCH
