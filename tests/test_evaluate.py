"""Where the results of a run lie: one for each corpus and partition."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.config import Data
from nas.metrics import Trials, write_scores
from nas.metrics.evaluation import Corpus
from nas.training.evaluate import OWN_SCORES, _is_other, _place


def trials(*names: str) -> Trials:
    return Trials(list(names), ["-"] * len(names), [1] * len(names), [0.0] * len(names))


def place(run: Path, own: Data, root: str | None, layout: str = "manifest", *names: str) -> Path:
    return _place(run, own, Corpus(layout, root, "eval"), trials(*names))


def test_the_own_corpus_and_another(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "my calls"
    home.mkdir()
    own = Data(layout="manifest", root=str(home))
    assert place(tmp_path, own, str(home), "manifest", "a") == OWN_SCORES
    elsewhere = place(tmp_path, own, str(other), "manifest", "b")
    assert elsewhere.parent == OWN_SCORES
    assert elsewhere.name.startswith("my_calls-")
    assert place(tmp_path, own, str(tmp_path / "x" / "my calls"), "manifest", "b") != elsewhere
    assert place(tmp_path, own, str(other / "manifest.csv"), "manifest", "b").name.startswith("my_calls-")
    assert place(tmp_path, own, str(home), "folder_per_class", "b") != OWN_SCORES


def test_a_corpus_that_has_moved(tmp_path: Path) -> None:
    own = Data(layout="manifest", root=str(tmp_path / "gone"))
    moved = str(tmp_path / "here")
    assert place(tmp_path, own, moved, "manifest", "a") == OWN_SCORES
    write_scores(tmp_path / "scores" / "eval.txt", trials("a", "b"))
    assert place(tmp_path, own, moved, "manifest", "b", "a") == OWN_SCORES
    assert place(tmp_path, own, moved, "manifest", "a", "b", "c") == OWN_SCORES
    assert place(tmp_path, own, moved, "manifest", "a", "c") != OWN_SCORES


@pytest.mark.parametrize("root", [None, "somewhere"])
def test_the_corpus_of_the_demo_has_no_folder(tmp_path: Path, root: str | None) -> None:
    own = Data(layout="embedded")
    assert (place(tmp_path, own, root, "embedded" if root is None else "manifest", "a") == OWN_SCORES) == (root is None)
    assert _is_other(own, root, None) == (root is not None)
