"""A cell as a graph: every path, its depth, what its nodes see, and files that other programs read."""

from __future__ import annotations

import json
import random
import re
from itertools import pairwise

import networkx as nx
import pytest
from sized import stated_cost
from test_visual_report import make_run
from typer.testing import CliRunner

from nas.cli import app
from nas.errors import NasError
from nas.genotype import Cell, Edge, Genotype
from nas.space import get_space
from nas.visual.graph import OUTPUT, cell_paths, genotype_graph, save_graph

SPACE = get_space("raw_waveform")
GENOTYPES = [Genotype.random(SPACE, random.Random(seed)) for seed in range(20)]


def ways(cell, node):
    """All (nodes, primitives) from an input to a node, by the definition."""
    if node < 2:
        return [((node,), ())]
    return [
        ((*nodes, node), (*primitives, edge.primitive))
        for edge in cell[node - 2]
        for nodes, primitives in ways(cell, edge.source)
    ]


@pytest.mark.parametrize("kind", SPACE.types)
def test_paths_and_depth_by_the_definition(kind):
    for genotype in GENOTYPES:
        graph = genotype_graph(genotype, kind)
        cell, concat = genotype.cells[kind].nodes, genotype.cells[kind].concat
        expected = sorted(way for node in concat for way in ways(cell, node))
        paths = cell_paths(graph)
        assert sorted((path.nodes, path.primitives) for path in paths) == expected
        assert [path.depth for path in paths] == sorted(path.depth for path in paths)
        assert graph.nodes[OUTPUT]["depth"] == paths[-1].depth


def test_what_nodes_see():
    for genotype in GENOTYPES:
        cost = stated_cost(genotype, SPACE, channels=4, gru_hidden=8)
        for kind in SPACE.types:
            graph = genotype_graph(genotype, kind, cost=cost)
            first = next(part for part in cost.parts if f"({kind})" in part.name)
            seen = nx.get_node_attributes(graph, "receptive_field_ms")
            assert set(seen) == set(graph)
            assert seen[OUTPUT] == first.receptive_field / 16
            for source, target in graph.edges():
                assert seen[target] >= seen[source]
    assert "receptive_field_ms" not in genotype_graph(GENOTYPES[0], "normal").nodes[0]


def test_the_receptive_field_of_a_known_cell():
    """One convolution of three frames after the other: each adds two frames, of six samples in the first cell."""
    wide = next(name for name in SPACE.primitive_names if SPACE.primitive(name).complexity(4, 64).reach == 1)
    nodes = tuple((Edge(wide, 1 if node == 2 else node - 1),) for node in range(2, 6))
    genotype = Genotype({"normal": Cell(nodes), "expand": Cell(nodes)})
    graph = genotype_graph(genotype, "normal", cost=stated_cost(genotype, SPACE, channels=4, gru_hidden=8))
    seen = [graph.nodes[node]["receptive_field_ms"] for node in (1, 2, 3, 4, 5)]
    assert [round(16 * (b - a)) for a, b in pairwise(seen)] == [12, 12, 12, 12]


def test_files_can_be_read_back(tmp_path):
    genotype = GENOTYPES[0]
    cost = stated_cost(genotype, SPACE)
    strengths = {kind: [[0.25] * len(edges) for edges in genotype.cells[kind].nodes] for kind in SPACE.types}
    markup = nx.read_graphml(save_graph(genotype, tmp_path / "cells.graphml", strengths, cost), force_multigraph=True)
    content = json.loads(save_graph(genotype, tmp_path / "cells.json", strengths, cost).read_text())
    listed = nx.node_link_graph(content, edges="links")
    for graph in (markup, listed):
        assert len(graph) == sum(len(genotype_graph(genotype, kind)) for kind in SPACE.types)
        assert nx.number_weakly_connected_components(graph) >= 2
        operations = [data for *_, data in graph.edges(data=True) if data["role"] == "operation"]
        assert sorted(data["primitive"] for data in operations) == sorted(
            edge.primitive for kind in SPACE.types for edges in genotype.cells[kind].nodes for edge in edges
        )
        assert all(data["strength"] == 0.25 for data in operations)
        assert graph.nodes["expand output"]["receptive_field_ms"] > 0


def test_hostile_names_make_whole_files(tmp_path):
    evil = Edge('<x y="z">&\x00\x1b', 0)
    genotype = Genotype({**GENOTYPES[0].cells, "normal": Cell(((evil, evil), *GENOTYPES[0].cells["normal"].nodes[1:]))})
    graph = nx.read_graphml(save_graph(genotype, tmp_path / "cells.graphml"))
    assert any(data.get("primitive", "").startswith('<x y="z">&') for *_, data in graph.edges(data=True))
    with pytest.raises(NasError, match=r"ends in \.graphml or \.json"):
        save_graph(genotype, tmp_path / "cells.gexf")


def test_nas_show_prints_costs_and_writes_graphs(tmp_path):
    run = make_run(tmp_path / "run", "train")
    shown = CliRunner().invoke(app, ["show", str(run), "--cost", "-o", str(tmp_path / "cells.graphml")])
    assert shown.exit_code == 0, shown.output
    cost = stated_cost(Genotype.load(run / "genotype.json"), SPACE, channels=4, gru_hidden=8)
    assert f"| all | | {cost.parameters:,} | {cost.macs:,} |" in shown.output
    assert re.search(r"one thread: \d+\.\d ms, prepared for inference \d+\.\d ms", shown.output)
    assert len(nx.read_graphml(tmp_path / "cells.graphml")) == 14


def test_strengths_of_a_search_are_written_too(tmp_path):
    run = make_run(tmp_path / "run", "search")
    CliRunner().invoke(app, ["show", str(run), "-o", str(tmp_path / "cells.json")], catch_exceptions=False)
    links = json.loads((tmp_path / "cells.json").read_text())["links"]
    assert all(0 < link["strength"] < 1 for link in links if link["role"] == "operation")
