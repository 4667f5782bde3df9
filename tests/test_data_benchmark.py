"""The feeding benchmark runs and adds up; its figures are for docs, not for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from nas.data.benchmark import feeding_ratio, small_network_step
from nas.data.utterance import Utterance


def test_feeding_is_measured(tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.full(2000 + number, 0.1, np.float32), 16_000)
        rows.append(
            Utterance(path, path.stem, "-", ("-", "A1")[number % 2], ("bonafide", "spoof")[number % 2], "train")
        )
    seen: list[tuple[int, ...]] = []

    def step(waveforms: Tensor, labels: Tensor) -> None:
        seen.append((*waveforms.shape, *labels.shape))

    feeding = feeding_ratio(rows, tmp_path / "cache", step, batch_size=4, samples=3000, steps=3, repeats=2)
    assert set(seen) == {(4, 3000, 4)}
    assert len(seen) == 3 + 2 * 2 * 3
    assert feeding.ratio == feeding.fed / feeding.in_memory
    assert 0 < feeding.least_ratio < 1


def test_the_default_step_trains_and_leaves_the_random_state() -> None:
    before = torch.random.get_rng_state()
    step = small_network_step(channels=2)
    assert torch.equal(before, torch.random.get_rng_state())
    step(torch.randn(2, 1000), torch.tensor([0, 1]))
