"""How long scoring takes, plain and prepared, measured side by side."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from nas.network import Network
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
    network: Network, samples: int = 64_600, batch: int = 1, rounds: int = 15, threads: int = 1, seed: int = 0
) -> ScoringTimes:
    """Score the same noise with the network and with its prepared copy, in turns, `rounds` times after two to warm up.

    The network is put into evaluation mode. It runs where its parameters are.

    Args:
        network: the plain network.
        samples: length of an utterance.
        batch: utterances scored at once.
        rounds: how often each is timed.
        threads: of PyTorch, while it lasts. One measures a core; more than one wait for each other on a busy machine.
        seed: of the noise.
    """
    network = network.eval()
    prepared = prepare_for_inference(network)
    device = next(network.parameters()).device
    waveform = 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed)).to(device)
    times: tuple[list[float], list[float]] = ([], [])
    difference = 0.0
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            for turn in range(rounds + 2):
                logits = []
                for each, kept in zip((network, prepared), times, strict=True):
                    start = time.perf_counter()
                    logits.append(each(waveform).cpu())
                    if turn >= 2:
                        kept.append(time.perf_counter() - start)
                difference = max(difference, (logits[0] - logits[1]).abs().max().item())
    finally:
        torch.set_num_threads(threads_before)
    return ScoringTimes(tuple(times[0]), tuple(times[1]), difference, samples, batch, threads)
