"""What all networks have in common: a waveform, its embedding, and a head: logits, loss and score."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.losses import Head

Built = TypeVar("Built", bound=nn.Module)


class Network(nn.Module):
    """A countermeasure: waveform [B, T] at 16 kHz -> logits [B, 2], column 1 bona fide.

    A network of one's own sets `output` and has `embed`.
    """

    output: Head

    def embed(self, waveform: Tensor) -> Tensor:
        """waveform [B, T] -> embedding [B, E].

        Raises:
            NasError: the waveform is too short.
        """
        raise NotImplementedError

    def forward(self, waveform: Tensor) -> Tensor:
        return self.output(self.embed(waveform))


def build_within_memory(build: Callable[[], Built], what: str) -> Built:
    """`build()`, whose weights are counted first: it is built once without any (on PyTorch's device "meta").

    Raises:
        NasError: the weights alone would not fit into this machine's memory.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    size: int | None = None
    random = torch.get_rng_state()
    try:
        with torch.device("meta"):
            empty = build()
        size = sum(tensor.numel() * tensor.element_size() for tensor in chain(empty.parameters(), empty.buffers()))
    except NasError:
        raise
    except (MemoryError, OverflowError):
        size = memory + 1
    except Exception as error:
        # A network that cannot be built so is not counted, but where numbers of weights are beyond counting.
        size = memory + 1 if "overflow" in str(error) else None
    finally:
        torch.set_rng_state(random)
    if size is not None and size > memory:
        raise NasError(
            f"the weights of {what} take {size:,} bytes or more; this machine has {memory:,} bytes of memory"
        )
    return build()
