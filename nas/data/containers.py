"""Whether an audio file is whole: the length that its container declares against what is there.

Decoders shorten a file that was cut without a word, so this is asked before any of them. Only the frame of a container
is read (chunks, pages, frame headers), no sample is decoded. FLAC needs nothing here: its decoders compare.

=====================  ==========================================================  =================================
container              declares                                                    source
=====================  ==========================================================  =================================
WAV, WAVEX, RIFX       bytes of the chunk "data"                                   Multimedia Programming Interface
RF64, BW64             bytes of "data" in the chunk "ds64"                         EBU Tech 3306, ITU-R BS.2088
W64                    bytes of the chunk "data", named by a GUID                  Sony Pictures Digital, Wave64
AIFF, AIFC, 8SVX       bytes of the chunk "SSND" or "BODY"                         Apple AIFF-C; EA IFF 85
AU                     bytes of samples in the header                              NeXT/Sun soundfile
CAF                    bytes of the chunk "data"                                   Apple Core Audio Format 1.0
NIST SPHERE            samples, channels and bytes of each in the header           NIST SPHERE
OGG                    bytes of each page in its header                            RFC 3533, Section 6
MP3                    bytes of each frame in its header; frames in Xing or VBRI   ISO 11172-3, 2.4.2.3
=====================  ==========================================================  =================================

Sizes that programs write which cannot go back to fill them in (0xFFFFFFFF, and from 0x7FFFF000 where the file is
shorter, as SoX and arecord do) mean "to the end of the file".
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_STREAMED = 0x7FFFF000
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a"


class CutShort(Exception):
    """The file ends before its container says; the text has both numbers."""


@dataclass(frozen=True, slots=True)
class Mp3Length:
    """Samples that the frames of an MP3 file decode to, by channel, and how many of them are an encoder's padding."""

    samples: int
    padding: int


