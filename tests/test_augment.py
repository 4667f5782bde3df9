"""Every registered augmentation passes the same checks; each then has one of its own."""

from __future__ import annotations

import math
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy import signal

from nas.data.augment import Augmentation, augmentation_names, get_augmentation, level
from nas.data.augment import rawboost as rawboost_module
from nas.data.augment.codec import _band
from nas.data.augment.resampling import _resample
from nas.errors import NasError

RATE = 16000
NAMES = augmentation_names()
VARIANTS = [
    *((name, {}) for name in NAMES),
    *(("rawboost", {"algorithm": algorithm}) for algorithm in range(9)),
]


def generator(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def speech(batch: int = 4, samples: int = 8000) -> torch.Tensor:
    """Voiced-speech-like waveforms [batch, samples]: harmonics under an envelope."""
    time = torch.arange(samples) / RATE
    pitch = 100 + 20 * torch.arange(batch)[:, None]
    tone = sum(torch.sin(2 * math.pi * k * pitch * time) / k for k in range(1, 20))
    return 0.1 * tone * (1 + torch.sin(2 * math.pi * 4 * time))


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=lambda value: str(value))
class TestEveryAugmentation:
    @pytest.mark.parametrize("shape", [(3, 16000), (1, 4001), (5, 257)])
    def test_keeps_shape_type_and_finiteness(self, name: str, settings: dict, shape: tuple[int, int]) -> None:
        waveforms = speech(*shape)
        before = waveforms.clone()
        result = get_augmentation(name)(waveforms, generator(), **settings)
        assert result.shape == waveforms.shape
        assert result.dtype == waveforms.dtype
        assert torch.isfinite(result).all()
        assert torch.equal(waveforms, before), "the input was changed in place"

    def test_is_a_function_of_the_generator(self, name: str, settings: dict) -> None:
        waveforms = speech()
        function = get_augmentation(name)
        torch.manual_seed(1)
        first = function(waveforms, generator(3), **settings)
        torch.manual_seed(2)
        assert torch.equal(first, function(waveforms, generator(3), **settings))
        deterministic = name in ("mu_law", "gsm_like") or settings.get("algorithm") == 0
        assert torch.equal(first, function(waveforms, generator(4), **settings)) == deterministic

    def test_silence_stays_finite(self, name: str, settings: dict) -> None:
        result = get_augmentation(name)(torch.zeros(2, 4000), generator(), **settings)
        assert torch.isfinite(result).all()
        assert result.abs().max() < 1e-3

    def test_the_level_stays_within_reason(self, name: str, settings: dict) -> None:
        waveforms = speech(batch=16)
        result = get_augmentation(name)(waveforms, generator(), **settings)
        change = 20 * torch.log10(level(result) / level(waveforms))
        assert change.abs().max() < 25
        assert result.abs().max() < 8

    @pytest.mark.gpu
    def test_runs_where_the_waveforms_are(self, name: str, settings: dict) -> None:
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        waveforms = speech().cuda()
        result = get_augmentation(name)(waveforms, generator(0, "cuda"), **settings)
        assert result.device == waveforms.device
        assert torch.isfinite(result).all()


def test_noise_has_the_wanted_ratio() -> None:
    waveforms = speech(8)
    noisy = get_augmentation("noise")(waveforms, generator(), snr=(17.0, 17.0))
    ratio = 20 * torch.log10(level(waveforms) / level(noisy - waveforms))
    torch.testing.assert_close(ratio, torch.full_like(ratio, 17.0), atol=1e-3, rtol=0)


def test_noise_slope_is_that_of_its_spectrum() -> None:
    silence = torch.full((64, 16000), 1e-6)
    noise = get_augmentation("noise")(silence, generator(), snr=(0.0, 0.0), slope=(2.0, 2.0)) - silence
    power = torch.fft.rfft(noise).abs().square().mean(0)
    octave = lambda low: power[low : 2 * low].mean()  # noqa: E731
    assert 10 * math.log10(octave(200) / octave(400)) == pytest.approx(6.0, abs=0.5)


def test_gain_is_within_its_range_and_clips() -> None:
    waveforms = 0.1 * speech(64)
    change = 20 * torch.log10(
        level(get_augmentation("gain")(waveforms, generator(), decibels=(-6.0, 3.0))) / level(waveforms)
    )
    assert -6.01 <= change.min() < -5
    assert 2 < change.max() <= 3.01
    assert get_augmentation("gain")(waveforms, generator(), decibels=(90.0, 90.0)).abs().max() == 1


def test_reverberation_keeps_level_and_place() -> None:
    impulse = torch.zeros(4, 8000)
    impulse[:, 100] = 1
    wet = get_augmentation("reverberation")(impulse, generator())
    assert (wet.abs().argmax(1) == 100).all()
    assert wet[:, :100].abs().max() < 1e-6
    torch.testing.assert_close(level(wet), level(impulse))
    dead = get_augmentation("reverberation")(impulse, generator(), rt60=(0.15, 0.15))
    early, late = dead[:, 101:1000].square().sum(1), dead[:, 4000:].square().sum(1)
    assert (late < 1e-5 * early).all()


