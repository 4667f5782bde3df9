"""Make search_trajectory.safetensors: 6 warm-up and 20 bi-level steps of the search, by definition in plain PyTorch.

The network and the two optimisers are written down here once more, from Ge et al. 2021 and what is known of the
published code, as functions of a dictionary of tensors in float64; nothing of the package computes anything. Only the
initial weights are those of a fresh supernet, whose names the dictionary takes. As published, every mixed operation is
computed twice a forward pass, and architecture steps move running statistics too. Filters are not masked, so that no
step draws a random number.

    python tests/golden/make_search_trajectory.py
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

CHANNELS, CELLS, NODES, HIDDEN, BATCH, SAMPLES = 4, 3, 4, 8, 6, 1500
WARMUP, BILEVEL = 6, 20
WEIGHTS = {"lr": 5e-5, "weight_decay": 3e-4}
ARCHITECTURE = {"lr": 6e-4, "betas": (0.5, 0.999), "weight_decay": 1e-3}
PRIMITIVES = (
    "none",
    "max_pool_3",
    "avg_pool_3",
    "skip_connect",
    "std_conv_3",
    "std_conv_5",
    "dil_conv_3",
    "dil_conv_5",
)
State = dict[str, Tensor]


def normalise(state: State, name: str, x: Tensor, training: bool) -> Tensor:
    """Batch normalisation by the batch's statistics, which move the running ones, or in evaluation by the latter."""
    if training:
        mean = x.mean((0, 2))
        variance = (x - mean[:, None]).square().mean((0, 2))
        values = x.shape[0] * x.shape[2]
        with torch.no_grad():
            for key, found in (("mean", mean), ("var", variance * values / (values - 1))):
                running = f"{name}.running_{key}"
                state[running] = 0.9 * state[running] + 0.1 * found
    else:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    y = (x - mean[:, None]) / (variance[:, None] + 1e-5).sqrt()
    if f"{name}.weight" in state:
        y = y * state[f"{name}.weight"][:, None] + state[f"{name}.bias"][:, None]
    return y


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.3 * x)


def sinc_filters(state: State) -> Tensor:
    """Difference of two low-pass filters in a Hamming window, its middle tap 1: [C, 1, 129]."""
    low = 50 + state["stem.frontend.low_hz"][:CHANNELS].abs()
    high = (low + 50 + state["stem.frontend.band_hz"][:CHANNELS].abs()).clamp(50, 8000)
    n = torch.arange(-64, 0, dtype=torch.float64)
    place = torch.linspace(0, 129 / 2 - 1, 64, dtype=torch.float64)
    window = 0.54 - 0.46 * torch.cos(2 * math.pi * place / 129)
    time = 2 * math.pi * n / 16_000
    left = 2 * (torch.sin(high * time) - torch.sin(low * time)) / time * window / (2 * (high - low))
    return torch.cat([left, torch.ones_like(low), left.flip(1)], 1)[:, None]


