"""Code of one's own: imported by recipes and the command line, kept by runs, and run only where it is trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from nas import imports
from nas.commands import beside, command
from nas.config import Recipe
from nas.data.readers.registry import _READERS
from nas.errors import NasError
from nas.recipe_file import load_recipe
from nas.space import get_space
from nas.training.run import Run

SPACE = """
from __future__ import annotations
from dataclasses import dataclass
from nas.space import Identity, Linear, SearchSpace, register

@dataclass
class Settings:
    kernel: int = {kernel}

register(SearchSpace("{name}", (Identity("skip_connect"), Linear("conv", kernel=Settings().kernel))))
"""


@pytest.fixture(autouse=True)
def _new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing had been imported yet, by a person who has run nothing yet, in an empty folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(imports, "_PROCESS", imports._Process())
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def elsewhere(monkeypatch: pytest.MonkeyPatch, person: str | None = None) -> None:
    """Another process, and another person where one is named."""
    monkeypatch.setattr(imports, "_PROCESS", imports._Process())
    if person:
        monkeypatch.setenv("XDG_STATE_HOME", str(Path(person).absolute()))


def write_space(name: str, kernel: int = 3, folder: str = ".") -> Path:
    path = Path(folder) / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(SPACE.format(name=name, kernel=kernel))
    return path


def make_run(name: str) -> Path:
    """A run whose recipe, in a folder of its own, imports a space."""
    write_space(name, folder="recipes")
    Path("recipes/r.yaml").write_text(f"imports: [{name}.py]\nspace: {name}\n")
    return Run.create("run", "search", load_recipe("recipes/r.yaml")).folder


def kernel(name: str) -> int:
    return get_space(name).primitives[1].kernel  # type: ignore[attr-defined]


def test_a_recipe_imports_files_beside_it_and_its_run_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("beside")
    assert kernel("beside") == 3
    kept = yaml.safe_load((run / "recipe.yaml").read_text())["imports"]
    assert kept == [str(Path("recipes/beside.py").absolute())]
    assert (run / "imports" / "beside.py").read_text() == Path("recipes/beside.py").read_text()
    elsewhere(monkeypatch)
    Path("recipes/beside.py").unlink()
    assert Run.open(run).recipe.space == "beside"
    # The run stands for its recipe, and a run made from it keeps the file too.
    again = Run.create("again", "train", load_recipe("run", ["seed=1"]))
    assert (again.folder / "imports" / "beside.py").exists()


def test_a_run_of_somebody_else_runs_nothing_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("theirs")
    Path("recipes/theirs.py").unlink()
    (run / "imports" / "theirs.py").write_text(marked := "open('ran', 'a').write('x')\n")
    with pytest.raises(NasError, match=r"theirs\.py is not as it was when the run was made"):
        Run.open(run)
    record = json.loads((run / "imports.json").read_text())
    record[0]["sha256"] = imports.hashlib.sha256(marked.encode()).hexdigest()
    (run / "imports.json").write_text(json.dumps(record))
    for attempt in (lambda: Run.open(run), lambda: load_recipe(run)):
        with pytest.raises(NasError, match=r"runs code, its copy of theirs\.py, .* --trust-imports"):
            attempt()
    assert not Path("ran").exists()
    imports.allow(trust=True)
    Run.open(run)
    assert Path("ran").read_text() == "x"
    elsewhere(monkeypatch)
    Run.open(run)  # what was run once is remembered
    elsewhere(monkeypatch, "another")
    with pytest.raises(NasError, match="runs code"):
        Run.open(run)


def test_a_file_that_was_changed_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run("changed")
    write_space("changed", kernel=9, folder="recipes")
    elsewhere(monkeypatch)
    Run.open(run)
    assert "changed.py was changed since run was made; its own copy is used" in caplog.text
    assert kernel("changed") == 3
    imports.allow([Path("recipes/changed.py")])
    Run.open(run)
    assert "changed.py is not as it was when run was made" in caplog.text
    assert kernel("changed") == 9


def test_a_file_of_the_command_line_is_added_to_recipes() -> None:
    imports.allow([write_space("added")])
    assert load_recipe("raw_pcdarts/toy", ["space=added"]).imports == [str(Path("added.py").absolute())]
    imports.allow()
    assert load_recipe("raw_pcdarts/toy").imports == []


def test_modules_are_imported_by_name_and_are_trusted_by_content(monkeypatch: pytest.MonkeyPatch) -> None:
    package = Path("mine_package")
    package.mkdir()
    (package / "__init__.py").write_text("")
    write_space("modular", folder="mine_package")
    monkeypatch.syspath_prepend(".")
    run = Run.create("run", "search", load_recipe("raw_pcdarts/toy", ["imports=[mine_package.modular]"]))
    assert kernel("modular") == 3
    elsewhere(monkeypatch)
    Run.open(run.folder)
    (package / "__init__.py").write_text("open('ran', 'w')")
    elsewhere(monkeypatch)
    with pytest.raises(NasError, match=r"the module mine_package\.modular, which you have not run"):
        Run.open(run.folder)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[missing.py]", r"no Python file .*missing\.py"),
        ("[no_such_module]", "no module 'no_such_module'"),
        ("[json.no_such]", r"no module 'json\.no_such'"),
        ("missing.py", "imports is a list"),
        ("[3]", "imports is a list"),
        ("['']", "imports is a list"),
        ("[broken.py]", r"broken\.py:2: is not Python"),
        ("[fails.py]", r"fails\.py fails when it is imported: ZeroDivisionError"),
        ("[leaves.py]", r"leaves\.py fails when it is imported: SystemExit"),
        ("[wrong.py]", r"wrong\.py: primitive a: the kernel must be odd"),
        ("[binary.py]", r"binary\.py.* (fails|is not Python)"),
        ("['a b']", "no Python file"),
    ],
)
def test_an_import_that_fails_is_one_sentence(value: str, words: str) -> None:
    for name, text in {
        "broken": b"\ndef (",
        "fails": b"1 / 0",
        "leaves": b"raise SystemExit(0)",
        "wrong": b"from nas.space import Linear\nLinear('a', kernel=2)",
        "binary": b"\xff\xfe\x00",
    }.items():
        Path(f"{name}.py").write_bytes(text)
    with pytest.raises(NasError, match=words) as caught:
        load_recipe("raw_pcdarts/toy", [f"imports={value}"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[", "{}", "[3]", '[{"name": "x"}]', '[{"name": 1, "sha256": "x"}]'])
def test_a_damaged_record_is_one_sentence(text: str) -> None:
    run = make_run("damaged")
    (run / "imports.json").write_text(text)
    with pytest.raises(NasError, match=r"imports\.json (is damaged|lacks)"):
        Run.open(run)
    (run / "imports.json").unlink()
    with pytest.raises(NasError, match=r"lacks .*damaged\.py, which the recipe imports; give --space-file"):
        Run.open(run)


def test_without_a_home_every_run_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run("homeless")
    elsewhere(monkeypatch)
    monkeypatch.setattr(imports, "trusted_file", lambda: None)
    with pytest.raises(NasError, match="runs code"):
        Run.open(run)
    imports.allow(trust=True)
    Run.open(run)


def test_packaged_recipes_and_spaces_are_found_past_folders_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in ("experiments", "search_spaces"):
        Path(name).mkdir()
        (Path(name) / "__init__.py").write_text("")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(".")
    assert load_recipe("raw_pcdarts/toy") != Recipe()
    monkeypatch.setattr("nas.space._SPACES", {})
    assert get_space("tiny").name == "tiny"


def test_commands_can_be_typed() -> None:
    assert command("resume", Path("a b/$x")) == "nas resume 'a b/$x'"
    assert command("evaluate", Path("-x")) == "nas evaluate ./-x"
    assert beside(Path("runs/search"), "train") == Path("runs/search-train")
    Path("here-train").mkdir()
    assert beside(Path("here"), "train") == Path("here-train-2")
    assert beside(Path("."), "train") == Path.cwd().with_name("work-train")


def test_a_layout_of_ones_own_is_known_to_what_opens_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.data.readers import layouts

    Path("lay.py").write_text(
        "from nas.data.readers import reader\n\n\n@reader('lay_of_mine')\ndef read(*_): return ()\n"
    )
    run = Run.create("run", "train", load_recipe("raw_pcdarts/toy", ["imports=[lay.py]", "data.layout=lay_of_mine"]))
    assert "lay_of_mine" in layouts()
    monkeypatch.delitem(_READERS, "lay_of_mine")
    elsewhere(monkeypatch)
    Run.open(run.folder)
    assert "lay_of_mine" in layouts()
    monkeypatch.delitem(_READERS, "lay_of_mine")
