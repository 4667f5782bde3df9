"""The report of made-up runs: whole, self-contained, with a text for every picture, whatever the files hold."""

from __future__ import annotations

import base64
import io
import json
import wave
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.errors import NasError
from nas.space import get_space
from nas.supernet.architecture import Architecture
from nas.visual.report import write_report
from nas.visual.run_facts import gather_run

SPACE = get_space("raw_waveform")
EVIL = '"><script>alert(1)</script>'


class Page(HTMLParser):
    """What the tests ask of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def make_run(folder: Path, kind: str, name: str = "toy", utterance: str = "U") -> Path:
    (folder / "genotypes").mkdir(parents=True)
    (folder / "scores").mkdir()
    recipe = {"name": name, "seed": 7, "data": {"layout": "none_such"}, "network": {"channels": 4, "gru_hidden": 8}}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    (folder / "environment.json").write_text(
        json.dumps({"kind": kind, "format": 2, "command": ["nas", EVIL], "cpu": None})
    )
    (folder / "history.csv").write_text(
        "epoch,train_loss,dev_loss,train_accuracy,dev_accuracy,dev_eer\n1,1,1,50,50,40\n2,.5,.6,80,70,12.5\n3,x,,,,13\n"
    )
    torch.manual_seed(1)
    architecture = Architecture(SPACE)
    architecture.genotype().save(folder / "genotype.json")
    if kind == "search":
        for epoch in (1, 2):
            architecture.genotype().save(folder / "genotypes" / f"epoch_{epoch:03d}.json")
            (folder / "genotypes" / f"epoch_{epoch:03d}.architecture.json").write_text(architecture.to_json())
    else:
        chance = np.random.default_rng(0)
        lines = [
            f"{utterance}{at} {'-' if at % 2 else 'A07'} {'bonafide' if at % 2 else 'spoof'} {chance.normal() + at % 2}"
            for at in range(60)
        ]
        (folder / "scores" / "eval.txt").write_text("\n".join(lines) + "\n")
        (folder / "scores" / "eval.json").write_text(
            json.dumps(
                {"eer": 30.0, "min_tdcf": 0.5, "worst_attack": EVIL, "worst_attack_eer": 30.0, "remarks": [EVIL]}
                | {"intervals": {"eer": [20.125, 40]}}
            )
        )
        (folder / "card.json").write_text(
            json.dumps(
                {
                    "metrics": {"eer": 30.0, "min_tdcf": None, "intervals": {"eer": [20.0, 40.0]}},
                    "model": {"parameters": 12345, "latency_ms": 1.25, "threads": 1},
                    "recipe_sha256": EVIL,
                    "seed": 7,
                }
            )
        )
    return folder


def sound(run, utterances):
    return {name: np.sin(np.arange(1600) / 10).astype("float32") for name in utterances[:3]}


@pytest.fixture(scope="module")
def search_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write_report([make_run(folder / "run", "search")], folder / "report.html").read_text()


@pytest.fixture(scope="module")
def train_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write_report([make_run(folder / "run", "train", EVIL)], folder / "report.html", sound).read_text()


@pytest.mark.parametrize("name", ["search_page", "train_page"])
def test_page_is_whole_and_needs_nothing(name, request):
    text = request.getfixturevalue(name)
    found = Page(text)
    assert found.open == []
    for _, attributes in found.tags:
        for key in ("src", "href"):
            assert (attributes.get(key) or "#").startswith(("#", "data:"))
    assert all(image["alt"] for image in found.all("img"))
    assert len(found.all("h1")) == 1
    assert len(found.all("script")) == 1
    identifiers = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert "http" not in text.replace("http-equiv", "").replace("&quot;", "").split("<script>")[0].split("base64,")[0]


def test_search_has_a_film(search_page):
    slider = Page(search_page).all("input")[0]
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == ("range", "0", "1", "1")
    frames = [image for image in Page(search_page).all("img") if "data-label" in image]
    assert [frame["data-label"] for frame in frames] == ["Epoch 1", "Epoch 2"]
    assert ["hidden" in frame for frame in frames] == [True, False]
    assert "The lowest EER on the development set is 12.50 %" in search_page


def test_text_from_files_stays_text(train_page):
    assert "<script>alert" not in train_page
    assert "&lt;script&gt;alert" in train_page


def test_the_result_card_is_in_the_page(train_page, search_page):
    assert "Result card" in train_page
    assert "Result card" not in search_page
    for text in ("20.00 to 40.00", "12,345", "1.2", "not measured"):
        assert f">{text}</td>" in train_page


def test_errors_can_be_heard(train_page):
    players = Page(train_page).all("audio")
    assert len(players) == 3
    with wave.open(io.BytesIO(base64.b64decode(players[0]["src"].partition(",")[2]))) as heard:
        assert (heard.getframerate(), heard.getnframes()) == (16_000, 1600)


def test_same_run_same_page(tmp_path):
    run = make_run(tmp_path / "run", "train")
    first, second = (write_report([run], tmp_path / f"{name}.html").read_bytes() for name in "ab")
    assert first == second


def test_comparison(tmp_path):
    runs = [make_run(tmp_path / str(at) / "run", "train", f"toy {at}") for at in range(2)]
    text = write_report(runs, tmp_path / "both.html").read_text()
    assert "2 runs compared" in text
    assert "DET curves of 2 runs" in text
    for cell in ("[20.12,\N{NO-BREAK SPACE}40.00]", "12,345", "1.2"):
        assert f">{cell}</td>" in text
    assert "1 run" in text
    assert "2 run" in text


def test_refusals(tmp_path):
    with pytest.raises(NasError, match=r"ends in \.html"):
        write_report([tmp_path], tmp_path / "report.pdf")
    with pytest.raises(NasError, match="at least one run"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(NasError, match=r"not a run directory: recipe\.yaml is missing"):
        gather_run(tmp_path)
    run = make_run(tmp_path / "run", "train")
    (run / "recipe.yaml").write_text("[1, 2]")
    with pytest.raises(NasError, match="not a table of keys"):
        gather_run(run)
    (run / "recipe.yaml").write_text("{")
    with pytest.raises(NasError, match="is damaged"):
        gather_run(run)
    (run / "recipe.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NasError, match="UTF-16"):
        gather_run(run)


def test_hostile_values_end_in_a_sentence_or_a_page(tmp_path):
    run = make_run(tmp_path / "run", "train")
    (run / "scores" / "eval.json").write_text('{"eer": "high", "remarks": 3, "worst_attack": ["A07"], "min_tdcf": []}')
    (run / "history.csv").write_text("epoch,dev_eer\nnan,inf\n,\n1,2,3,4\n")
    (run / "card.json").write_text('{"metrics": {"eer": [], "intervals": {"eer": 3}}, "model": "x", "seed": {}}')
    assert "Summary" in write_report([run], tmp_path / "report.html").read_text()
    for intervals in ("[1]", '{"eer": [1, "x"]}', '{"eer": {}}'):
        (run / "scores" / "eval.json").write_text(f'{{"intervals": {intervals}}}')
        (run / "card.json").write_text('{"model": {"parameters": 1.5, "macs": "many", "latency_ms": []}}')
        assert "2 runs compared" in write_report([run, run], tmp_path / "report.html").read_text()
    (run / "recipe.yaml").write_text('{"name": "x", "network": {"channels": "many"}}')
    with pytest.raises(NasError, match="channels"):
        gather_run(run)
