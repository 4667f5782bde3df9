"""What every search strategy must do, tried on planted problems that take a moment.

A differentiable strategy learns an architecture that a small loss prefers, by the steps that a search takes; goes on to
the bit from its saved state; leaves edges alone that are decided; ends with a genotype that the space can build; and
weighs both implementations of the supernet alike. A black-box strategy draws nearer to a planted genotype than its
first trials are, goes on as it would have, and proposes genotypes that the space can build.
"""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import optuna
import torch
from torch import Tensor

from nas.config import BlackBox as BlackBoxSettings
from nas.config import Search, SearchedNetwork
from nas.errors import NasError
from nas.genotype import FIRST_NODE, Genotype
from nas.searching.strategies import STRATEGIES, BlackBox, Differentiable, Progress
from nas.space import CellTopology, Identity, Linear, Pool, SearchSpace, Zero
from nas.supernet.architecture import Architecture
from nas.supernet.network import Supernet
from nas.tuning.encoding import Encoding
from nas.tuning.samplers import SeededByTrial

SPACE = SearchSpace(
    "planted",
    (Zero("none"), Identity("skip_connect"), Pool("max_pool_3", "max", 3), Linear("std_conv_3", 3)),
    CellTopology(intermediate=2),
)
SEARCH = Search(epochs=20, warmup_epochs=1)
STEPS = 10
"""Steps of an epoch of the planted problem."""
TRIALS = 60


def check_strategy(name: str, seed: int = 0) -> None:
    """Check a registered strategy.

    Raises:
        NasError: naming the strategy and what it did not do.
    """
    strategy = STRATEGIES[name]()
    with torch.random.fork_rng(devices=[]):
        if isinstance(strategy, BlackBox):
            _check_black_box(name, strategy, seed)
        else:
            _check_planted(name, seed)
            _check_resuming(name, seed)
            _check_decided_edges(name, seed)
            _check_implementations(name, seed)


class Planted:
    """A search whose loss prefers one primitive on every edge, by a noisy reward of the weights that are drawn."""

    def __init__(self, name: str, seed: int) -> None:
        torch.manual_seed(seed)
        made = STRATEGIES[name]()
        assert isinstance(made, Differentiable)
        self.strategy: Differentiable = made
        self.architecture = Architecture(SPACE, self.strategy)
        self.strategy.begin(self.architecture)
        edges, primitives = len(SPACE.topology.edges), len(SPACE.primitives)
        self.planted = {t: torch.randint(1, primitives, (edges,)) for t in SPACE.types}
        trained = [p for p in self.architecture.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, 0.1, (0.5, 0.999))

    def epochs(self, first: int, last: int) -> None:
        """Run the epochs from `first` to `last`."""
        for epoch in range(first, last + 1):
            self.architecture.train()
            self.strategy.begin_epoch(self.architecture, epoch, SEARCH)
            for _ in range(STEPS):
                self.strategy.begin_step("architecture")
                loss = self.loss() + self.architecture.penalty()
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self.strategy.begin_step("weights")
            self.strategy.after_epoch(self.architecture, epoch, SEARCH)

    def loss(self) -> Tensor:
        """Low where the planted primitives weigh much."""
        total = torch.zeros(())
        for cell_type, planted in self.planted.items():
            a, b = self.architecture.drawn(cell_type)
            noise = 0.3 * torch.randn(a.shape)
            reward = torch.nn.functional.one_hot(planted, a.shape[1]) + noise
            total = total - (b[:, None] * a * reward).sum()
        return total

    @property
    def saved(self) -> tuple[Any, ...]:
        """What a checkpoint holds, besides the random state."""
        return self.architecture, self.optimizer, Progress(self.strategy, self.architecture)

    def genotype(self) -> Genotype:
        """What it has found."""
        self.architecture.eval()
        return self.strategy.derive(self.architecture).validate(SPACE)

    def found(self) -> bool:
        """Whether every kept edge carries the planted primitive."""
        index = {edge: number for number, edge in enumerate(SPACE.topology.edges)}
        return all(
            SPACE.primitive_names[self.planted[cell_type][index[edge.source, node]]] == edge.primitive
            for cell_type, cell in self.genotype().cells.items()
            for node, edges in enumerate(cell.nodes, start=FIRST_NODE)
            for edge in edges
        )


def _check_planted(name: str, seed: int) -> None:
    search = Planted(name, seed)
    search.epochs(1, SEARCH.epochs)
    if not search.found():
        raise NasError(f"strategy {name!r} did not find the planted architecture (seed {seed})")


