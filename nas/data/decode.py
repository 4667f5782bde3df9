"""One audio file -> one mono waveform at the wanted rate, or one sentence that says why not.

libsndfile (through soundfile) decodes first: it is fast and reads WAV, FLAC, OGG, MP3 and more. Some valid files fail
in libsndfile 1.2.2 (FLAC of undeclared length, FLAC inside Ogg); miniaudio is then asked. It was chosen over PyAV
because it is one small self-contained extension without FFmpeg, and its dr_flac is an independent implementation of the
format.

A damaged file is never repaired with silence and never accepted in part: a file that ends before the length that its
container declares is unreadable (nas/data/containers.py).
"""

from __future__ import annotations

import logging
import os
import shlex
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import miniaudio
import numpy as np
import soundfile
from scipy.signal import firwin, resample_poly

from nas.data.containers import CutShort, require_whole
from nas.errors import NasError

SAMPLE_RATE = 16_000
"""Sample rate of every waveform in the toolkit, Hz."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
"""Sample rates (Hz) that a header may declare; others are damage."""

LONGEST_SECONDS = 3_600.0
"""Longest utterance that is decoded by default: a few megabytes of FLAC may hold a day of silence."""

_FULL_RATE = 48_000
"""Hz; at a higher rate fewer seconds are taken, so that the limit bounds the memory too."""
_CANCELLED = 1e-3
"""Channels cancel where their mean has less than this share of their power (30 dB below it)."""
_BLOCK = 1 << 20
"""Samples of all channels that are decoded at a time."""
_LOG = logging.getLogger(__name__)
_told: set[str] = set()


@dataclass(frozen=True, slots=True)
class Audio:
    """A decoded file before resampling.

    Attributes:
        waveform: mono float32 [T], the mean of the channels (where they cancel, the first), full scale = 1.
        rate: Hz, as in the file.
        channels: how many the file has.
        codec: container and sample format, e.g. "FLAC PCM_16".
        decoder: "libsndfile" or "miniaudio".
        cancelled: whether the channels cancel each other in their mean.
    """

    waveform: np.ndarray
    rate: int
    channels: int
    codec: str
    decoder: str
    cancelled: bool = False


def decode(path: str | Path, rate: int = SAMPLE_RATE, longest_seconds: float = LONGEST_SECONDS) -> np.ndarray:
    """The mono waveform float32 [T] of a file, resampled to `rate` Hz.

    Raises:
        NasError: the file is absent, unreadable by both decoders, cut short, empty, longer than `longest_seconds`, or
            has samples that are not finite.
    """
    audio = read_audio(path, longest_seconds)
    return resample(audio.waveform, audio.rate, rate)


def read_audio(path: str | Path, longest_seconds: float = LONGEST_SECONDS) -> Audio:
    """The file as it is: mono, at its own rate. Raises as `decode` does."""
    path = Path(path)
    try:
        regular, there = path.is_file(), path.exists()
    except (OSError, ValueError) as error:  # a name too long for the file system, or with a zero byte
        raise NasError(f"{_shown(path)}: no such audio file ({_reason(error)})") from None
    if not regular:  # also keeps a named pipe from hanging the read
        raise NasError(f"{path}: {'is not a regular file' if there else 'no such audio file'}")
    try:
        audio = _read_whole(path, longest_seconds)
    except _TooLong as error:
        raise NasError(
            f"{path}: {error}, more than the limit of {longest_seconds:g} s (data.longest_seconds, or --longest)"
        ) from None
    except (CutShort, MemoryError, OSError) as error:
        raise NasError(f"{path}: unreadable audio ({_reason(error)})") from None
    if audio.waveform.size == 0:
        raise NasError(f"{path}: empty audio (0 samples)")
    finite = np.isfinite(audio.waveform)
    if not finite.all():
        raise NasError(f"{path}: sample {int(np.argmin(finite))} is not finite (NaN or infinite)")
    if audio.cancelled:
        _tell_once("cancel", f"{path}: the channels cancel each other in their mean, so the first one is taken")
    return audio


def _read_whole(path: Path, longest: float) -> Audio:
    mp3 = require_whole(path)
    try:
        audio = _read_libsndfile(path, longest)
        if mp3 and len(audio.waveform) < mp3.samples - mp3.padding:
            raise _Damaged("the length of the MP3 was estimated too short")
        return audio
    except (soundfile.SoundFileError, _Damaged, OSError, MemoryError) as first:
        try:
            audio = _read_miniaudio(path, longest)
            if mp3 and len(audio.waveform) < mp3.samples - mp3.padding:
                raise _Damaged(f"{len(audio.waveform)} of {mp3.samples} samples could be decoded") from None
        except (_TooLong, CutShort):
            raise
        except Exception as second:  # miniaudio raises what its C side meets, ZeroDivisionError included
            advice = _conversion(path)
            reasons = f"{_reason(first)}; miniaudio: {_reason(second)}"
            raise NasError(f"{path}: {advice or f'unreadable audio ({reasons})'}") from None
        _tell_once("miniaudio", f"{path} was decoded by miniaudio ({_reason(first)})")
        return audio


def resample(waveform: np.ndarray, rate: int, target: int) -> np.ndarray:
    """float32 [T] at `rate` Hz -> float32 [ceil(T * target / rate)] at `target` Hz.

    Polyphase, linear phase; flat to 0.91 of the lower Nyquist frequency, 90 dB down at it.
    """
    if rate == target:
        return waveform
    # Odd header rates (e.g. 44,056 Hz) would need filters of millions of taps: within 1 ppm is inaudible and cheap.
    ratio = Fraction(target, rate).limit_denominator(4_000)
    filter_ = _low_pass(max(ratio.numerator, ratio.denominator))
    return resample_poly(waveform, ratio.numerator, ratio.denominator, window=filter_).astype(np.float32)


@lru_cache(maxsize=32)
def _low_pass(factor: int) -> np.ndarray:
    return firwin(2 * 64 * factor + 1, 0.955 / factor, window=("kaiser", 9.0)).astype(np.float32)


class _Damaged(Exception):
    """The decoder was content, the file is not whole."""


class _TooLong(Exception):
    """The file declares or decodes to more than the limit; the text has its length."""


def _read_libsndfile(path: Path, longest: float, first_only: bool = False) -> Audio:
    with soundfile.SoundFile(path) as file:
        _check_header(file.samplerate, file.channels)
        # Some containers do not declare a length, and libsndfile then says 2^63 - 1.
        declared = file.frames if file.frames < 1 << 62 else 0
        _check_length(declared, file.samplerate, longest)
        size = max(1, _BLOCK // file.channels)
        mono = _Mono(file.samplerate, longest, first_only)
        while len(block := file.read(size, dtype="float32", always_2d=True)):
            mono.add(block)
        if mono.samples < declared and file.format != "MP3":
            raise _Damaged(f"cut short: {mono.samples} of {declared} samples")
        codec = f"{file.format} {file.subtype}"
    return _read_libsndfile(path, longest, True) if mono.cancels else mono.audio(codec, "libsndfile")


def _read_miniaudio(path: Path, longest: float, first_only: bool = False) -> Audio:
    name = str(path)
    with open(path, "rb") as stream:
        head = stream.read(64)
    if head[:4] == b"RIFF":
        probe = miniaudio.wav_get_file_info
    elif b"fLaC" in head or b"FLAC" in head[:40]:
        probe = miniaudio.flac_get_file_info
    elif head[:4] == b"OggS":
        probe = miniaudio.vorbis_get_file_info
    else:
        probe = miniaudio.mp3_get_file_info
    info = probe(name)
    _check_header(info.sample_rate, info.nchannels)
    _check_length(info.num_frames, info.sample_rate, longest)
    size = max(1, _BLOCK // info.nchannels)
    mono = _Mono(info.sample_rate, longest, first_only)
    for block in miniaudio.stream_file(name, miniaudio.SampleFormat.FLOAT32, info.nchannels, info.sample_rate, size):
        mono.add(np.frombuffer(block, dtype=np.float32).reshape(-1, info.nchannels))
    # An MP3 has no declared length: its figure is an estimate of the decoder.
    if info.file_format is not miniaudio.FileFormat.MP3 and mono.samples < info.num_frames:
        raise _Damaged(f"cut short: {mono.samples} of {info.num_frames} samples")
    if mono.cancels:
        return _read_miniaudio(path, longest, True)
    return mono.audio(info.file_format.name, "miniaudio")


class _Mono:
    """The mean of the channels (or the first of them only), block by block.

    Raises:
        _TooLong: from `add`, as soon as there are more samples than the limit. The header may have said less.
    """

    def __init__(self, rate: int, longest: float, first_only: bool) -> None:
        self.rate, self.longest, self.first_only = rate, longest, first_only
        self.samples = self.channels = 0
        self.blocks: list[np.ndarray] = []
        self.mean_power = self.channel_power = 0.0

    def add(self, block: np.ndarray) -> None:
        """block: float32 [T, channels]"""
        self.channels = block.shape[1]
        self.samples += len(block)
        _check_length(self.samples, self.rate, self.longest)
        if self.channels == 1 or self.first_only:
            self.blocks.append(block[:, 0].copy())
            return
        mean = block.mean(axis=1, dtype=np.float32)
        self.mean_power += float(np.vdot(mean, mean))
        self.channel_power += float(np.vdot(block, block)) / self.channels
        self.blocks.append(mean)

    @property
    def cancels(self) -> bool:
        """Whether next to nothing is left of the channels in their mean."""
        return self.mean_power < _CANCELLED * self.channel_power

    def audio(self, codec: str, decoder: str) -> Audio:
        """All blocks together."""
        waveform = self.blocks[0] if len(self.blocks) == 1 else np.concatenate([np.zeros(0, np.float32), *self.blocks])
        return Audio(waveform, self.rate, self.channels, codec, decoder, self.first_only)


def _check_header(rate: int, channels: int) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise _Damaged(f"the header declares {rate} Hz")
    if not 1 <= channels <= 64:
        raise _Damaged(f"the header declares {channels} channels")


def _check_length(samples: int, rate: int, longest: float) -> None:
    """Refuse a length, declared or decoded so far, before memory is taken for it."""
    if samples > longest * min(rate, _FULL_RATE):
        hours = f" ({samples / rate / 3600:.2f} h)" if samples >= 3600 * rate else ""
        raise _TooLong(f"the audio lasts {samples / rate:.1f} s{hours} or more")


def _conversion(path: Path) -> str | None:
    """What to do with a format that neither decoder reads, told by the first bytes."""
    with open(path, "rb") as stream:
        head = stream.read(16)
    if head.startswith(b"version https://"):
        return "is a Git LFS pointer, not audio: fetch the file with `git lfs pull`"
    name = next((name for place, magic, name in _FOREIGN if head[place:].startswith(magic)), None)
    if name is None:
        return None
    command = f"ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(path.with_suffix('.wav')))}"
    return f"{name} is not decoded here; convert it first: {command}"


_FOREIGN = (
    (4, b"ftyp", "AAC in an MP4 container (M4A)"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"\x30\x26\xb2\x75", "WMA"),
    (0, b"\x1aE\xdf\xa3", "WebM or Matroska"),
    (0, b"#!AMR", "AMR"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
)
"""(place, first bytes, name) of formats that neither decoder reads."""


def _shown(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 100 else f"{text[:60]}...{text[-30:]} ({len(text)} characters)"


def _reason(error: BaseException) -> str:
    if isinstance(error, soundfile.LibsndfileError):
        return f"libsndfile: {error.error_string.strip().removeprefix('Error : ').rstrip('.')}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return " ".join(str(part) for part in error.args[:1]) or type(error).__name__


def _tell_once(kind: str, sentence: str) -> None:
    if kind not in _told:
        _told.add(kind)
        _LOG.warning("%s; further such files are not named", sentence)
