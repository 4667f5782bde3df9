"""Published tables beside ours, result cards, pictures of detection."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.metrics import ASVErrors, Bootstrap, Evaluation, Trials, evaluate_trials
from nas.metrics.comparison import Spread
from nas.metrics.published import TABLES, foreign_corpus, read_measured, report_table
from nas.visual.card import gather_card, result_card, write_card
from nas.visual.detection import draw_all, draw_det, gather_detection
from nas.visual.look import render


def trials_of(shift: float = 1.5, n: int = 300) -> Trials:
    at = np.arange(n)
    label = at % 3 == 0
    score = np.random.default_rng(3).normal(size=n) + shift * label
    attack = np.where(label, "-", np.where(at % 3 == 1, "A07", "A<8>|*"))
    return Trials([f"u{i}" for i in at], attack, label.astype(int), score, [f"s{i % 7}" for i in at])


def evaluation() -> Evaluation:
    return evaluate_trials(trials_of(), ASVErrors(0.02, 0.02, 0.2), Bootstrap(20))


class Small(nn.Module):
    """waveform [B, T] -> logits [B, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(1000, 2)

    def forward(self, waveform: Tensor) -> Tensor:
        logits: Tensor = self.output(waveform)
        return logits


def test_published_values_are_those_of_the_papers() -> None:
    assert report_table("table2").rows[0] == ["Mel, fixed", "0.0517", "", "1.77", ""]
    assert [row[3] for row in report_table("table2").rows] == ["1.77", "3.62", "3.25", "2.80", "3.29", "2.10", "2.49"]
    table3 = {row[0]: row[1::2] for row in report_table("table3").rows}
    assert len(table3) == 13
    assert table3["LCNN-LSTM-sum"] == ["0.0524", "1.92", "0.28M", "A17", "9.24"]
    assert table3["RawNet2"] == ["0.1294", "4.66", "25.43M", "A18", "16.30"]
    assert [row[1] for row in report_table("finetuning").rows] == ["45–60", "~84.29", "~81.4"]


@pytest.mark.shared
def test_published_values_stand_in_the_paper(shared: Path) -> None:
    paper = (shared / "papers/raw_pc_darts.txt").read_text(encoding="utf-8")
    for _, values in TABLES["table3"].rows.values():
        line = " ".join(values[key] for key in ("min_tdcf", "eer", "parameters", "worst_attack", "worst_attack_eer"))
        assert f" {line}\n" in paper
    fixed, learnable = (TABLES["table2"].rows[f"inverse_mel_{kind}"][1] for kind in ("fixed", "learnable"))
    assert f"Inverse-Mel {fixed['min_tdcf']} {fixed['eer']} {learnable['min_tdcf']} {learnable['eer']}\n" in paper


def test_ours_stand_beside_and_nothing_is_made_up() -> None:
    table = report_table("table2", {"mel_fixed": {"eer": 1.7674}, "conv0": evaluation()})
    assert table.rows[0] == ["Mel, fixed", "0.0517", "", "1.77", "1.77"]
    assert table.rows[-1][2] == f"{evaluation().min_tdcf:.4f}"
    assert all(row[2] == row[4] == "" for row in table.rows[1:-1])
    seeds = report_table("table3", {"rawnet2": {"eer": Spread((1.0, 2.0, 3.0)), "parameters": 25_433_602}}, "a proxy")
    assert seeds.rows[-1][4] == "2.00 ± 1.00 (n = 3)"
    assert seeds.rows[-1][6] == "25,433,602"
    assert seeds.header[2] == "min t-DCF, ours on a proxy"
    assert table.to_markdown().count("\n") == 2 + 2 + 7
    assert table.to_csv().splitlines()[1] == '"Mel, fixed",0.0517,,1.77,1.77'
    assert json.loads(table.to_json())["rows"] == table.rows


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("table1",), "no table 'table1'; did you mean 'table"),
        (("table2", {"mel_fixd": {}}), "no row 'mel_fixd'; did you mean 'mel_fixed'"),
        (("table2", {"mel_fixed": {"err": 1.0}}), "no column 'err'; did you mean 'eer'"),
    ],
)
def test_report_says_what_is_wrong(arguments: tuple, said: str) -> None:
    with pytest.raises(NasError, match=said):
        report_table(*arguments)


