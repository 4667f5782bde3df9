"""Preparing a trained network for scoring: the same logits, sooner.

What is done, and why the logits stay what they are (to 1e-4; measured differences are near 1e-6):

* Batch normalisation is a fixed affine map in evaluation mode and is folded into the convolution before it, also
  through max-feature-map and max-pooling where its scale is positive, because both commute with rising functions.
* The first layer of AASIST and RawNet2, |sinc filter| and max-pooling over three frames, becomes one convolution of
  stride 3 with three delayed copies of every filter: the output that the pooling would read three times smaller is
  never written. A filter that the pooling leaves over is not computed.
* The residual blocks of AASIST work on channels-last tiles of the time axis that stay in the cache of a core, with the
  frames that the neighbouring tile needs computed twice. Threads take a tile each.

A prepared network is for scoring only: it has no gradients and its state_dict is not that of the network.
"""

from __future__ import annotations

import copy
import os
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nas.frontends.fixed_sinc import POOL, FixedSinc
from nas.network import Network
from nas.networks import aasist, rawnet2
from nas.networks.aasist import AASIST
from nas.networks.lcnn import LCNN, MaxFeatureMap
from nas.networks.rawnet2 import RawNet2

TILE = 256
"""Pooled frames of a tile, over a batch: 24 x 3 x 256 x 32 values of 4 bytes are 2.4 MB, the cache of a core."""


