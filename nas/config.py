"""The recipe of a run: strict and typed, read from YAML, changed by `key.path=value`.

Every key has the paper's value as its default (Ge et al. 2021, Section 4.2, and the published code where the paper is
silent), so a recipe states what it changes and what its reader should see.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, PlainValidator, Tag, model_validator

from nas.errors import NasError

Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""PyTorch takes seeds of 64 bits, and a search draws two from each."""
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Selection = Literal["dev_eer", "dev_accuracy"]
Partition = Literal["train", "dev", "eval"]


class Section(BaseModel):
    """A part of a recipe: no unknown keys, no silent conversion of types, never changed after reading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


def _without_all(subset: Any) -> Any:
    """A subset in which "all" is said by leaving the partition out."""
    if subset == "all":
        return {}
    return {name: n for name, n in subset.items() if n != "all"} if isinstance(subset, dict) else subset


class Data(Section):
    """Which corpus, and how waveforms are cut from it."""

    layout: str = "asvspoof2019_la"
    """How the corpus is laid out: a reader of nas.data, or "embedded" for the synthetic corpus of the demo."""
    root: str | None = None
    """Folder of the corpus, or the CSV file of a manifest."""
    samples: Positive = 64_000
    """Length of every waveform in samples at 16 kHz: longer ones are cut, shorter ones repeated."""
    crop: Literal["first", "random"] = "first"
    """Which samples of a longer training utterance: the first (paper), or a random stretch every epoch."""
    corrupt: Literal["strict", "skip"] = "strict"
    """What a damaged audio file does: stop with the list, or be left out and counted."""
    longest_seconds: Rate = 3_600.0
    """Longest utterance that is decoded; a longer one counts as damaged. At a rate above 48 kHz fewer seconds are."""
    subset: Annotated[Positive | dict[Partition, Positive], BeforeValidator(_without_all)] = {}
    """Take so many utterances of a partition ({train: 1000, dev: 200}; a number: of train), half of each class, drawn
    by chance; all of the others. "all" takes every utterance, of all partitions or of one."""
    subset_seed: Seed = 0
    """Which draw; the seed of the recipe has no part in it, so that runs of several seeds share their utterances."""
    leave_out: list[str] = []
    """Attacks that training and development do without; evaluation keeps them."""
    augment: list[dict[str, Any]] = []
    """Augmentations of training batches, in order: {name: ..., probability: ..., SETTING: ...}."""
    normalise: Literal["none", "peak", "rms", "standard"] = "none"
    """What every waveform is scaled to: its largest sample 1, its root mean square 0.1, or mean 0 and variance 1."""
    cache: str | None = None
    """Folder of the decoded waveforms; null keeps them in memory."""
    asv_scores: str | None = None
    """ASV scores of the development set (SOURCE KEY SCORE a line); TensorBoard then shows its min t-DCF as well."""


Part = str | dict[str, Any]
"""A registered part: its name, or {name: ..., OPTION: ...}."""


def part_of(value: Part) -> tuple[str, dict[str, Any]]:
    """Name and options of a part."""
    if isinstance(value, str):
        return value, {}
    return str(value["name"]), {key: option for key, option in value.items() if key != "name"}


def _registered(registry: str) -> PlainValidator:
    """A name that the registry MODULE:NAME has, or {name: NAME, OPTION: VALUE}."""

    def check(value: Any) -> Part:
        if not isinstance(value.get("name") if isinstance(value, dict) else value, str):
            raise ValueError("expected a name, or {name: NAME, OPTION: VALUE}")
        module, _, name = registry.partition(":")
        try:
            # Imported here: the registries import PyTorch, and reading a recipe that chooses nothing need not.
            _ = getattr(import_module(module), name)[part_of(value)[0]]
        except NasError as error:
            raise ValueError(str(error)) from error
        return value

    return PlainValidator(check)


class SearchedNetwork(Section):
    """The network around the cells: the same in search and training (no depth gap, Section 3.2)."""

    name: Literal["raw-pcdarts"] = "raw-pcdarts"
    channels: Annotated[int, Field(gt=0, le=8192)] = 64
    """C: filters of the front-end and channels of the first cells."""
    cells: Annotated[int, Field(gt=0, le=256)] = 8
    gru_hidden: Annotated[int, Field(gt=0, le=16_384)] = 1024
    """Size of the embedding, and units of each GRU layer."""
    gru_layers: Annotated[int, Field(gt=0, le=32)] = 3
    pooling: Annotated[Part, _registered("nas.poolings.registry:POOLINGS")] = "gru"
    """What turns frames into one embedding: gru, lstm-sum, attention, attentive-statistics, mean, max, fully-connected,
    or one's own (`nas.poolings.registry`)."""
    loss: Annotated[Part, _registered("nas.losses:HEADS")] = "p2sgrad"
    """The output layer and what trains it: p2sgrad, weighted-cross-entropy, focal, am-softmax, oc-softmax, or one's
    own (`nas.losses`)."""
    frontend: Annotated[Part, _registered("nas.frontends.registry:FRONTENDS")] = "mel"
    """What turns waveforms into frames: mel, inverse-mel or linear sinc filters, conv0, lfcc, logmel, or one's own
    (`nas.frontends.registry`)."""
    learnable: bool = False
    """Whether the search trains the front-end; training from scratch then keeps it at what the search learnt."""
    kernel: Annotated[int, Field(ge=4, le=4096)] = 128
    mask: NotNegative = 16
    """F: fewer than F consecutive filters are masked in each training step; 0 masks none."""


