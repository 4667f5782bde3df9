"""nas bench search | cells | train | score"""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.errors import NasError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Json = Annotated[Path | None, typer.Option("--json", help="Also write everything measured here.", metavar="FILE")]
Batch = Annotated[int, typer.Option(help="Utterances in a batch.")]
Channels = Annotated[int, typer.Option(help="C of the network.")]
Samples = Annotated[int, typer.Option(help="Length of an utterance in samples.")]
Repeats = Annotated[int, typer.Option(help="Rounds that count, after one that does not.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
PRECISIONS = ("float32", "bf16")


@app.callback()
def bench() -> None:
    """Measure how long things take here: the compared implementations take turns in one run; ratios of medians."""


@app.command()
def search(
    channels: Channels = 64,
    cells: Annotated[int, typer.Option(help="Cells of the network.")] = 8,
    samples: Samples = 64_000,
    batch: Batch = 4,
    repeats: Repeats = 5,
    device: Device = "cpu",
    precision: Annotated[str, typer.Option(help="Comma-separated: float32, bf16.")] = "float32",
    compile: Annotated[str, typer.Option(help="Comma-separated: none, cell, whole.")] = "none",
    implementation: Annotated[
        str, typer.Option(help="What precision and compile are tried on; compiling per_edge takes long.")
    ] = "per_edge,folded",
    memory: Annotated[bool, typer.Option(help="Also measure peak memory, each in a process of its own.")] = True,
    json: Json = None,
) -> None:
    """A step of the search: forward, weight step, architecture step, peak memory; per edge against folded.

    All are compared with the definition, per edge in float32 and not compiled.

    Example: nas bench search --batch 4 --precision float32,bf16
    """
    from nas.supernet.benchmark import Variant, bench_search

    variants = [Variant("per_edge")]
    variants += [
        Variant(how, compiled, numbers)  # type: ignore[arg-type]
        for how in _listed(implementation, "per_edge", "folded")
        for numbers in _listed(precision, *PRECISIONS)
        for compiled in _listed(compile, "none", "cell", "whole")
        if (how, numbers, compiled) != ("per_edge", "float32", "none")
    ]
    typer.echo(f"{len(variants)} variants, {repeats + 1} rounds; with --batch 1 --repeats 1 it is faster", err=True)
    result = bench_search(variants, channels, cells, samples, batch, repeats, device, memory, progress=True)
    _print(result, json)


@app.command("cells")
def cells_of(
    channels: Channels = 64,
    frames: Annotated[int, typer.Option(help="Frames that enter the first cell.")] = 10_646,
    batch: Batch = 4,
    repeats: Repeats = 3,
    json: Json = None,
) -> None:
    """Each cell of the supernet by itself, forward and backward: per edge against folded."""
    from nas.supernet.benchmark import bench_cells

    _print(bench_cells(channels, frames=frames, batch=batch, repeats=repeats), json)


@app.command()
def train(
    genotype: Annotated[Path | None, typer.Option(help="Genotype file; the published one by default.")] = None,
    channels: Channels = 64,
    samples: Samples = 64_000,
    batch: Batch = 4,
    repeats: Repeats = 5,
    device: Device = "cpu",
    precision: Annotated[str, typer.Option(help="Comma-separated: float32, bf16.")] = "float32,bf16",
    compile: Annotated[str, typer.Option(help="Comma-separated: none, whole.")] = "none",
    json: Json = None,
) -> None:
    """A training step of a genotype's network, eager float32 against other precisions and compiled."""
    from nas.genotype import Genotype
    from nas.training.benchmark import bench_train

    found = Genotype.load(genotype) if genotype else None
    _print(
        bench_train(
            found,
            channels,
            samples,
            batch,
            repeats,
            device,
            _listed(precision, *PRECISIONS),
            _listed(compile, "none", "whole"),
        ),
        json,
    )


@app.command()
def score(
    networks: Annotated[
        list[str] | None, typer.Argument(help="Networks by name; AASIST and AASIST-L by default.")
    ] = None,
    samples: Samples = 64_600,
    batch: Batch = 1,
    repeats: Repeats = 9,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch.")] = 1,
    json: Json = None,
) -> None:
    """Scoring one utterance on a CPU: the plain network against the one prepared for inference, logits compared.

    Example: nas bench score aasist rawnet2-2019 --threads 2
    """
    from statistics import median

    from nas.networks import create
    from nas.networks.benchmark import measure_scoring
    from nas.supernet.benchmark import machine

    rows = []
    for name in networks or ["aasist", "aasist-l"]:
        times = measure_scoring(create(name), samples, batch, repeats, threads=threads)
        rows.append(
            {
                "network": name,
                "threads": times.threads,
                "plain_s": median(times.plain),
                "prepared_s": median(times.prepared),
                "ratio": times.ratio,
                "largest_difference": times.difference,
            }
        )
    setting = {"samples": samples, "batch": batch, "repeats": repeats}
    _print({"machine": machine("cpu"), "setting": setting, "rows": rows}, json)


def _listed(text: str, *valid: str) -> list[str]:
    from nas.errors import nearest

    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        if part not in valid:
            raise NasError(f"{part!r} cannot be measured{nearest(part, list(valid))}")
    return parts


def _print(result: Mapping[str, Any], path: Path | None) -> None:
    from nas.cli.options import print_table
    from nas.files import write_text

    for title in ("machine", "setting"):
        typer.echo(f"{title}: " + ", ".join(f"{key} {value}" for key, value in result[title].items()))
    rows: Sequence[Mapping[str, Any]] = result["rows"]
    header = [name.removesuffix("_s") + (" s" if name.endswith("_s") else "") for name in rows[0]]
    print_table([name.replace("_", " ") for name in header], [[_cell(k, v) for k, v in row.items()] for row in rows])
    if path is not None:
        write_text(path, json_format.dumps(result, indent=2) + "\n")


def _cell(name: str, value: Any) -> str:
    if name.endswith("bytes"):
        return f"{value / 1e9:.2f} GB"
    if name == "largest_difference":
        return f"{value:.1e}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
