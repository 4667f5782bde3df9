"""The examples of docs/evaluation.md run."""

from __future__ import annotations

import re
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs" / "evaluation.md"


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    rows = [(f"s{i % 8}", f"u{i}", "-" if i % 3 == 0 else f"A{7 + i % 2:02d}") for i in range(240)]
    monkeypatch.chdir(tmp_path)
    keys = ["bonafide" if attack == "-" else "spoof" for *_, attack in rows]
    for name, shift in (("scores.txt", 3.0), ("other.txt", 2.0)):
        scores = rng.normal(size=240) + shift * (np.array(keys) == "bonafide")
        lines = [f"{u} {a} {k} {s}\n" for (_, u, a), k, s in zip(rows, keys, scores, strict=True)]
        Path(name).write_text("".join(lines))
    protocol = [f"{speaker} {u} - {attack} {k}\n" for (speaker, u, attack), k in zip(rows, keys, strict=True)]
    Path("protocol.txt").write_text("".join(protocol))
    asv = ["bonafide target 5\n", "bonafide target 6\n", "bonafide nontarget 0\n", "A07 spoof 5.5\n", "A08 spoof -1\n"]
    Path("asv.txt").write_text("".join(asv))

    script = "\n".join(re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.S))
    Path("examples.py").write_text(script, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runpy.run_path("examples.py")
    said = capsys.readouterr().out
    assert "95 % by speaker" in said
    assert "Mel, fixed" in said
    assert len(list(Path("pictures").iterdir())) == 6
    assert {path.name for path in Path("card").iterdir()} == {"card.json", "card.md"}
