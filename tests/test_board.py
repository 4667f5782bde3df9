"""What TensorBoard shows of a run: asked of TensorBoard itself, over HTTP on loopback."""

from __future__ import annotations

import errno
import html
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn

import nas
from nas.data.store import WaveformStore
from nas.data.utterance import Utterance
from nas.errors import NasError
from nas.losses import P2SGrad
from nas.training.board import Board
from nas.training.gradient_norm import NORM_EVERY, GradientNorm
from nas.training.inputs import Inputs
from nas.training.projector import spread
from nas.training.run import Run
from nas.training.scoring import score_partition
from nas.training.tags import HPARAMS, promised_tags

EVIL = "<script>alert(1)</script>|`*_[x](y)\t\n<img src=x onerror=alert(2)>"
SMALL = ["data.samples=600", "network.cells=2", "network.channels=2", "data.subset={train: 64, dev: 40}"]
WAIT = 60.0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy search that learns its front-end, with ASV scores, and a training, in one folder."""
    folder = tmp_path_factory.mktemp("board")
    chance = np.random.default_rng(0)
    kinds = (("bonafide target", 2.0), ("bonafide nontarget", -2.0), ("A01 spoof", 0.5))
    lines = [f"{kind} {chance.normal(mean)}" for kind, mean in kinds for _ in range(50)]
    (folder / "asv.txt").write_text("\n".join(lines) + "\n")
    recipe = nas.load_recipe(
        "raw_pcdarts/toy",
        [
            *SMALL,
            "network.learnable=true",
            f"data.asv_scores={folder / 'asv.txt'}",
            "search.epochs=2",
            "train.epochs=1",
        ],
    )
    found = nas.search(recipe, folder / "runs" / "search", progress=False)
    nas.train(recipe, found.genotype_file, folder / "runs" / "train", progress=False)
    return folder / "runs"


@pytest.fixture(scope="module")
def ask(runs: Path) -> Iterator[Any]:
    """TensorBoard over both runs; a function that asks it."""
    # Its own loader: the fast one is a separate program, which an installation of TensorBoard may lack.
    options = ["--host=127.0.0.1", "--port=0", "--load_fast=false", "--reload_interval=1"]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), *options]
    environment = {**os.environ, "no_proxy": "127.0.0.1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with (runs / "server.txt").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        address = None
        until = time.monotonic() + WAIT
        while address is None and time.monotonic() < until and process.poll() is None:
            match = re.search(r"http://127\.0\.0\.1:(\d+)/", (runs / "server.txt").read_text())
            address = f"http://127.0.0.1:{match[1]}" if match else None
            time.sleep(0.1)
        assert address is not None, (runs / "server.txt").read_text()

        def get(route: str, **query: str | int) -> Any:
            url = f"{address}/data/{route}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
            with opener.open(url, timeout=30) as answer:
                return json.load(answer) if "json" in answer.headers["Content-Type"] else answer.read()

        names = {"search/tensorboard", "train/tensorboard"}
        while {*get("runs")} != names and time.monotonic() < until:
            time.sleep(0.2)
        assert {*get("runs")} == names
        # Both runs are read when the last thing that they wrote is there.
        while time.monotonic() < until:
            tags = get("plugin/scalars/tags")
            if all("hparam/best_dev_eer" in tags.get(name, {}) for name in names):
                break
            time.sleep(0.2)
        yield get
    finally:
        process.terminate()
        process.wait(20)


def listed(ask: Any, plugin: str, run: str) -> set[str]:
    """The tags of a plugin, as its own page asks for them."""
    if plugin == "custom_scalars":
        return {category["title"] for category in ask("plugin/custom_scalars/layout")["category"]}
    if plugin == "projector":
        return {item["tensorName"] for item in ask("plugin/projector/info", run=run)["embeddings"]}
    tags = ask(f"plugin/{plugin}/tags")[run]
    return set(tags)


@pytest.mark.parametrize("kind", ["search", "train"])
def test_every_promised_tag_is_there_and_no_other(ask: Any, runs: Path, kind: str) -> None:
    name, recipe = f"{kind}/tensorboard", Run.open(runs / kind).recipe
    promised = promised_tags(kind, recipe)
    assert set(promised) == {"scalars", "images", "histograms", "audio", "text", "custom_scalars", "projector"}
    for plugin, tags in promised.items():
        found = listed(ask, plugin, name) - {"gpu_memory/peak_gib"}
        if plugin == "text":
            found = {tag.removesuffix("/text_summary") for tag in found}
        if plugin == "custom_scalars":  # TensorBoard joins the layouts of all runs
            tags = promised_tags("search", recipe)[plugin]
        assert found == tags, plugin


def test_the_first_page_shows_only_curves_that_exist(ask: Any, runs: Path) -> None:
    recipe = Run.open(runs / "search").recipe
    known = promised_tags("search", recipe)["scalars"] | promised_tags("train", recipe)["scalars"]
    charts = [chart for page in ask("plugin/custom_scalars/layout")["category"] for chart in page["chart"]]
    assert len(charts) >= 9
    shown = {tag for chart in charts for tag in chart["multiline"]["tag"]}
    assert shown - {"gpu_memory/peak_gib"} <= known
    assert len({chart["title"] for chart in charts}) == len(charts)  # none twice
    assert {"loss/dev", "eer/dev", "tdcf/dev"} <= shown


def test_curves_are_those_of_history(ask: Any, runs: Path) -> None:
    history = Run.open(runs / "search").history
    points = ask("plugin/scalars/scalars", run="search/tensorboard", tag="eer/dev")
    assert [step for _, step, _ in points] == [1, 2]
    assert [value for *_, value in points] == pytest.approx([float(row["dev_eer"]) for row in history])
    best = ask("plugin/scalars/scalars", run="search/tensorboard", tag="hparam/best_dev_eer")
    assert best[0][2] == pytest.approx(min(float(row["dev_eer"]) for row in history))
    moved = ask("plugin/scalars/scalars", run="search/tensorboard", tag="front_end/mean_shift_hz")
    assert 0 < moved[-1][2] < 100


def test_media_can_be_fetched(ask: Any, runs: Path) -> None:
    run = "search/tensorboard"
    for tag in ("genotype", "alpha_map/normal", "dev/det", "front_end/filters"):
        entry = ask("plugin/images/images", run=run, tag=tag, sample=0)[-1]
        assert entry["step"] == 2
        picture = ask(f"plugin/images/individualImage?{entry['query']}")
        assert picture.startswith(b"\x89PNG")
    heard = ask("plugin/audio/audio", run=run, tag="worst_spoof/1", sample=0)[-1]
    sound = ask(f"plugin/audio/individualAudio?{heard['query']}")
    assert sound.startswith(b"RIFF")
    vectors = ask("plugin/projector/tensor", run=run, name="embeddings")
    metadata = ask("plugin/projector/metadata", run=run, name="embeddings").decode().splitlines()
    recipe = Run.open(runs / "search").recipe
    assert len(vectors) == 4 * recipe.network.gru_hidden * (len(metadata) - 1)
    assert metadata[0].split("\t") == ["utterance", "key", "attack", "speaker", "score"]
    assert {line.split("\t")[1] for line in metadata[1:]} == {"bonafide", "spoof"}


def test_hyper_parameters_with_their_results(ask: Any) -> None:
    experiment = ask("plugin/hparams/experiment", request=json.dumps({"experimentName": ""}))
    assert {metric["name"]["tag"] for metric in experiment["metricInfos"]} == set(HPARAMS)
    assert {"seed", "network.channels", "search.learning_rate", "kind"} <= {
        h["name"] for h in experiment["hparamInfos"]
    }
    states = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    request = {"experimentName": "", "allowedStatuses": states, "startIndex": 0, "sliceSize": 9, "colParams": []}
    groups = ask("plugin/hparams/session_groups", request=json.dumps(request))["sessionGroups"]
    assert sorted(group["hparams"]["kind"] for group in groups) == ["search", "train"]
    assert all({value["name"]["tag"] for value in group["metricValues"]} == set(HPARAMS) for group in groups)


class Network(nn.Module):
    """A network of a few numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)
        self.output = P2SGrad(3)

    def embed(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.layer(waveform[:, :8])

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.output(self.embed(waveform))


def made(folder: Path, *overrides: str) -> tuple[Run, Inputs, Network]:
    recipe = nas.load_recipe("raw_pcdarts/toy", [*overrides])
    run = Run.create(folder, "train", recipe)
    rows = [
        Utterance(Path(f"{at}.flac"), EVIL, EVIL, EVIL if at % 2 else "-", "spoof" if at % 2 else "bonafide", "dev")
        for at in range(8)
    ]
    store = WaveformStore.from_arrays(rows, list(np.random.default_rng(0).normal(0, 0.1, (8, 900))))
    torch.manual_seed(0)
    return run, Inputs(store, {"dev": np.arange(8)}), Network()


def scored(run: Run, inputs: Inputs, network: Network) -> Any:
    from nas.training.engine import start_engine

    return score_partition(network, inputs, "dev", run.recipe, start_engine(run.recipe), False)


def written(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), {"tensors": 0, "images": 0, "audio": 0})
    return events.Reload()


