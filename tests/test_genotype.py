"""Genotypes: three text forms, hostile text, and what a space refuses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import NasError
from nas.genotype import Edge, Genotype
from nas.space import get_space

PUBLISHED = (
    "Genotype(normal=[('dil_conv_5', 1), ('dil_conv_3', 0), ('dil_conv_5', 1), ('dil_conv_5', 2), ('std_conv_5', 2), "
    "('skip_connect', 3), ('std_conv_5', 2), ('skip_connect', 4)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3', 0), ('std_conv_3', 1), ('dil_conv_3', 0), ('dil_conv_3', 2), ('skip_connect', 0), "
    "('dil_conv_5', 2), ('dil_conv_3', 0), ('avg_pool_3', 1)], reduce_concat=range(2, 6))"
)
SPACE = get_space("raw_waveform")


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    names = st.sampled_from(SPACE.primitive_names)

    def cell(nodes: int) -> tuple[tuple[Edge, ...], ...]:
        return tuple(
            tuple(Edge(draw(names), draw(st.integers(0, node - 1))) for _ in range(2)) for node in range(2, 2 + nodes)
        )

    nodes = draw(st.integers(1, 5))
    concat = draw(st.sets(st.integers(2, 1 + nodes), min_size=1))
    return Genotype(cell(nodes), cell(nodes), tuple(sorted(concat)))


def test_published_text_reads_and_writes_back() -> None:
    genotype = Genotype.parse(PUBLISHED)
    assert str(genotype) == PUBLISHED
    assert genotype.expand[3] == (Edge("dil_conv_3", 0), Edge("avg_pool_3", 1))
    assert genotype.validate(SPACE) is genotype


@given(genotypes())
def test_every_form_holds_the_same_genotype(genotype: Genotype) -> None:
    assert Genotype.parse(str(genotype)) == genotype
    assert Genotype.parse(genotype.to_json()) == genotype
    flat = {
        "normal": [list(edge) for node in genotype.normal for edge in node],
        "reduce": [list(edge) for node in genotype.expand for edge in node],
        "normal_concat": list(genotype.normal_concat),
    }
    assert Genotype.parse(json.dumps(flat)) == genotype


def test_yaml_is_read() -> None:
    text = "normal: [[skip_connect, 0], [none, 1]]\nreduce:\n  - [none, 1]\n  - [max_pool_3, 0]\n"
    assert Genotype.parse(text).expand == ((Edge("none", 1), Edge("max_pool_3", 0)),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("Genotype(normal=__import__('os').system('true'), reduce=[])", "neither|not a list"),
        ("Genotype(**{})", "names its parts"),
        ("Genotype(", "does not parse"),
        ("Genotype(normal=[('a', 0), ('a', 1)], reduce=range(10**9))", "range"),
        ("!!python/object/apply:os.system [true]", "neither JSON"),
        ("[1, 2]", "expected the keys"),
        ('{"normal": [["a", 0], ["a", 1]]}', "expand cell is missing"),
        ('{"normal": [["a", 0], ["a", 2]], "expand": [["a", 0], ["a", 1]]}', "comes from node 2; an edge comes from"),
        ('{"normal": [["a", 0], ["a", -1]], "expand": [["a", 0], ["a", 1]]}', "earlier node"),
        ('{"normal": [["a", 0]], "expand": [["a", 0], ["a", 1]]}', "every node has 2"),
        ('{"normal": [["a", 0], ["a", true]], "expand": [["a", 0], ["a", 1]]}', "pairs"),
        ('{"normal": [["a", 0], ["a", 1]], "expand": [["a", 0], ["a", 1]], "normal_concat": [7]}', "concatenates"),
        ('{"normal": [["a", 0], ["a", 1]], "expand": [["a", 0], ["a", 1]], "cell": 1}', "unknown key 'cell'"),
        ("{" * 5000, "neither|nested"),
    ],
)
def test_hostile_text_gets_one_sentence(text: str, words: str) -> None:
    with pytest.raises(NasError, match=words):
        Genotype.parse(text)


@settings(max_examples=300)
@given(st.text(max_size=200) | st.text(max_size=100).map(lambda text: f"Genotype({text})"))
def test_no_text_gets_past_the_error(text: str) -> None:
    try:
        Genotype.parse(text)
    except NasError as error:
        assert "\n" not in str(error)


def test_the_space_refuses_what_it_cannot_build() -> None:
    wrong = Genotype.parse(PUBLISHED.replace("std_conv_3", "std_conv_33"))
    with pytest.raises(NasError, match="no primitive 'std_conv_33'; did you mean 'std_conv_3'"):
        wrong.validate(SPACE)
    small = Genotype.parse('{"normal": [["none", 0], ["none", 1]], "expand": [["none", 0], ["none", 1]]}')
    with pytest.raises(NasError, match="1 intermediate nodes, search space 'raw_waveform' has 4"):
        small.validate(SPACE)


def test_a_missing_or_binary_file_is_named(tmp_path) -> None:
    with pytest.raises(NasError, match=r"none\.json"):
        Genotype.load(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NasError, match=r"binary\.json.*UTF-8"):
        Genotype.load(tmp_path / "binary.json")
    (tmp_path / "wrong.json").write_text("[]")
    with pytest.raises(NasError, match=r"wrong\.json"):
        Genotype.load(tmp_path / "wrong.json")


def test_save_leaves_one_file(tmp_path) -> None:
    path = Genotype.parse(PUBLISHED).save(tmp_path / "deep" / "genotype.json")
    assert [file.name for file in path.parent.iterdir()] == ["genotype.json"]
    assert str(Genotype.load(path)) == PUBLISHED
