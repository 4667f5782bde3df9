"""Where TensorBoard shows what: the tags of a run, and the charts of its first page."""

from __future__ import annotations

from typing import Any

import torch

from nas.config import Recipe, part_of
from nas.frontends.sinc import SCALES, Scale
from nas.space import get_space

CURVES = {
    "train_loss": "loss/train",
    "dev_loss": "loss/dev",
    "architecture_loss": "loss/architecture",
    "train_accuracy": "accuracy/train",
    "dev_accuracy": "accuracy/dev",
    "dev_eer": "eer/dev",
    "utterance_rate": "throughput/utterances_per_second",
}
"""Where a column of history.csv is shown; others are shown under run/."""
HPARAMS = ("hparam/best_dev_eer", "hparam/best_epoch", "hparam/last_train_loss")
OPTIMIZERS = {"search": ("weights", "architecture"), "train": ("network",)}
"""Whose learning rates and gradient norms are shown."""
FILTERED = ("aasist", "rawnet2")
"""Hand-made networks whose first layer is filters on the waveform."""
HEARD = 3
"""Worst utterances of each class that can be listened to."""


def promised_tags(kind: str, recipe: Recipe) -> dict[str, set[str]]:
    """Every tag of a finished run by TensorBoard plugin; where there is a GPU, also the scalar `gpu_memory/peak_gib`.

    Args:
        kind: "search" or "train".
        recipe: the recipe as run, with `engine.pictures` above 0.
    """
    searched, types = kind == "search", get_space(recipe.space).types
    optimizers = OPTIMIZERS[kind]
    columns = [name for name in CURVES if searched or name != "architecture_loss"]
    scalars = {CURVES[name] for name in columns} | set(HPARAMS)
    scalars |= {f"{group}/{name}" for group in ("learning_rate", "gradient_norm") for name in optimizers}
    images, histograms = {"dev/det", "dev/scores"}, {"scores/bonafide", "scores/spoof"}
    if searched:
        scalars |= {f"search/{name}_{cell}" for name in ("entropy", "parameter_free") for cell in types}
        images |= {"genotype", *(f"alpha_map/{cell}" for cell in types)}
        histograms |= {f"alpha/{cell}" for cell in types}
    network = recipe.searched
    searched_filters = network is not None and part_of(network.frontend)[0] in (*SCALES, "conv0")
    if searched_filters or recipe.network.name.startswith(FILTERED):
        images.add("front_end/filters")
    if learnt_scale(recipe):
        scalars.add("front_end/mean_shift_hz")
    if recipe.data.asv_scores:
        scalars.add("tdcf/dev")
    return {
        "scalars": scalars,
        "images": images,
        "histograms": histograms,
        "audio": {f"worst_{key}/{rank}" for key in ("bonafide", "spoof") for rank in range(1, HEARD + 1)},
        "text": {"recipe", "worst"} | ({"genotype"} if searched else set()),
        "custom_scalars": set(layout(kind, recipe)),
        "projector": {"embeddings"},
    }


def layout(kind: str, recipe: Recipe) -> dict[str, dict[str, list[Any]]]:
    """The charts of the first page: what everybody looks at, the search, the machine.

    Charts of the same name are the same for a search and a training: TensorBoard joins the pages of all runs, and would
    show two that differ one after the other.
    """
    types = get_space(recipe.space).types
    names = [name for group in OPTIMIZERS.values() for name in group]
    start = {
        "loss": ["loss/train", "loss/dev"],
        "EER on dev, %": ["eer/dev"],
        "accuracy, %": ["accuracy/train", "accuracy/dev"],
    }
    search = {
        "entropy of the edges, nats (high: undecided)": [f"search/entropy_{cell}" for cell in types],
        "share of operations without weights (1: collapsed)": [f"search/parameter_free_{cell}" for cell in types],
        "loss of the architecture steps": ["loss/architecture"],
    }
    machine = {
        "learning rate": [f"learning_rate/{name}" for name in names],
        "gradient norm": [f"gradient_norm/{name}" for name in names],
        "utterances a second": ["throughput/utterances_per_second"],
    }
    if recipe.data.asv_scores:
        start["min t-DCF on dev"] = ["tdcf/dev"]
    if torch.cuda.is_available():
        machine["GPU memory, peak, GiB"] = ["gpu_memory/peak_gib"]
    pages = {"1 Does it learn?": start, "2 The search": search, "3 The machine": machine}
    if kind != "search":
        del pages["2 The search"]
    return {title: {chart: ["Multiline", tags] for chart, tags in charts.items()} for title, charts in pages.items()}


def learnt_scale(recipe: Recipe) -> Scale | None:
    """How learnable sinc filters were spread at the start; None where there are none."""
    network = recipe.searched
    if network is None or not network.learnable:
        return None
    name, _ = part_of(network.frontend)
    return next((scale for scale in SCALES if scale == name), None)