def test_names_stay_text(tmp_path: Path) -> None:
    """Names that are HTML, Markdown and line breaks: none survives as such in text or in the projector's table."""
    from tensorboard.plugin_util import markdown_to_safe_html

    run, inputs, network = made(tmp_path / "run", "train.epochs=1", f"name={json.dumps(EVIL)}")
    with Board(run) as board:
        board.detection(1, network, inputs, scored(run, inputs, network))
    events = written(run.folder)
    for tag in ("worst/text_summary", "recipe/text_summary"):
        text = events.Tensors(tag)[-1].tensor_proto.string_val[0]
        page = markdown_to_safe_html(text)
        assert "alert(1)" in html.unescape(page)
        assert "<script" not in page
        assert "<img" not in page
        assert "href" not in page
    text = events.Tensors("worst/text_summary")[-1].tensor_proto.string_val[0]
    rows = re.findall("<tr>.*?</tr>", markdown_to_safe_html(text), re.DOTALL)
    assert len(rows) == 1 + 6
    assert all(row.count("<td") + row.count("<th") == 6 for row in rows)
    lines = (run.folder / "tensorboard" / "embeddings" / "metadata.tsv").read_text().split("\n")
    assert len(lines) == 8 + 2
    assert {line.count("\t") for line in lines[:-1]} == {4}
    assert not set("<>&") & set("".join(lines))


