"""Train every genotype of the tiny space with several seeds: the table against which strategies are compared.

    python -m experiments.tuning.exhaust tests/golden/tiny_space.csv

A row a training; begun again, it goes on after the last row. Only the loop of a training is run here, without a run
directory, which would take longer than the training.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch

from nas.config import Recipe
from nas.genotype import Genotype
from nas.recipe_file import load_recipe
from nas.training.engine import start_engine
from nas.training.inputs import Inputs, TrainingBatches, open_inputs
from nas.training.scoring import score_partition
from nas.training.train import build_network
from nas.tuning.encoding import Encoding, kinds_of
from search_spaces.tiny import TINY

RECIPE = "tuning/tiny"
SEEDS = range(4)
ENCODING = Encoding(TINY, kinds_of(2))
COUNTED = 2
"""Epochs at the end whose dev EERs are averaged: less noisy than that of the best."""


def genotypes() -> Iterator[dict[str, str]]:
    """The parameters of every genotype."""
    choices = ENCODING.choices
    for values in product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def train_briefly(recipe: Recipe, inputs: Inputs, genotype: Genotype) -> tuple[float, float]:
    """Mean dev EER (percent) and dev loss of the last epochs of a training at a constant learning rate."""
    accelerator = start_engine(recipe)
    network = build_network(recipe, genotype)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, recipe.train.learning_rate, weight_decay=recipe.train.weight_decay)
    size, train = recipe.train.batch_size, inputs.partitions["train"]
    batches = TrainingBatches(recipe, inputs.store, train, size, recipe.seed, accelerator.device)
    found = []
    for epoch in range(1, recipe.train.epochs + 1):
        network.train()
        for batch in batches.epoch(epoch):
            loss = network.output.loss(network(batch.waveforms), batch.labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if epoch > recipe.train.epochs - COUNTED:
            scored = score_partition(network, inputs, "dev", recipe, accelerator, progress=False)
            found.append((scored.eer, scored.loss))
    eers, losses = zip(*found, strict=True)
    return sum(eers) / COUNTED, sum(losses) / COUNTED


def main(table: Path) -> None:
    """Write or continue the table."""
    torch.set_num_threads(1)
    names = list(ENCODING.choices)
    if not table.exists():
        table.write_text(",".join([*names, "seed", "dev_eer", "dev_loss"]) + "\n", encoding="utf-8")
    with open(table, encoding="utf-8", newline="") as stream:
        done = {(*(row[name] for name in names), row["seed"]) for row in csv.DictReader(stream)}
    inputs = open_inputs(load_recipe(RECIPE), ("train", "dev"))
    for seed in SEEDS:
        recipe = load_recipe(RECIPE, [f"seed={seed}"])
        for parameters in genotypes():
            key = (*parameters.values(), str(seed))
            if key not in done:
                eer, loss = train_briefly(recipe, inputs, ENCODING.genotype(parameters))
                with open(table, "a", encoding="utf-8") as stream:
                    stream.write(",".join([*key, f"{eer:.3f}", f"{loss:.5f}"]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
