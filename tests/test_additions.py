"""Each kind of part that a person may add: one file of theirs, and nothing of nas/ changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas import imports
from nas.config import SearchedNetwork
from nas.cost import genotype_cost
from nas.errors import NasError
from nas.genotype import Genotype
from nas.networks.cost import measure_cost
from nas.recipe_file import load_recipe
from nas.searching.supernet_search import build_supernet
from nas.space import get_space
from nas.training.train import build_network

PARTS = """
import torch
from torch import nn

from nas.frontends.frontend import Frontend
from nas.frontends.registry import FRONTENDS
from nas.losses import HEADS, Head
from nas.network import Network
from nas.networks.registry import register as register_network
from nas.poolings.registry import POOLINGS


@FRONTENDS.entry("own-frontend")
class Strided(Frontend):
    hop = 4

    def __init__(self, bands=6):
        super().__init__()
        self.channels = bands
        self.conv = nn.Conv1d(1, bands, 4, stride=4)

    def forward(self, waveform):
        return self.conv(waveform.unsqueeze(1)).abs()


@POOLINGS.entry("own-pooling")
class Median(nn.Module):
    def __init__(self, channels, embedding, scale=1.0):
        super().__init__()
        self.scale = scale
        self.fc = nn.Linear(channels, embedding)

    def forward(self, x):
        return self.fc(self.scale * x.median(dim=2).values)


@HEADS.entry("own-loss")
class Hinge(Head):
    def __init__(self, embedding, margin=1.0):
        super().__init__()
        self.margin, self.linear = margin, nn.Linear(embedding, 2)

    def forward(self, embedding):
        return self.linear(embedding)

    def loss(self, logits, target):
        gap = (logits[:, 1] - logits[:, 0]) * (2 * target - 1)
        return (self.margin - gap).clamp_min(0).mean()

    def score(self, logits):
        return logits[:, 1] - logits[:, 0]


class Energy(Network):
    def __init__(self, size=3):
        super().__init__()
        self.fc = nn.Linear(1, size)
        self.output = HEADS["own-loss"](size)

    def embed(self, waveform):
        return self.fc(waveform.square().mean(dim=1, keepdim=True))


register_network("own-network", Energy)
"""

SPACE = """
from nas.space import CellTopology, CellType, Identity, Linear, Pool, SearchSpace, register

