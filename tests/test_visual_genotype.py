"""Pictures of genotypes: what they show, that they repeat to the byte, that hostile names stay text."""

from __future__ import annotations

import random
import shutil
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sized import stated_cost

from nas.errors import NasError
from nas.genotype import Cell, Edge, Genotype
from nas.space import get_space
from nas.visual.genotype import (
    CHANGED,
    OUTPUT,
    _lean,
    cell_layout,
    diff_genotypes,
    draw_genotype,
    genotype_figure,
    genotype_graph,
)
from nas.visual.layout import _crossings, _spread, by_dot, layered
from nas.visual.look import DILATED, OTHER, SKIP, family_of, plain
from nas.visual.network import count, draw_network, network_figure

SPACE = get_space("raw_waveform")
GENOTYPE = Genotype.random(SPACE, random.Random(1))


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize(("suffix", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_same_genotype_same_bytes(tmp_path, suffix, magic):
    first, second = (draw_genotype(GENOTYPE, tmp_path / f"{n}.{suffix}").read_bytes() for n in "ab")
    assert first == second
    assert first.startswith(magic)
    assert first != draw_genotype(Genotype.random(SPACE, random.Random(2)), tmp_path / f"c.{suffix}").read_bytes()


@pytest.mark.parametrize("name", ["cells.gif", "cells", "cells.svg.exe"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(NasError, match=r"ends in \.svg, \.png or \.pdf"):
        draw_genotype(GENOTYPE, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_every_operation_is_named_once():
    shown = texts(genotype_figure(GENOTYPE))
    names = [edge.primitive for cell in GENOTYPE.cells.values() for edge in cell.edges]
    for name in set(names):
        assert shown.count(name) == names.count(name)
    assert "Normal cell" in shown
    assert "Expand cell" in shown


def test_graph_is_the_genotype():
    for seed in range(20):
        genotype = Genotype.random(SPACE, random.Random(seed))
        graph = genotype_graph(genotype, "expand")
        for node, edges in enumerate(genotype.cells["expand"].nodes, start=2):
            found = sorted((source, data["primitive"]) for source, _, data in graph.in_edges(node, data=True))
            assert found == sorted((edge.source, edge.primitive) for edge in edges)
        assert sorted(graph.predecessors(OUTPUT)) == list(genotype.cells["expand"].concat)
    with pytest.raises(NasError, match="not 'reduce'"):
        genotype_graph(GENOTYPE, "reduce")


def test_strengths_are_widths_and_numbers():
    strengths = {kind: [[0.125, 0.25]] * 4 for kind in ("normal", "expand")}
    shown = texts(genotype_figure(GENOTYPE, strengths=strengths))
    assert sum(text.endswith("  0.250") for text in shown) == 8
    with pytest.raises(NasError, match="one number for each of its kept edges"):
        genotype_figure(GENOTYPE, strengths={"normal": [[0.1]], "expand": [[0.1]]})


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=3))
def test_names_from_a_file_stay_text(tmp_path_factory, names):
    cell = ((*(Edge(name, 0) for name in names), Edge("</text><script>alert(1)</script>$\\frac{1}{0}$", 1)),)
    path = draw_genotype(
        Genotype({"normal": Cell(cell), "expand": Cell(cell)}), tmp_path_factory.mktemp("hostile") / "cells.svg"
    )
    root = ElementTree.fromstring(path.read_bytes())  # noqa: S314 (our own file: it must parse)
    assert not [element for element in root.iter() if "script" in str(element.tag).lower()]


def test_plain_text():
    assert plain("a\nb\x00c\u202ed") == "a\ufffdb\ufffdc\ufffdd"
    assert plain("x" * 100) == "x" * 27 + "…"


def test_families():
    assert family_of("dil_conv_5", SPACE) == DILATED
    assert family_of("skip_connect", SPACE) == SKIP
    assert family_of("unheard_of", SPACE) == OTHER


def test_nothing_overlaps():
    """Items of one row keep their distance, whatever the genotype."""
    for seed in range(25):
        layout, widths = cell_layout(genotype_graph(Genotype.random(SPACE, random.Random(seed)), "normal"))
        rows: dict[float, list[tuple[float, float]]] = {}
        for item, (x, y) in layout.positions.items():
            rows.setdefault(y, []).append((x - widths[item] / 2, x + widths[item] / 2))
        for row in rows.values():
            for left, right in pairwise(sorted(row)):
                assert left[1] < right[0]
        assert layout.positions[0][0] < layout.positions[1][0]


def test_order_without_crossings_is_found():
    upper, lower = list("abcdef"), list("uvwxyz")
    edges = [(a, b) for a, b in zip(upper, reversed(lower), strict=True)]
    layout = layered([upper, lower], edges, dict.fromkeys([*upper, *lower], 0.5))
    rows = [sorted(row, key=lambda item: layout.positions[item][0]) for row in (upper, lower)]
    assert _crossings(rows, {a: [b] for a, b in edges}) == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(0.1, 5), st.floats(0, 2)), min_size=1, max_size=8))