class StridedSinc(nn.Module):
    """`FixedSinc.magnitude` without the frames between: [B, T] -> [B, filters // bands, (T - kernel + 1) // POOL]."""

    weight: Tensor

    def __init__(self, sinc: FixedSinc, bands: int) -> None:
        super().__init__()
        self.kernel, self.bands = sinc.kernel, bands
        kept = sinc.taps[: len(sinc.taps) // bands * bands]
        delayed = torch.stack([F.pad(kept, (delay, POOL - 1 - delay)) for delay in range(POOL)], dim=1)
        self.register_buffer("weight", delayed.flatten(0, 1).contiguous(), persistent=False)

    def magnitude(self, waveform: Tensor, bands: int = 1) -> Tensor:
        """See `FixedSinc.magnitude`; `bands` is the one that it was made for."""
        if bands != self.bands:
            raise ValueError(f"made for {self.bands} bands, not {bands}")
        x = F.conv1d(waveform.unsqueeze(1), self.weight.to(waveform.dtype), stride=POOL)
        return x.abs_().unflatten(1, (-1, bands * POOL)).amax(dim=2)


def _channels_last(weight: Tensor) -> Tensor:
    return weight.detach().contiguous(memory_format=torch.channels_last)


class TiledBlock(nn.Module):
    """`aasist.ResidualBlock` in evaluation mode, tile by tile along time: [B, C_in, F, T] -> [B, C, F, T // 3].

    With one input channel the two rows under the 2 x 3 kernel become two channels of a 1 x 3 kernel, so that the
    tensors have channels that can come last.
    """

    weight_1: Tensor
    bias_1: Tensor
    weight_2: Tensor
    bias_2: Tensor
    shortcut: Tensor | None

    def __init__(self, block: aasist.ResidualBlock) -> None:
        super().__init__()
        folded = fuse_conv_bn_eval(block.conv_1, block.norm_2)
        self.norm_1 = None if block.conv_on_input else block.norm_1
        self.rows_as_channels = folded.in_channels == 1
        weight_1, bias_2 = folded.weight, require(block.conv_2.bias)
        shortcut = None
        if block.shortcut is not None:
            shortcut, bias_2 = block.shortcut.weight, bias_2 + require(block.shortcut.bias)
        if self.rows_as_channels:
            weight_1 = weight_1.transpose(1, 2)
            # The shortcut reads the lower of the two rows.
            shortcut = None if shortcut is None else torch.cat([torch.zeros_like(shortcut), shortcut], dim=1)
        self.padding_1 = (0 if self.rows_as_channels else 1, 1)
        self.register_buffer("weight_1", _channels_last(weight_1))
        self.register_buffer("bias_1", require(folded.bias).detach())
        self.register_buffer("weight_2", _channels_last(block.conv_2.weight))
        self.register_buffer("bias_2", bias_2.detach())
        self.register_buffer("shortcut", None if shortcut is None else _channels_last(shortcut))

    def frames(self, x: Tensor) -> Tensor:
        """The block before its pooling, on a tile: [B, C_in, F, T] -> [B, C, F, T]."""
        y = x if self.norm_1 is None else F.selu_(self.norm_1(x))
        y = F.selu_(F.conv2d(y, self.weight_1, self.bias_1, padding=self.padding_1))
        y = F.conv2d(y, self.weight_2, self.bias_2, padding=(0, 1))
        if self.rows_as_channels:
            x = x[:, :, :-1]
        return y.add_(x if self.shortcut is None else F.conv2d(x, self.shortcut, padding=(0, 1)))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, rows, length = x.shape
        if self.rows_as_channels:
            padded = F.pad(x, (0, 0, 1, 1))
            x = torch.cat([padded[:, :, :-1], padded[:, :, 1:]], dim=1)
        x = x.contiguous(memory_format=torch.channels_last)
        pooled = length // POOL
        out = x.new_empty(batch, rows, pooled, len(self.weight_2))
        # Caches are a matter of CPUs; an accelerator is better fed with the whole.
        step = max(TILE // batch, 1) if x.device.type == "cpu" else pooled
        inference = torch.is_inference_mode_enabled()

        def fill(start: int) -> None:
            stop = min(start + step, pooled)
            # Two convolutions of three taps look two frames to either side.
            first, last = max(POOL * start - 2, 0), min(POOL * stop + 2, length)
            # Modes of autograd belong to a thread.
            with torch.inference_mode(inference), torch.no_grad():
                tile = self.frames(x[:, :, :, first:last].contiguous(memory_format=torch.channels_last))
                tile = tile[:, :, :, POOL * start - first : POOL * stop - first].permute(0, 2, 3, 1)
                torch.amax(tile.unflatten(2, (-1, POOL)), dim=3, out=out[:, :, start:stop])

        starts, threads = range(0, pooled, step), torch.get_num_threads()
        if len(starts) == 1 or threads == 1:
            for start in starts:
                fill(start)
        else:
            list(tile_workers(threads).map(fill, starts))
        return out.permute(0, 3, 1, 2)


@lru_cache(maxsize=1)
def tile_workers(threads: int) -> ThreadPoolExecutor:
    """Threads that each work on a tile of their own, alone.

    Dividing every operation of a tile among threads makes them wait for each other a thousand times an utterance; on a
    busy machine, where one of them is often not running, that takes longer than one thread does.
    """
    all_started = Barrier(threads)

    def start() -> None:
        torch.set_num_threads(1)
        all_started.wait()

    workers = ThreadPoolExecutor(threads, "tile", start)
    wait([workers.submit(int) for _ in range(threads)])
    # PyTorch keeps the number for each thread, but threads that are new to it inherit the last one that was set.
    torch.set_num_threads(threads)
    return workers


os.register_at_fork(after_in_child=tile_workers.cache_clear)


def require(bias: Tensor | None) -> Tensor:
    if bias is None:
        raise ValueError("the convolutions of these networks have a bias")
    return bias


Convolution = nn.Conv1d | nn.Conv2d
Norm = nn.BatchNorm1d | nn.BatchNorm2d


def fold_norm(convolution: Convolution, norm: Norm, copies: int = 1) -> Convolution:
    """The convolution with the normalisation of its output folded in, once for each of `copies` runs of channels."""
    repeated = copy.deepcopy(norm)
    repeated.running_mean = require(norm.running_mean).repeat(copies)
    repeated.running_var = require(norm.running_var).repeat(copies)
    return fuse_conv_bn_eval(convolution, repeated)


def fold_sequence(sequence: nn.Sequential) -> None:
    """Fold every normalisation of the sequence into the convolution before it, in place, where that is exact.

    Between the two may stand nothing, or max-feature-maps and max-poolings if the normalisation has no affine
    parameters (its scale is then positive).
    """
    names = list(dict(sequence.named_children()))
    for position, name in enumerate(names):
        norm = sequence.get_submodule(name)
        if not isinstance(norm, Norm):
            continue
        between, copies = position - 1, 1
        while between >= 0 and not norm.affine:
            module = sequence.get_submodule(names[between])
            if isinstance(module, MaxFeatureMap):
                copies *= 2
            elif not isinstance(module, nn.MaxPool1d | nn.MaxPool2d):
                break
            between -= 1
        convolution = sequence.get_submodule(names[between]) if between >= 0 else None
        if isinstance(convolution, Convolution):
            sequence.set_submodule(names[between], fold_norm(convolution, norm, copies))
            sequence.set_submodule(name, nn.Identity())


Prepared = TypeVar("Prepared", bound=Network)


def prepare_for_inference(network: Prepared) -> Prepared:
    """A copy of the network for scoring, with the same logits to 1e-4 and no gradients.

    AASIST, RawNet2 and LCNN are prepared as the head of this file says; in any other network normalisations are folded
    into the convolutions before them where both stand in one `nn.Sequential`.
    """
    prepared = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(prepared.modules()):
        if isinstance(module, nn.Sequential):
            fold_sequence(module)
    if isinstance(prepared, AASIST):
        blocks = [block for block in prepared.encoder if isinstance(block, aasist.ResidualBlock)]
        prepared.set_submodule("sinc", StridedSinc(prepared.sinc, bands=POOL))
        prepared.encoder = nn.Sequential(*(TiledBlock(block) for block in blocks))
    elif isinstance(prepared, RawNet2):
        prepared.set_submodule("sinc", StridedSinc(prepared.sinc, bands=1))
        for residual in prepared.encoder:
            if isinstance(residual, rawnet2.ResidualBlock):
                residual.conv_1 = fuse_conv_bn_eval(residual.conv_1, residual.norm_2)
                residual.set_submodule("norm_2", nn.Identity())
    elif isinstance(prepared, LCNN):
        for convolution in prepared.encoder:
            if isinstance(convolution, nn.Conv2d):
                convolution.weight.data = _channels_last(convolution.weight)
    return prepared
