"""A cell as a graph, for pictures and for analysis with networkx: paths, depth, receptive field in milliseconds."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx as nx

from nas.cost import GenotypeCost
from nas.errors import NasError
from nas.files import write_bytes
from nas.frontends.sinc import SAMPLE_RATE
from nas.genotype import FIRST_NODE, Genotype, Nodes
from nas.visual.look import plain

Strengths = Mapping[str, Sequence[Sequence[float]]]
"""For each cell type: per intermediate node, the strength (alpha times beta, softmaxed) of each kept edge."""

OUTPUT = "output"
GRAPH_FORMATS = (".graphml", ".json")


def genotype_graph(
    genotype: Genotype, cell_type: str, strengths: Strengths | None = None, cost: GenotypeCost | None = None
) -> nx.MultiDiGraph:
    """A cell as a graph.

    Nodes: 0 and 1, the outputs of the cells k-2 and k-1; 2, 3, ... the intermediate nodes; "output". Each has `role`
    ("input", "intermediate", "output"), `label` and `depth`, the most operations that lie between an input and it;
    where a cost is given also `receptive_field_ms`, the length of the waveform that a frame of it sees in the network's
    first cell of this type. Edges carry `role`: "operation", with `primitive` and `strength` (or None), or "concat".

    Raises:
        NasError: the genotype has no cell of that type, or the strengths do not fit it.
    """
    if cell_type not in genotype.cells:
        raise NasError(f"the genotype has the cells {', '.join(genotype.cells)}, not {cell_type!r}")
    cell = genotype.cells[cell_type]
    nodes = cell.nodes
    shares = _matching(strengths, cell_type, nodes)
    graph: nx.MultiDiGraph = nx.MultiDiGraph(cell_type=cell_type)
    graph.add_node(0, role="input", label="cell k−2", depth=0)
    graph.add_node(1, role="input", label="cell k−1", depth=0)
    for node, edges in enumerate(nodes, start=FIRST_NODE):
        depth = 1 + max(graph.nodes[edge.source]["depth"] for edge in edges)
        graph.add_node(node, role="intermediate", label=str(node - FIRST_NODE), depth=depth)
        for place, edge in enumerate(edges):
            strength = None if shares is None else float(shares[node - FIRST_NODE][place])
            graph.add_edge(edge.source, node, key=place, role="operation", primitive=edge.primitive, strength=strength)
    graph.add_node(OUTPUT, role="output", label="output", depth=max(graph.nodes[node]["depth"] for node in cell.concat))
    for node in cell.concat:
        graph.add_edge(node, OUTPUT, role="concat")
    parts = [part for part in cost.parts if part.cell_type == cell_type] if cost else []
    if parts:
        for node, view in enumerate(parts[0].views):
            graph.nodes[node]["receptive_field_ms"] = 1000 * view.samples / SAMPLE_RATE
        graph.nodes[OUTPUT]["receptive_field_ms"] = 1000 * (parts[0].receptive_field or 0) / SAMPLE_RATE
    return graph


def _matching(strengths: Strengths | None, cell_type: str, nodes: Nodes) -> Sequence[Sequence[float]] | None:
    if strengths is None:
        return None
    shares = strengths.get(cell_type)
    if shares is None or [len(row) for row in shares] != [len(edges) for edges in nodes]:
        raise NasError(f"strengths: the {cell_type} cell needs one number for each of its kept edges, node by node")
    return shares


@dataclass(frozen=True)
class CellPath:
    """A way through a cell: the nodes from an input to the last one before the output, and the operations between."""

    nodes: tuple[int, ...]
    primitives: tuple[str, ...]

    @property
    def depth(self) -> int:
        """Operations passed."""
        return len(self.primitives)


def cell_paths(graph: nx.MultiDiGraph) -> tuple[CellPath, ...]:
    """Every way from an input of a cell to its output, shortest first; an input that nothing reads has none."""
    found = []
    for way in [way for source in (0, 1) for way in nx.all_simple_edge_paths(graph, source, OUTPUT)]:
        names = [graph.get_edge_data(*edge).get("primitive") for edge in way]
        found.append(CellPath(tuple(edge[0] for edge in way), tuple(str(name) for name in names if name is not None)))
    return tuple(sorted(found, key=lambda path: (path.depth, path.nodes, path.primitives)))


def save_graph(
    genotype: Genotype, path: str | Path, strengths: Strengths | None = None, cost: GenotypeCost | None = None
) -> Path:
    """Write both cells as one graph in two pieces, as .graphml (yEd, Gephi, Cytoscape) or .json (networkx, d3).

    Nodes are named "normal 2", "expand output"; what is not known is left out. Returns the path.

    Raises:
        NasError: another suffix, strengths that do not fit, or a file that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in GRAPH_FORMATS:
        raise NasError(f"{path}: a graph ends in .graphml or .json, not {path.suffix or 'nothing'!r}")
    whole: nx.MultiDiGraph = nx.MultiDiGraph()
    for cell_type in genotype.cells:
        graph = genotype_graph(genotype, cell_type, strengths, cost)
        names = {node: f"{cell_type} {node}" for node in graph}
        for node, data in graph.nodes(data=True):
            whole.add_node(names[node], cell=cell_type, **data)
        for source, target, data in graph.edges(data=True):
            known = {key: value for key, value in data.items() if value is not None}
            if "primitive" in known:
                known["primitive"] = plain(known["primitive"])  # XML has no room for control characters
            whole.add_edge(names[source], names[target], **known)
    if path.suffix.lower() == ".json":
        text = json.dumps(nx.node_link_data(whole, edges="links"), indent=1) + "\n"
        return write_bytes(path, text.encode("utf-8"))
    stream = io.BytesIO()
    nx.write_graphml(whole, stream)
    return write_bytes(path, stream.getvalue())