def test_masks_leave_the_rest_alone() -> None:
    waveforms = torch.ones(32, 8000)
    masked = get_augmentation("time_mask")(waveforms, generator(), seconds=0.1, count=1)
    zeros = (masked == 0).sum(1)
    assert zeros.max() <= 1601
    assert zeros.float().mean() > 200
    assert ((masked == 0) | (masked == 1)).all()
    edges = masked.diff(dim=1).abs().sum(1)
    assert (edges <= 2).all(), "a single span was asked for"

    noise = torch.randn(8, 16000, generator=generator())
    masked = get_augmentation("frequency_mask")(noise, generator(), hertz=2000, count=1)
    before, after = torch.fft.rfft(noise).abs(), torch.fft.rfft(masked).abs()
    gone = after < 1e-2 * before
    assert (gone.sum(1) <= 2001).all()
    torch.testing.assert_close(after[~gone], before[~gone], atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("name", ["mu_law", "gsm_like"])
def test_telephone_codecs_sound_like_a_telephone(name: str) -> None:
    noise = 0.1 * torch.randn(4, 16000, generator=generator())
    coded = get_augmentation(name)(noise, generator())
    power = torch.fft.rfft(coded).abs().square().mean(0)
    inside, above = power[500:3200].mean(), power[5000:].mean()
    assert above < 0.02 * inside
    narrow = _band(noise, 300, 3400)
    ratio = 10 * torch.log10(narrow.square().sum() / (coded - narrow).square().sum())
    assert 8 < ratio < 45


def test_mu_law_is_that_of_the_standard() -> None:
    values = torch.linspace(-1, 1, 100_001)[None]
    coded = get_augmentation("mu_law")(values, generator(), narrow=False)
    assert len(coded.unique()) == 255
    assert (coded - values).abs().max() < 1 / 40
    small = values.abs() < 0.01
    assert (coded - values)[small].abs().max() < 3e-4


def test_speed_moves_a_tone_and_agrees_with_exact_interpolation() -> None:
    time = torch.arange(16000, dtype=torch.float64) / RATE
    tone = torch.sin(2 * math.pi * 440 * time).float()[None].repeat(3, 1)
    factor = torch.tensor([0.9, 1.0, 1.1])
    played = _resample(tone, factor)
    expected = torch.sin(2 * math.pi * 440 * time * factor[:, None].double()).float()
    torch.testing.assert_close(played[:, 100:14000], expected[:, 100:14000], atol=2e-3, rtol=0)
    torch.testing.assert_close(played[1], tone[1], atol=1e-6, rtol=0)


def test_a_fast_recording_does_not_alias() -> None:
    time = torch.arange(16000, dtype=torch.float64) / RATE
    tone = torch.sin(2 * math.pi * 7500 * time).float()[None]
    assert _resample(tone, torch.tensor([1.3]))[:, 100:12000].abs().max() < 0.05


@pytest.mark.parametrize("semitones", [-4.0, -1.0, 0.0, 2.0, 5.0])
def test_pitch_shift_moves_the_pitch_and_not_the_time(semitones: float) -> None:
    time = torch.arange(32000) / RATE
    tone = torch.sin(2 * math.pi * 500 * time)[None] * (time > 1.0)
    shifted = get_augmentation("pitch_shift")(tone, generator(), semitones=(semitones, semitones))
    spectrum = torch.fft.rfft(shifted[0, 18000:31000] * torch.hann_window(13000)).abs()
    peak = spectrum.argmax().item() * RATE / 13000
    assert peak == pytest.approx(500 * 2 ** (semitones / 12), rel=0.005)
    envelope = shifted[0].abs().unfold(0, 400, 400).amax(1)
    onset = int((envelope > 0.4).nonzero()[0]) * 400 / RATE
    assert onset == pytest.approx(1.0, abs=0.05)


class TestRawBoost:
    def test_notch_filters_are_products_of_band_stops_of_the_definition(self) -> None:
        batch, half = 6, 50
        like = torch.zeros(batch, 1, dtype=torch.float64)
        filters = rawboost_module.notch_filters(like, generator(5), (0.0, 0.0)).numpy()
        # The same draws, filter by filter with scipy as the published code does it.
        draws = generator(5)
        centre = 20 + 7980 * torch.rand(batch, 5, generator=draws, dtype=torch.float64).numpy()
        width = 100 + 900 * torch.rand(batch, 5, generator=draws, dtype=torch.float64).numpy()
        taps = np.floor(10 + 90 * torch.rand(batch, 5, generator=draws, dtype=torch.float64).numpy()).astype(int)
        for row in range(batch):
            expected = np.ones(1)
            for band in range(5):
                count = taps[row, band] + (taps[row, band] % 2 == 0)
                low = max(centre[row, band] - width[row, band] / 2, 1e-3)
                high = min(centre[row, band] + width[row, band] / 2, RATE / 2 - 1e-3)
                expected = np.convolve(expected, signal.firwin(count, [low, high], window="hamming", fs=RATE))
            _, response = signal.freqz(expected, 1, fs=RATE)
            expected = expected / np.abs(response).max()
            missing = 2 * half * 5 + 1 - len(expected)
            np.testing.assert_allclose(filters[row], np.pad(expected, missing // 2), atol=2e-3)

    def test_convolution_has_no_delay(self) -> None:
        waveforms = torch.randn(2, 3000, generator=generator(), dtype=torch.float64)
        filters = torch.zeros(2, 501, dtype=torch.float64)
        filters[:, 250] = 1
        torch.testing.assert_close(rawboost_module.convolve(waveforms, filters), waveforms)
        taps = torch.randn(2, 501, generator=generator(1), dtype=torch.float64)
        result = rawboost_module.convolve(waveforms, taps)
        for row in range(2):
            expected = np.convolve(waveforms[row], taps[row], mode="same")
            np.testing.assert_allclose(result[row], expected, atol=1e-9)

    def test_impulses_hit_up_to_a_tenth_of_the_samples(self) -> None:
        waveforms = 0.2 * torch.ones(64, 16000)
        changed = rawboost_module.impulsive_noise(waveforms, generator())
        share = (changed != waveforms).float().mean(1)
        assert share.max() <= 0.11
        assert share.max() > 0.08
        assert share.min() < 0.02
        assert ((changed / waveforms - 1).abs() <= 2.001).all()

    def test_stationary_noise_has_the_wanted_ratio(self) -> None:
        waveforms = speech(8)
        noisy = rawboost_module.coloured_noise(waveforms, generator(), (20.0, 20.0))
        ratio = 20 * torch.log10(level(waveforms) / level(noisy - waveforms))
        torch.testing.assert_close(ratio, torch.full_like(ratio, 20.0), atol=1e-2, rtol=0)

    def test_convolutive_noise_has_no_mean_and_a_limited_peak(self) -> None:
        result = rawboost_module.convolutive_noise(20 * speech(8), generator())
        assert result.mean(1).abs().max() < 1e-5
        assert result.abs().max() <= 1.0001

    def test_zero_is_nothing_and_nine_is_an_error(self) -> None:
        waveforms = speech()
        assert torch.equal(get_augmentation("rawboost")(waveforms, generator(), algorithm=0), waveforms)
        with pytest.raises(NasError, match="0 to 8, not 9"):
            get_augmentation("rawboost")(waveforms, generator(), algorithm=9)


class TestRecipe:
    def test_steps_run_in_order(self) -> None:
        recipe = [{"name": "gain", "decibels": [6, 6]}, {"name": "gain", "decibels": [-6, -6]}]
        waveforms = speech()
        torch.testing.assert_close(Augmentation.from_recipe(recipe)(waveforms, generator()), waveforms)

    def test_probability_is_a_share_of_the_utterances(self) -> None:
        waveforms = speech(2000, 32) + 0.01
        for probability in (0, 0.3, 1):
            augment = Augmentation.from_recipe([{"name": "gain", "decibels": [3, 3], "probability": probability}])
            changed = (augment(waveforms, generator()) != waveforms).any(1).float().mean().item()
            assert changed == pytest.approx(probability, abs=0.04)

    def test_nothing_is_nothing(self) -> None:
        waveforms = speech()
        assert Augmentation()(waveforms, generator()) is waveforms

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"name": "rawbost"}, "did you mean 'rawboost'"),
            ({"name": "noise", "snrr": [1, 2]}, "did you mean 'snr'"),
            ({"name": "noise", "snr": 10}, "two numbers"),
            ({"name": "noise", "snr": [10, 5]}, "lowest and highest"),
            ({"name": "noise", "snr": ["a", "b"]}, "two numbers"),
            ({"name": "noise", "probability": 1.5}, "from 0 to 1"),
            ({"name": "noise", "probability": "often"}, "must be a number"),
            ({"name": "mu_law", "narrow": "yes"}, "must be a bool"),
            ({"name": "rawboost", "algorithm": "4"}, "must be a number"),
            ({"probability": 1}, "augmentation 1 of the recipe"),
            ("noise", "augmentation 1 of the recipe"),
        ],
    )
    def test_wrong_entries_are_told(self, entry: object, message: str) -> None:
        with pytest.raises(NasError, match=message):
            Augmentation.from_recipe([entry])  # type: ignore[list-item]


def test_the_examples_of_the_documentation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/augmentation.md: the listening example, the recipe and the augmentation of one's own."""
    text = (Path(__file__).resolve().parent.parent / "docs" / "augmentation.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL)):
        (tmp_path / f"example{number}.py").write_text(block)
        runpy.run_path(str(tmp_path / f"example{number}.py"))
    written = {path.stem for path in (tmp_path / "listen").iterdir()}
    assert {"original", "rawboost", "pitch_shift"} <= written
    recipe = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])["data"]["augment"]
    waveforms = speech()
    assert Augmentation.from_recipe(recipe)(waveforms, generator()).shape == waveforms.shape
    for name in NAMES:
        assert f"| `{name}` |" in text, f"docs/augmentation.md does not list {name}"
    flipped = get_augmentation("polarity")(waveforms, generator())
    assert torch.equal(flipped.abs(), waveforms.abs())
