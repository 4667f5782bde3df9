"""Evaluating a train run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nas import processes
from nas.errors import NasError
from nas.files import write_text
from nas.metrics import Evaluation, Trials, evaluate_trials, read_asv_scores, write_protocol, write_scores
from nas.networks.inference import prepare_for_inference
from nas.training.engine import start_engine
from nas.training.inputs import open_inputs
from nas.training.run import Run
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
) -> Evaluation:
    """Score a partition with the best network of a train run; write scores/PARTITION.txt and .json into the run, and
    its result card (card.md, card.json) for "eval". Several processes share the scoring.

    Args:
        folder: the run directory.
        partition: "eval", "dev" or "train".
        asv_scores: three-column ASV score file, for the min t-DCF.
        data_root: where the corpus is now, if it has moved since the training.
        bootstrap: rounds for 95 % intervals by speaker; none by default.
        progress: whether to show progress bars.
        whole: score every utterance of the partition, also where the recipe takes a subset of it (`data.subset`).

    Raises:
        NasError: bad input; nothing is written then.
    """
    if partition not in ("train", "dev", "eval"):
        raise NasError(f"there is no partition {partition!r}; valid are train, dev and eval")
    asv = read_asv_scores(asv_scores) if asv_scores else None
    run = Run.open(folder)
    recipe = run.recipe
    changes: dict[str, object] = {} if data_root is None else {"root": data_root}
    if whole:
        changes["subset"] = {}
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update=changes)})
    network = load(folder).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    accelerator = start_engine(recipe)
    inputs = open_inputs(recipe, (partition,), progress)
    network = accelerator.prepare_model(network, evaluation_mode=True)
    quick = accelerator.device.type == "cpu" and accelerator.mixed_precision == "no"
    scorer = prepare_for_inference(network) if quick else network
    scored = score_partition(scorer, inputs, partition, recipe, accelerator, progress)
    utterances = [inputs.store.utterances[index] for index in inputs.partitions[partition]]
    trials = Trials(
        utterance=np.array([u.utterance for u in utterances]),
        attack=np.array([u.attack for u in utterances]),
        label=np.array([u.label for u in utterances]),
        score=scored.scores,
        speaker=np.array([u.speaker for u in utterances]),
    )
    evaluation = evaluate_trials(trials, asv, bootstrap)
    if not processes.is_first():
        return evaluation
    write_scores(run.folder / "scores" / f"{partition}.txt", trials)
    write_protocol(run.folder / "scores" / f"{partition}.protocol.txt", trials)
    write_text(run.folder / "scores" / f"{partition}.json", evaluation.to_json())
    if partition == "eval":
        write_card(run.folder, gather_card(run.folder, evaluation, network))
    run.log(f"{partition}: {len(utterances)} trials, EER {evaluation.eer:.2f} %")
    return evaluation
