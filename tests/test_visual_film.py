"""The film of a search against alphas and betas that are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from nas.errors import NasError
from nas.space import get_space
from nas.supernet.architecture import Architecture
from nas.visual.film import draw_film, draw_overview, draw_search, read_film

SPACE = get_space("raw_waveform")


@pytest.fixture
def run(tmp_path):
    """Three epochs: undecided, decided for one primitive of the first edge, decided for skips everywhere."""
    torch.manual_seed(0)
    folder = tmp_path / "run" / "genotypes"
    folder.mkdir(parents=True)
    architecture = Architecture(SPACE)
    skip = SPACE.primitive_names.index("skip_connect")
    with torch.no_grad():
        for parameter in architecture.parameters():
            parameter.zero_()
        for epoch in (1, 2, 3):
            if epoch == 2:
                architecture.alpha_normal[0, 5] = 100.0
            if epoch == 3:
                architecture.alpha_normal.zero_()[:, skip] = 3.0
                architecture.beta_normal[4] = 2.0
            architecture.genotype().save(folder / f"epoch_{epoch:03d}.json")
            (folder / f"epoch_{epoch:03d}.architecture.json").write_text(architecture.to_json())
    return tmp_path / "run"


def test_numbers(run):
    film = read_film(run)
    assert film.epochs == (1, 2, 3)
    assert film.entropy("normal")[0] == pytest.approx(math.log(8))
    assert film.entropy("normal")[1, 0] == pytest.approx(0, abs=1e-6)
    assert film.parameter_free("normal").tolist()[-1] == 1.0
    # Two edges enter node 0, three node 1: beta is 1/2 and 1/3, alpha 1/8 each.
    assert film.strength("normal")[0, :5, 0] == pytest.approx([1 / 16, 1 / 16, 1 / 24, 1 / 24, 1 / 24])
    assert film.kept_strengths(1)["normal"][0][0] == pytest.approx(0.5)


def test_agrees_with_the_supernet(run):
    """Softmaxes and strengths are those that the genotype is derived from."""
    architecture = Architecture(SPACE)
    content = json.loads((run / "genotypes" / "epoch_003.architecture.json").read_text())
    architecture.load_state_dict({name: torch.tensor(content[name]) for name, _ in architecture.named_parameters()})
    film = read_film(run)
    for kind in ("normal", "expand"):
        a, b = (weights.detach().numpy() for weights in architecture.weights(kind))
        np.testing.assert_allclose(film.alpha[kind][-1], a, rtol=1e-5)
        np.testing.assert_allclose(film.beta[kind][-1], b, rtol=1e-5)


def test_changes_are_those_of_the_genotypes(run):
    film = read_film(run)
    changes = film.changes()
    assert {change.cell_type for change in changes} == {"normal"}
    assert [change.epoch for change in changes if change.node == 0] == [2, 3]
    assert "skip_connect" in changes[-1].after


def test_pictures(run, tmp_path):
    written = draw_search(run, tmp_path / "pictures")
    assert sorted(path.name for path in written) == [
        "film.gif",
        "overview.svg",
        "strengths_expand.svg",
        "strengths_normal.svg",
        "trajectories_expand.svg",
        "trajectories_normal.svg",
    ]
    film = Image.open(tmp_path / "pictures" / "film.gif")
    assert film.n_frames == 3
    with pytest.raises(NasError, match=r"ends in \.gif"):
        draw_film(read_film(run), tmp_path / "film.mp4")


def test_one_epoch_is_a_film(run):
    for path in (run / "genotypes").glob("epoch_00[23]*"):
        path.unlink()
    film = read_film(run)
    assert film.changes() == ()
    draw_overview(film)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a JSON file"),
        ("[1]", "expected weights for each cell type"),
        ("[" * 100_000, "not a JSON file"),
        ("{}", "a_normal is missing"),
        ('{"a_normal": [[1, 2], [3]]}', "a_normal is missing or not a table"),
        ('{"a_normal": [[1, 2]]}', r"has shape \[1, 2\]; expected \[14, 8\]"),
        ('{"space": "../../etc"}', "no search space"),
    ],
)
def test_damaged_files(run, content, message):
    for epoch in (1, 2, 3):
        (run / "genotypes" / f"epoch_{epoch:03d}.architecture.json").write_text(content)
    with pytest.raises(NasError, match=message):
        read_film(run)


def test_not_a_search(tmp_path):
    with pytest.raises(NasError, match="not the run directory of a search"):
        read_film(tmp_path)
