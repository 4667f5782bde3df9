"""The chain that both classes of a built corpus pass through, so that nothing but the attack tells them apart.

    source -> [prepare: trim the edges, cut] -> bona fide ----------> [finish: trim, cut, codec, level, floor] -> file
                                            \\-> attack -> spoof ---> [the same, the same length and codec]   -> file

The cut of `prepare` leaves a margin and that of `finish` takes it away, so that an attack which shortens an utterance a
little still ends with the same duration as its original.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import signal

from nas.data.attacks import RATE
from nas.data.edges import trim
from nas.errors import NasError, nearest

_MARGIN = 1.08
"""What `prepare` keeps, as a multiple of what `finish` keeps."""

LONGEST_SECONDS = 3600
"""Of a file of a corpus."""


@dataclass(frozen=True)
class Chain:
    """The settings of the chain.

    Raises:
        NasError: a setting out of its range, or an unknown codec.
    """

    seconds: float = 4.0
    """Longest duration of a file of the corpus."""
    shortest_seconds: float = 1.0
    """Sources with less than this between their quiet edges are left out, with their spoofs."""
    edge_db: float = 30.0
    """Edges quieter than this many dB below the loudest 10 ms are trimmed."""
    level_db: float = -30.0
    """Mean of the files' root mean square, in dB of full scale."""
    level_spread_db: float = 3.0
    """The level of each file is drawn from `level_db` plus or minus this."""
    floor_db: float = -40.0
    """White noise added to every file, in dB of its level, so that digital silence is no cue."""
    codecs: tuple[str, ...] = ("none",)
    """Codecs to draw from; a source and all its spoofs get the same one."""

    def __post_init__(self) -> None:
        if not 0 < self.shortest_seconds <= self.seconds <= LONGEST_SECONDS:
            raise NasError(
                f"durations must hold 0 < {self.shortest_seconds} (shortest) <= {self.seconds} (longest) "
                f"<= {LONGEST_SECONDS}"
            )
        if self.edge_db <= 0 or not -50 <= self.level_db <= -20 or not 0 <= self.level_spread_db <= 10:
            raise NasError(
                "the chain needs edge_db > 0, level_db from -50 to -20 and level_spread_db from 0 to 10, "
                f"not {self.edge_db}, {self.level_db} and {self.level_spread_db}"
            )
        if not self.floor_db <= -20:
            raise NasError(f"the noise floor must be 20 dB or more below the speech, not {self.floor_db} dB")
        for codec in self.codecs or ("",):
            if codec not in CODECS:
                raise NasError(f"there is no codec {codec!r}{nearest(codec, tuple(CODECS))}")

    def prepare(self, waveform: np.ndarray) -> tuple[np.ndarray, int] | None:
        """Trim and cut a source.

        Returns:
            The waveform that attacks work on and the number of samples that `finish` keeps; None if it is too short
            or silent.
        """
        trimmed = trim(waveform, self.edge_db)
        kept = min(int(self.seconds * RATE), int(len(trimmed) / _MARGIN))
        if kept < int(self.shortest_seconds * RATE):
            return None
        return np.ascontiguousarray(trimmed[: int(kept * _MARGIN)]), kept

    def finish(self, waveform: np.ndarray, samples: int, codec: str, random: np.random.Generator) -> np.ndarray:
        """float32 [T] -> int16 [samples or a little less], ready to be written."""
        kept = trim(waveform, self.edge_db)[:samples].astype(np.float64)
        fade = np.sin(np.linspace(0, np.pi / 2, 80)) ** 2
        kept[:80] *= fade
        kept[-80:] *= fade[::-1]
        coded = CODECS[codec](kept / max(float(np.abs(kept).max()), 1e-9))
        unit = coded / max(float(np.sqrt(np.mean(np.square(coded)))), 1e-9)
        noisy = unit + 10 ** (self.floor_db / 20) * random.standard_normal(len(unit))
        level = self.level_db + self.level_spread_db * random.uniform(-1, 1)
        noisy *= 10 ** (level / 20)
        return np.round(np.clip(noisy, -1, 32767 / 32768) * 32768).astype(np.int16)


def _mu_law(waveform: np.ndarray) -> np.ndarray:
    """ITU-T G.711 mu-law at 8 kHz: 8 bits a sample."""
    narrow = _telephone(waveform)
    compressed = np.sign(narrow) * np.log1p(255 * np.minimum(np.abs(narrow), 1)) / np.log(256)
    coarse = np.round(compressed * 127) / 127
    return np.sign(coarse) * (np.power(256.0, np.abs(coarse)) - 1) / 255


def _telephone(waveform: np.ndarray) -> np.ndarray:
    """The telephone band, 300 to 3400 Hz."""
    return signal.sosfilt(signal.butter(6, (300, 3400), "bandpass", fs=RATE, output="sos"), waveform)


def _low_pass(waveform: np.ndarray) -> np.ndarray:
    """7 kHz, as wide-band telephony carries (ITU-T G.722)."""
    return signal.sosfilt(signal.butter(8, 7000, fs=RATE, output="sos"), waveform)


CODECS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda waveform: waveform,
    "mu_law": _mu_law,
    "telephone": _telephone,
    "low_pass": _low_pass,
}
"""Codecs by name: waveform float64 [T] with peak 1 -> float64 [T]."""
