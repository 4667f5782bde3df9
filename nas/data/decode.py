"""One audio file -> one mono waveform at the wanted rate, or one sentence that says why not.

libsndfile (through soundfile) decodes first: it is fast and reads WAV, FLAC, OGG, MP3 and more. Some valid files fail
in libsndfile 1.2.2 (FLAC of undeclared length, FLAC inside Ogg); miniaudio is then asked. It was chosen over PyAV
because it is one small self-contained extension without FFmpeg, and its dr_flac is an independent implementation of the
format.

A damaged file is never repaired with silence and never accepted in part: a stream that ends before the length that its
header declares is unreadable.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import miniaudio
import numpy as np
import soundfile
from scipy.signal import firwin, resample_poly

from nas.errors import NasError

SAMPLE_RATE = 16_000
"""Sample rate of every waveform in the toolkit, Hz."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
"""Sample rates (Hz) that a header may declare; others are damage."""

_BLOCK = 1 << 20
_LOG = logging.getLogger(__name__)
_second_decoder_told = False


@dataclass(frozen=True, slots=True)
class Audio:
    """A decoded file before resampling.

    Attributes:
        waveform: mono float32 [T], the mean of the channels, full scale = 1.
        rate: Hz, as in the file.
        channels: how many the file has.
        codec: container and sample format, e.g. "FLAC PCM_16".
        decoder: "libsndfile" or "miniaudio".
    """

    waveform: np.ndarray
    rate: int
    channels: int
    codec: str
    decoder: str


def decode(path: str | Path, rate: int = SAMPLE_RATE) -> np.ndarray:
    """The mono waveform float32 [T] of a file, resampled to `rate` Hz.

    Raises:
        NasError: the file is absent, unreadable by both decoders, cut short, empty, or has samples that are not finite.
    """
    audio = read_audio(path)
    return resample(audio.waveform, audio.rate, rate)


def read_audio(path: str | Path) -> Audio:
    """The file as it is: mono, at its own rate. Raises as `decode` does."""
    path = Path(path)
    if not path.is_file():  # also keeps a named pipe from hanging the read
        raise NasError(f"{path}: {'is not a regular file' if path.exists() else 'no such audio file'}")
    try:
        audio = _read_libsndfile(path)
    except (soundfile.SoundFileError, _Damaged, OSError, MemoryError) as first:
        try:
            audio = _read_miniaudio(path)
        except Exception as second:  # miniaudio raises what its C side meets, ZeroDivisionError included
            raise NasError(f"{path}: unreadable audio ({_reason(first)}; miniaudio: {_reason(second)})") from None
        _tell_second_decoder(path, first)
    if audio.waveform.size == 0:
        raise NasError(f"{path}: empty audio (0 samples)")
    finite = np.isfinite(audio.waveform)
    if not finite.all():
        raise NasError(f"{path}: sample {int(np.argmin(finite))} is not finite (NaN or infinite)")
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


def _read_libsndfile(path: Path) -> Audio:
    with soundfile.SoundFile(path) as file:
        _check_header(file.samplerate, file.channels)
        blocks = []
        # By blocks, so that a damaged header that declares 2^36 frames cannot make us allocate them.
        while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
            blocks.append(_mono(block))
        samples = sum(map(len, blocks))
        if file.format == "WAV":
            _check_riff(path)
        elif samples < file.frames:
            raise _Damaged(f"cut short: {samples} of {file.frames} samples")
        codec = f"{file.format} {file.subtype}"
        return Audio(_join(blocks), file.samplerate, file.channels, codec, "libsndfile")


def _read_miniaudio(path: Path) -> Audio:
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
    decoded = miniaudio.decode_file(
        name, miniaudio.SampleFormat.FLOAT32, nchannels=info.nchannels, sample_rate=info.sample_rate
    )
    frames = np.frombuffer(decoded.samples, dtype=np.float32).reshape(-1, info.nchannels)
    # An MP3 has no declared length: its figure is an estimate of the decoder.
    if info.file_format is not miniaudio.FileFormat.MP3 and len(frames) < info.num_frames:
        raise _Damaged(f"cut short: {len(frames)} of {info.num_frames} samples")
    if head[:4] == b"RIFF":
        _check_riff(path)
    return Audio(_mono(frames), info.sample_rate, info.nchannels, info.file_format.name, "miniaudio")


def _check_header(rate: int, channels: int) -> None:
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise _Damaged(f"the header declares {rate} Hz")
    if not 1 <= channels <= 64:
        raise _Damaged(f"the header declares {channels} channels")


def _check_riff(path: Path) -> None:
    """libsndfile shortens a cut WAV without a word: compare the data chunk with the file.

    Sizes of 0 and 0xFFFFFFFF mean "unknown" (written by a pipe) and pass.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        if stream.read(4) != b"RIFF":
            return
        position = 12
        while position + 8 <= size:
            stream.seek(position)
            name, length = stream.read(4), int.from_bytes(stream.read(4), "little")
            if name == b"data":
                missing = position + 8 + length - size
                if 0 < length < 0xFFFFFFFF and missing > 0:
                    raise _Damaged(f"cut short: {missing} of {length} bytes of samples are missing")
                return
            position += 8 + length + length % 2


def _mono(frames: np.ndarray) -> np.ndarray:
    """[T, channels] -> [T]."""
    return frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float32)


def _join(blocks: list[np.ndarray]) -> np.ndarray:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.zeros(0, np.float32)])


def _reason(error: BaseException) -> str:
    if isinstance(error, soundfile.LibsndfileError):
        return f"libsndfile: {error.error_string.strip().removeprefix('Error : ').rstrip('.')}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return " ".join(str(part) for part in error.args[:1]) or type(error).__name__


def _tell_second_decoder(path: Path, first: BaseException) -> None:
    global _second_decoder_told
    if not _second_decoder_told:
        _second_decoder_told = True
        _LOG.warning("%s was decoded by miniaudio (%s); further such files are not named", path, _reason(first))
