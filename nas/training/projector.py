"""Embeddings of development utterances for TensorBoard's projector."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nas.config import Recipe
from nas.data.normalisation import normalise
from nas.data.utterance import Utterance
from nas.files import write_text
from nas.network import Network
from nas.training.inputs import Inputs
from nas.visual.look import plain

EMBEDDED = 100
"""Utterances of each class."""
CONFIG = """embeddings {
  tensor_name: "embeddings"
  tensor_path: "embeddings/tensors.tsv"
  metadata_path: "embeddings/metadata.tsv"
}
"""


def write_projector(
    folder: Path, network: Network, inputs: Inputs, table: Sequence[Utterance], scores: np.ndarray, recipe: Recipe
) -> None:
    """Embeddings of as many utterances of each class, spread evenly over its attacks.

    The last ones written are kept: the projector shows one moment, not a course.

    Args:
        folder: TensorBoard's folder of the run.
        network: in evaluation mode; `embed` gives waveforms [B, T] -> embeddings [B, E].
        inputs: with the partition "dev".
        table: its utterances [N].
        scores: theirs, [N].
        recipe: how long a waveform is, and how many are embedded at once.
    """
    chosen = [at for label in (1, 0) for at in spread([r.attack if r.label == label else None for r in table])]
    device = next(network.parameters()).device
    size, parts = recipe.engine.evaluation_batch_size, []
    with torch.inference_mode():
        for start in range(0, len(chosen), size):
            rows = inputs.partitions["dev"][chosen[start : start + size]]
            waveforms = normalise(inputs.store.batch(rows, recipe.data.samples), recipe.data.normalise)
            parts.append(network.embed(waveforms.to(device)).float().cpu())
    vectors = ["\t".join(f"{value:.6g}" for value in row) for row in torch.cat(parts).tolist()]
    labels = ["utterance\tkey\tattack\tspeaker\tscore"]
    for at in chosen:
        row = table[at]
        cells = map(_label, (row.utterance, row.key, row.attack, row.speaker))
        labels.append("\t".join([*cells, f"{scores[at]:.4f}"]))
    write_text(folder / "embeddings" / "tensors.tsv", "\n".join(vectors) + "\n")
    write_text(folder / "embeddings" / "metadata.tsv", "\n".join(labels) + "\n")
    write_text(folder / "projector_config.pbtxt", CONFIG)


def spread(groups: Sequence[str | None], most: int = EMBEDDED) -> list[int]:
    """At most `most` positions, none whose group is None: the first of every group, the second, and so on."""
    members: dict[str, list[int]] = {}
    for at, group in enumerate(groups):
        if group is not None:
            members.setdefault(group, []).append(at)
    turns = itertools.zip_longest(*members.values())
    taken = [at for turn in turns for at in turn if at is not None]
    return sorted(taken[:most])


def _label(text: str) -> str:
    """Text fit for a cell of a table of the projector: one line, no tabulator, nothing that reads as HTML."""
    return plain(text, 80).replace("<", "‹").replace(">", "›").replace("&", "+")
