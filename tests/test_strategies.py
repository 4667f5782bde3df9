"""Every registered strategy by the conformance suite; what each one adds, against its formula; one of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.distributions import Dirichlet, kl_divergence

import nas
from nas.config import Search
from nas.errors import NasError
from nas.searching.strategies import STRATEGIES, Differentiable
from nas.searching.strategies.drnas import DrNAS
from nas.searching.strategies.gdas import GDAS
from nas.searching.supernet_search import search as search_with_supernet
from nas.supernet.architecture import Architecture
from nas.testing.strategies import SEARCH, SPACE, Planted, check_strategy

OWN = """
from nas.searching.strategies import STRATEGIES, Differentiable

@STRATEGIES.entry("sharp")
class Sharp(Differentiable):
    def weights(self, architecture, cell_type):
        a, b = super().weights(architecture, cell_type)
        return a.square() / a.square().sum(1, keepdim=True), b
"""


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_every_strategy_conforms(name: str) -> None:
    check_strategy(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, kind in STRATEGIES.items() if issubclass(kind, Differentiable)])
def test_the_planted_architecture_is_found_from_most_seeds(name: str) -> None:
    found = 0
    for seed in range(10):
        search = Planted(name, seed)
        search.epochs(1, SEARCH.epochs)
        found += search.found()
    assert found >= 9


def test_a_strategy_that_learns_nothing_does_not_conform(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(Differentiable):
        def draw(self, architecture: Architecture, cell_type: str) -> tuple[torch.Tensor, torch.Tensor]:
            a, b = self.weights(architecture, cell_type)
            return torch.full_like(a, 1 / a.shape[1]) + 0 * a, b

    monkeypatch.setitem(STRATEGIES, "blind", Blind)
    with pytest.raises(NasError, match="did not find the planted architecture"):
        check_strategy("blind")


def test_drnas_is_its_formula() -> None:
    torch.manual_seed(0)
    strategy = DrNAS()
    architecture = Architecture(SPACE, strategy)
    alpha = architecture.alpha("normal").detach()
    c = torch.where(alpha > 0, alpha, alpha.exp() - 1) + 1
    a, _ = architecture.weights("normal")
    torch.testing.assert_close(a, c / c.sum(1, keepdim=True))
    drawn = torch.stack([architecture.drawn("normal")[0].detach() for _ in range(3000)])
    torch.testing.assert_close(drawn.mean(0), a.detach(), rtol=0, atol=0.03)
    expected = sum(
        kl_divergence(Dirichlet(k := torch.nn.functional.elu(architecture.alpha(t)) + 1), Dirichlet(torch.ones_like(k)))
        for t in SPACE.types
    ).sum()
    torch.testing.assert_close(architecture.penalty(), 1e-3 * expected)


def test_gdas_draws_one_primitive_by_softmax_and_cools() -> None:
    torch.manual_seed(0)
    strategy = GDAS()
    architecture = Architecture(SPACE, strategy)
    with torch.no_grad():
        architecture.alpha("normal").copy_(torch.randn(architecture.alpha("normal").shape))
    drawn = torch.stack([architecture.drawn("normal")[0].detach() for _ in range(4000)])
    assert set(drawn.unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(drawn.mean(0), architecture.alpha("normal").detach().softmax(1), rtol=0, atol=0.04)
    temperatures = []
    for epoch in (1, SEARCH.epochs):
        strategy.begin_epoch(architecture, epoch, SEARCH)
        temperatures.append(strategy.tau)
    assert temperatures == [10.0, pytest.approx(0.1)]
    assert torch.equal(architecture.eval().drawn("normal")[0], architecture.weights("normal")[0])


def test_a_strategy_of_ones_own_searches(tmp_path: Path) -> None:
    """One new file, and no change of the package: the search runs, its run knows it."""
    (tmp_path / "sharp.py").write_text(OWN)
    recipe = nas.load_recipe(
        "raw_pcdarts/toy",
        [
            f"imports=[{tmp_path / 'sharp.py'}]",
            "search.strategy=sharp",
            "search.epochs=2",
            "search.warmup_epochs=1",
            "data.subset={train: 16, dev: 8, eval: 8}",
            "engine.pictures=0",
        ],
    )
    found = nas.search(recipe, tmp_path / "run", progress=False)
    assert found.genotype_file.exists()
    del STRATEGIES["sharp"]


def test_an_unknown_strategy_is_named_before_anything_is_written(tmp_path: Path) -> None:
    recipe = nas.load_recipe("raw_pcdarts/toy", ["search.strategy=pcdart"])
    with pytest.raises(NasError, match="no search strategy 'pcdart'; did you mean 'pcdarts'"):
        nas.search(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_resumed_search_knows_its_decided_edges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A strategy that decides an edge after the first epoch, stopped after the second: the edge stays decided."""

    class Deciding(Differentiable):
        def after_epoch(self, architecture: Architecture, epoch: int, settings: Search) -> None:
            architecture.fixed["normal"][0] = 3

    monkeypatch.setitem(STRATEGIES, "deciding", Deciding)
    changes = ["search.strategy=deciding", "search.epochs=3", "search.warmup_epochs=0", "engine.pictures=0"]
    recipe = nas.load_recipe("raw_pcdarts/toy", [*changes, "data.subset={train: 16, dev: 8, eval: 8}"])

    def stop(epoch: int, row: object) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_with_supernet(recipe, tmp_path / "run", progress=False, on_epoch=stop)
    monkeypatch.setattr(Deciding, "after_epoch", lambda *arguments: None)
    nas.resume(tmp_path / "run", progress=False)
    last = json.loads((tmp_path / "run" / "genotypes" / "epoch_003.architecture.json").read_text())
    assert last["a_normal"][0] == [0, 0, 0, 1, 0, 0, 0, 0]