class OtherNetwork(Section):
    """A hand-made network of `nas.networks`, for training and fine-tuning: "aasist", "rawnet2-2019", ..."""

    name: str
    options: dict[str, Any] = {}
    """Keyword arguments of the network, e.g. its loss; the published values by default."""


def _network_kind(value: Any) -> str:
    name = value.get("name", "raw-pcdarts") if isinstance(value, dict) else getattr(value, "name", "raw-pcdarts")
    return "raw-pcdarts" if name == "raw-pcdarts" else "other"


NETWORK_TAGS = {"raw-pcdarts": SearchedNetwork, "other": OtherNetwork}
Network = Annotated[
    Annotated[SearchedNetwork, Tag("raw-pcdarts")] | Annotated[OtherNetwork, Tag("other")],
    Discriminator(_network_kind),
]


class Supernet(Section):
    partial: Positive = 2
    """K_C: one in K_C channels passes through the candidate operations."""
    implementation: Literal["folded", "per_edge"] = "folded"
    """How the cells are computed: folded (fast) or edge by edge (the definition); the mathematics is the same."""
    recompute: bool = False
    """Whether the backward pass computes a cell's inner values again instead of storing them: less memory, slower."""
    published_statistics: bool = False
    """Whether the running statistics of candidates move twice a forward pass, as in the published code."""


class Split(Section):
    """How the training partition is halved for weights and architecture."""

    method: Literal["stratified", "speaker", "attack", "protocols"] = "stratified"
    weights_protocol: str | None = None
    architecture_protocol: str | None = None

    @model_validator(mode="after")
    def _protocols_given(self) -> Split:
        given = self.weights_protocol is not None and self.architecture_protocol is not None
        if (self.method == "protocols") != given:
            raise ValueError(
                "method protocols goes with weights_protocol and architecture_protocol, and only with them"
            )
        return self


class CostLimit(Section):
    """A budget that the bi-level search steers the expected cost of alpha and beta to (docs/tuning.md)."""

    measure: Literal["parameters", "macs", "latency"] = "parameters"
    """Of the whole network for one utterance; latency in milliseconds on this machine's CPU, one thread."""
    budget: Rate
    weight: Rate = 1.0
    """Of the penalty weight * log(expected cost / budget) ** 2 in the architecture's loss."""


class BlackBox(Section):
    """Search by trying genotypes, one a trial."""

    trials: Positive = 50
    evaluate: Literal["training", "one-shot"] = "training"
    """Train the genotype's network from scratch (section train), or take the weights of a trained supernet."""
    epochs: Positive = 5
    """Epochs of each training."""
    supernet: str | None = None
    """Run directory of the search whose supernet evaluates one-shot."""
    population: Positive = 20
    """Of strategies that have one."""
    tournament: Positive = 5
    warm_start: str | None = None
    """A training-free proxy of nas.searching.proxies (naswot, zico ...) whose best genotypes are tried first."""
    warm_samples: Positive = 100
    """Genotypes that it ranks ..."""
    warm_trials: Positive = 5
    """... of which so many are tried first."""
    objectives: list[Literal["parameters", "macs", "latency"]] = []
    """What is to be low besides the dev EER; needs a strategy for several (nsga2), and gives a Pareto front."""


class Search(Section):
    """The search of an architecture: bi-level, by training a supernet, or by trying genotypes (section black_box)."""

    strategy: str = "pcdarts"
    """Of nas.searching.strategies: pcdarts or another that trains a supernet, or one that tries genotypes."""
    cost: CostLimit | None = None
    black_box: BlackBox = BlackBox()
    epochs: Positive = 30
    warmup_epochs: NotNegative = 10
    """Epochs at the start in which alpha and beta are left alone."""
    batch_size: Annotated[int, Field(ge=2)] = 14
    learning_rate: Rate = 5e-5
    weight_decay: Decay = 3e-4
    architecture_learning_rate: Rate = 6e-4
    architecture_weight_decay: Decay = 1e-3
    architecture_betas: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.5, 0.999)
    order: Literal["first", "second"] = "first"
    """First: the weights as they stand. Second: one unrolled Adam step ahead (about three times the cost)."""
    update_statistics: bool = False
    """Whether architecture steps too move the running statistics of batch normalisation, as in the published code."""
    select: Selection = "dev_eer"
    """Which epoch's genotype is taken: lowest EER (default) or highest accuracy (paper) on the development set."""
    split: Split = Split()

    @model_validator(mode="after")
    def _architecture_is_trained(self) -> Search:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs ({self.warmup_epochs}) leaves none of the {self.epochs} epochs to search in"
            )
        return self


