"""Where the results of a run lie: one for each corpus and partition; searches whose history is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.config import Data
from nas.errors import NasError
from nas.metrics import Trials, write_scores
from nas.metrics.evaluation import Corpus
from nas.recipe_file import load_recipe
from nas.training.evaluate import OWN_SCORES, _is_other, _place
from nas.training.run import Run
from nas.tuning.spending import Spending, compare_searches


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


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ("epoch,dev_eer\n1,50.0\n2,50.0\n3\n4,25.0\n", r"line 4: 1 values, where the header names 2"),
        ("epoch,dev_eer\n1,50.0\n2,x\n3,x\n", "is damaged: no numbers"),
        ("epoch,dev_eer\n1,50.0\n", "has no genotype that the search could have taken"),
        ("epoch,seconds\n1,1\n2,1\n3,1\n", "is damaged: no numbers"),
        ("", "is damaged: no numbers"),
    ],
)
def test_a_damaged_history_is_one_sentence(tmp_path: Path, history: str, said: str) -> None:
    Run.create(tmp_path / "search", "search", load_recipe("raw_pcdarts/toy"))
    Spending("pcdarts", 3.0).write(tmp_path / "search")
    (tmp_path / "search" / "history.csv").write_text(history)
    with pytest.raises(NasError, match=said):
        compare_searches({"search": tmp_path / "search"})
