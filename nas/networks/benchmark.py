"""How long scoring takes, plain and prepared, measured side by side."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn

from nas.networks.inference import prepare_for_inference


@dataclass(frozen=True)
class ScoringTimes:
    """Seconds of every scoring, taken in turns in one run, and how far the logits are apart.

    Attributes:
        plain: of the network's own forward pass.
        prepared: of the prepared network.
        difference: largest |difference| between the logits of the two.
        samples: length of an utterance.
        batch: utterances scored at once.
        threads: threads of PyTorch.
    """

    plain: tuple[float, ...]
    prepared: tuple[float, ...]
    difference: float
    samples: int
    batch: int
    threads: int

    @property
    def ratio(self) -> float:
        """How many times as fast the prepared network is: the ratio of the medians."""
        return statistics.median(self.plain) / statistics.median(self.prepared)


def measure_scoring(
    network: nn.Module, samples: int = 64_600, batch: int = 1, rounds: int = 15, seed: int = 0
) -> ScoringTimes:
    """Score the same noise with the network and with its prepared copy, in turns, `rounds` times after two to warm up.

    The network is put into evaluation mode. It runs where its parameters are.
    """
    network = network.eval()
    prepared = prepare_for_inference(network)
    device = next(network.parameters()).device
    waveform = 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed)).to(device)
    plain_times: list[float] = []
    prepared_times: list[float] = []
    difference = 0.0
    with torch.inference_mode():
        for turn in range(rounds + 2):
            results = []
            for each, times in ((network, plain_times), (prepared, prepared_times)):
                start = time.perf_counter()
                results.append(each(waveform).cpu())
                if turn >= 2:
                    times.append(time.perf_counter() - start)
            difference = max(difference, (results[0] - results[1]).abs().max().item())
    return ScoringTimes(tuple(plain_times), tuple(prepared_times), difference, samples, batch, torch.get_num_threads())