def test_measured_values_from_files(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(evaluation().to_json())
    found = read_measured("table2", tmp_path / "evaluation.json")
    assert found == {"min_tdcf": evaluation().min_tdcf, "eer": evaluation().eer}
    write_card(tmp_path, result_card("small", evaluation(), network=Small(), samples=1000, latency=False))
    assert read_measured("table3", tmp_path / "card.json")["parameters"] == 2002
    for text, said in (
        ("{", r"bad\.json:1: not valid JSON"),
        ("[]", "not the JSON"),
        ('{"eer": "low"}', 'eer cannot be "low"'),
        ("{}", "holds none of the values of table2"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(NasError, match=said):
            read_measured("table2", tmp_path / "bad.json")


def test_card_holds_what_is_needed_to_repeat(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    recipe = "name: tiny_run\nseed: 0\ndata: {layout: embedded, samples: 1000, root: null}\n"
    (run / "recipe.yaml").write_text(recipe)
    (run / "environment.json").write_text(json.dumps({"kind": "train", "packages": {"torch": "2"}, "gpus": []}))
    (run / "genotype.json").write_text('{"normal": []}')
    torch.manual_seed(0)
    card = gather_card(run, evaluation(), Small())
    content = json.loads(card.to_json())
    assert content["recipe_sha256"] == hashlib.sha256(recipe.encode()).hexdigest()
    assert content["seed"] == 0
    assert content["training_data"] == {"layout": "embedded", "samples": 1000}
    assert content["model"]["parameters"] == 2002
    assert content["model"]["macs"] == 2000
    assert content["model"]["latency_ms"] > 0
    assert content["model"]["threads"] == torch.get_num_threads()
    assert content["metrics"]["intervals"]["eer/A07"]
    page = card.to_markdown()
    for part in ("# tiny\\_run (seed 0)", "| EER % |", "2,002", "torch 2", '{"normal": []}', card.recipe_sha256 or "-"):
        assert part in page
    assert "A\\<8\\>\\|\\*" in page
    assert [path.name for path in write_card(tmp_path / "out", card)] == ["card.json", "card.md"]


def test_card_without_much_known() -> None:
    page = result_card("bare", evaluate_trials(trials_of()), notes=("measured | on < a proxy",)).to_markdown()
    assert "| min t-DCF | not measured |  |" in page
    assert "## Network" not in page
    assert "* measured | on \\< a proxy" in page


def test_card_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"not a run directory: recipe\.yaml"):
        gather_card(tmp_path, evaluation())
    (tmp_path / "recipe.yaml").write_text("seed: [")
    (tmp_path / "environment.json").write_text("{}")
    with pytest.raises(NasError, match="damaged"):
        gather_card(tmp_path, evaluation())


def test_pictures_are_written_and_repeat(tmp_path: Path) -> None:
    systems = {r"one <&> $\frac{$ $x": trials_of(), "_two": trials_of(4.0)}
    paths = draw_all(systems, tmp_path / "a")
    assert sorted(path.name for path in paths) == [
        f"{name}.{suffix}" for name in ("attacks", "det", "histogram") for suffix in ("png", "svg")
    ]
    for path in paths:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")
    pictures = gather_detection(systems)
    assert render(draw_det(pictures), "svg") == render(draw_det(pictures), "svg")


def test_gathered_numbers() -> None:
    trials = trials_of()
    picture = gather_detection({"one": trials})[0]
    result = evaluate_trials(trials)
    assert picture.eer == result.eer
    assert dict(picture.per_attack) == {name: attack.eer for name, attack in result.per_attack.items()}
    width = np.diff(picture.edges)
    assert float(picture.bonafide_density @ width) == pytest.approx(1)
    assert float(picture.spoof_density @ width) == pytest.approx(1)
    assert ((picture.far > 0) & (picture.far < 1) & (picture.frr > 0) & (picture.frr < 1)).all()
    assert (np.diff(picture.far) <= 0).all()


@pytest.mark.parametrize("scores", [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [2.0, 2.0, 2.0], [1e30, -1e30, 0.0]], ids=str)
def test_pictures_of_extreme_systems(scores: list[float]) -> None:
    trials = Trials(["a", "b", "c"], ["-", "A", "-"], [1, 0, 0], scores)
    figure = draw_det(gather_detection({"a" * 200: trials}))
    assert re.match(b"\x89PNG", render(figure, "png"))


def test_number_of_systems() -> None:
    with pytest.raises(NasError, match="1 to 24 systems, not 0"):
        gather_detection({})


def test_the_table_says_what_our_values_were_measured_on(tmp_path: Path) -> None:
    def card(name: str, layout: str, root: str | None = None, partition: str = "eval") -> Path:
        corpus = {"layout": layout, "root": root, "partition": partition}
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"metrics": {"eer": 4.0, "corpus": corpus}}))
        return path

    home = [card("a", "asvspoof2019_la", "/data/LA"), card("b", "asvspoof2019_la", "/elsewhere")]
    assert foreign_corpus("table2", home) is None
    assert foreign_corpus("table2", [card("c", "embedded")]) == "embedded"
    assert foreign_corpus("table2", [card("d", "manifest", "/data/calls")]) == "manifest (calls)"
    assert foreign_corpus("table2", [card("e", "asvspoof2019_la", "/data/LA", "dev")]) == "asvspoof2019_la, dev"
    old = tmp_path / "old.json"  # as cards were before they named what they measured
    old.write_text(json.dumps({"metrics": {"eer": 4.0}, "training_data": {"layout": "embedded"}}))
    assert foreign_corpus("table2", [old]) == "embedded"
    old.write_text(json.dumps({"eer": 4.0}))
    assert foreign_corpus("table2", [old]) is None
    with pytest.raises(NasError, match=r"several corpora do not belong into one table \(.*embedded.*asvspoof2019_la"):
        foreign_corpus("table2", [card("c", "embedded"), *home])
