"""How long a training step of a genotype's network takes, in one alternating run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch

from nas.errors import NasError
from nas.genotype import Genotype
from nas.networks.raw_pcdarts import raw_pcdarts
from nas.supernet.benchmark import machine

MEL_FIXED = Genotype.parse(
    "Genotype(normal=[('dil_conv_5', 1), ('dil_conv_3', 0), ('dil_conv_5', 1), ('dil_conv_5', 2), ('std_conv_5', 2), "
    "('skip_connect', 3), ('std_conv_5', 2), ('skip_connect', 4)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3', 0), ('std_conv_3', 1), ('dil_conv_3', 0), ('dil_conv_3', 2), ('skip_connect', 0), "
    "('dil_conv_5', 2), ('dil_conv_3', 0), ('avg_pool_3', 1)], reduce_concat=range(2, 6))"
)
"""The published genotype of the fixed mel configuration (Ge et al. 2021, Figure 3)."""


def bench_train(
    genotype: Genotype | None = None,
    channels: int = 64,
    samples: int = 64_000,
    batch: int = 4,
    repeats: int = 5,
    device: str = "cpu",
    precisions: Sequence[str] = ("float32", "bf16"),
    compiles: Sequence[str] = ("none",),
    **network: Any,
) -> dict[str, Any]:
    """Median seconds of a forward and of a training step for each precision, eager or compiled.

    The variants take turns within each repeat; `ratio` compares with the first, eager float32.

    Args:
        genotype: of the network; the published one by default.
        channels, samples, batch: size of the network and of its input.
        repeats: rounds that count, after one that does not.
        device: "cpu" or "cuda".
        precisions: "float32", "bf16".
        compiles: "none", "whole".
        network: other values of `nas.config.SearchedNetwork`.

    Raises:
        NasError: an unknown precision or way to compile.
    """
    for given, valid in ((precisions, ("float32", "bf16")), (compiles, ("none", "whole"))):
        for value in given:
            if value not in valid:
                raise NasError(f"{value!r} is not one of {', '.join(valid)}")
    variants = [(precision, form) for form in compiles for precision in precisions]
    steps = [
        _Step(genotype or MEL_FIXED, channels, samples, batch, device, *variant, **network) for variant in variants
    ]
    times: list[list[tuple[float, float]]] = [[] for _ in steps]
    for repeat in range(repeats + 1):
        for step, found in zip(steps, times, strict=True):
            seconds = step.timed(step.forward), step.timed(step.train)
            if repeat:
                found.append(seconds)
    rows: list[dict[str, Any]] = []
    for (precision, form), found in zip(variants, times, strict=True):
        forward, train = (median(column) for column in zip(*found, strict=True))
        row: dict[str, Any] = {
            "variant": f"{'eager' if form == 'none' else 'compiled'}, {precision}",
            "forward_s": forward,
            "train_step_s": train,
            "utterances_per_second": batch / train,
        }
        row["ratio"] = rows[0]["train_step_s"] / train if rows else 1.0
        rows.append(row)
    setting = {"channels": channels, "samples": samples, "batch": batch, "repeats": repeats}
    return {"machine": machine(device), "setting": setting, "rows": rows}


class _Step:
    """A network with its optimiser and one batch."""

    def __init__(
        self,
        genotype: Genotype,
        channels: int,
        samples: int,
        batch: int,
        device: str,
        precision: str,
        form: str,
        **network: Any,
    ) -> None:
        torch.manual_seed(0)
        self.device, self.half = device, precision == "bf16"
        self.network = raw_pcdarts(genotype, channels=channels, **network).to(device)
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(trained, 5e-5, fused=device == "cuda")
        self.waveforms = 0.1 * torch.randn(batch, samples, device=device)
        self.labels = torch.arange(batch, device=device) % 2
        if form == "whole":
            self.network.compile()

    def forward(self) -> None:
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            self.network(self.waveforms)

    def train(self) -> None:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            logits = self.network(self.waveforms)
        loss = self.network.output.loss(logits.float(), self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def timed(self, work: Any) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start
