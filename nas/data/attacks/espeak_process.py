"""A process of its own for eSpeak NG: `python espeak_process.py LIBRARY DATA SEED VOICE RATE PITCH RANGE < text`.

The engine's phases go on from one sentence to the next and cannot be set back, and its random numbers begin with the
time of day, so that the same text sounds a little different each time. In a process that speaks once and sets the seed
(eSpeak NG 1.52 and later), it is always the same. Standard library only.
Writes the sample rate (4 bytes, little-endian) and the 16-bit samples.
"""

from __future__ import annotations

import ctypes
import sys

_SYNCHRONOUS, _CHARACTERS_UTF8, _POSITION_CHARACTER = 2, 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
"""Numbers of eSpeak NG's speak_lib.h."""


def main(library: str, data: str, seed: str, voice: str, rate: str, pitch: str, pitch_range: str) -> int:
    engine = ctypes.CDLL(library)
    samples = bytearray()

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def collect(wave: int | None, count: int, events: int | None) -> int:
        if wave and count > 0:
            samples.extend(ctypes.string_at(wave, 2 * count))
        return 0

    sample_rate = engine.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), 0)
    if sample_rate <= 0:
        return 1
    engine.espeak_ng_SetRandSeed(ctypes.c_long(int(seed)))
    engine.espeak_SetSynthCallback(collect)
    if engine.espeak_SetVoiceByName(voice.encode()) != 0:
        return 2
    for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
        engine.espeak_SetParameter(parameter, int(value), 0)
    text = sys.stdin.buffer.read()
    size = ctypes.c_size_t(len(text) + 1)
    if engine.espeak_Synth(text, size, 0, _POSITION_CHARACTER, 0, _CHARACTERS_UTF8, None, None) != 0:
        return 3
    engine.espeak_Synchronize()
    sys.stdout.buffer.write(int(sample_rate).to_bytes(4, "little") + bytes(samples))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
