"""Genotypes: three text forms, hostile text, and what a space refuses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import NasError
from nas.genotype import Cell, Edge, Genotype
from nas.space import Linear, SearchSpace, SpaceMark, get_space

PUBLISHED = (
    "Genotype(normal=[('dil_conv_5', 1), ('dil_conv_3', 0), ('dil_conv_5', 1), ('dil_conv_5', 2), ('std_conv_5', 2), "
    "('skip_connect', 3), ('std_conv_5', 2), ('skip_connect', 4)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3', 0), ('std_conv_3', 1), ('dil_conv_3', 0), ('dil_conv_3', 2), ('skip_connect', 0), "
    "('dil_conv_5', 2), ('dil_conv_3', 0), ('avg_pool_3', 1)], reduce_concat=range(2, 6))"
)
SPACE = get_space("raw_waveform")


@st.composite
def genotypes(draw: st.DrawFn, most_inputs: int = 2) -> Genotype:
    names = st.sampled_from(SPACE.primitive_names)

    def cell(nodes: int) -> tuple[tuple[Edge, ...], ...]:
        return tuple(
            tuple(
                Edge(draw(names), draw(st.integers(0, node - 1)))
                for _ in range(draw(st.integers(1, most_inputs)) if most_inputs != 2 else 2)
            )
            for node in range(2, 2 + nodes)
        )

    nodes = draw(st.integers(1, 5))
    concat = draw(st.sets(st.integers(2, 1 + nodes), min_size=1))
    return Genotype({"normal": Cell(cell(nodes), tuple(sorted(concat))), "expand": Cell(cell(nodes))})


def test_published_text_reads_and_writes_back() -> None:
    genotype = Genotype.parse(PUBLISHED)
    assert str(genotype) == PUBLISHED
    assert genotype.cells["expand"].nodes[3] == (Edge("dil_conv_3", 0), Edge("avg_pool_3", 1))
    marked = genotype.validate(SPACE)
    assert marked == genotype
    assert marked.validate(SPACE) is marked


@given(genotypes())
def test_every_form_holds_the_same_genotype(genotype: Genotype) -> None:
    assert Genotype.parse(str(genotype)) == genotype
    assert Genotype.parse(genotype.to_json()) == genotype
    flat = {
        "normal": [list(edge) for node in genotype.cells["normal"].nodes for edge in node],
        "reduce": [list(edge) for node in genotype.cells["expand"].nodes for edge in node],
        "normal_concat": list(genotype.cells["normal"].concat),
    }
    assert Genotype.parse(json.dumps(flat)) == genotype


@given(genotypes(most_inputs=3))
def test_nodes_of_other_than_two_inputs_stand_apart_in_the_text(genotype: Genotype) -> None:
    assert Genotype.parse(str(genotype)) == genotype


GENOTYPES_PY = f"""from collections import namedtuple

