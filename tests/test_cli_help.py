"""What the command line says of itself."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from test_cli import run

from nas.cli import VERBS
from nas.installation import extras
from nas.recipe_file import load_recipe, packaged_recipes


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_no_line_of_help_is_cut(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, option)
    assert "..." not in text.replace("[ARGS]...", "")
    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(verb.__name__ in text and line in text for verb, line in VERBS.items())


@pytest.mark.parametrize("verb", [verb.__name__ for verb in VERBS])
def test_every_verb_has_help_and_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, verb, "-h")
    assert "Example: nas " in text
    assert f"nas {verb}" in text.partition("Example: ")[2]


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == f"nas {version('nas-antispoofing')}\n"


def test_info_names_what_is_installed_and_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.installation._installed", lambda package: package != "captum")
    assert extras()["explain"] == "missing: captum; pip install -e '.[explain]'"
    assert extras()["corpus"] == "installed"
    text = run(capsys, "info")
    for name in ("nas", "python", "torch", "device", "C passes", "extra explain"):
        assert any(line.startswith(name) for line in text.splitlines())


def test_the_packaged_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "recipes", "raw_pcdarts")
    assert "raw_pcdarts/mel_fixed " in text
    assert "baselines" not in text
    assert len(packaged_recipes()) > 15
    assert all(title for title in packaged_recipes().values())
    assert load_recipe("raw_pcdarts/mel_fixed").name
