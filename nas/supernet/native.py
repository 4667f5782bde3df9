"""The passes of `passes.py` in C for float32 and float64 on a CPU (passes.c), compiled once with the system's compiler.

Nothing needs it: without a C compiler the torch operations of `passes.py` are used. The signatures are theirs.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from nas.space import LEAKY_SLOPE, Pool
from nas.supernet.library_cache import cached_library, load_library

FLAGS = ("-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
REALS = {torch.float32: "float", torch.float64: "double"}


class _Pool(ctypes.Structure):
    _fields_ = (("average", ctypes.c_long), ("half", ctypes.c_long))


@lru_cache
def load_passes(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled passes for a dtype; None where they cannot be had."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    # A relative path is a program of the current folder, which an entry of PATH such as "." would find.
    if compiler is None or not os.path.isabs(compiler) or dtype not in REALS:
        return None
    source = Path(__file__).with_name("passes.c").read_text(encoding="utf-8")
    cpu = Path("/proc/cpuinfo")
    traits = cpu.read_text(encoding="utf-8").split("\n\n")[0] if cpu.exists() else ""
    features = [line for line in traits.splitlines() if line.startswith(("flags", "Features", "model name"))]
    key = hashlib.sha256("\n".join([source, compiler, *FLAGS, *features]).encode()).hexdigest()[:16]
    try:
        content = cached_library(f"passes-{REALS[dtype]}-{key}", lambda: _compile(compiler, REALS[dtype]))
        return load_library(content)
    except (OSError, subprocess.CalledProcessError):
        return None


def _compile(compiler: str, real: str) -> bytes:
    """The library, made in a private folder."""
    source = Path(__file__).with_name("passes.c")
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch) / "passes.so"
        command = [compiler, *FLAGS, f"-DREAL={real}", "-o", str(built), str(source), "-lm"]
        subprocess.run(command, check=True, capture_output=True, cwd=scratch)  # noqa: S603
        return built.read_bytes()


def available(x: Tensor) -> bool:
    """Whether the C passes can work on tensors like this one."""
    return x.device.type == "cpu" and load_passes(x.dtype) is not None


def _call(name: str, like: Tensor, *arguments: Tensor | int | float | ctypes.Array) -> None:
    converted: list[object] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            converted.append(ctypes.c_void_p(argument.data_ptr()))
        elif isinstance(argument, int):
            converted.append(ctypes.c_long(argument))
        elif isinstance(argument, float):
            converted.append(ctypes.c_double(argument))
        else:
            converted.append(argument)
    compiled = load_passes(like.dtype)
    assert compiled is not None
    function = getattr(compiled, name)
    function.restype = None
    function(*converted)


def _pools(pools: Sequence[Pool]) -> ctypes.Array:
    return (_Pool * max(1, len(pools)))(*(_Pool(int(p.kind == "average"), p.kernel // 2) for p in pools))


def _rows(x: Tensor) -> Tensor:
    """x [B, C, T] with contiguous rows that follow each other; only the batch stride is free."""
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()


def prepare(x: Tensor, out: Tensor, pools: Sequence[Pool], reach: int) -> tuple[Tensor, Tensor, Tensor]:
    x = _rows(x)
    batch, channels, frames = x.shape
    shift = x.new_empty(channels)
    means, variances = x.new_empty(len(pools), channels), x.new_empty(len(pools), channels)
    _call(
        "prepare", x, x, x.stride(0), out, out.stride(0), shift, means, variances, _pools(pools), len(pools),
        batch, channels, frames, reach, LEAKY_SLOPE,
    )  # fmt: skip
    return shift, means, variances


def mix_node(
    mix: Tensor,
    states: Sequence[Tensor],
    weights: Tensor,
    means: Tensor,
    scales: Tensor,
    bypass: Tensor,
    node: Tensor,
    pools: Sequence[Pool],
) -> None:
    states = [_rows(state) for state in states]
    batch, active, frames = mix.shape
    pointers = (ctypes.c_void_p * len(states))(*(state.data_ptr() for state in states))
    strides = (ctypes.c_long * len(states))(*(state.stride(0) for state in states))
    _call(
        "mix_node", mix, mix.contiguous(), pointers, strides, len(states), weights.contiguous(), means.contiguous(),
        scales.contiguous(), bypass.contiguous(), node, node.stride(0), _pools(pools), len(pools), batch, active,
        node.shape[1] // active, frames,
    )  # fmt: skip


def project(
    x: Tensor, gradients: Tensor, means: Tensor, scales: Tensor, rest: Tensor, pools: Sequence[Pool]
) -> tuple[Tensor, Tensor, Tensor]:
    x = _rows(x)
    batch, targets, active, frames = gradients.shape
    products, sums = x.new_empty(targets, 1 + len(pools), active), x.new_empty(targets, active)
    direct = x.new_zeros(x.shape[1] - active, targets)
    _call(
        "project", x, x, x.stride(0), gradients, gradients.stride(0), gradients.stride(1), gradients.stride(2),
        targets, means, scales, products, sums, rest, rest.stride(0), rest.stride(1), direct, _pools(pools),
        len(pools), batch, active, x.shape[1] // active, frames,
    )  # fmt: skip
    return products, sums, direct.sum(0)


def collect(
    x: Tensor,
    du: Tensor,
    gradients: Tensor,
    weights: Tensor,
    products: Tensor,
    sums: Tensor,
    means: Tensor,
    scales: Tensor,
    rest: Tensor,
    bypass: Tensor,
    out: Tensor,
    pools: Sequence[Pool],
) -> None:
    x = _rows(x)
    batch, targets, active, frames = gradients.shape
    _call(
        "collect", x, x, x.stride(0), du.contiguous(), gradients, gradients.stride(0), gradients.stride(1),
        gradients.stride(2), targets, weights.contiguous(), products, sums, means, scales, rest, rest.stride(0),
        rest.stride(1), bypass.contiguous(), out, out.stride(0), _pools(pools), len(pools), batch, active,
        x.shape[1] // active, frames, LEAKY_SLOPE,
    )  # fmt: skip


def halve(nodes: Tensor) -> Tensor:
    nodes = nodes.contiguous()
    batch, channels, frames = nodes.shape
    out = nodes.new_empty(batch, channels, frames // 2)
    _call("halve", nodes, nodes, out, batch * channels, frames)
    return out


def halve_backward(gradient: Tensor, x: Tensor) -> Tensor:
    x, gradient = _rows(x), _rows(gradient)
    out = torch.empty(x.shape, dtype=x.dtype)
    _call("halve_backward", x, gradient, gradient.stride(0), x, x.stride(0), out, *x.shape)
    return out


def normalise(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    x = _rows(x)
    out = torch.empty(x.shape, dtype=x.dtype)
    mean, variance = x.new_empty(x.shape[1]), x.new_empty(x.shape[1])
    _call("normalise", x, x, x.stride(0), out, mean, variance, *x.shape, eps)
    return out, mean, variance


def normalise_backward(gradient: Tensor, normal: Tensor, scale: Tensor) -> Tensor:
    gradient = _rows(gradient)
    out = torch.empty(normal.shape, dtype=normal.dtype)
    _call("normalise_backward", normal, gradient, gradient.stride(0), normal, scale, out, *normal.shape)
    return out
