"""Evaluating a train run."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nas import processes
from nas.config import Data, Recipe
from nas.errors import NasError
from nas.files import write_text
from nas.metrics import Evaluation, Trials, evaluate_trials, read_asv_scores, write_protocol, write_scores
from nas.metrics.evaluation import Corpus
from nas.metrics.scores import read_own_scores
from nas.network import Network
from nas.networks.inference import prepare_for_inference
from nas.training.engine import start_engine
from nas.training.inputs import open_inputs
from nas.training.run import Run
from nas.training.score import open_published
from nas.training.scoring import score_partition
from nas.training.train import load
from nas.visual.card import gather_card, write_card


def evaluate_run(
    folder: str | Path,
    partition: str = "eval",
    asv_scores: str | Path | None = None,
    data_root: str | None = None,
    bootstrap: int | None = None,
    progress: bool = True,
    whole: bool = False,
    layout: str | None = None,
) -> Evaluation:
    """Score a partition with the best network of a train run; write scores/PARTITION.txt and .json into the run, and
    its result card (card.md, card.json) for "eval". Several processes share the scoring.

    There is one result for each corpus and partition, and it names its corpus: that of another corpus than the run's
    own, card and all, lies in scores/CORPUS/. `source` of the evaluation is the score file, seen from the run; it is
    empty where it could not be written.

    Args:
        folder: the run directory.
        partition: "eval", "dev" or "train".
        asv_scores: three-column ASV score file, for the min t-DCF.
        data_root: another corpus, or where the own one is now, if it has moved since the training.
        bootstrap: rounds for 95 % intervals by speaker; none by default.
        progress: whether to show progress bars.
        whole: score every utterance of the partition, also where the recipe takes a subset of it (`data.subset`);
            another corpus is always scored whole.
        layout: how the other corpus is laid out; as the own one by default.

    Raises:
        NasError: bad input; nothing is written then.
    """
    require_partition(partition)
    asv = read_asv_scores(asv_scores) if asv_scores else None
    run = Run.open(folder)
    recipe = run.recipe
    own = recipe.data
    if data_root is not None and (layout or own.layout) == "embedded":
        raise NasError(f"{folder} was trained on the embedded corpus; say the layout of {data_root} (--layout)")
    changes: dict[str, object] = {} if data_root is None else {"root": data_root, "layout": layout or own.layout}
    if whole or _is_other(own, data_root, layout):
        changes["subset"] = {}
    recipe = recipe.model_copy(update={"data": own.model_copy(update=changes)})
    network = load(folder)
    trials = _score(network, recipe, partition, progress)
    corpus = _corpus(recipe.data, partition)
    place = _place(run.folder, own, corpus, trials)
    trials = replace(trials, source=str(place / f"{partition}.txt"))
    evaluation = replace(evaluate_trials(trials, asv, bootstrap), corpus=corpus)
    if not processes.is_first():
        return evaluation
    try:
        write_scores(run.folder / place / f"{partition}.txt", trials)
        write_protocol(run.folder / place / f"{partition}.protocol.txt", trials)
        write_text(run.folder / place / f"{partition}.json", evaluation.to_json())
        if partition == "eval":
            card_folder = run.folder if place == OWN_SCORES else run.folder / place
            write_card(card_folder, gather_card(run.folder, evaluation, network))
        run.log(f"{corpus}: {len(trials.score)} trials, EER {evaluation.eer:.2f} %")
    except NasError as error:
        # Scoring may have taken hours; what it found is told where it cannot be kept.
        logging.getLogger("nas").warning("nas: %s; the metrics are not kept in the run", error)
        return replace(evaluation, source="")
    return evaluation


def evaluate_weights(
    weights: str | Path,
    genotype: str | Path | None,
    data_root: str | None,
    layout: str = "asvspoof2019_la",
    partition: str = "eval",
    asv_scores: str | Path | None = None,
    bootstrap: int | None = None,
    progress: bool = True,
    model: str | None = None,
    output: str | Path | None = None,
) -> Evaluation:
    """Score a partition of a corpus with published weights, without a run.

    Args:
        weights: the released file.
        genotype: its genotype, where it is of Raw PC-DARTS, whose sizes are those of the shapes in the file.
        data_root, layout: the corpus.
        partition, asv_scores, bootstrap, progress: as of `evaluate_run`.
        model: of the other networks, the name.
        output: where the scores are written; nowhere by default.

    Raises:
        NasError: bad input; nothing is written then.
    """
    require_partition(partition)
    asv = read_asv_scores(asv_scores) if asv_scores else None
    network, samples = open_published(model, Path(weights), None if genotype is None else Path(genotype))
    if samples is None:
        raise NasError(f"{model} hears whole utterances: score their files with `nas score`, then evaluate --scores")
    recipe = Recipe(data=Data(layout=layout, root=data_root, samples=samples))
    trials = _score(network, recipe, partition, progress)
    trials = replace(trials, source=str(output or weights))
    evaluation = replace(evaluate_trials(trials, asv, bootstrap), corpus=_corpus(recipe.data, partition))
    if output is not None and processes.is_first():
        write_scores(Path(output), trials)
    return evaluation


def require_partition(partition: str) -> None:
    """Refuse a name that no partition has.

    Raises:
        NasError: with those that there are.
    """
    if partition not in ("train", "dev", "eval"):
        raise NasError(f"there is no partition {partition!r}; valid are train, dev and eval")


def _score(network: Network, recipe: Recipe, partition: str, progress: bool) -> Trials:
    """A partition of the recipe's corpus scored by a network; several processes share it."""
    accelerator = start_engine(recipe)
    inputs = open_inputs(recipe, (partition,), progress)
    # In evaluation mode statistics are given, so that channels last costs no digits, as it does in training.
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = accelerator.prepare_model(network, evaluation_mode=True)
    quick = accelerator.device.type == "cpu" and accelerator.mixed_precision == "no"
    scorer = prepare_for_inference(network) if quick else network
    scored = score_partition(scorer, inputs, partition, recipe, accelerator, progress)
    utterances = [inputs.store.utterances[index] for index in inputs.partitions[partition]]
    return Trials(
        utterance=np.array([u.utterance for u in utterances]),
        attack=np.array([u.attack for u in utterances]),
        label=np.array([u.label for u in utterances]),
        score=scored.scores,
        speaker=np.array([u.speaker for u in utterances]),
    )


