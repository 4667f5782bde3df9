"""The one reader of text, YAML and JSON: what it takes, and every bound."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from nas.errors import NasError
from nas.text_files import (
    DEEPEST,
    LARGEST_YAML,
    MOST_YAML_VALUES,
    parse_json,
    parse_json_or_yaml,
    parse_yaml,
    parse_yaml_lines,
    read_json,
    read_text,
    read_yaml,
)

BOTH = (parse_json, parse_yaml, parse_json_or_yaml)
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_yaml_as_people_mean_it() -> None:
    text = "a: 5e-5\nb: 1:30\nc: 2020-01-01\nd: =\ne: 0x1F\nf: .5\ng: -.inf\nh: 1_000\ni: yes\nj: ~\nk: [1, {l: 2}]\n"
    assert parse_yaml(text, "text") == {
        **{"a": 5e-5, "b": "1:30", "c": "2020-01-01", "d": "=", "e": 31, "f": 0.5, "g": -math.inf, "h": 1000},
        **{"i": True, "j": None, "k": [1, {"l": 2}]},
    }
    assert parse_yaml("", "text") is None
    assert parse_yaml("a: &x [1]\nb: *x", "text") == {"a": [1], "b": [1]}
    assert parse_yaml_lines("a:\n  b: 1\n  c:\n  - x\n  - y\n", "text")[1] == {
        **{("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", "0"): 4, ("a", "c", "1"): 5},
    }


def test_json_as_it_is_written() -> None:
    text = '{"a": [1, -2.5, true, null, "\\ud83d\\ude00 \\\\ud800"], "b": {"a": 18446744073709551615}}'
    assert parse_json(text, "text") == {"a": [1, -2.5, True, None, "\U0001f600 \\ud800"], "b": {"a": 2**64 - 1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "nested more than"),
        ("[" * 100_000, "nested more than"),
        ('{"a": 1,\n "a": 2}', "file:2: 'a' is given twice"),
        ('{"b": {"a": 1},\n "a": 2, "a": 3}', "file:2: 'a' is given twice"),
        ('{"a":\n' + "9" * 10_000 + "}", r"file:2: .*beyond 64 bits"),
        ('{"a": -9223372036854775809}', "beyond 64 bits"),
        ('["\\ud800"]', "half of a surrogate pair"),
        ('["\\udc00\\ud800"]', "half of a surrogate pair"),
        ('{"a": [1,\n2', "file:2: .*not valid|file:2: neither"),
        ('"' + '\\"' * 100_000, "not valid|neither|longer than"),
    ],
)
def test_what_neither_takes(text: str, said: str) -> None:
    for parse in BOTH:
        begun = time.monotonic()
        with pytest.raises(NasError, match=said) as sentence:
            parse(text, Path("file"))
        assert len(str(sentence.value)) < 300
        assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "aliases followed"),
        ("a: &a [*a]", "aliases followed"),
        ("a: &a {x: 1}\nb: {<<: *a}", "file:2: b: merge keys"),
        ("- 1\n" * (MOST_YAML_VALUES + 1), "more than 20,000 values"),
        ("#" * (LARGEST_YAML + 1), "longer than"),
        ("a: 1\nb: !!python/object/apply:os.system [x]", "file:2: b: not valid YAML .the tag"),
        ("a: !!float 1:59:59", "not of the type float"),
        ("a: !!int x", "not of the type int"),
        ("a: !!bool x", "not of the type bool"),
        ("a: !!binary x", "the tag !!binary is not read"),
        ("a: !!set {x}", "the tag !!set is not read"),
        ("a:\n  b: 0x" + "f" * 5000, "file:2: a.b: the whole number 0xf.* beyond 64 bits"),
        ("a: 1\na: 2", "file:2: 'a' is given twice"),
        ("1: a\ntrue: b", "given twice"),
        ("? [a]\n: b", "a key is not a word"),
        ("a: \x01", "file:1: not valid YAML"),
        ('a: "\\UFFFFFFFF"', "not valid YAML"),
        ("a: *b", "undefined alias"),
        ("--- a\n--- b", "file:2: not valid YAML"),
    ],
)
def test_what_yaml_refuses(text: str, said: str) -> None:
    with pytest.raises(NasError, match=said):
        parse_yaml(text, Path("file"))


def test_where_it_is_wrong_is_said_of_texts_without_a_file() -> None:
    with pytest.raises(NasError, match=r"^override 'a=\[': not valid YAML"):
        parse_yaml("[", "override 'a=['")
    with pytest.raises(NasError, match=r"^genotype, line 2: neither JSON nor valid YAML"):
        parse_json_or_yaml("a: 1\n]", "genotype")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1\n".encode("utf-16")[:-1], "begins as UTF-16 and is not"),
        (b"a: 1\nb: \xff", "file, line 2: a recipe is plain UTF-8 text"),
        (b"a: 1\n\0", "line 2: .*zero byte"),
    ],
)
def test_what_is_not_text(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "file").write_bytes(content)
    for read in (read_text, read_yaml, read_json):
        with pytest.raises(NasError, match=said):
            read(tmp_path / "file", "recipe")


def test_files_and_what_is_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\rc: 3\n")
    assert read_yaml(path, "recipe") == {"a": 1, "b": 2, "c": 3}
    path.write_bytes("a: 1\n".encode("utf-16"))
    assert read_yaml(path, "recipe") == {"a": 1}
    with pytest.raises(NasError, match="larger than a recipe may be"):
        read_text(path, "recipe", largest=5)
    with pytest.raises(NasError, match="larger than"):
        read_text("/dev/zero", "recipe", largest=1000)
    for place, said in (
        (tmp_path / "absent", "there is no recipe"),
        (tmp_path, "is a folder, not a recipe"),
        (tmp_path / ("x" * 300), "cannot read the recipe"),
        (path / "below", "cannot read the recipe"),
    ):
        with pytest.raises(NasError, match=said):
            read_text(place, "recipe")