def test_spread_is_the_nearest_permitted(items):
    """No small move of one place, up or down, that keeps the distances brings it nearer."""
    wanted, weights, needed = zip(*items, strict=True)
    needed = needed[1:]
    places = _spread(wanted, weights, needed)

    def cost(x):
        return sum(w * (a - b) ** 2 for w, a, b in zip(weights, x, wanted, strict=True))

    def permitted(x):
        return all(b - a >= d - 1e-9 for a, b, d in zip(x, x[1:], needed, strict=False))

    assert permitted(places)
    for start in range(len(places)):
        for stop in range(start + 1, len(places) + 1):
            for step in (-1e-3, 1e-3):
                moved = [x + step if start <= i < stop else x for i, x in enumerate(places)]
                if permitted(moved):
                    assert cost(moved) >= cost(places) - 1e-9


def test_a_large_genotype_is_drawn(tmp_path):
    cell = tuple((Edge("std_conv_3", node), Edge("skip_connect", max(0, node - 3))) for node in range(1, 31))
    path = draw_genotype(Genotype({"normal": Cell(cell), "expand": Cell(cell)}), tmp_path / "large.png")
    assert Image.open(path).height > 1000


def test_difference_names_what_changed(tmp_path):
    same = diff_genotypes(GENOTYPE, GENOTYPE, tmp_path / "same.svg")
    changed = Genotype(
        {
            **GENOTYPE.cells,
            "normal": Cell(((Edge("std_conv_3", 0), Edge("std_conv_3", 1)), *GENOTYPE.cells["normal"].nodes[1:])),
        }
    )
    other = diff_genotypes(GENOTYPE, changed, tmp_path / "other.svg", names=("epoch 1", "<b>"))
    assert CHANGED.lower() not in same.read_text().lower()
    assert other.read_text().lower().count(CHANGED.lower()) == 2 * sum(
        edge not in changed.cells["normal"].nodes[0] for edge in GENOTYPE.cells["normal"].nodes[0]
    )


def test_difference_of_other_sizes(tmp_path):
    assert diff_genotypes(
        GENOTYPE,
        Genotype(
            {"normal": Cell(GENOTYPE.cells["normal"].nodes[:2]), "expand": Cell(GENOTYPE.cells["expand"].nodes[:3])}
        ),
        tmp_path / "d.png",
    ).exists()


def test_network_figure_states_every_part(tmp_path):
    cost = stated_cost(GENOTYPE, channels=4, cells=5, gru_hidden=8, samples=8_000)
    shown = texts(network_figure(cost, "title $\\alpha$"))
    for part in cost.parts:
        assert part.name in shown
        assert f"{part.channels} × {part.frames:,}" in shown
    assert any(f"{cost.parameters:,} parameters" in text for text in shown)
    assert draw_network(cost, tmp_path / "n.svg").read_bytes() == draw_network(cost, tmp_path / "m.svg").read_bytes()


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (999, "999"), (12_416, "12.4k"), (4_521_216, "4.52M"), (4_630_000_000, "4.63G")]
)
def test_counts_have_three_figures(value, text):
    assert count(value) == text


def test_same_look_without_dot(monkeypatch):
    """Where `dot` is missing the same things are drawn."""
    with_it = texts(genotype_figure(GENOTYPE))
    monkeypatch.setenv("PATH", "")
    assert by_dot([["a"], ["b"]], [("a", "b")], {"a": 1.0, "b": 1.0}, 0.2) is None
    assert texts(genotype_figure(GENOTYPE)) == with_it


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not installed")
def test_places_of_dot_keep_their_distance():
    rows = [["a", "b"], ["c", "d", "e"]]
    links = [("a", "d"), ("b", "c"), ("a", "e")]
    places = by_dot(rows, links, dict.fromkeys("abcde", 1.0), 0.2)
    assert places is not None
    for row in rows:
        ordered = sorted(places[item] for item in row)
        # dot counts in whole points, 72 to the inch.
        assert all(right - left >= 1.2 - 1 / 72 for left, right in pairwise(ordered))


def test_lines_never_swing_beyond_their_points():
    """A line that turns back passes the turn upright; between rising points it keeps leaning."""
    points = [(0.0, 0.0), (1.0, 1.0), (1.0, 2.0), (3.0, 3.0), (2.0, 4.0), (4.0, 5.0)]
    assert [_lean(points, at) for at in range(6)] == [0, 0, 0, 0, 0, 0]
    assert _lean([(0.0, 0.0), (1.0, 1.0), (3.0, 2.0)], 1) == 1.5
