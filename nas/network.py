"""What all networks have in common: a waveform, its embedding, and a head: logits, loss and score."""

from __future__ import annotations

from torch import Tensor, nn

from nas.losses import Head


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
