"""Decoding: every format comes back whole, every damaged file ends in one sentence, none in a traceback or a hang."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import nas.data.decode as decoding
from nas.data.decode import decode, read_audio, resample
from nas.errors import NasError

RATE = 16_000


def tone(seconds: float = 0.5, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def save(path: Path, waveform: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    soundfile.write(path, waveform, rate, subtype=subtype)
    return path


# --- whole files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_16", 4e-5),
        ("wav", "PCM_24", 1e-6),
        ("wav", "PCM_32", 1e-6),
        ("wav", "PCM_U8", 1e-2),
        ("wav", "FLOAT", 1e-7),
        ("wav", "DOUBLE", 1e-7),
        ("wav", "ULAW", 2e-2),
        ("flac", "PCM_16", 4e-5),
        ("flac", "PCM_24", 1e-6),
    ],
)
def test_lossless_formats_come_back(tmp_path: Path, suffix: str, subtype: str, tolerance: float) -> None:
    waveform = tone()
    decoded = decode(save(tmp_path / f"a.{suffix}", waveform, subtype=subtype))
    assert decoded.dtype == np.float32
    assert np.abs(decoded - waveform).max() <= tolerance


@pytest.mark.parametrize("suffix", ["ogg", "mp3", "opus"])
def test_lossy_formats_come_back_about(tmp_path: Path, suffix: str) -> None:
    if suffix == "opus":
        soundfile.write(tmp_path / "a.opus", tone(), RATE, format="OGG", subtype="OPUS")
    else:
        save(tmp_path / f"a.{suffix}", tone())
    decoded = decode(tmp_path / f"a.{suffix}")
    assert abs(len(decoded) - RATE / 2) < 2500  # MP3 pads to whole frames
    assert 0.3 < np.abs(decoded).max() < 0.7


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_other_rates_are_resampled(tmp_path: Path, rate: int) -> None:
    decoded = decode(save(tmp_path / "a.wav", tone(rate=rate), rate, "FLOAT"))
    assert abs(len(decoded) - RATE / 2) <= 1
    middle = slice(1000, 7000)
    assert np.abs(decoded[middle] - tone()[middle]).max() < 2e-3


def test_resampling_lets_nothing_fold_back() -> None:
    above = tone(rate=48_000, frequency=9_000.0)  # above the new Nyquist frequency
    assert np.abs(resample(above, 48_000, RATE)[500:-500]).max() < 1e-4


def test_an_odd_rate_is_cheap_and_right() -> None:
    decoded = resample(tone(rate=44_056), 44_056, RATE)
    assert np.abs(decoded[1000:7000] - tone()[1000:7000]).max() < 2e-3


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(), tone(frequency=300.0)
    decoded = decode(save(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(decoded, (left + right) / 2, atol=1e-6)


def test_the_name_does_not_decide(tmp_path: Path) -> None:
    os.rename(save(tmp_path / "a.flac", tone()), tmp_path / "b.wav")
    assert len(decode(tmp_path / "b.wav")) == RATE // 2
    assert read_audio(tmp_path / "b.wav").codec == "FLAC PCM_16"


def test_one_sample_is_an_utterance(tmp_path: Path) -> None:
    assert decode(save(tmp_path / "a.wav", np.array([0.25], np.float32), subtype="FLOAT")).tolist() == [0.25]


def test_streamed_wav_of_unknown_length(tmp_path: Path) -> None:
    """A pipe cannot go back to fill in the sizes: 0xFFFFFFFF stands for them."""
    content = bytearray(save(tmp_path / "a.wav", tone(), subtype="PCM_16").read_bytes())
    content[4:8] = b"\xff" * 4
    content[40:44] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(content)
    assert len(decode(tmp_path / "a.wav")) == RATE // 2


# --- the second decoder ----------------------------------------------------------------------------------------------


def _refuse(path: Path, longest: float, first_only: bool = False) -> decoding.Audio:
    raise soundfile.LibsndfileError(100, "refused")


@pytest.mark.parametrize(("suffix", "subtype"), [("flac", "PCM_16"), ("wav", "PCM_16"), ("ogg", None), ("mp3", None)])
def test_what_libsndfile_refuses_is_decoded_by_miniaudio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, subtype: str | None
) -> None:
    path = save(tmp_path / f"a.{suffix}", tone(), subtype=subtype)
    expected = decode(path)
    monkeypatch.setattr(decoding, "_read_libsndfile", _refuse)
    audio = read_audio(path)
    assert audio.decoder == "miniaudio"
    assert (audio.rate, audio.channels) == (RATE, 1)
    if subtype:
        np.testing.assert_array_equal(audio.waveform, expected)


def test_flac_of_undeclared_length_fails_in_libsndfile_and_is_read(tmp_path: Path) -> None:
    """What an encoder leaves that writes to a pipe; libsndfile 1.2.2 says "Internal psf_fseek() failed"."""
    path = save(tmp_path / "a.flac", tone(seconds=2.0))
    expected = decode(path)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO: 36 bits of total samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    np.testing.assert_array_equal(decode(path), expected)


def test_it_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    paths = [save(tmp_path / f"{name}.flac", tone()) for name in "abc"]
    monkeypatch.setattr(decoding, "_read_libsndfile", _refuse)
    monkeypatch.setattr(decoding, "_told", set())
    with caplog.at_level(logging.WARNING):
        for path in paths:
            decode(path)
    assert len(caplog.records) == 1
    assert "a.flac was decoded by miniaudio" in caplog.text


# --- damage ----------------------------------------------------------------------------------------------------------


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


def _headless(content: bytes) -> bytes:
    return b"\0" * 44 + content[44:]


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "truncated flac": ("flac", _cut(0.6)),
    "truncated wav": ("wav", _cut(0.6)),
    "almost whole flac": ("flac", _cut(0.98)),
    "almost whole wav": ("wav", _cut(0.98)),
    "zero length": ("flac", lambda _: b""),
    "header only": ("wav", lambda content: content[:44]),
    "wrong header": ("flac", _headless),
    "text": ("wav", lambda _: b"<html><body>404 Not Found</body></html>\n" * 20),
    "zeros": ("flac", lambda content: b"\0" * len(content)),
    "flac magic only": ("flac", lambda _: b"fLaC"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_ends_in_one_sentence(tmp_path: Path, kind: str) -> None:
    suffix, spoil = DAMAGE[kind]
    path = save(tmp_path / f"a.{suffix}", np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(NasError, match=r"a\.(flac|wav): (unreadable audio|empty audio)") as caught:
        decode(path)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_within_a_flac_frame_is_never_silence(tmp_path: Path) -> None:
    """A decoder may mute or skip the frame whose checksum fails: neither is taken for the utterance."""
    generator = np.random.default_rng(3)
    path = save(tmp_path / "a.flac", generator.normal(0, 0.1, 20_000).astype(np.float32))
    content = path.read_bytes()
    for place in generator.integers(9_000, len(content) - 100, 30):
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(spoilt)
        with pytest.raises(NasError, match="unreadable audio"):
            decode(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path: Path, value: float) -> None:
    waveform = tone()
    waveform[123] = value
    with pytest.raises(NasError, match="sample 123 is not finite"):
        decode(save(tmp_path / "a.wav", waveform, subtype="FLOAT"))


def test_no_samples(tmp_path: Path) -> None:
    with pytest.raises(NasError, match=r"empty audio \(0 samples\)"):
        decode(save(tmp_path / "a.wav", np.zeros(0, np.float32)))


def test_what_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(NasError, match="no such audio file"):
        decode(tmp_path / "absent.wav")
    with pytest.raises(NasError, match="is not a regular file"):
        decode(tmp_path)
    os.mkfifo(tmp_path / "pipe.wav")  # nobody writes to it: opening would wait for ever
    with pytest.raises(NasError, match="is not a regular file"):
        decode(tmp_path / "pipe.wav")


def test_a_header_of_2_to_the_36_samples_is_not_believed(tmp_path: Path) -> None:
    content = bytearray(save(tmp_path / "a.flac", tone()).read_bytes())
    content[21] |= 0x0F  # STREAMINFO: 36 bits of total samples
    content[22:26] = b"\xff\xff\xff\xff"
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(NasError, match=r"a.flac: the audio lasts 4294967.3 s \(1193.05 h\).* limit of 3600 s"):
        decode(tmp_path / "a.flac")


@pytest.mark.parametrize("rate", [1, 999, 4_000_000_000])
def test_a_rate_that_no_recorder_has(tmp_path: Path, rate: int) -> None:
    content = bytearray(save(tmp_path / "a.wav", tone(), subtype="PCM_16").read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(NasError, match="unreadable audio"):
        decode(tmp_path / "a.wav")


def _ten_files(folder: Path, number: int) -> list[tuple[Path, bool | None]]:
    """(path, whether it must decode; None where either is right, but nothing else)."""
    generator = np.random.default_rng(number)
    folder.mkdir()
    noise = generator.normal(0, 0.1, int(generator.integers(2_000, 8_000))).astype(np.float32)
    hole = noise.copy()
    hole[int(generator.integers(len(hole)))] = np.nan
    share = generator.uniform(0.05, 0.95)

    def spoil(path: Path, damage: Callable[[bytes], bytes]) -> Path:
        path.write_bytes(damage(path.read_bytes()))
        return path

    def flip(content: bytes) -> bytes:
        spoilt = bytearray(content)
        for place in generator.integers(0, len(spoilt), 5):
            spoilt[place] ^= 1 << int(generator.integers(8))
        return bytes(spoilt)

    return [
        (spoil(save(folder / "truncated.flac", noise), _cut(share)), False),
        (spoil(save(folder / "truncated.wav", noise), _cut(share)), False),
        (spoil(save(folder / "zero.flac", noise), lambda _: b""), False),
        (spoil(save(folder / "header.flac", noise), lambda content: generator.bytes(42) + content[42:]), False),
        (spoil(save(folder / "flipped.flac", noise), flip), None),
        (save(folder / "extension.flac", noise).rename(folder / "extension.wav"), True),
        (save(folder / "nan.wav", hole, subtype="FLOAT"), False),
        (save(folder / "stereo.wav", np.stack([noise, noise[::-1]], axis=1)), True),
        (save(folder / "rate.flac", noise, (8_000, 48_000)[number % 2], "PCM_24"), True),
        (save(folder / "one.wav", noise[:1]), True),
    ]


def test_two_hundred_damaged_files(tmp_path: Path) -> None:
    files = [file for number in range(20) for file in _ten_files(tmp_path / str(number), number)]
    assert len(files) == 200
    for path, good in files:
        waveform, sentence = None, ""
        try:
            waveform = decode(path)
        except NasError as error:
            sentence = str(error)
        if waveform is None:
            assert good is not True, path
            assert path.name in sentence
            assert "\n" not in sentence
        else:
            assert good is not False, path
            assert waveform.dtype == np.float32
            assert waveform.ndim == 1
            assert len(waveform)
            assert np.isfinite(waveform).all()


@pytest.mark.shared
def test_both_decoders_agree_on_real_flac(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted((shared / "data" / "la_real" / "flac").glob("*.flac"))[:10]
    first = [decode(path) for path in paths]
    monkeypatch.setattr(decoding, "_read_libsndfile", _refuse)
    for path, waveform in zip(paths, first, strict=True):
        np.testing.assert_array_equal(decode(path), waveform)
