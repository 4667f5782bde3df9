"""How long a search step takes and how much memory it needs: per edge against folded, in one alternating run."""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor

from nas.bilevel import architecture_step, weight_step
from nas.cells.skeleton import Skeleton
from nas.config import SearchedNetwork
from nas.progress import progress_bar
from nas.space import get_space
from nas.supernet.architecture import Architecture
from nas.supernet.folded import FoldedCell
from nas.supernet.network import Implementation, Supernet
from nas.supernet.per_edge import SearchCell

Clock = Literal["wall", "process"]
CLOCKS: dict[Clock, Callable[[], float]] = {"wall": time.perf_counter, "process": time.process_time}


@dataclass(frozen=True)
class Variant:
    """One way to compute the supernet."""

    implementation: Implementation
    compile: str = "none"
    precision: str = "float32"
    recompute: bool = False

    @property
    def name(self) -> str:
        parts = [self.implementation, "eager" if self.compile == "none" else f"compile {self.compile}", self.precision]
        return ", ".join(parts + (["recompute"] if self.recompute else []))


DEFAULT = (Variant("per_edge"), Variant("folded"))


def bench_search(
    variants: Sequence[Variant] = DEFAULT,
    channels: int = 64,
    cells: int = 8,
    samples: int = 64_000,
    batch: int = 4,
    repeats: int = 5,
    device: str = "cpu",
    memory: bool = True,
    clock: Clock = "wall",
    progress: bool = False,
    **network: Any,
) -> dict[str, Any]:
    """Median seconds of a forward, a weight step, an architecture step and both, of each variant.

    The variants take turns within each repeat, so that a change of the machine's load meets all of them. The first
    variant is what the others are compared with: `ratio` is the ratio of medians of the bi-level step.

    Args:
        variants: what to compare.
        channels, cells, samples, batch: size of the supernet and of its input.
        repeats: rounds that count, after one that does not.
        device: "cpu" or "cuda".
        memory: also the peak memory in bytes of a bi-level step (on a CPU: of a process of its own for each variant,
            less what it held before the step).
        clock: "wall", or "process": processor seconds of this process, for a machine that others use at the same time
            (with one thread; threads that wait for each other count too).
        progress: whether to show a progress bar.
        network: other arguments of `Supernet`.

    Returns:
        "machine", "setting" and "rows".
    """
    made = [_Bench(v, channels, cells, samples, batch, device, network, clock) for v in variants]
    times: list[list[tuple[float, float, float]]] = [[] for _ in made]
    rounds = progress_bar(range(repeats + 1), desc="rounds", unit="round", show=progress)
    for repeat in rounds:
        for bench, found in zip(made, times, strict=True):
            measured = bench.forward(), bench.weights(), bench.architecture()
            if repeat:
                found.append(measured)
    del made
    rows: list[dict[str, Any]] = []
    for variant, found in zip(variants, times, strict=True):
        forward, weights, architecture = (median(column) for column in zip(*found, strict=True))
        steps = [w + a for _, w, a in found]
        row: dict[str, Any] = {
            "variant": variant.name,
            "forward_s": forward,
            "weight_step_s": weights,
            "architecture_step_s": architecture,
            "bilevel_step_s": median(steps),
            "bilevel_step_fastest_s": min(steps),
            "bilevel_step_slowest_s": max(steps),
        }
        row["ratio"] = rows[0]["bilevel_step_s"] / row["bilevel_step_s"] if rows else 1.0
        if memory:
            row["peak_bytes"] = peak_memory(variant, channels, cells, samples, batch, device, network)
        rows.append(row)
    return {
        "machine": machine(device),
        "setting": {"channels": channels, "cells": cells, "samples": samples, "batch": batch, "repeats": repeats}
        | {"clock": clock},
        "rows": rows,
    }


def bench_cells(
    channels: int = 64,
    cells: int = 8,
    frames: int = 10_646,
    batch: int = 4,
    repeats: int = 3,
    clock: Clock = "wall",
) -> dict[str, Any]:
    """Median seconds, forward plus backward with all gradients, of each cell of the stack: per edge against folded."""
    space = get_space("raw_waveform")
    nodes, edges, primitives = space.topology.intermediate, len(space.topology.edges), len(space.primitives)
    rows = []
    skeleton = Skeleton.of(space, SearchedNetwork(channels=channels, cells=cells))
    for number, plan in enumerate(skeleton.plans(dict.fromkeys(space.types, nodes)), start=1):
        modules = [SearchCell(space, plan, 2), FoldedCell(space, plan, 2)]
        inputs = [
            torch.randn(batch, plan.before_previous, 2 * frames, requires_grad=True),
            torch.randn(batch, plan.previous, frames, requires_grad=True),
            torch.full((edges, primitives), 1 / primitives, requires_grad=True),
            torch.full((edges,), 1 / 3, requires_grad=True),
        ]
        times: list[list[float]] = [[], []]
        for repeat in range(repeats + 1):
            for module, found in zip(modules, times, strict=True):
                start = CLOCKS[clock]()
                module(*inputs).sum().backward()
                if repeat:
                    found.append(CLOCKS[clock]() - start)
        definition, folded = median(times[0]), median(times[1])
        rows.append(
            {
                "cell": number,
                "channels": plan.channels,
                "frames": frames,
                "way": "folded" if modules[1].folds(inputs[1]) else "definition",  # type: ignore[operator]
                "per_edge_s": definition,
                "folded_s": folded,
                "ratio": definition / folded,
            }
        )
        frames //= 2
    return {"machine": machine("cpu"), "setting": {"channels": channels, "batch": batch, "clock": clock}, "rows": rows}