def candidate(state: State, name: str, primitive: str, x: Tensor, training: bool) -> Tensor:
    if primitive == "none":
        return torch.zeros_like(x)
    if primitive == "skip_connect":
        return x
    if primitive == "max_pool_3":
        return normalise(state, f"{name}.1", F.max_pool1d(x, 3, 1, 1), training)
    if primitive == "avg_pool_3":
        return normalise(state, f"{name}.1", F.avg_pool1d(x, 3, 1, 1, count_include_pad=False), training)
    kernel, channels = int(primitive[-1]), x.shape[1]
    if primitive.startswith("std"):
        y = F.conv1d(leaky(x), state[f"{name}.1.weight"], padding=kernel // 2)
        return normalise(state, f"{name}.2", y, training)
    y = F.conv1d(leaky(x), state[f"{name}.1.weight"], padding=kernel - 1, dilation=2, groups=channels)
    return normalise(state, f"{name}.3", F.conv1d(y, state[f"{name}.2.weight"]), training)


def mixed(state: State, name: str, x: Tensor, a: Tensor, training: bool) -> Tensor:
    """Half of the channels through all candidates, the other half beside them; then shuffled."""
    active, rest = x.chunk(2, dim=1)
    terms = [
        a[k] * candidate(state, f"{name}.candidates.{k}", primitive, active, training)
        for k, primitive in enumerate(PRIMITIVES)
    ]
    joined = torch.cat([torch.stack(terms).sum(0), rest], 1)
    batch, channels, frames = joined.shape
    return joined.view(batch, 2, channels // 2, frames).transpose(1, 2).reshape(batch, channels, frames)


def weights(state: State, kind: str) -> tuple[Tensor, Tensor]:
    """softmax of alpha over the primitives of an edge, and of beta over the edges into a node."""
    parts = state[f"architecture.beta_{kind}"].split([2, 3, 4, 5])
    return state[f"architecture.alpha_{kind}"].softmax(1), torch.cat([part.softmax(0) for part in parts])


def search_cell(state: State, number: int, kind: str, s0: Tensor, s1: Tensor, training: bool) -> Tensor:
    name = f"cells.{number}"
    kernels = [f"{name}.preprocess.first.conv{part}.weight" for part in ("", "_1", "_2")]
    kernel = torch.cat([state[key] for key in kernels if key in state])
    x0 = F.max_pool1d(F.conv1d(leaky(s0), kernel), 2)
    x1 = F.conv1d(leaky(s1), state[f"{name}.preprocess.second.1.weight"])
    states = [
        normalise(state, f"{name}.preprocess.first.norm", x0, training),
        normalise(state, f"{name}.preprocess.second.2", x1, training),
    ]
    a, b = weights(state, kind)
    edge = 0
    for _ in range(NODES):
        total = torch.zeros_like(states[0])
        for x in list(states):
            for _ in range(2):  # the published code throws the first result away; running statistics have moved
                y = mixed(state, f"{name}.edges.{edge}", x, a[edge], training)
            total = total + b[edge] * y
            edge += 1
        states.append(total)
    return F.max_pool1d(torch.cat(states[2:], 1), 2)


def cosines(state: State, waveforms: Tensor, training: bool) -> Tensor:
    x = F.max_pool1d(F.conv1d(waveforms[:, None], sinc_filters(state), padding=2), 3)
    s0 = leaky(normalise(state, "stem.norm", x, training))
    y = F.conv1d(s0, state["stem.conv.weight"], stride=2, padding=1)
    s1 = leaky(normalise(state, "stem.conv_norm", y, training))
    for number in range(CELLS):
        kind = "expand" if number in (CELLS // 3, 2 * CELLS // 3) else "normal"
        s0, s1 = s1, search_cell(state, number, kind, s0, s1, training)
    h = s1.new_zeros(len(s1), HIDDEN)
    gru = {part: state[f"head.gru.{part}_l0"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    for frame in s1.unbind(2):
        r, z, n = (frame @ gru["weight_ih"].t() + gru["bias_ih"]).chunk(3, 1)
        r_h, z_h, n_h = (h @ gru["weight_hh"].t() + gru["bias_hh"]).chunk(3, 1)
        z = torch.sigmoid(z + z_h)
        h = (1 - z) * torch.tanh(n + torch.sigmoid(r + r_h) * n_h) + z * h
    embedding = h @ state["head.fc.weight"].t() + state["head.fc.bias"]
    vectors = state["output.weight"]
    vectors = vectors / (vectors.norm(dim=0) + 1e-7)
    return embedding @ vectors / embedding.norm(dim=1, keepdim=True)


def p2s_loss(state: State, waveforms: Tensor, labels: Tensor) -> Tensor:
    """Mean squared difference between cosines and the one-hot class (P2SGrad)."""
    return (cosines(state, waveforms, True) - F.one_hot(labels, 2)).square().mean()


def genotype(state: State) -> str:
    """At each node the two inputs whose best primitive but none has the largest a * b."""
    cells = []
    for kind in ("normal", "expand"):
        a, b = weights(state, kind)
        kept, first = [], 0
        for sources in range(2, 2 + NODES):
            strength = a[first : first + sources, 1:] * b[first : first + sources, None]
            best = strength.max(1)
            order = sorted(range(sources), key=lambda source: -best.values[source])[:2]
            kept += [(PRIMITIVES[1 + int(best.indices[source])], source) for source in order]
            first += sources
        cells.append(kept)
    return f"Genotype(normal={cells[0]}, normal_concat=range(2, 6), reduce={cells[1]}, reduce_concat=range(2, 6))"


def audio(utterances: int) -> tuple[Tensor, Tensor]:
    """Noisy tones in 16 bits, [utterances, SAMPLES]; every other one, a low tone, is bona fide."""
    time, labels = torch.arange(SAMPLES) / 16_000, torch.arange(utterances) % 2
    hertz = torch.where(labels == 1, 300.0, 2500.0)[:, None] * (1 + 0.3 * torch.rand(utterances, 1))
    waveforms = 0.3 * torch.sin(2 * math.pi * hertz * time) + 0.2 * torch.randn(utterances, SAMPLES)
    return (waveforms.clamp(-1, 1) * 32_767).round().to(torch.int16), labels


def step(state: State, names: list[str], optimizer: torch.optim.Optimizer, *batch: Tensor) -> Tensor:
    loss = p2s_loss(state, *batch)
    wanted = [state[name] for name in names]
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
    for tensor, gradient in zip(wanted, gradients, strict=True):
        tensor.grad = gradient
    optimizer.step()
    return loss.detach()


def main() -> None:
    from nas.config import SearchedNetwork
    from nas.space import get_space
    from nas.supernet.architecture import Architecture
    from nas.supernet.network import Supernet

    torch.manual_seed(0)
    sizes = SearchedNetwork(channels=CHANNELS, cells=CELLS, gru_hidden=HIDDEN, gru_layers=1)
    supernet = Supernet(Architecture(get_space("raw_waveform")), sizes)
    initial = {name: tensor.clone() for name, tensor in supernet.state_dict().items() if "num_batches" not in name}
    trained = [name for name, parameter in supernet.named_parameters() if parameter.requires_grad]
    state = {name: tensor.double() for name, tensor in initial.items()}
    for name in trained:
        state[name].requires_grad_()
    pool, labels = audio(32)
    waveforms = pool.double() / 32_768
    order = torch.stack([torch.randperm(32)[:BATCH] for _ in range(WARMUP + 2 * BILEVEL)])
    names = {level: [n for n in trained if n.startswith("architecture.") == level] for level in (False, True)}
    omega = torch.optim.Adam([state[name] for name in names[False]], **WEIGHTS)
    alpha = torch.optim.Adam([state[name] for name in names[True]], **ARCHITECTURE)
    losses = []
    for number, chosen in enumerate(order):
        held_out = number >= WARMUP and (number - WARMUP) % 2 == 0
        optimizer = alpha if held_out else omega
        losses.append(step(state, names[held_out], optimizer, waveforms[chosen], labels[chosen]))
    with torch.no_grad():
        found = cosines(state, waveforms, False)
    tensors = {f"initial.{name}": tensor for name, tensor in initial.items() if "running" not in name}
    tensors |= {f"final.{name}": state[name].detach() for name in names[True]}
    tensors |= {"audio": pool, "labels": labels, "batches": order, "losses": torch.stack(losses), "cosines": found}
    sizes = {"channels": CHANNELS, "cells": CELLS, "gru_hidden": HIDDEN, "gru_layers": 1, "warmup": WARMUP}
    metadata = {key: str(value) for key, value in sizes.items()} | {"genotype": genotype(state)}
    save_file(tensors, Path(__file__).parent / "search_trajectory.safetensors", metadata)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