def _corpus(data: Data, partition: str) -> Corpus:
    return Corpus(data.layout, data.root and str(Path(data.root).resolve()), partition)


OWN_SCORES = Path("scores")


def _is_other(own: Data, root: str | None, layout: str | None) -> bool:
    """Whether a folder is certainly not the run's own corpus: that has another layout, or is still where it was."""
    if root is None:
        return False
    if own.root is None or layout not in (None, own.layout):
        return True
    return Path(own.root).exists() and Path(root).resolve() != Path(own.root).resolve()


def _place(run: Path, own: Data, corpus: Corpus, trials: Trials) -> Path:
    """Where in a run the scores of a corpus lie: scores/ for its own, also where that has moved, else scores/CORPUS/.

    It has moved where the same utterances, or a part of them, were scored before or, if none were, where the run's
    folder of it is gone.
    """
    here = own.root is not None and corpus.root == str(Path(own.root).resolve())
    if corpus.root is None or (here and corpus.layout == own.layout):
        return OWN_SCORES
    before = run / OWN_SCORES / f"{corpus.partition}.txt"
    if before.exists():
        earlier, now = set(read_own_scores(before).utterance.tolist()), set(trials.utterance.tolist())
        other = not (earlier <= now or now <= earlier)
    else:
        other = _is_other(own, corpus.root, corpus.layout)
    if not other:
        return OWN_SCORES
    path = Path(corpus.root)
    name = re.sub(r"[^\w.-]", "_", path.parent.name if path.suffix == ".csv" else path.name) or "corpus"
    return OWN_SCORES / f"{name}-{hashlib.sha256(corpus.root.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"
