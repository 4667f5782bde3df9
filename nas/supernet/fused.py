"""All nodes of a folded cell as one differentiable function, with the backward pass written by hand.

Autograd would store every shifted view, pool and weighted sum. Here a cell keeps its states and what its convolutions
read, the matrix products run over whole states at once, and the backward pass visits each state once, when the
gradients of all its targets are known. The mathematics on tensors of C' x C' (statistics -> gains -> merged kernels) is
in `folding.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nas import processes
from nas.space import Pool, SearchSpace
from nas.supernet.folding import Folded
from nas.supernet.moments import Gradients, Kinds, Moments
from nas.supernet.pass_set import Passes, PassSet, pass_set
from nas.supernet.precision import full_precision

Weights = tuple[tuple[Tensor, ...], ...]
"""For each linear primitive its convolutions' weights, stacked over edges."""


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

    def runs(self, x: Tensor) -> PassSet:
        """What runs the elementwise passes over tensors like x."""
        return pass_set(self.passes, x)

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


@dataclass
class Tape:
    """What the backward pass of a cell reads."""

    padded: Tensor
    """p of every state with edges leaving, [B, S, C', T + 4 H]."""
    nodes: Tensor
    """States of the intermediate nodes, [B, N, C, T]."""
    folded: list[Folded | None] = field(default_factory=list)
    """Per state the linear candidates of the edges that leave it, where there are any."""
    scales: list[Tensor] = field(default_factory=list)
    """Per state the weights b * a of the identity and of each pool, [J, 1 + pools]."""
    pool_means: list[Tensor] = field(default_factory=list)
    pool_scales: list[Tensor] = field(default_factory=list)


def run(
    layout: Layout, x0: Tensor, x1: Tensor, a: Tensor, b: Tensor, weights: Weights
) -> tuple[Tensor, Tape, list[Tensor]]:
    """The forward pass, outside autograd.

    Returns:
        Nodes after max-pool 2, [B, N C, T // 2]; the tape; per state the means and variances of its candidates:
        of linear primitives [linear, J, C'] each, of pools [pools, C'] each.
    """
    kinds, reach, active, nodes = layout.kinds, layout.kinds.reach, layout.active, layout.nodes
    # Compiled passes are compiled anew for tensors that require gradients.
    x0, x1 = x0.detach(), x1.detach()
    batch, channels, frames = x0.shape
    padded = x0.new_empty(batch, nodes + 1, active, frames + 4 * reach)
    states = x0.new_empty(batch, nodes, channels, frames)
    tape = Tape(padded, states)
    statistics: list[Tensor] = []
    shared = a * b[:, None]
    for source in range(nodes + 1):
        x, span = (x0, x1)[source] if source < 2 else states[:, source - 2], layout.span(source)
        shift, means, variances = layout.runs(x0).prepare(x[:, :active], padded[:, source], layout.pools, reach)
        if layout.synchronised:
            own, own_means = shift, means
            shift, means = processes.average_all([own, own_means])
            variances = processes.average(variances + (own_means - means).square())
            padded[:, source, :, reach : frames + 3 * reach] += (own - shift)[:, None]
        tape.pool_means.append(means)
        tape.pool_scales.append((variances + layout.eps).rsqrt())
        identity = shared.new_zeros(shared[span].shape[0]) + sum(shared[span, k] for k in kinds.identity)
        tape.scales.append(torch.stack([identity, *(shared[span, k] for k, _ in kinds.pools)], dim=1))
        folded = _fold(layout, padded[:, source], shift, weights, shared, span) if kinds.linear else None
        tape.folded.append(folded)
        statistics += [*(folded.by_primitive() if folded else []), means, variances]
        if source >= 1:
            _node(layout, source - 1, x0, x1, tape, b)
    return layout.runs(x0).halve(states.flatten(1, 2)), tape, statistics


