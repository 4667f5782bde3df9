"""Files that were cut are refused, whatever their container; whole ones and streamed ones are read to their end."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

import nas.data.decode as decoding
from nas.data.decode import decode, read_audio
from nas.errors import NasError

RATE = 16_000
NOISE = np.random.default_rng(0).normal(0, 0.1, 12_000).astype(np.float32)
CONTAINERS = [
    ("WAV", "PCM_16"),
    ("WAV", "IMA_ADPCM"),
    ("WAVEX", "PCM_24"),
    ("WAVEX", "DOUBLE"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("SVX", "PCM_16"),
    ("AU", "PCM_16"),
    ("CAF", "PCM_16"),
    ("NIST", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize(("container", "subtype"), CONTAINERS)
def test_a_file_that_was_cut_is_refused(tmp_path: Path, container: str, subtype: str) -> None:
    path = tmp_path / "a.audio"
    soundfile.write(path, NOISE, RATE, format=container, subtype=subtype)
    content = path.read_bytes()
    assert len(decode(path)) >= len(NOISE)
    for share in (0.3, 0.6, 0.97):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(NasError, match=r"a\.audio: unreadable audio"):
            decode(path)


@pytest.mark.parametrize(("container", "subtype"), [("WAV", "PCM_16"), ("WAVEX", "PCM_24"), ("AIFF", "PCM_16")])
def test_the_second_decoder_is_not_asked_for_half_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str, subtype: str
) -> None:
    path = tmp_path / "a.audio"
    soundfile.write(path, NOISE, RATE, format=container, subtype=subtype)
    path.write_bytes(path.read_bytes()[:20_000])
    monkeypatch.setattr(decoding, "_read_miniaudio", None)
    with pytest.raises(NasError, match=r"cut short: \d+ of \d+ bytes of samples are missing"):
        decode(path)


@pytest.mark.parametrize("size", [0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_streamed_wav_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE, RATE, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", size)
    path.write_bytes(content)
    assert len(decode(path)) == len(NOISE)


def test_chunks_after_the_samples_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE, RATE, subtype="PCM_16")
    path.write_bytes(path.read_bytes() + b"LIST" + struct.pack("<I", 400) + b"INFO")
    assert len(decode(path)) == len(NOISE)


# --- MP3 -------------------------------------------------------------------------------------------------------------

MPEG2_LAYER3 = {8: 1, 32: 4, 64: 8}
"""Index of the bit rate in kbit/s."""


def mp3_frame(kilobits: int) -> bytes:
    """A frame of silence at 16 kHz, mono, 576 samples: a header, side information that is all zero, and nothing."""
    header = struct.pack(">I", 0xFFF30000 | MPEG2_LAYER3[kilobits] << 12 | 2 << 10 | 3 << 6)
    return header.ljust(72 * 1000 * kilobits // RATE, b"\0")


def test_an_mp3_of_falling_bit_rate_without_a_header_is_read_whole(tmp_path: Path) -> None:
    """libsndfile estimates the length from the bit rate of the first frames: here an eighth of what there is."""
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3_frame(64) * 10 + mp3_frame(8) * 90)
    assert abs(len(decode(path)) - 100 * 576) <= 2 * 576


@pytest.mark.parametrize("tail", [b"", b"TAG" + b"x" * 125, b"APETAGEX" + b"\0" * 56, b"\0" * 500])
def test_tags_around_an_mp3_are_not_frames(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "a.mp3"
    frames = mp3_frame(32) * 60
    path.write_bytes(b"ID3\x04\0\0\0\0\x02\x01" + b"t" * 257 + frames + tail)
    assert abs(len(decode(path)) - 60 * 576) <= 2 * 576
    path.write_bytes(frames[:-20])
    with pytest.raises(NasError, match="cut short: 20 of 144 bytes of the last frame are missing"):
        decode(path)


def test_an_mp3_that_lacks_frames_of_its_header_is_cut(tmp_path: Path) -> None:
    tag = bytearray(mp3_frame(32))
    tag[13:25] = b"Xing" + struct.pack(">II", 1, 60)
    path = tmp_path / "a.mp3"
    path.write_bytes(bytes(tag) + mp3_frame(32) * 60)
    assert abs(len(decode(path)) - 60 * 576) <= 4 * 576
    path.write_bytes(bytes(tag) + mp3_frame(32) * 30)
    with pytest.raises(NasError, match="cut short: 30 of 60 frames are missing"):
        decode(path)


# --- lengths, channels and formats that are not read -----------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["flac", "wav", "ogg"])
def test_the_decoded_length_has_a_limit(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.zeros(3 * RATE, np.float32), RATE)
    assert len(decode(path, longest_seconds=3)) == 3 * RATE
    with pytest.raises(NasError, match=r"the audio lasts 3.0 s or more, more than the limit of 2 s"):
        decode(path, longest_seconds=2)


def test_a_header_that_tells_less_than_there_is_does_not_pass_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(80 * RATE, np.float32), RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO: 36 bits of total samples, 0 for unknown
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(NasError, match=r"more than the limit of 60 s"):
        decode(path, longest_seconds=60)


def test_high_rates_have_the_limit_of_48_khz(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(96_000, np.float32), 96_000)
    with pytest.raises(NasError, match=r"the audio lasts 1\.0 s"):
        decode(path, longest_seconds=1)


@pytest.mark.parametrize("share", [-1.0, -0.98])
def test_of_channels_that_cancel_the_first_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, share: float
) -> None:
    monkeypatch.setattr(decoding, "_told", set())
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([NOISE, share * NOISE], axis=1), RATE, subtype="FLOAT")
    with caplog.at_level(logging.WARNING):
        audio = read_audio(path)
    np.testing.assert_array_equal(audio.waveform, NOISE)
    assert audio.cancelled
    assert "channels cancel" in caplog.text


def test_other_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([NOISE, -0.5 * NOISE], axis=1), RATE, subtype="FLOAT")
    audio = read_audio(path)
    np.testing.assert_allclose(audio.waveform, NOISE / 4, atol=1e-6)
    assert not audio.cancelled


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x20ftypM4A ", "AAC in an MP4 container"),
        (b"\xff\xf1\x50\x80", "AAC"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
        (b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    ],
)
def test_what_is_not_decoded_is_named_with_the_conversion(tmp_path: Path, head: bytes, name: str) -> None:
    path = tmp_path / "my call.m4a"
    path.write_bytes(head + bytes(2000))
    with pytest.raises(NasError, match=name) as caught:
        decode(path)
    assert f"ffmpeg -i '{path}' '{path.with_suffix('.wav')}'" in str(caught.value)


def test_a_path_too_long_for_the_file_system_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"no such audio file \(File name too long\)") as caught:
        decode(tmp_path / ("x" * 5000))
    assert len(str(caught.value)) < 250
