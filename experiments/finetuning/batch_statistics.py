"""What the share of bona fide utterances in a batch does to AASIST in training mode: nothing is trained.

    python -m experiments.finetuning.batch_statistics AASIST-L.pth LAYOUT ROOT PARTITION OUTPUT.json

The released weights, and the output of the encoder as released; graphs and head see batches, and the normalisations use
their statistics, or those of the batch, with and without dropout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from experiments.finetuning.first_epoch import SAMPLES, encode, from_graphs, released
from nas.data.readers import read
from nas.data.store import WaveformStore
from nas.files import write_text
from nas.networks.aasist import AASIST
from nas.networks.inference import prepare_for_inference

ROUNDS = 6


def measure(network: AASIST, encoded: Tensor, labels: Tensor, bona_fide: int, spoofed: int) -> tuple[float, float]:
    """Accuracy (%) and cross entropy over all batches of so many utterances of each class, drawn `ROUNDS` times."""
    logits, targets = [], []
    with torch.no_grad():
        for seed in range(ROUNDS):
            generator = torch.Generator().manual_seed(seed)
            parts = []
            for label, count in ((1, bona_fide), (0, spoofed)):
                rows = torch.nonzero(labels == label).flatten()
                parts.append(rows[torch.randperm(len(rows), generator=generator)][:count])
            batch = torch.cat(parts)
            logits.append(from_graphs(network, encoded[batch]))
            targets.append(labels[batch])
    found, target = torch.cat(logits), torch.cat(targets)
    return 100 * (found.argmax(1) == target).double().mean().item(), F.cross_entropy(found, target).item()


def main(weights: Path, layout: str, root: Path, partition: str, output: Path) -> None:
    """Write accuracy and loss of every setting as JSON."""
    torch.set_num_threads(1)
    store = WaveformStore.open(read(layout, root, partitions=(partition,)), None)
    labels = torch.from_numpy(store.labels.copy())
    waveforms = store.batch(np.arange(len(labels)), SAMPLES, np.zeros(len(labels), dtype=np.int64))
    network = released(weights)
    encoded = encode(prepare_for_inference(network), waveforms)
    rows = []
    for of_batch, dropout in ((False, False), (False, True), (True, False), (True, True)):
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.train(of_batch)
                module.momentum = 0.0  # the statistics stay the released ones
            elif isinstance(module, nn.Dropout):
                module.train(dropout)
        for bona_fide in (1, 2, 4, 8, 12, 16):
            torch.manual_seed(0)
            accuracy, loss = measure(network, encoded, labels, bona_fide, min(16 - bona_fide, int((labels == 0).sum())))
            rows.append(
                {"batch statistics": of_batch, "dropout": dropout, "bona fide": bona_fide,
                 "spoofed": min(16 - bona_fide, int((labels == 0).sum())), "accuracy": accuracy, "loss": loss}
            )  # fmt: skip
            print(rows[-1], flush=True)
    write_text(output, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