def _fold(layout: Layout, padded: Tensor, shift: Tensor, weights: Weights, shared: Tensor, span: slice) -> Folded:
    """Statistics, merged kernels and biases of the edges that leave one state."""
    kinds, reach = layout.kinds, layout.kinds.reach
    inner = padded[:, :, reach : padded.shape[2] - reach]
    # The shifted frames sum to zero; what is left of p are its 2 H padded frames of minus the mean.
    total = None if layout.synchronised else shift * (-2.0 * reach * padded.shape[0])
    state = Moments.of(kinds, inner, shift, layout.synchronised, total)
    weight = torch.stack([shared[span, k] for k, _ in kinds.linear], dim=1)
    return Folded.of(state, [[w[span] for w in stack] for stack in weights], weight, layout.eps)


def _node(layout: Layout, node: int, x0: Tensor, x1: Tensor, tape: Tape, b: Tensor) -> None:
    """Write the state of an intermediate node: one convolution, one weighted sum, the bypass."""
    kinds, active, reach = layout.kinds, layout.active, layout.kinds.reach
    batch, _, frames = x0.shape
    sources = node + 2
    # Position of this node among the targets of each source: all nodes for the two inputs, then one less each.
    slots = [node - max(0, source - 1) for source in range(sources)]
    # Its rows among those of the edges that leave a source.
    rows = [slice(slot * active, (slot + 1) * active) for slot in slots]
    leaving = [(folded, part) for folded, part in zip(tape.folded, rows, strict=False) if folded]
    if leaving:
        bias = torch.stack([folded.bias[part] for folded, part in leaving]).sum(0)
        out = bias[None, :, None].expand(batch, active, frames).contiguous()
        merged = torch.cat([folded.merged[:, part] for folded, part in leaving], dim=2)
        u = tape.padded[:, :sources].flatten(1, 2)
        for n, tap in enumerate(kinds.taps):
            start = 2 * reach + tap
            add_product(out, merged[n], u[:, :, start : start + frames], layout.product)
    else:
        out = x0.new_zeros(batch, active, frames)
    layout.runs(x0).mix_node(
        out,
        [x0, x1, *tape.nodes[:, :node].unbind(1)],
        torch.stack([scales[slot] for scales, slot in zip(tape.scales, slots, strict=False)]),
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
    a: Tensor,
    b: Tensor,
    needs: dict[str, bool],
) -> tuple[list[Tensor | None], Tensor | None, Tensor | None, list[Tensor] | None]:
    """Gradients of x0 and x1 (a list), a, b and the weights, from that of the pooled nodes [B, N C, T // 2]."""
    active, reach, nodes = layout.active, layout.kinds.reach, layout.nodes
    x0, x1 = x0.detach(), x1.detach()
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
        full = layout.runs(x).halve_backward(pooled[:, state - 2], x) if state >= 2 else None
        if state < nodes + 1:
            first = max(0, state - 1)
            folded, means, scales = tape.folded[state], tape.pool_means[state], tape.pool_scales[state]
            targets, rest = inner[:, first:], bypasses[:, first:]
            products, sums, direct = layout.runs(x).project(x, targets, means, scales, rest, layout.pools)
            span, asked = layout.span(state), needs[f"x{min(state, 2)}"]
            dweight, own, dmoments = _fold_backward(
                layout, folded, tape.padded[:, state], mixes[:, first:], products, sums, needs["weights"], asked
            )
            if needs["architecture"]:
                da.insert(0, dweight * b[span, None])
                db.insert(0, (dweight * a[span]).sum(1) + direct)
            if own:
                dweights.insert(0, own)
            if not asked:
                continue
            full = torch.zeros_like(x) if full is None else full
            du = _states_backward(layout, folded, tape.padded[:, state], mixes[:, first:], dmoments, frames)
            if layout.synchronised:
                products, sums = processes.average_all([products, sums])
            layout.runs(x).collect(
                x, du, targets, tape.scales[state], products, sums, means, scales, rest, b[span], full, layout.pools,
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
    joined = [torch.cat(parts) for parts in zip(*dweights, strict=True)] or None
    return inputs, torch.cat(da) if da else None, torch.cat(db) if db else None, joined


def _fold_backward(
    layout: Layout,
    folded: Folded | None,
    padded: Tensor,
    mixes: Tensor,
    products: Tensor,
    sums: Tensor,
    weights: bool,
    state: bool,
) -> tuple[Tensor, list[Tensor], Gradients | None]:
    """Through scales, merged kernels and biases of one state's edges: gradients of b * a [J, K] and, as asked, of the
    weights and of the moments."""
    kinds, reach = layout.kinds, layout.kinds.reach
    targets, frames = mixes.shape[1], mixes.shape[3] - 2 * reach
    dscales = products.sum(2)
    dweight = products.new_zeros(targets, kinds.primitives)
    for k in kinds.identity:
        dweight[:, k] = dscales[:, 0]
    for n, (k, _) in enumerate(kinds.pools):
        dweight[:, k] = dscales[:, 1 + n]
    if folded is None:
        return dweight, [], None
    dtype = layout.product or padded.dtype
    y, low = mixes[..., reach : reach + frames].flatten(1, 2).to(dtype), padded.to(dtype)
    views = [low[:, :, 2 * reach + tap : 2 * reach + tap + frames] for tap in kinds.taps]
    merged = torch.stack([torch.bmm(y, view.transpose(1, 2)).sum(0) for view in views])
    linear, own, moments = folded.backward(merged.to(padded.dtype), sums.flatten(), weights, state)
    for n, (k, _) in enumerate(kinds.linear):
        dweight[:, k] = linear[:, n]
    return dweight, own, moments


def _states_backward(
    layout: Layout,
    folded: Folded | None,
    padded: Tensor,
    mixes: Tensor,
    moments: Gradients | None,
    frames: int,
) -> Tensor:
    """Gradient of LeakyReLU(x) [B, C', T]: through the merged convolutions and through the statistics."""
    kinds, reach = layout.kinds, layout.kinds.reach
    batch = padded.shape[0]
    if folded is None or moments is None:
        return padded.new_zeros(batch, layout.active, frames)
    correlations, total, head, tail = moments.own(layout.synchronised)
    out = total[None, :, None].expand(batch, -1, frames).contiguous()
    y = mixes.flatten(1, 2)
    for n, tap in enumerate(kinds.taps):
        start = reach - tap
        add_product(out, folded.merged[n].t(), y[:, :, start : start + frames], layout.product)
    for matrix, lag in zip(correlations, kinds.lags, strict=True):
        terms = [(matrix, lag), (matrix.t(), -lag)] if lag else [(matrix + matrix.t(), 0)]
        for weight, shift in terms:
            start = 2 * reach + shift
            add_product(out, weight, padded[:, :, start : start + frames], None)
    # The ends of p enter once more, as the frames whose outputs are taken off; p's own padding has no gradient.
    if near := min(reach, frames):
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
        nodes, tape, statistics = run(layout, x0, x1, a, b, weights)
        ctx.layout, ctx.plain, ctx.needs = layout, plain, needs
        ctx.tape = None if layout.recompute else tape
        ctx.save_for_backward(*tensors)
        ctx.mark_non_differentiable(*statistics)
        ctx.set_materialize_grads(False)
        return (nodes, *statistics)

    @staticmethod
    @full_precision
    def backward(ctx: Any, gradient: Tensor, *_: Tensor | None) -> Any:
        tensors, layout = ctx.saved_tensors, ctx.layout
        if torch.is_grad_enabled():
            # The gradient is to be differentiated again: take the road that autograd can follow.
            wanted = [t for t in tensors if t.requires_grad]
            found = iter(torch.autograd.grad(ctx.plain(*tensors), wanted, gradient, create_graph=True))
            return (None, None, *(next(found) if t.requires_grad else None for t in tensors))
        x0, x1, a, b = tensors[:4]
        weights = regroup(layout, tensors[4:])
        tape = ctx.tape or run(layout, x0, x1, a, b, weights)[1]
        inputs, da, db, dweights = run_backward(layout, gradient, tape, x0, x1, a, b, ctx.needs)
        flat = dweights if dweights is not None else [None] * len(tensors[4:])
        return (None, None, *inputs, da, db, *flat)


def regroup(layout: Layout, flat: Sequence[Tensor]) -> Weights:
    """The flat list of stacked weights, by linear primitive."""
    tensors = iter(flat)
    return tuple(tuple(next(tensors) for _ in range(2 if p.depthwise else 1)) for _, p in layout.kinds.linear)


__all__ = ["FusedNodes", "Layout", "Tape", "regroup"]