Genotype = namedtuple("Genotype", "normal normal_concat reduce reduce_concat")
# OLD = Genotype(normal=[], reduce=[])
FIRST = {PUBLISHED}
SECOND: Genotype = {PUBLISHED.replace("max_pool_3", "avg_pool_3")}  # (better
"""
LOG = "".join(
    f"2021-06-01 10:0{epoch}:00,123 it's epoch #{epoch} genotype = {text}\n"
    for epoch, text in enumerate((PUBLISHED, PUBLISHED, PUBLISHED.replace("max_pool_3", "avg_pool_3")))
)


@pytest.mark.parametrize(
    "text",
    [
        f"FOUND = {PUBLISHED}",
        f"\ufeff{PUBLISHED}",
        f"log: {PUBLISHED} (epoch 3)",
        PUBLISHED.replace(", reduce=", ",\n    # ('sep_conv', 0),\n    reduce="),
        LOG.splitlines()[0],
        "\n".join(LOG.splitlines()[:2]),
        "\ufeff" + Genotype.parse(PUBLISHED).to_json(),
    ],
)
def test_a_genotype_is_found_where_people_have_it(text: str) -> None:
    assert str(Genotype.parse(text)) == PUBLISHED


def test_of_several_genotypes_one_is_named(tmp_path) -> None:
    (tmp_path / "genotypes.py").write_text(GENOTYPES_PY)
    with pytest.raises(NasError, match=r"genotypes\.py: .* holds 2, FIRST \(line 5\), SECOND \(line 6\): name one"):
        Genotype.load(tmp_path / "genotypes.py")
    assert str(Genotype.load(f"{tmp_path}/genotypes.py:FIRST")) == PUBLISHED
    assert Genotype.load(f"{tmp_path}/genotypes.py:SECOND") == Genotype.load(f"{tmp_path}/genotypes.py:2")
    with pytest.raises(NasError, match=r"none called 'THIRD'; it holds FIRST"):
        Genotype.load(f"{tmp_path}/genotypes.py:THIRD")
    with pytest.raises(NasError, match="3 called 'genotype'; name one by its number, 1 to 3"):
        Genotype.parse(LOG, "genotype")
    assert str(Genotype.parse(LOG, "2")) == PUBLISHED


def test_a_genotype_knows_its_space() -> None:
    found = Genotype.parse(PUBLISHED).validate(SPACE)
    again = Genotype.parse(found.to_json())
    assert again.mark == found.mark
    assert again.validate(SPACE) is again
    other = SearchSpace("other", SPACE.primitives)
    with pytest.raises(NasError, match="is of the search space 'raw_waveform', not of 'other'"):
        again.validate(other)
    redefined = SearchSpace(
        "raw_waveform", tuple(Linear(p.name, kernel=9) if p.name == "std_conv_3" else p for p in SPACE.primitives)
    )
    with pytest.raises(NasError, match="whose primitives of the same names were other ones"):
        again.validate(redefined)
    # A primitive that the genotype does not use may come, go and change.
    assert again.validate(SearchSpace("raw_waveform", (*SPACE.primitives, Linear("std_conv_9", kernel=9)))) is again
    named = Genotype.parse(found.to_json().replace(f', "primitives": "{found.mark.primitives}"', ""))
    assert named.mark == SpaceMark("raw_waveform")
    assert named.validate(redefined).mark.primitives != found.mark.primitives


@pytest.mark.parametrize("space", ["[]", "3", '{"name": 3}', '{"name": "a", "x": 1}', '{"name": "a", "primitives": 1}'])
def test_a_damaged_mark_is_one_sentence(space: str) -> None:
    text = Genotype.parse(PUBLISHED).to_json().replace("{", f'{{"space": {space},', 1)
    with pytest.raises(NasError, match=r"genotype: space"):
        Genotype.parse(text)


def test_a_cell_that_carries_no_signal_is_refused() -> None:
    none = PUBLISHED.partition(", reduce=")[0]
    for name in SPACE.primitive_names:
        none = none.replace(name, "none")
    for text in (
        f"{none}, reduce={PUBLISHED.partition('reduce=')[2]}",
        # One edge has a signal, but nothing that is concatenated reads it.
        PUBLISHED.replace("range(2, 6), reduce", "[2], reduce").replace(
            "dil_conv_5', 1), ('dil_conv_3", "none', 1), ('none", 1
        ),
    ):
        with pytest.raises(NasError, match="no path through the normal cell carries a signal, every one has a 'none'"):
            Genotype.parse(text).validate(SPACE)


def test_yaml_is_read() -> None:
    text = "normal: [[skip_connect, 0], [none, 1]]\nreduce:\n  - [none, 1]\n  - [max_pool_3, 0]\n"
    assert Genotype.parse(text).cells["expand"].nodes == ((Edge("none", 1), Edge("max_pool_3", 0)),)


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
        ('{"normal": [["a", 0], ["a", 2]], "expand": [["a", 0], ["a", 1]]}', "comes from node 2; an edge comes from"),
        ('{"normal": [["a", 0], ["a", -1]], "expand": [["a", 0], ["a", 1]]}', "earlier node"),
        ('{"normal": [["a", 0]], "expand": [["a", 0], ["a", 1]]}', "every node has 2"),
        ('{"normal": [["a", 0], ["a", true]], "expand": [["a", 0], ["a", 1]]}', "pairs"),
        ('{"normal": [["a", 0], ["a", 1]], "expand": [["a", 0], ["a", 1]], "normal_concat": [7]}', "concatenates"),
        ('{"normal": [["a", 0], ["a", 1]], "expand": [["a", 0], ["a", 1]], "cell": 1}', "unknown key 'cell'"),
        ("{" * 5000, "neither|nested"),
        (f"Genotype(normal={'-' * 3000}1)", "normal is not a list|does not parse"),
        (f"Genotype(normal={'lambda:' * 900}1)", "normal is not a list|does not parse"),
        (f"Genotype(normal={'(' * 900}1)", "normal is not a list|does not parse"),
        ("Genotype(normal=" + "9" * 5000 + ")", "does not parse"),
        ("Genotype(normal=[('a', 0x" + "f" * 5000 + "), ('a', 0)], reduce=[('a', 0)])", "pairs|list of edges"),
        ('{"normal": ' + "9" * 5000 + "}", "genotype"),
        ('{"normal": [["a", 0], ["a", 1]], "expand": [["a", 0], ["a", 1]], "normal_concat": [1e9]}', "list of node"),
        ("normal: [[a, 0x" + "f" * 5000 + "], [a, 1]]\nexpand: [[a, 0], [a, 1]]", "genotype"),
        ("normal: 1" + ":59" * 400 + ".5", "genotype"),
        ("Genotype(" * 20000, "parse|longer"),
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
    lone = Genotype.parse('{"normal": [["none", 0], ["none", 1]]}')
    with pytest.raises(NasError, match="expand cell is missing"):
        lone.validate(SPACE)
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