def machine(device: str) -> dict[str, Any]:
    """Processor or GPU, threads, load and versions, for the record."""
    described: dict[str, Any] = {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        described["cpu"] = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")
        flags = next((x.split() for x in lines if x.startswith("flags")), [])
        described["bf16"] = {name: name in flags for name in ("avx512_bf16", "amx_bf16")}
    if Path("/proc/loadavg").exists():
        described["load"] = Path("/proc/loadavg").read_text().split()[:3]
    if device == "cuda":
        described["gpu"] = torch.cuda.get_device_name()
    return described


def peak_memory(
    variant: Variant, channels: int, cells: int, samples: int, batch: int, device: str, network: dict[str, Any]
) -> int:
    """Bytes that a bi-level step holds at its peak beyond the model and its optimisers."""
    if device == "cuda":
        bench = _Bench(variant, channels, cells, samples, batch, device, network)
        bench.both()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        bench.both()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    arguments = json.dumps([asdict(variant), channels, cells, samples, batch, network, torch.get_num_threads()])
    command = [sys.executable, "-m", "nas.supernet.benchmark", arguments]
    # From the folder of this package: `-m` puts the current one first, whatever lies there.
    home = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=home)  # noqa: S603
    return int(done.stdout.split()[-1])


class _Bench:
    """A supernet with its optimisers and one batch."""

    def __init__(
        self,
        variant: Variant,
        channels: int,
        cells: int,
        samples: int,
        batch: int,
        device: str,
        network: dict[str, Any],
        clock: Clock = "wall",
    ) -> None:
        torch.manual_seed(0)
        self.variant, self.device, self.clock = variant, device, CLOCKS[clock]
        self.supernet = Supernet(
            Architecture(get_space("raw_waveform")),
            SearchedNetwork(channels=channels, cells=cells, **network),
            implementation=variant.implementation,
            compile=variant.compile,  # type: ignore[arg-type]
            recompute=variant.recompute,
        ).to(device)
        self.waveforms = 0.1 * torch.randn(batch, samples, device=device)
        self.labels = torch.arange(batch, device=device) % 2
        self.weight_optimizer = torch.optim.Adam(self.supernet.weight_parameters(), 5e-5, fused=True)
        self.architecture_optimizer = torch.optim.Adam(self.supernet.architecture.parameters(), 6e-4)

    def _timed(self, work: Callable[[], object]) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        start = self.clock()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.variant.precision == "bf16"):
            work()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return self.clock() - start

    def forward(self) -> float:
        with torch.no_grad():
            return self._timed(lambda: self.supernet(self.waveforms))

    def weights(self) -> float:
        return self._timed(lambda: weight_step(self.supernet, self.weight_optimizer, self.waveforms, self.labels))

    def architecture(self) -> float:
        step: Callable[[], Tensor] = lambda: architecture_step(  # noqa: E731
            self.supernet, self.architecture_optimizer, self.waveforms, self.labels
        )
        return self._timed(step)

    def both(self) -> None:
        self.architecture()
        self.weights()


def _measure_memory(arguments: str) -> None:
    """The process of `peak_memory`: prints the growth of its peak resident size through two bi-level steps."""
    variant, channels, cells, samples, batch, network, threads = json.loads(arguments)
    torch.set_num_threads(threads)
    bench = _Bench(Variant(**variant), channels, cells, samples, batch, "cpu", network)
    # Adam's two moments are made by the first step; they are counted as held before.
    held = 2 * sum(p.numel() * p.element_size() for p in bench.supernet.weight_parameters())
    before = _peak_resident()
    bench.both()
    bench.both()
    print(_peak_resident() - before - held)


def _peak_resident() -> int:
    """Peak resident size of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would count the peak of the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    # In bytes on macOS, in kilobytes elsewhere.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    _measure_memory(sys.argv[1])
