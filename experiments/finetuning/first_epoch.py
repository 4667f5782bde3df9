"""Which mistake makes a pre-trained system of two classes worse than a coin in its first epoch of fine-tuning.

    python -m experiments.finetuning.first_epoch AASIST-L.pth LAYOUT ROOT PARTITION COUNT OUTPUT.json [EPOCHS]

AASIST-L with its released weights is fine-tuned as the study says (Adam 5e-5, weight decay 5e-5, cosine over 5 epochs,
62 steps of 16), once as it should be and once with each mistake. So that this takes minutes on a CPU, the encoder stays
as released: its output is computed once, and all that follows (graphs, head) is trained, with its dropout and batch
statistics. An epoch goes as often through the utterances as 992 draws need. EPOCHS below 5 leaves out the last ones,
and the variants that need the encoder once more.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.config import Train
from nas.data.normalisation import Normalisation, normalise
from nas.data.readers import read
from nas.data.split import subset
from nas.data.store import WaveformStore
from nas.files import write_text
from nas.losses import WeightedCrossEntropy
from nas.networks import registry
from nas.networks.aasist import AASIST
from nas.networks.inference import prepare_for_inference
from nas.networks.published import load_published
from nas.training.weights import hold_norms

SAMPLES, EPOCHS, STEPS, BATCH, RATE, DECAY = 64_600, 5, 62, 16, 5e-5, 5e-5
FEWER = 64
"""Utterances of the variants that need another pass of the encoder."""


def released(weights: Path) -> AASIST:
    network = load_published("aasist-l", weights)
    assert isinstance(network, AASIST)
    return network


def encode(network: AASIST, waveforms: Tensor) -> Tensor:
    """waveforms [N, T] -> output of the encoder [N, C, F, T']."""
    with torch.no_grad():
        parts = [network.encoder(network.spectrogram(part)) for part in waveforms.split(8)]
        return torch.cat(parts)


Curve = list[dict[str, float]]
Logits = Callable[[AASIST, Tensor], Tensor]


def run(network: AASIST, encoded: Tensor, labels: Tensor, logits_of: Logits, epochs: int, hold: bool = False) -> Curve:
    """Accuracy (%) and cross entropy before training and of each epoch, in the way training loops count them.

    Args:
        hold: whether the normalisations keep their statistics.
    """
    torch.manual_seed(0)
    network.eval()
    with torch.no_grad():
        logits = logits_of(network, encoded)
    rows = [[100 * (logits.argmax(1) == labels).double().mean().item(), F.cross_entropy(logits, labels).item()]]
    optimizer = torch.optim.Adam(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS, 1e-6)
    network.train()
    if hold:
        hold_norms(network, Train(freeze_norms=True))
    for _ in range(epochs):
        passes = -(-STEPS * BATCH // len(labels))
        order = torch.cat([torch.randperm(len(labels)) for _ in range(passes)])[: STEPS * BATCH]
        correct, total = 0.0, 0.0
        for rows_of_batch in order.split(BATCH):
            logits, target = logits_of(network, encoded[rows_of_batch]), labels[rows_of_batch]
            loss = F.cross_entropy(logits, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            correct += (logits.argmax(1) == target).sum().item()
            total += loss.item() * len(target)
        schedule.step()
        rows.append([100 * correct / len(order), total / len(order)])
    return [{"epoch": epoch, "accuracy": accuracy, "loss": loss} for epoch, (accuracy, loss) in enumerate(rows)]


def from_graphs(network: AASIST, encoded: Tensor) -> Tensor:
    return network.output(network.graphs(encoded))


def from_hidden(network: AASIST, encoded: Tensor) -> Tensor:
    """The first of the two values that the released forward pass returns: the embedding of 160, not the logits."""
    return network.graphs(encoded)


def main(weights: Path, layout: str, root: Path, partition: str, count: int, output: Path, epochs: int) -> None:
    """Write accuracy and loss of every variant as JSON."""
    torch.set_num_threads(1)
    table = [row for row in read(layout, root, partitions=(partition,)) if row.partition == partition]
    rows = subset(table, count, 0) if count < len(table) else range(len(table))
    store = WaveformStore.open([table[index] for index in rows], None)
    labels = torch.from_numpy(store.labels.copy())
    waveforms = store.batch(np.arange(len(labels)), SAMPLES, np.zeros(len(labels), dtype=np.int64))
    counts = {"bonafide": int(labels.sum()), "spoof": int((1 - labels).sum())}
    variants: dict[str, Curve] = {}

    def measure(
        name: str, network: AASIST, encoded: Tensor, labels: Tensor, logits_of: Logits, hold: bool = False
    ) -> None:
        variants[name] = run(network, encoded, labels, logits_of, epochs, hold)
        print(
            f"{name}: " + "  ".join(f"{row['accuracy']:.1f} %/{row['loss']:.2f}" for row in variants[name]), flush=True
        )
        write_text(output, json.dumps({"corpus": root.parent.name, **counts, "variants": variants}, indent=1) + "\n")

    prepared = prepare_for_inference(released(weights))
    encoded = encode(prepared, waveforms)
    torch.manual_seed(1)
    new_head = released(weights)
    assert isinstance(new_head.output, WeightedCrossEntropy)
    new_head.output.linear.reset_parameters()
    measure("as it should be", released(weights), encoded, labels, from_graphs)
    measure("as it should be, normalisations held", released(weights), encoded, labels, from_graphs, hold=True)
    measure("classes swapped", released(weights), encoded, 1 - labels, from_graphs)
    measure("head of its own, new", new_head, encoded, labels, from_graphs)
    measure("embedding taken for the logits", released(weights), encoded, labels, from_hidden)
    measure("embedding taken for the logits, classes swapped", released(weights), encoded, 1 - labels, from_hidden)
    if epochs < EPOCHS:
        return
    bona_fide, spoofed = (torch.nonzero(labels == label).flatten() for label in (1, 0))
    tenth = torch.cat([bona_fide[: max(len(spoofed) // 9, 1)], spoofed])
    measure("one in ten bona fide", released(weights), encoded[tenth], labels[tenth], from_graphs)
    measure("one in ten bona fide, classes swapped", released(weights), encoded[tenth], 1 - labels[tenth], from_graphs)
    few = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:FEWER]
    torch.manual_seed(2)
    scratch = registry.create("aasist-l").train()
    assert isinstance(scratch, AASIST)
    measure("no pre-training", scratch, encode(scratch, waveforms[few]), labels[few], from_graphs)
    how: Normalisation
    for how in ("peak", "standard"):
        changed = encode(prepared, normalise(waveforms[few], how))
        measure(f"waveforms normalised: {how}", released(weights), changed, labels[few], from_graphs)


if __name__ == "__main__":
    chosen = int(sys.argv[7]) if len(sys.argv) > 7 else EPOCHS
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]), Path(sys.argv[6]), chosen)