@pytest.mark.parametrize(("wanted", "pictured"), [(0, []), (1, [7]), (2, [3, 7]), (3, [1, 4, 7]), (9, [*range(1, 8)])])
def test_pictures_are_spread_over_the_epochs(tmp_path: Path, wanted: int, pictured: list[int]) -> None:
    run, *_ = made(tmp_path / "run", "train.epochs=7", f"engine.pictures={wanted}")
    with Board(run) as board:
        assert [epoch for epoch in range(1, 8) if board.pictured(epoch)] == pictured


def test_a_run_that_diverged_still_shows_its_curves(tmp_path: Path) -> None:
    run, inputs, network = made(tmp_path / "run", "train.epochs=1")
    dev = scored(run, inputs, network)
    with Board(run) as board:
        board.epoch({"epoch": 1, "train_loss": float("nan"), "dev_eer": 50.0, "of_ones_own": 3, "empty": ""})
        board.detection(1, network, inputs, replace(dev, scores=np.full(8, np.nan)))
    events = written(run.folder)
    assert {"loss/train", "eer/dev", "run/of_ones_own"} <= set(events.Tags()["scalars"])
    assert events.Tags()["audio"] == []


def test_a_wrong_asv_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "asv.txt").write_text("A01 spoof\n")
    run, *_ = made(tmp_path / "run", f"data.asv_scores={tmp_path / 'asv.txt'}")
    with pytest.raises(NasError, match=r"asv\.txt, line 1"):
        Board(run)


def test_nothing_is_changed_and_nothing_drawn_at_random(tmp_path: Path) -> None:
    run, inputs, network = made(tmp_path / "run", "train.epochs=1")
    dev = scored(run, inputs, network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    with Board(run) as board:
        board.detection(1, network, inputs, dev)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_gradient_norm_is_the_mean_over_the_steps_taken() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    unused = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [weight]}, {"params": [unused]}], lr=0.25)
    watched = GradientNorm(optimizer)
    for step in range(NORM_EVERY + 1):
        weight.grad = torch.full((2, 2), float(step))
        optimizer.step()
    assert watched.mean_norm() == pytest.approx((0 + 2 * NORM_EVERY) / 2)
    assert watched.learning_rate == 0.25
    assert watched.taken == 0
    watched.handle.remove()
    optimizer.step()
    assert watched.steps == 0


def test_a_full_disk_is_met_in_the_thread_of_the_run_and_costs_no_whole_record(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, *_ = made(tmp_path / "run", "train.epochs=3")
    write, calls = os.write, []

    def full(handle: int, content: Any) -> int:
        calls.append(len(content))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, content[:10])

    board = Board(run)
    board.epoch({"epoch": 1, "train_loss": 1.0})
    board.flush()
    board.epoch({"epoch": 2, "train_loss": 1.0})
    with patch.object(os, "write", full), pytest.raises(OSError, match="No space left"):
        board.flush()
    assert [point.step for point in written(run.folder).Scalars("loss/train")] == [1]
    assert "Traceback" not in "".join(capfd.readouterr())


def test_epochs_that_are_run_again_are_shown_once(tmp_path: Path) -> None:
    run, *_ = made(tmp_path / "run", "train.epochs=9")
    for first, last in ((1, 4), (3, 6), (6, 6), (7, 9)):
        with Board(run, first) as board:
            for epoch in range(first, last + 1):
                board.epoch({"epoch": epoch, "train_loss": float(10 * first + epoch)})
                board.flush()
        file = max((run.folder / "tensorboard").glob("events*"))
        with open(file, "ab") as stream:
            stream.write(b"\x05\x00\x00")  # a record that a kill cut short
    points = written(run.folder).Scalars("loss/train")
    assert [(point.step, point.value) for point in points] == [
        *((epoch, 10 + epoch) for epoch in (1, 2)),
        *((epoch, 30 + epoch) for epoch in (3, 4, 5)),
        (6, 66),
        *((epoch, 70 + epoch) for epoch in (7, 8, 9)),
    ]
    with Board(run, 1) as board:
        board.flush()
    assert "loss/train" not in written(run.folder).Tags()["scalars"]


def test_spread_takes_every_group_in_turn() -> None:
    groups = ["a"] * 10 + [None] + ["b"] * 2 + ["c"] * 3
    assert spread(groups, 6) == [0, 1, 11, 12, 13, 14]
    assert spread(groups, 100) == [at for at in range(16) if at != 10]
    assert spread([], 3) == spread([None], 3) == []