register(
    SearchSpace(
        "three_types",
        (Identity("skip_connect"), Linear("conv_3", kernel=3), Pool("max_3", kind="max", kernel=3)),
        CellTopology(intermediate=2),
        (
            CellType("early"),
            CellType("wide", widens=2, at=((1, 4),)),
            CellType("late", widens=3, at=((1, 2), (3, 4))),
        ),
    )
)
"""

SMALL = ("data.layout=embedded", "data.samples=4000", "network.channels=4", "network.gru_hidden=6", "network.cells=4")
PUBLISHED = (
    "Genotype(normal=[('dil_conv_5', 1), ('dil_conv_3', 0), ('dil_conv_5', 1), ('dil_conv_5', 2), ('std_conv_5', 2), "
    "('skip_connect', 3), ('std_conv_5', 2), ('skip_connect', 4)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3', 0), ('std_conv_3', 1), ('dil_conv_3', 0), ('dil_conv_3', 2), ('skip_connect', 0), "
    "('dil_conv_5', 2), ('dil_conv_3', 0), ('avg_pool_3', 1)], reduce_concat=range(2, 6))"
)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe beside two files of a person, which it imports."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(imports, "_PROCESS", imports._Process())
    (tmp_path / "my_parts.py").write_text(PARTS)
    (tmp_path / "my_space.py").write_text(SPACE)
    (tmp_path / "recipe.yaml").write_text("imports: [my_parts.py, my_space.py]\n")
    return tmp_path / "recipe.yaml"


def test_own_front_end_pooling_and_loss_around_searched_cells(own: Path) -> None:
    recipe = load_recipe(
        own,
        [
            *SMALL,
            "network.frontend={name: own-frontend, bands: 5}",
            "network.pooling={name: own-pooling, scale: 0.5}",
            "network.loss={name: own-loss, margin: 2.0}",
            "network.learnable=true",
        ],
    )
    supernet = build_supernet(recipe)
    waveforms, labels = torch.randn(2, 4000), torch.tensor([0, 1])
    supernet.output.loss(supernet(waveforms), labels).backward()
    assert supernet.stem.frontend.conv.weight.grad is not None
    genotype = supernet.architecture.genotype()
    network = build_network(recipe, genotype)
    assert (network.head.scale, network.output.margin) == (0.5, 2.0)
    assert network(waveforms).shape == (2, 2)
    stated, built = genotype_cost(genotype, recipe.space, recipe.require_searched(), 4000), measure_cost(network, 4000)
    assert (stated.parameters, stated.macs, stated.activations) == (built.parameters, built.macs, built.activations)


def test_own_hand_made_network(own: Path) -> None:
    network = build_network(load_recipe(own, ["network={name: own-network, options: {size: 4}}"]), None)
    assert network.output.score(network(torch.randn(3, 100))).shape == (3,)


@pytest.mark.parametrize("implementation", ["folded", "per_edge"])
def test_three_cell_types(own: Path, implementation: str) -> None:
    recipe = load_recipe(own, [*SMALL, "space=three_types", f"supernet.implementation={implementation}"])
    supernet = build_supernet(recipe)
    assert supernet.types == ("early", "wide", "late", "late")
    assert [cell.plan.channels for cell in supernet.cells] == [4, 8, 24, 72]
    names = [name for name, _ in supernet.architecture.named_parameters()]
    assert names == [f"{part}_{name}" for part in ("alpha", "beta") for name in ("early", "wide", "late")]
    waveforms = torch.randn(2, 4000)
    supernet.output.loss(supernet(waveforms), torch.tensor([0, 1])).backward()
    assert all(parameter.grad is not None for parameter in supernet.architecture.parameters())
    genotype = supernet.architecture.genotype()
    assert list(genotype.cells) == ["early", "wide", "late"]
    space = get_space("three_types")
    assert Genotype.parse(genotype.to_json()) == Genotype.parse(str(genotype)) == genotype.validate(space)
    network = build_network(recipe, genotype)
    stated, built = genotype_cost(genotype, space, recipe.require_searched(), 4000), measure_cost(network, 4000)
    assert (stated.parameters, stated.macs) == (built.parameters, built.macs)
    with pytest.raises(NasError, match="the late cell is missing"):
        Genotype({name: cell for name, cell in genotype.cells.items() if name != "late"}).validate(space)


FRONTENDS = ["mel", "inverse-mel", "linear", "conv0", "lfcc", "{name: logmel, bands: 20}"]
POOLINGS = [
    "gru",
    "lstm-sum",
    "attention",
    "attentive-statistics",
    "mean",
    "max",
    "{name: fully-connected, widths: [5]}",
]
LOSSES = ["p2sgrad", "weighted-cross-entropy", "{name: focal, gamma: 1.0}", "am-softmax", "oc-softmax"]


@pytest.mark.parametrize(
    ("key", "part"),
    [*(("frontend", p) for p in FRONTENDS), *(("pooling", p) for p in POOLINGS), *(("loss", p) for p in LOSSES)],
)
def test_a_recipe_chooses_any_part(key: str, part: str) -> None:
    sizes = [*SMALL[:-1], "network.cells=2", "data.samples=8000", f"network.{key}={part}"]
    recipe = load_recipe("raw_pcdarts/toy", sizes)
    genotype = Genotype.parse(PUBLISHED)
    network = build_network(recipe, genotype).eval()
    waveforms = torch.randn(2, 8000)
    network.output.loss(network(waveforms), torch.tensor([0, 1])).backward()
    assert network.output.score(network(waveforms)).isfinite().all()
    stated, built = genotype_cost(genotype, recipe.space, recipe.require_searched(), 8000), measure_cost(network, 8000)
    assert (stated.parameters, stated.macs, stated.activations) == (built.parameters, built.macs, built.activations)
    assert build_supernet(recipe)(waveforms).isfinite().all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"frontend": {"name": "mel", "bands": 3}}, r"network.frontend: front-end 'mel' has no option 'bands'"),
        ({"loss": {"name": "focal", "gama": 3}}, r"network.loss: loss 'focal' has no option 'gama'"),
    ],
)
def test_unknown_parts_and_options_are_named(values: dict, words: str) -> None:
    with pytest.raises(NasError, match=words):
        genotype_cost(Genotype.parse(PUBLISHED), "raw_waveform", SearchedNetwork(**values))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("network.pooling=grus", r"network\.pooling: there is no pooling 'grus'; did you mean 'gru'\?$"),
        ("network.loss={name: focall}", r"network\.loss: there is no loss 'focall'; did you mean 'focal'\?$"),
        ("network.frontend=3", r"network\.frontend: expected a name, or {name: NAME, OPTION: VALUE}, not '3'$"),
        ("network.pooling={layers: 3}", r"network\.pooling: expected a name, or {name: NAME, OPTION: VALUE}$"),
    ],
)
def test_unknown_names_are_refused_when_the_recipe_is_read(override: str, words: str) -> None:
    with pytest.raises(NasError, match=words):
        load_recipe("raw_pcdarts/toy", [override])