class Train(Section):
    """Training from scratch."""

    epochs: Positive = 100
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: Rate = 5e-5
    schedule: Literal["cosine", "cosine_steps", "step", "constant"] = "cosine"
    """How the learning rate falls: along a cosine, every epoch or every step; by a factor every few epochs; not."""
    final_learning_rate: Decay = 2e-5
    """Where a cosine schedule ends."""
    step_epochs: Positive = 10
    """Epochs after which a step schedule multiplies the learning rate by ..."""
    step_factor: Rate = 0.5
    weight_decay: Decay = 3e-4
    load: Annotated[list[str], Field(min_length=1)] = ["*"]
    """Patterns of the weights that fine-tuning takes from --weights: "encoder.*" ..."""
    reinitialise: list[str] = []
    """... but for those that match one of these, which start as they do from scratch: "output.*"."""
    freeze: list[str] = []
    """Patterns of the parameters that are not trained."""
    freeze_norms: bool | list[str] = False
    """Which batch normalisations keep the statistics they come with: all of them, or patterns of their names."""
    patience: NotNegative = 0
    """Epochs in a row without a better one after which a training ends; 0 for never."""
    select: Selection = "dev_eer"
    """Which epoch's weights are kept as best: lowest EER (default) or highest accuracy (paper) on development."""
    average: bool = False
    """Whether, at the end, the mean of the weights of all epochs that were the best so far, or as good, is tried too
    (stochastic weight averaging), and kept as best where it is better on development."""
    average_below: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 100.0
    """Of these epochs only those with a development EER of at most so many percent; AASIST has 1."""

    @model_validator(mode="after")
    def _statistics_of_an_average(self) -> Train:
        if self.average and self.freeze_norms:
            raise ValueError("average computes the statistics of batch normalisations anew, which freeze_norms keeps")
        return self


class Tune(Section):
    """Hyper-parameters tried by `nas tune`."""

    of: Literal["train", "search"] = "train"
    """Which run a trial is."""
    ranges: dict[str, Any] = {}
    """What is tried: KEY.PATH: {low: ..., high: ..., log: true, step: ...} or a list of choices."""
    trials: Positive = 20
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["none", "median", "hyperband"] = "median"
    """Which trials end before their last epoch, by their dev EER."""
    startup_trials: NotNegative = 5
    """Trials before the median pruner ends one."""


class Engine(Section):
    """Where and how it runs."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """auto: float32 everywhere. bf16 and fp16 are faster on a GPU, but are not shown to find the same."""
    compile: Literal["none", "cell", "whole"] = "none"
    """What torch.compile takes of the supernet; measured in docs/folded-supernet.md."""
    workers: NotNegative = 0
    """Threads that decode audio; 0 for one per core."""
    evaluation_batch_size: Positive = 32
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10.0
    """A checkpoint to resume from is written after every epoch, and within an epoch every so many minutes."""
    sync_batchnorm: bool = True
    """Whether several processes normalise by the statistics of all their batches together (docs/processes.md)."""
    non_finite: Literal["stop", "skip"] = "stop"
    """What a loss or gradient that is not finite does: stop, the batch named; or leave the step out and count it."""
    pictures: NotNegative = 10
    """Epochs, evenly spread, of which TensorBoard gets pictures, audio and embeddings; 0 for none."""


class Recipe(Section):
    """All of a run."""

    name: str = "raw-pcdarts"
    seed: Seed = 0
    deterministic: bool = True
    """Bit-identical runs on a CPU; on a GPU wherever PyTorch can."""
    imports: list[str] = []
    """Python files and modules of one's own that are run before anything else: they register what the recipe names."""
    space: str = "raw_waveform"
    data: Data = Data()
    network: Network = SearchedNetwork()
    supernet: Supernet = Supernet()
    search: Search = Search()
    train: Train = Train()
    tune: Tune = Tune()
    engine: Engine = Engine()

    @property
    def searched(self) -> SearchedNetwork | None:
        """The network around searched cells; None for a hand-made network."""
        return self.network if isinstance(self.network, SearchedNetwork) else None

    def require_searched(self) -> SearchedNetwork:
        """The network around searched cells.

        Raises:
            NasError: the network is hand-made.
        """
        if self.searched is None:
            raise NasError(f"network.name: {self.network.name!r} has no cells to search; leave it out for one that has")
        return self.searched

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
