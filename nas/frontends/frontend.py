"""What a front-end is: the fixed or learnt way from a waveform to frames."""

from __future__ import annotations

from torch import Tensor, nn


class Frontend(nn.Module):
    """A first layer on the waveform.

    A front-end of one's own sets `channels` and has `forward`: waveform [B, T] -> [B, channels, L], or
    [B, L, channels] where it sets `frames_first`.
    """

    channels: int
    """Values of a frame."""
    pool: int = 1
    """Frames that the stem of a searched network takes together: 3 where there is one for every sample."""
    hop: int = 1
    """Samples between frames."""
    frames_first: bool = False

    def least_samples(self, frames: int) -> int:
        """Samples of the shortest waveform that gives so many frames."""
        return frames * self.hop

    def frames(self, waveform: Tensor) -> Tensor:
        """waveform [B, T] -> [B, channels, L]."""
        x: Tensor = self(waveform)
        return x.transpose(1, 2) if self.frames_first else x
