"""Placing a layered graph on the plane (Sugiyama, Tagawa and Toda 1981), top to bottom, always the same way.

The layers are given. Long edges get a bend in every layer they pass; the order inside the layers is improved by
barycentre sweeps, and every item moves as near to its neighbours as the room in its layer allows. Where Graphviz is
installed and its program `dot` finds places with no more crossings, those are taken.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import graphviz

Item = Hashable
Point = tuple[float, float]

SWEEPS = 12
RESTARTS = 12
LARGE = 150
"""Above so many items the search for a better order is not restarted, so that a hostile file cannot take minutes."""


class Bend(NamedTuple):
    """Where an edge passes a layer on its way."""

    edge: int
    level: int


@dataclass(frozen=True)
class Layout:
    """Centre of every item and the bends of every edge (both ends included), in inches; y grows downwards."""

    positions: dict[Item, Point]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float

    def mirrored(self) -> Layout:
        """Left and right exchanged."""
        return self._moved(lambda point: (self.width - point[0], point[1]), self.height)

    def stretched(self, factor: float) -> Layout:
        """The rows `factor` times as far apart."""
        return self._moved(lambda point: (point[0], point[1] * factor), self.height * factor)

    def _moved(self, move: Callable[[Point], Point], height: float) -> Layout:
        positions = {item: move(point) for item, point in self.positions.items()}
        return Layout(positions, tuple(tuple(map(move, route)) for route in self.routes), self.width, height)


def layered(
    layers: Sequence[Sequence[Item]],
    edges: Sequence[tuple[Item, Item]],
    widths: Mapping[Item, float],
    row: float = 0.6,
    gap: float = 0.16,
) -> Layout:
    """Place the items of each layer on one line.

    Args:
        layers: the items of each layer, from the top.
        edges: pairs (upper item, lower item), repeated pairs allowed.
        widths: width of each item in inches.
        row: distance of two layers in inches.
        gap: least distance of two items in a layer in inches.
    """
    depth = {item: level for level, items in enumerate(layers) for item in items}
    rows: list[list[Item]] = [list(items) for items in layers]
    room = dict(widths)
    chains: list[list[Item]] = []
    for number, (upper, lower) in enumerate(edges):
        chain: list[Item] = [upper]
        for level in range(depth[upper] + 1, depth[lower]):
            bend = Bend(number, level)
            rows[level].append(bend)
            room[bend] = 0.12
            chain.append(bend)
        chains.append([*chain, lower])
    links = [(a, b) for chain in chains for a, b in pairwise(chain)]
    places = None if len(room) > LARGE else by_dot(rows, links, room, gap)
    rows = _ordered(rows, links)
    x = _columns(rows, links, room, gap)
    if places is not None:
        below = _neighbours(links)[1]
        if _crossings([sorted(items, key=places.__getitem__) for items in rows], below) <= _crossings(rows, below):
            x = places
    left = min(x[item] - room[item] / 2 for items in rows for item in items)
    right = max(x[item] + room[item] / 2 for items in rows for item in items)
    place = {item: (x[item] - left, level * row) for level, items in enumerate(rows) for item in items}
    return Layout(
        positions={item: place[item] for item in depth},
        routes=tuple(tuple(place[item] for item in chain) for chain in chains),
        width=right - left,
        height=(len(rows) - 1) * row,
    )


def by_dot(
    rows: Sequence[Sequence[Item]], links: Sequence[tuple[Item, Item]], room: Mapping[Item, float], gap: float
) -> dict[Item, float] | None:
    """Abscissae by the program `dot` of Graphviz; None where it is not installed or fails.

    Only the places are taken from it; the drawing is ours, so that pictures look the same with and without it.
    """
    names = {item: f"n{number}" for number, item in enumerate(item for items in rows for item in items)}
    graph = graphviz.Digraph(graph_attr={"nodesep": f"{gap:.3f}"}, node_attr={"shape": "box", "fixedsize": "true"})
    for items in rows:
        with graph.subgraph(graph_attr={"rank": "same"}) as rank:
            for item in items:
                rank.node(names[item], label="", width=f"{room[item]:.3f}", height="0.2")
    for upper, lower in links:
        straight = isinstance(upper, Bend) and isinstance(lower, Bend)
        graph.edge(names[upper], names[lower], weight="8" if straight else "1")
    try:
        answer = graph.pipe(format="plain", encoding="utf-8", quiet=True)
    except (graphviz.ExecutableNotFound, graphviz.CalledProcessError, OSError):
        return None
    lines = (line.split() for line in answer.splitlines() if line.startswith("node "))
    found = {name: float(x) for _, name, x, *_ in lines}
    return {item: found[name] for item, name in names.items()} if set(names.values()) <= set(found) else None


def _neighbours(links: Sequence[tuple[Item, Item]]) -> tuple[dict[Item, list[Item]], dict[Item, list[Item]]]:
    above: dict[Item, list[Item]] = {}
    below: dict[Item, list[Item]] = {}
    for upper, lower in links:
        below.setdefault(upper, []).append(lower)
        above.setdefault(lower, []).append(upper)
    return above, below


def _ordered(rows: list[list[Item]], links: Sequence[tuple[Item, Item]]) -> list[list[Item]]:
    """The order with the fewest crossings that sweeps from several seeded starts find."""
    above, below = _neighbours(links)
    chance = random.Random(0)
    best, fewest = rows, _crossings(rows, below)
    for restart in range(1 if sum(map(len, rows)) > LARGE else RESTARTS):
        trial = [list(items) for items in rows]
        if restart:
            for items in trial:
                chance.shuffle(items)
        for sweep in range(SWEEPS):
            order = range(1, len(trial)) if sweep % 2 == 0 else range(len(trial) - 2, -1, -1)
            side, step = (above, -1) if sweep % 2 == 0 else (below, 1)
            for level in order:
                rank = {item: place for place, item in enumerate(trial[level + step])}
                centre = {
                    item: sum(rank[other] for other in side[item]) / len(side[item]) if side.get(item) else float(place)
                    for place, item in enumerate(trial[level])
                }
                trial[level].sort(key=centre.__getitem__)
            crossings = _crossings(trial, below)
            if crossings < fewest:
                best, fewest = [list(items) for items in trial], crossings
        if fewest == 0:
            break
    return best


def _crossings(rows: Sequence[Sequence[Item]], below: Mapping[Item, Sequence[Item]]) -> int:
    total = 0
    for upper, lower in pairwise(rows):
        rank = {item: place for place, item in enumerate(lower)}
        ends = [end for item in upper for end in sorted(rank[other] for other in below.get(item, ()))]
        total += sum(later < earlier for i, earlier in enumerate(ends) for later in ends[i + 1 :])
    return total


def _columns(
    rows: Sequence[Sequence[Item]], links: Sequence[tuple[Item, Item]], room: Mapping[Item, float], gap: float
) -> dict[Item, float]:
    """Abscissae: each item at the mean of its neighbours, as nearly as order and least distances allow."""
    above, below = _neighbours(links)
    x: dict[Item, float] = {}
    for items in rows:
        start = 0.0
        for item in items:
            x[item] = start + room[item] / 2
            start += room[item] + gap
        for item in items:
            x[item] -= (start - gap) / 2
    for sweep in range(40):
        for items in rows if sweep % 2 == 0 else reversed(rows):
            wanted, weights = [], []
            for item in items:
                near = [*above.get(item, ()), *below.get(item, ())]
                # Bends pull their chain straight: a long edge should not wave.
                pulls = [8.0 if isinstance(item, Bend) and isinstance(other, Bend) else 1.0 for other in near]
                total = sum(pulls)
                wanted.append(
                    sum(p * x[other] for p, other in zip(pulls, near, strict=True)) / total if near else x[item]
                )
                weights.append(max(total, 0.1))
            needed = [(room[a] + room[b]) / 2 + gap for a, b in pairwise(items)]
            for item, place in zip(items, _spread(wanted, weights, needed), strict=True):
                x[item] = place
    return x


def _spread(wanted: Sequence[float], weights: Sequence[float], needed: Sequence[float]) -> list[float]:
    """The nearest places (least squares) to the wanted ones whose distances are at least `needed`.

    With the needed distances subtracted, this is isotonic regression: pool adjacent violators.
    """
    offsets = [0.0]
    for distance in needed:
        offsets.append(offsets[-1] + distance)
    blocks: list[tuple[float, float, int]] = []
    for place, weight, offset in zip(wanted, weights, offsets, strict=True):
        mean, mass, count = place - offset, weight, 1
        while blocks and blocks[-1][0] > mean:
            other, other_mass, other_count = blocks.pop()
            mean = (mean * mass + other * other_mass) / (mass + other_mass)
            mass, count = mass + other_mass, count + other_count
        blocks.append((mean, mass, count))
    flat = [mean for mean, _, count in blocks for _ in range(count)]
    return [place + offset for place, offset in zip(flat, offsets, strict=True)]