def require_whole(path: Path) -> Mp3Length | None:
    """See that the file is as long as its container declares; what is no container of the table passes.

    Returns:
        For MP3, how many samples a decoder must give: the decoders' own figures are estimates.

    Raises:
        CutShort: it is not.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        head = stream.read(16)
        for magic, check in _CHECKS.items():
            if head.startswith(magic):
                check(stream, size)
                return None
        stream.seek(0)
        return _mp3(stream.read()) if _may_be_mp3(head) else None


def _require(position: int, length: int, size: int, what: str = "bytes of samples") -> None:
    missing = position + length - size
    if missing > 0:
        raise CutShort(f"cut short: {missing} of {length} {what} are missing")


def _chunks(stream: BinaryIO, size: int, big: bool, names: tuple[bytes, ...]) -> None:
    """Chunks of a name, a 32-bit size and a pad byte after odd sizes: RIFF, RIFX, RF64 and FORM."""
    order = ">" if big else "<"
    position, length64 = 12, 0
    while position + 8 <= size:
        stream.seek(position)
        name, length = struct.unpack(f"{order}4sI", stream.read(8))
        if name == b"ds64" and length >= 24:
            length64 = struct.unpack("<8xQ", stream.read(16))[0]
        if name in names:
            if length == 0xFFFFFFFF and length64:
                _require(position + 8, length64, size)
            elif 0 < length < _STREAMED or position + 8 + length <= size:
                _require(position + 8, length, size)
            return
        position += 8 + length + length % 2


def _w64(stream: BinaryIO, size: int) -> None:
    position = 40
    while position + 24 <= size:
        stream.seek(position)
        name, length = struct.unpack("<16sQ", stream.read(24))
        if name == _W64_DATA:
            if length > 24:
                _require(position + 24, length - 24, size)
            return
        position += max(24, length + -length % 8)


def _au(stream: BinaryIO, size: int) -> None:
    stream.seek(0)
    header = stream.read(12)
    if len(header) == 12:
        start, length = struct.unpack("<II" if header[:4] == b"dns." else ">II", header[4:])
        if length < 0xFFFFFFFF:
            _require(start, length, size)


def _caf(stream: BinaryIO, size: int) -> None:
    position = 8
    while position + 12 <= size:
        stream.seek(position)
        name, length = struct.unpack(">4sq", stream.read(12))
        if name == b"data" and length < 0:
            return
        if name == b"data":
            _require(position + 12, length, size)
        position += 12 + max(length, 0)


def _sphere(stream: BinaryIO, size: int) -> None:
    stream.seek(0)
    lines = stream.read(1024).split(b"\n")
    fields = {parts[0]: parts[2] for line in lines if len(parts := line.split(None, 2)) == 3}
    try:
        start = int(lines[1])
        counts = [int(fields.get(name, b"1")) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    except (ValueError, IndexError):
        return
    if b"sample_count" in fields and b"shorten" not in fields.get(b"sample_coding", b""):
        _require(start, counts[0] * counts[1] * counts[2], size)


def _ogg(stream: BinaryIO, size: int) -> None:
    position = 0
    while position < size:
        stream.seek(position)
        page = stream.read(27)
        if not page.startswith(b"OggS"):
            return
        _require(position, 27, size, "bytes of the last page")
        segments = stream.read(page[26])
        length = 27 + page[26] + sum(segments)
        _require(position, length, size, "bytes of the last page")
        position += length


_BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s by (MPEG version, layer)."""
_RATES = (44_100, 48_000, 32_000)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What stays the same from frame to frame (version, layer, rate), its bytes and its samples by channel."""

    kind: tuple[int, int, int]
    length: int
    samples: int


def _frame(content: bytes, position: int) -> _Frame | None:
    """The frame whose header stands there; None where there is none, or one of a free format."""
    header = content[position : position + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = (header[1] >> 3) & 3, 4 - ((header[1] >> 1) & 3)
    bits, rate_index, padded = header[2] >> 4, (header[2] >> 2) & 3, (header[2] >> 1) & 1
    if version == 1 or layer == 4 or bits in (0, 15) or rate_index == 3:
        return None
    mpeg1 = version == 3
    rate = _RATES[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    bitrate = 1000 * _BITRATES[1 if mpeg1 else 2, layer][bits - 1]
    samples = 384 if layer == 1 else 1152 if layer == 2 or mpeg1 else 576
    length = (12 * bitrate // rate + padded) * 4 if layer == 1 else samples // 8 * bitrate // rate + padded
    return _Frame((version, layer, rate), length, samples)


def _may_be_mp3(head: bytes) -> bool:
    return head.startswith(b"ID3") or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0)


def _mp3(content: bytes) -> Mp3Length | None:
    """Walk over all frames. None where they cannot be followed."""
    position = 0
    while content[position : position + 3] == b"ID3" and position + 10 <= len(content):
        sizes = content[position + 6 : position + 10]  # seven bits a byte
        position += 10 + sum((byte & 127) << shift for byte, shift in zip(sizes, (21, 14, 7, 0), strict=True))
    first, position = _first_frame(content, position)
    if first is None:
        return None
    declared, is_tag = _declared_frames(content[position : position + first.length])
    count = -1 if is_tag else 0  # the frame of a tag holds no sound
    while True:
        frame = _frame(content, position)
        if frame is None or frame.kind != first.kind:
            frame, position = _first_frame(content, position, first.kind)  # damage, or tags at the end
            if frame is None:
                break
        _require(position, frame.length, len(content), "bytes of the last frame")
        position += frame.length
        count += 1
    if declared > count + 1:  # some encoders count the tag
        raise CutShort(f"cut short: {declared - count} of {declared} frames are missing")
    # A decoder takes away what the encoder put before the first and after the last sample, where a tag tells it.
    return Mp3Length(count * first.samples, (4 if is_tag else 2) * first.samples)


def _first_frame(content: bytes, start: int, kind: tuple[int, int, int] | None = None) -> tuple[_Frame | None, int]:
    """The first header, of a kind, that another one follows (one alone may be chance), and where it is."""
    for position in range(start, min(len(content), start + 65_536)):
        frame = _frame(content, position)
        if frame is None or kind not in (None, frame.kind):
            continue
        following = _frame(content, position + frame.length)
        if following is not None and following.kind == frame.kind:
            return frame, position
    return None, start


def _declared_frames(frame: bytes) -> tuple[int, bool]:
    """The number of frames in a Xing, Info or VBRI tag (0: not told), and whether the frame is one."""
    for name in (b"Xing", b"Info"):
        place = frame.find(name, 4, 48)
        if place >= 0:
            flags = frame[place + 7 : place + 8]
            told = flags and flags[0] & 1
            return (int.from_bytes(frame[place + 8 : place + 12], "big") if told else 0), True
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big"), True
    return 0, False


_SOUND = (b"SSND", b"BODY")
_CHECKS: dict[bytes, Callable[[BinaryIO, int], None]] = {
    b"RIFF": lambda stream, size: _chunks(stream, size, False, (b"data",)),
    b"RF64": lambda stream, size: _chunks(stream, size, False, (b"data",)),
    b"BW64": lambda stream, size: _chunks(stream, size, False, (b"data",)),
    b"RIFX": lambda stream, size: _chunks(stream, size, True, (b"data",)),
    b"FORM": lambda stream, size: _chunks(stream, size, True, _SOUND),
    b"riff\x2e\x91\xcf\x11": _w64,
    b".snd": _au,
    b"dns.": _au,
    b"caff": _caf,
    b"NIST_1A": _sphere,
    b"OggS": _ogg,
}