def _check_resuming(name: str, seed: int) -> None:
    whole = Planted(name, seed)
    whole.architecture.fixed[SPACE.types[0]] = {0: 1}
    whole.epochs(1, 4)
    part = Planted(name, seed)
    part.architecture.fixed[SPACE.types[0]] = {0: 1}
    part.epochs(1, 2)
    saved = [copy.deepcopy(part_of.state_dict()) for part_of in part.saved]
    saved[-1] = json.loads(json.dumps(saved[-1]))  # as a checkpoint keeps it
    chance = torch.get_rng_state()
    again = Planted(name, seed)
    for part_of, content in zip(again.saved, saved, strict=True):
        part_of.load_state_dict(content)
    torch.set_rng_state(chance)
    again.epochs(3, 4)
    for key, value in whole.architecture.state_dict().items():
        if not torch.equal(value, again.architecture.state_dict()[key]):
            raise NasError(f"strategy {name!r} does not go on to the bit from its state: {key} differs")


def _check_decided_edges(name: str, seed: int) -> None:
    search = Planted(name, seed)
    cell_type = SPACE.types[0]
    search.architecture.fixed[cell_type] = {0: 1}
    search.epochs(1, 3)
    for weights in (search.architecture.drawn(cell_type), search.architecture.weights(cell_type)):
        if weights[0][0].tolist() != [0.0, 1.0, 0.0, 0.0]:
            raise NasError(f"strategy {name!r} weighs an edge that is decided")
    kept = [e.primitive for e in search.genotype().cells[cell_type].nodes[0] if e.source == 0]
    if any(primitive != SPACE.primitive_names[1] for primitive in kept):
        raise NasError(f"strategy {name!r} derives another primitive than the decided one")


def _check_implementations(name: str, seed: int) -> None:
    sizes = SearchedNetwork(channels=4, cells=3, gru_hidden=4, gru_layers=1, mask=0)
    waveforms = torch.randn(2, 600, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = []
    for implementation in ("folded", "per_edge"):
        torch.manual_seed(seed)
        made = STRATEGIES[name]()
        assert isinstance(made, Differentiable)
        supernet = Supernet(Architecture(SPACE, made), sizes, 2, implementation).double()  # type: ignore[arg-type]
        made.begin(supernet.architecture)
        made.begin_epoch(supernet.architecture, 1, SEARCH)
        made.begin_step("architecture")
        torch.manual_seed(seed)
        loss = supernet.output.loss(supernet(waveforms), torch.tensor([0, 1])) + supernet.architecture.penalty()
        trained = [p for p in supernet.architecture.parameters() if p.requires_grad]
        found.append((loss, *torch.autograd.grad(loss, trained)))
    for one, other in zip(*found, strict=True):
        if not torch.allclose(one, other, rtol=1e-6, atol=1e-9):
            raise NasError(f"strategy {name!r}: the two implementations of the supernet differ under it")


def _check_black_box(name: str, strategy: BlackBox, seed: int) -> None:
    encoding = Encoding(SPACE)
    settings = BlackBoxSettings(population=10, tournament=3)
    planted = encoding.parameters(Genotype.random(SPACE, random.Random(seed)))

    def run(trials: tuple[int, ...]) -> optuna.Study:
        storage = optuna.storages.InMemoryStorage()
        for number in trials:
            # Made anew, as in a new process.
            sampler = SeededByTrial(lambda drawn: strategy.sampler(drawn, encoding, settings), seed)
            study = optuna.create_study(storage=storage, sampler=sampler, study_name="planted", load_if_exists=True)
            study.optimize(objective, n_trials=number - len(study.trials))
        return study

    def objective(trial: optuna.Trial) -> float:
        encoding.suggest(trial).validate(SPACE)
        return float(sum(trial.params[key] != value for key, value in planted.items() if key in trial.params))

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        whole, stopped = run((TRIALS,)), run((17, TRIALS))
    finally:
        optuna.logging.set_verbosity(verbosity)
    if [trial.params for trial in whole.trials] != [trial.params for trial in stopped.trials]:
        raise NasError(f"strategy {name!r} does not go on as it would have")
    if whole.best_value >= sum(trial.values[0] for trial in whole.trials[:10]) / 10:
        raise NasError(f"strategy {name!r} found nothing better than its first trials (seed {seed})")
