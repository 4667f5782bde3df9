"""All nodes of a folded cell as one differentiable function, with the backward pass written by hand.

Autograd would store every shifted view, pool and weighted sum. Here a cell keeps its states and what its convolutions
read, the matrix products run over whole states at once, and the backward pass visits each state once, when the
gradients of all its targets are known. The small mathematics of `folding.py` (statistics -> gains -> merged kernels)
stays with autograd, on tensors of C' x C'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from nas import processes
from nas.space import Pool, SearchSpace
from nas.supernet import native, passes
from nas.supernet.folding import Kinds, StateMoments, Statistics, autocorrelations, fold_edges

Weights = tuple[tuple[Tensor, ...], ...]
"""For each linear primitive its convolutions' weights, stacked over edges."""


Passes = Literal["auto", "torch", "inductor", "native"]
"""What runs the elementwise passes: torch operations, the same compiled by inductor, or C (CPU). Auto: C if it can."""


@dataclass(frozen=True)
class Layout:
    """The shape of a cell: which edges leave which state, and how many channels are active."""

    kinds: Kinds
    partial: int
    active: int
    nodes: int
    leaving: tuple[tuple[int, ...], ...]
    """For each state that edges leave, these edges, by rising target."""
    eps: float
    passes: Passes = "auto"
    recompute: bool = False
    synchronised: bool = False
    """Whether statistics are those of all processes' utterances together."""
    product: torch.dtype | None = None
    """Type of the large matrix products where it is not that of the tensors; statistics never take it."""

    @classmethod
    def of(cls, space: SearchSpace, channels: int, partial: int, eps: float, **options: Any) -> Layout:
        topology = space.topology
        leaving = tuple(
            tuple(edge for edge, (source, _) in enumerate(topology.edges) if source == state)
            for state in range(topology.inputs + topology.intermediate - 1)
        )
        return cls(Kinds.of(space), partial, channels // partial, topology.intermediate, leaving, eps, **options)

    @property
    def pools(self) -> tuple[Pool, ...]:
        return tuple(primitive for _, primitive in self.kinds.pools)

    @property
    def order(self) -> tuple[int, ...]:
        """All edges, those that leave the first state first."""
        return tuple(edge for edges in self.leaving for edge in edges)

    def span(self, source: int) -> slice:
        """Where the edges that leave a state stand in `order`."""
        start = sum(len(edges) for edges in self.leaving[:source])
        return slice(start, start + len(self.leaving[source]))


_COMPILED: dict[str, Callable[..., Any]] = {}


def chosen(name: str, layout: Layout, x: Tensor) -> Callable[..., Any]:
    """The implementation of a pass (a function of `passes`) for tensors like x."""
    if layout.passes in ("auto", "native") and native.available(x):
        return getattr(native, name)
    plain: Callable[..., Any] = getattr(passes, name)
    if layout.passes != "inductor":
        return plain
    if name not in _COMPILED:
        _COMPILED[name] = torch.compile(plain, dynamic=True)
    return _COMPILED[name]


@dataclass
class Leaves:
    """The small mathematics of the edges leaving one state: leaf tensors in, graph between, outputs."""

    moments: list[Tensor]
    a: Tensor
    b: Tensor
    weights: list[Tensor]
    merged: Tensor
    bias: Tensor
    scales: Tensor


@dataclass
class Tape:
    """What the backward pass of a cell reads."""

    padded: Tensor
    """p of every state with edges leaving, [B, S, C', T + 4 H]."""
    nodes: Tensor
    """States of the intermediate nodes, [B, N, C, T]."""
    leaves: list[Leaves] = field(default_factory=list)
    pool_means: list[Tensor] = field(default_factory=list)
    pool_scales: list[Tensor] = field(default_factory=list)


def run(
    layout: Layout, x0: Tensor, x1: Tensor, a: Tensor, b: Tensor, weights: Weights, needs: dict[str, bool]
) -> tuple[Tensor, Tape, list[Tensor]]:
    """The forward pass, outside autograd but for the small mathematics.

    Returns:
        Nodes after max-pool 2, [B, N C, T // 2]; the tape; per state the means and variances of its candidates:
        of linear primitives [linear, J, C'] each, of pools [pools, C'] each.
    """
    reach, active, nodes = layout.kinds.reach, layout.active, layout.nodes
    batch, channels, frames = x0.shape
    padded = x0.new_empty(batch, nodes + 1, active, frames + 4 * reach)
    states = x0.new_empty(batch, nodes, channels, frames)
    tape = Tape(padded, states)
    statistics: list[Tensor] = []
    for source in range(nodes + 1):
        x = (x0, x1)[source] if source < 2 else states[:, source - 2]
        prepare = chosen("prepare", layout, x0)
        shift, means, variances = prepare(x[:, :active], padded[:, source], layout.pools, reach)
        if layout.synchronised:
            own, own_means = shift, means
            shift, means = processes.average_all([own, own_means])
            variances = processes.average(variances + (own_means - means).square())
            padded[:, source, :, reach : frames + 3 * reach] += (own - shift)[:, None]
        tape.pool_means.append(means)
        tape.pool_scales.append((variances + layout.eps).rsqrt())
        leaves, moved = fold(layout, source, padded[:, source], shift, frames, a, b, weights, needs)
        tape.leaves.append(leaves)
        statistics += [*moved, means, variances]
        if source >= 1:
            _node(layout, source - 1, x0, x1, tape, b)
    return chosen("halve", layout, x0)(states.flatten(1, 2)), tape, statistics


def fold(
    layout: Layout,
    source: int,
    padded: Tensor,
    shift: Tensor,
    frames: int,
    a: Tensor,
    b: Tensor,
    weights: Weights,
    needs: dict[str, bool],
) -> tuple[Leaves, list[Tensor]]:
    """Statistics, merged kernels and biases of the edges that leave one state, with a graph where it is needed."""
    kinds, reach, span = layout.kinds, layout.kinds.reach, layout.span(source)
    inner = padded[:, :, reach : reach + frames + 2 * reach]
    batch = padded.shape[0]
    # The shifted frames sum to zero; what is left of p are its 2 H padded frames of minus the mean.
    total = inner.sum((0, 2)) if layout.synchronised else shift * (-2.0 * reach * batch)
    correlations = autocorrelations(inner, kinds.lags) if kinds.linear else padded.new_zeros(0)
    moments = [correlations, total, inner[:, :, : 2 * reach], inner[:, :, frames:]]
    moments = [moment.detach().requires_grad_(needs[f"x{min(source, 2)}"]) for moment in moments]
    leaf_a, leaf_b = (t[span].detach().requires_grad_(needs["architecture"]) for t in (a, b))
    leaf_weights = tuple(tuple(w[span].detach().requires_grad_(needs["weights"]) for w in ws) for ws in weights)
    with torch.enable_grad():
        correlations, total, head, tail = moments
        state = StateMoments(correlations, total, head, tail, shift, batch * frames)
        state = state.across_processes() if layout.synchronised else state
        merged, bias, scales, moved = fold_edges(kinds, state, leaf_weights, leaf_a, leaf_b, layout.eps)
    flat = [weight for stack in leaf_weights for weight in stack]
    return Leaves(moments, leaf_a, leaf_b, flat, merged, bias, scales), [s.detach() for s in moved]


def _node(layout: Layout, node: int, x0: Tensor, x1: Tensor, tape: Tape, b: Tensor) -> None:
    """Write the state of an intermediate node: one convolution, one weighted sum, the bypass."""
    kinds, active, reach = layout.kinds, layout.active, layout.kinds.reach
    batch, _, frames = x0.shape
    sources = node + 2
    # Position of this node among the targets of each source: all nodes for the two inputs, then one less each.
    slots = [node - max(0, source - 1) for source in range(sources)]
    leaves = [(tape.leaves[source], slot) for source, slot in enumerate(slots)]
    with torch.no_grad():
        bias = torch.stack([leaf.bias[slot] for leaf, slot in leaves]).sum(0) if kinds.linear else x0.new_zeros(active)
        out = bias[None, :, None].expand(batch, active, frames).contiguous()
        if kinds.linear:
            merged = torch.cat([leaf.merged[:, slot] for leaf, slot in leaves], dim=2)
            u = tape.padded[:, :sources].flatten(1, 2)
            for kernel, tap in zip(merged, kinds.taps, strict=True):
                start = 2 * reach + tap
                add_product(out, kernel, u[:, :, start : start + frames], layout.product)
        chosen("mix_node", layout, x0)(
            out,
            [x0, x1, *tape.nodes[:, :node].unbind(1)],
            torch.stack([leaf.scales[slot] for leaf, slot in leaves]),
            torch.stack(tape.pool_means[:sources]),
            torch.stack(tape.pool_scales[:sources]),
            torch.stack([b[layout.span(source)][slot] for source, slot in enumerate(slots)]),
            tape.nodes[:, node],
            layout.pools,
        )


def add_product(out: Tensor, matrix: Tensor, x: Tensor, dtype: torch.dtype | None) -> None:
    """out [B, M, T] += matrix [M, K] @ x [B, K, T], multiplied in another type where one is given."""
    if dtype is None:
        out.baddbmm_(matrix.expand(x.shape[0], -1, -1), x)
    else:
        out += torch.matmul(matrix.to(dtype), x.to(dtype))


def run_backward(
    layout: Layout,
    gradient: Tensor,
    tape: Tape,
    x0: Tensor,
    x1: Tensor,
    b: Tensor,
    needs: dict[str, bool],
) -> tuple[list[Tensor | None], Tensor | None, Tensor | None, list[Tensor] | None]:
    """Gradients of x0 and x1 (a list), a, b and the weights, from that of the pooled nodes [B, N C, T // 2]."""
    active, reach, nodes = layout.active, layout.kinds.reach, layout.nodes
    batch, channels, frames = x0.shape
    mixes = x0.new_zeros(batch, nodes, active, frames + 2 * reach)
    inner = mixes[..., reach : reach + frames]
    bypasses = x0.new_empty(batch, nodes, channels - active, frames)
    states = tape.nodes
    pooled = gradient.unflatten(1, (nodes, channels))
    inputs: list[Tensor | None] = [None, None]
    da: list[Tensor] = []
    db: list[Tensor] = []
    dweights: list[list[Tensor]] = []
    for state in range(nodes + 1, -1, -1):
        x = (x0, x1)[state] if state < 2 else states[:, state - 2]
        full = chosen("halve_backward", layout, x)(pooled[:, state - 2], x) if state >= 2 else None
        if state < nodes + 1:
            first = max(0, state - 1)
            leaves, means, scales = tape.leaves[state], tape.pool_means[state], tape.pool_scales[state]
            targets, rest = inner[:, first:], bypasses[:, first:]
            products, sums, direct = chosen("project", layout, x)(x, targets, means, scales, rest, layout.pools)
            small = _small_backward(layout, leaves, tape.padded[:, state], mixes[:, first:], products, sums, needs)
            if needs["architecture"]:
                da.insert(0, small[0])
                db.insert(0, small[1] + direct)
            if needs["weights"]:
                dweights.insert(0, small[2])
            if not needs[f"x{min(state, 2)}"]:
                continue
            full = torch.zeros_like(x) if full is None else full
            du = _states_backward(layout, leaves, tape.padded[:, state], mixes[:, first:], small[3], frames)
            if layout.synchronised:
                products, sums = processes.average_all([products, sums])
            chosen("collect", layout, x)(
                x, du, targets, leaves.scales.detach(), products, sums, means, scales, rest,
                b[layout.span(state)], full, layout.pools,
            )  # fmt: skip
        assert full is not None
        if state >= 2:
            interleaved = full.unflatten(1, (active, layout.partial))
            inner[:, state - 2] = interleaved[:, :, 0]
            if layout.partial > 1:
                bypasses[:, state - 2].unflatten(1, (layout.partial - 1, active)).copy_(
                    interleaved[:, :, 1:].transpose(1, 2)
                )
        else:
            inputs[state] = full
    joined = [torch.cat(stack) for stack in zip(*dweights, strict=True)] if dweights else None
    return inputs, torch.cat(da) if da else None, torch.cat(db) if db else None, joined


def _small_backward(
    layout: Layout,
    leaves: Leaves,
    padded: Tensor,
    mixes: Tensor,
    products: Tensor,
    sums: Tensor,
    needs: dict[str, bool],
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Through merged kernels, biases and weights of one state's edges: gradients of a, b, weights and moments."""
    kinds, reach = layout.kinds, layout.kinds.reach
    targets, frames = mixes.shape[1], mixes.shape[3] - 2 * reach
    outputs, gradients = [leaves.scales], [products.sum(2)]
    if kinds.linear:
        dtype = layout.product or padded.dtype
        y, low = mixes[..., reach : reach + frames].flatten(1, 2).to(dtype), padded.to(dtype)
        merged = torch.stack(
            [
                torch.bmm(y, low[:, :, 2 * reach + tap : 2 * reach + tap + frames].transpose(1, 2)).sum(0)
                for tap in kinds.taps
            ]
        )
        outputs += [leaves.merged, leaves.bias]
        gradients += [merged.to(padded.dtype).unflatten(1, (targets, layout.active)), sums]
    pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if o.requires_grad]
    inputs = [leaves.a, leaves.b, *leaves.weights, *leaves.moments]
    asked = [t for t in inputs if t.requires_grad]
    found: dict[int, Tensor] = {}
    if pairs and asked:
        results = torch.autograd.grad(
            [o for o, _ in pairs], asked, [g for _, g in pairs], retain_graph=True, allow_unused=True
        )
        found = {
            id(t): torch.zeros_like(t) if result is None else result for t, result in zip(asked, results, strict=True)
        }
    a, b = (found.get(id(t), t) for t in (leaves.a, leaves.b))
    return a, b, [found.get(id(t), t) for t in leaves.weights], [found.get(id(t), t) for t in leaves.moments]


def _states_backward(
    layout: Layout, leaves: Leaves, padded: Tensor, mixes: Tensor, moments: list[Tensor], frames: int
) -> Tensor:
    """Gradient of LeakyReLU(x) [B, C', T]: through the merged convolutions and through the statistics."""
    kinds, reach = layout.kinds, layout.kinds.reach
    batch = padded.shape[0]
    correlations, total, head, tail = moments
    if not kinds.linear:
        return padded.new_zeros(batch, layout.active, frames)
    out = total[None, :, None].expand(batch, -1, frames).contiguous()
    y = mixes.flatten(1, 2)
    for kernel, tap in zip(leaves.merged.detach(), kinds.taps, strict=True):
        start = reach - tap
        add_product(out, kernel.flatten(0, 1).t(), y[:, :, start : start + frames], layout.product)
    for matrix, lag in zip(correlations, kinds.lags, strict=True):
        terms = [(matrix, lag), (matrix.t(), -lag)] if lag else [(matrix + matrix.t(), 0)]
        for weight, shift in terms:
            start = 2 * reach + shift
            add_product(out, weight, padded[:, :, start : start + frames], None)
    # The ends of p enter once more, as the frames whose outputs are taken off; p's own padding has no gradient.
    near = min(reach, frames)
    out[:, :, :near] += head[:, :, reach : reach + near]
    out[:, :, frames - near :] += tail[:, :, reach - near : reach]
    return out


class FusedNodes(torch.autograd.Function):
    """x0, x1 [B, C, T], a [E, K], b [E] and stacked weights -> pooled nodes [B, N C, T // 2], then statistics."""

    @staticmethod
    def forward(ctx: Any, layout: Layout, plain: Callable[..., Tensor], *tensors: Tensor) -> Any:
        x0, x1, a, b = tensors[:4]
        flags = ctx.needs_input_grad[2:]
        needs = {
            "x0": flags[0],
            "x1": flags[1],
            "x2": any(flags),
            "architecture": flags[2] or flags[3],
            "weights": any(flags[4:]),
        }
        weights = regroup(layout, tensors[4:])
        nodes, tape, statistics = run(layout, x0, x1, a, b, weights, needs)
        ctx.layout, ctx.plain, ctx.needs = layout, plain, needs
        ctx.tape = None if layout.recompute else tape
        ctx.save_for_backward(*tensors)
        ctx.mark_non_differentiable(*statistics)
        ctx.set_materialize_grads(False)
        return (nodes, *statistics)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor | None) -> Any:
        tensors, layout = ctx.saved_tensors, ctx.layout
        if torch.is_grad_enabled():
            # The gradient is to be differentiated again: take the road that autograd can follow.
            wanted = [t for t in tensors if t.requires_grad]
            found = iter(torch.autograd.grad(ctx.plain(*tensors), wanted, gradient, create_graph=True))
            return (None, None, *(next(found) if t.requires_grad else None for t in tensors))
        x0, x1, a, b = tensors[:4]
        tape = ctx.tape
        if tape is None:
            tape = run(layout, x0, x1, a, b, regroup(layout, tensors[4:]), ctx.needs)[1]
        inputs, da, db, dweights = run_backward(layout, gradient, tape, x0, x1, b, ctx.needs)
        flat = dweights if dweights is not None else [None] * len(tensors[4:])
        return (None, None, *inputs, da, db, *flat)


def regroup(layout: Layout, flat: Sequence[Tensor]) -> Weights:
    """The flat list of stacked weights, by linear primitive."""
    tensors = iter(flat)
    return tuple(tuple(next(tensors) for _ in range(2 if p.depthwise else 1)) for _, p in layout.kinds.linear)


__all__ = ["FusedNodes", "Layout", "Statistics", "regroup"]
