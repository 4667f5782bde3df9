"""The corpus builder: from folders of speech to a manifest, repeatable to the byte."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from nas.cli import app
from nas.data.bonafide import Speech, find_speech
from nas.data.chain import CODECS, Chain
from nas.data.corpus import build_corpus, split_speakers
from nas.data.corpus_recipe import read_recipe
from nas.data.edges import trim
from nas.data.embedded import embedded_corpus
from nas.errors import NasError
from nas.folder_lock import working_on
from nas.recipe_file import find_recipe

RATE = 16000
CHAIN = Chain(seconds=0.6, shortest_seconds=0.3)
QUICK = {"attacks": ("griffin_lim", "phase_random"), "workers": 0, "chain": CHAIN, "progress": False}
SHARES = {"train": 0.5, "dev": 0.25, "eval": 0.25}


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder for each of four speakers, five utterances in each, of several formats and rates."""
    folder = tmp_path_factory.mktemp("speech")
    table, waveforms = embedded_corpus(1, speakers=4, utterances=10, seconds=0.7)
    for utterance, waveform in zip(table, waveforms, strict=True):
        if utterance.key == "bonafide":
            number = int(utterance.utterance[-3:])
            name = folder / utterance.speaker / f"{utterance.utterance}{'.wav' if number % 4 else '.flac'}"
            name.parent.mkdir(exist_ok=True)
            soundfile.write(name, waveform, RATE)
    return folder


def checksums(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="") as lines:
        return list(csv.DictReader(lines))


class TestBuild:
    def test_writes_what_the_manifest_says(self, speech: Path, tmp_path: Path) -> None:
        manifest = build_corpus([speech], tmp_path / "out", evaluation_only=["lpc_pulse_noise"], **QUICK)
        assert manifest == tmp_path / "out" / "manifest.csv"
        table = rows(manifest)
        assert [row["utterance"] for row in table] == sorted(row["utterance"] for row in table)
        assert {path for path in checksums(tmp_path / "out") if path.endswith(".flac")} == {r["path"] for r in table}
        for row in table:
            audio, rate = soundfile.read(tmp_path / "out" / row["path"], dtype="int16")
            assert rate == RATE
            assert 0.25 * RATE < len(audio) <= 0.6 * RATE
            assert hashlib.sha256((tmp_path / "out" / row["path"]).read_bytes()).hexdigest() == row["checksum"]
            assert row["path"].startswith(row["partition"])
            assert (row["key"] == "bonafide") == (row["attack"] == "-") == (row["utterance"] == row["source"])
            assert isinstance(json.loads(row["parameters"]), dict)
            assert (row["version"] == "-") == (row["attack"] == "-")
        attacks = {name: {r["attack"] for r in table if r["partition"] == name} for name in ("train", "dev", "eval")}
        assert attacks["train"] == attacks["dev"] == {"-", "griffin_lim", "phase_random"}
        assert attacks["eval"] == {"-", "griffin_lim", "phase_random", "lpc_pulse_noise"}
        partitions = {(row["speaker"], row["partition"]) for row in table}
        assert len(partitions) == 4, "a speaker crossed partitions"
        assert not list((tmp_path / "out").glob("*.jsonl"))

    def test_neither_processes_nor_order_change_a_byte(self, speech: Path, tmp_path: Path) -> None:
        half = tmp_path / "half"
        half.mkdir()
        for speaker in sorted(path.name for path in speech.iterdir())[:2]:
            (half / speaker).symlink_to(speech / speaker)
        other = tmp_path / "other"
        other.mkdir()
        for speaker in sorted(path.name for path in speech.iterdir())[2:]:
            (other / speaker).symlink_to(speech / speaker)
        options = {**QUICK, "shares": {"train": 0.5, "eval": 0.5}}
        build_corpus([half, other], tmp_path / "a", **options)
        build_corpus([other, half, half], tmp_path / "b", **{**options, "workers": 2})
        assert checksums(tmp_path / "a") == checksums(tmp_path / "b")

    def test_the_seed_changes_spoofs_and_zero_is_a_seed(self, speech: Path, tmp_path: Path) -> None:
        a, b = (checksums(build_corpus([speech], tmp_path / str(s), seed=s, **QUICK).parent) for s in (0, 1))
        assert not set(a.values()) & set(b.values())

    def test_attacks_rotate(self, speech: Path, tmp_path: Path) -> None:
        manifest = build_corpus([speech], tmp_path, spoofs_per_utterance=1, **QUICK)
        counts = Counter((row["partition"], row["attack"]) for row in rows(manifest) if row["key"] == "spoof")
        for partition in ("train", "dev", "eval"):
            assert abs(counts[partition, "griffin_lim"] - counts[partition, "phase_random"]) <= 1
        assert sum(counts.values()) == 20

    def test_options_reach_the_attack(self, speech: Path, tmp_path: Path) -> None:
        manifest = build_corpus([speech], tmp_path, options={"griffin_lim": {"iterations": 2}}, **QUICK)
        found = {
            json.loads(row["parameters"])["iterations"] for row in rows(manifest) if row["attack"] == "griffin_lim"
        }
        assert found == {2}

    def test_codecs_are_shared_by_a_source_and_its_spoofs(self, speech: Path, tmp_path: Path) -> None:
        chain = Chain(seconds=0.6, shortest_seconds=0.3, codecs=tuple(CODECS))
        table = rows(build_corpus([speech], tmp_path, **{**QUICK, "chain": chain}))
        per_source: dict[str, set[str]] = {}
        for row in table:
            per_source.setdefault(row["source"], set()).add(row["codec"])
        assert all(len(codecs) == 1 for codecs in per_source.values())
        assert len(set.union(*per_source.values())) > 1


class TestResume:
    def test_a_finished_corpus_is_left_alone(self, speech: Path, tmp_path: Path) -> None:
        build_corpus([speech], tmp_path, **QUICK)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.flac")}
        build_corpus([speech], tmp_path, **QUICK)
        assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.flac")}

    def test_lost_and_damaged_files_are_made_again(self, speech: Path, tmp_path: Path) -> None:
        build_corpus([speech], tmp_path, **QUICK)
        before = checksums(tmp_path)
        files = sorted(tmp_path.rglob("*.flac"))
        files[0].unlink()
        files[5].write_bytes(files[5].read_bytes()[:-7])
        (tmp_path / "progress.jsonl").write_text('7\n{"source": "S", "rows": [{}]}\n{"source": "torn')
        (files[1].parent / ".half.flac.x1.tmp").write_bytes(b"fLaC")
        build_corpus([speech], tmp_path, **QUICK)
        assert checksums(tmp_path) == before

    def test_sources_may_change_until_it_is_finished(self, speech: Path, tmp_path: Path) -> None:
        shutil.copytree(speech, tmp_path / "in")
        files = sorted((tmp_path / "in").rglob("*.wav"))
        (files[0].parent / "broken.wav").write_bytes(b"RIFF")
        options = {**QUICK, "spoofs_per_utterance": 1}  # attacks rotate: what goes moves those of the others
        with pytest.raises(NasError, match="1 of 21 sources cannot be used"):
            build_corpus([tmp_path / "in"], tmp_path / "out", corrupt="strict", **options)
        (files[0].parent / "broken.wav").unlink()
        files[3].unlink()
        shutil.copy(files[7], files[2])
        build_corpus([tmp_path / "in"], tmp_path / "out", corrupt="strict", **options)
        build_corpus([tmp_path / "in"], tmp_path / "new", **options)
        assert checksums(tmp_path / "out") == checksums(tmp_path / "new")
        files[4].unlink()
        with pytest.raises(NasError, match="finished corpus built with another sources"):
            build_corpus([tmp_path / "in"], tmp_path / "out", **options)

    def test_only_one_build_works_on_a_folder(self, speech: Path, tmp_path: Path) -> None:
        with working_on(tmp_path), pytest.raises(NasError, match="is being worked on by process"):
            build_corpus([speech], tmp_path, **QUICK)

    def test_another_corpus_is_refused_before_a_source_is_read(
        self, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build_corpus([speech], tmp_path, **QUICK)
        monkeypatch.setattr("nas.data.corpus.find_speech", None)
        with pytest.raises(NasError, match="another seed"):
            build_corpus([speech], tmp_path, seed=1, **QUICK)

    def test_other_settings_are_refused(self, speech: Path, tmp_path: Path) -> None:
        build_corpus([speech], tmp_path, **QUICK)
        with pytest.raises(NasError, match="another seed"):
            build_corpus([speech], tmp_path, seed=1, **QUICK)
        with pytest.raises(NasError, match="another attacks"):
            build_corpus([speech], tmp_path, **{**QUICK, "attacks": ["phase_random"]})

    def test_a_folder_of_other_things_is_refused(self, speech: Path, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("precious")
        with pytest.raises(NasError, match="is a file"):
            build_corpus([speech], tmp_path / "thesis.txt", **QUICK)
        with pytest.raises(NasError, match="not empty"):
            build_corpus([speech], tmp_path, **QUICK)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

    @pytest.mark.slow
    def test_killed_half_way_it_ends_with_the_same_bytes(self, speech: Path, tmp_path: Path) -> None:
        script = (
            "import sys; from nas.data.chain import Chain; from nas.data.corpus import build_corpus\n"
            "if __name__ == '__main__':\n"
            "    build_corpus([sys.argv[1]], sys.argv[2], attacks=('griffin_lim', 'phase_random'), workers=1,\n"
            "        chain=Chain(seconds=0.6, shortest_seconds=0.3), progress=False,\n"
            "        options={'griffin_lim': {'iterations': 200}})\n"
        )
        (tmp_path / "build.py").write_text(script)
        command = [sys.executable, str(tmp_path / "build.py"), str(speech), str(tmp_path / "killed")]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
        process = subprocess.Popen(command, env=environment)
        journal = tmp_path / "killed" / "progress.jsonl"
        deadline = time.monotonic() + 120
        while not (journal.exists() and journal.read_text().count("\n") >= 3) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert journal.exists()
        assert not (tmp_path / "killed" / "manifest.csv").exists()
        options = {**QUICK, "options": {"griffin_lim": {"iterations": 200}}}
        build_corpus([speech], tmp_path / "killed", **options)
        build_corpus([speech], tmp_path / "whole", **options)
        assert checksums(tmp_path / "killed") == checksums(tmp_path / "whole")


class TestWrongInput:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"attacks": ()}, "at least one attack"),
            ({"attacks": ("griffin_lim", "grifin")}, "did you mean 'griffin_lim'"),
            ({"evaluation_only": ("griffin_lim",)}, "named twice"),
            ({"spoofs_per_utterance": 0}, "must be 1 to 2"),
            ({"spoofs_per_utterance": 3}, "must be 1 to 2"),
            ({"shares": {"train": 0.5, "test": 0.5}}, "add up to 1"),
            ({"shares": {"train": 0.5, "dev": 0.2}}, "add up to 1"),
            ({"shares": {"train": 0.98, "dev": 0.01, "eval": 0.01}}, "has no speaker"),
            ({"options": {"world_copy": {}}}, "not among the attacks"),
            ({"options": {"griffin_lim": {"iteration": 3}}}, "did you mean 'iterations'"),
            ({"workers": -1}, "0 .* or more"),
            ({"speaker_pattern": "("}, "not a regular expression"),
            ({"speaker_pattern": "EMB"}, "needs a group"),
            ({"speaker_pattern": "(XYZ)"}, "finds no speaker"),
            ({"chain": Chain(seconds=9, shortest_seconds=9)}, "the corpus is empty"),
        ],
    )
    def test_is_told_in_a_sentence(self, speech: Path, tmp_path: Path, change: dict, message: str) -> None:
        with pytest.raises(NasError, match=message):
            build_corpus([speech], tmp_path, **{**QUICK, **change})

    def test_a_source_named_like_a_spoof_is_told(self, speech: Path, tmp_path: Path) -> None:
        content = next(speech.rglob("*.flac")).read_bytes()
        for speaker, name in (("a", "x"), ("b", "x_griffin_lim"), ("c", "y"), ("d", "z")):
            (tmp_path / "in" / speaker).mkdir(parents=True)
            (tmp_path / "in" / speaker / f"{name}.flac").write_bytes(content)
        with pytest.raises(NasError, match="the name of another source: x_griffin_lim"):
            build_corpus([tmp_path / "in"], tmp_path / "out", **QUICK)

    def test_unreadable_speech_is_left_out_and_named(
        self, speech: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for speaker in ("a", "b", "c", "d"):
            (tmp_path / "in" / speaker).mkdir(parents=True)
            source = next(speech.rglob("*.flac"))
            (tmp_path / "in" / speaker / f"{speaker}1.flac").write_bytes(source.read_bytes())
        (tmp_path / "in" / "c" / "broken.wav").write_bytes(b"RIFF, but not really")
        (tmp_path / "in" / "d" / "silent.wav").write_bytes(b"")
        for workers in (0, 1):
            build = {**QUICK, "workers": workers, "bonafide": [tmp_path / "in"], "output": tmp_path / f"out{workers}"}
            with pytest.raises(NasError, match=r"2 of 6 sources cannot be used: .*broken\.wav"):
                build_corpus(**build, corrupt="strict")
            assert not (tmp_path / f"out{workers}" / "manifest.csv").exists()
            caplog.clear()
            assert len(rows(build_corpus(**build))) == 12
            assert "broken.wav" in caplog.text
            assert "2 of 6 sources cannot be used; they are named above" in caplog.text
        (tmp_path / "in" / "c" / "broken.wav").unlink()  # they were no part of it, so it is the same corpus
        before = checksums(tmp_path / "out1")
        build_corpus(**build)
        assert {name: before[name] for name in before if name != "corpus.json"} == {
            name: checksum for name, checksum in checksums(tmp_path / "out1").items() if name != "corpus.json"
        }

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"seconds": 0.5}, "shortest"),
            ({"edge_db": 0}, "edge_db"),
            ({"level_db": 0}, "level_db"),
            ({"floor_db": 0}, "noise floor"),
            ({"codecs": ("mp4",)}, "no codec 'mp4'"),
            ({"codecs": ()}, "no codec"),
        ],
    )
    def test_chains_out_of_range(self, setting: dict, message: str) -> None:
        with pytest.raises(NasError, match=message):
            Chain(**setting)


class TestFindSpeech:
    def write(self, *paths: Path) -> None:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def test_by_protocol_only_bona_fide(self, tmp_path: Path) -> None:
        self.write(*(tmp_path / "flac" / f"U{n}.flac" for n in range(4)))
        (tmp_path / "protocol.txt").write_text("S1 U0 - - bonafide\n\nS2 U1 - - bonafide\nS1 U2 - A07 spoof\n")
        (tmp_path / "LICENSE.TXT").write_text("do what you like\n")
        for folder in (tmp_path, tmp_path / "flac"):
            assert [(s.utterance, s.speaker) for s in find_speech([folder])] == [("U0", "S1"), ("U1", "S2")]

    def test_by_librispeech_name(self, tmp_path: Path) -> None:
        self.write(tmp_path / "deep" / "84-121123-0001.flac", tmp_path / "1034-121119-0000.flac")
        assert {s.utterance: s.speaker for s in find_speech([tmp_path])} == {
            "84-121123-0001": "84",
            "1034-121119-0000": "1034",
        }

    def test_by_folder_and_by_pattern(self, tmp_path: Path) -> None:
        self.write(tmp_path / "anna" / "x.wav", tmp_path / "ben" / "p7_y.MP3", tmp_path / "ben" / "notes.pdf")
        assert {s.utterance: s.speaker for s in find_speech([tmp_path])} == {"x": "anna", "p7_y": "ben"}
        found = find_speech([tmp_path / "ben"], r"(p\d+)_")
        assert [(s.utterance, s.speaker) for s in found] == [("p7_y", "p7")]

    @pytest.mark.parametrize(
        ("protocol", "message"),
        [
            ("S1 U0 - - bonafide\nS1 U1 - bonafide\n", r"protocol\.txt, line 2: expected"),
            ("S1 U0 - - bonafide\nS1 U1 - - human\n", r"protocol\.txt, line 2: expected"),
            ("S1 U0 - - bonafide\nS1 U9 - - bonafide\n", "1 utterances of the protocol .* the first: U9"),
        ],
    )
    def test_wrong_protocols(self, tmp_path: Path, protocol: str, message: str) -> None:
        self.write(tmp_path / "U0.flac", tmp_path / "U1.flac")
        (tmp_path / "protocol.txt").write_text(protocol)
        with pytest.raises(NasError, match=message):
            find_speech([tmp_path])

    def test_wrong_folders(self, tmp_path: Path) -> None:
        with pytest.raises(NasError, match="no folder of human speech"):
            find_speech([])
        with pytest.raises(NasError, match="there is no folder"):
            find_speech([tmp_path / "absent"])
        with pytest.raises(NasError, match="has no audio"):
            find_speech([tmp_path])
        self.write(tmp_path / "x.wav")
        with pytest.raises(NasError, match="cannot tell who speaks"):
            find_speech([tmp_path])
        self.write(tmp_path / "a" / "y.wav", tmp_path / "b" / "y.flac")
        (tmp_path / "x.wav").unlink()
        (tmp_path / "c").mkdir()
        for name in ("U1", "U2"):
            (tmp_path / "c" / f"{name}.flac").touch()
        (tmp_path / "c" / "list.trn").write_text("S U1 - - bonafide\n")
        self.write(tmp_path / "d" / "ann" / "U1.wav")
        with pytest.raises(NasError, match="two files are called 'U1'"):
            find_speech([tmp_path / "c", tmp_path / "d"], None)

    def test_names_and_speakers_are_words_that_differ(self, tmp_path: Path) -> None:
        names = [
            "Ann Lee/001.wav",
            "Bo\tJr/001.wav",
            "Bo\tJr/a b.wav",
            "Bo\tJr/a_b.wav",
            "Bo\tJr/c.wav",
            "Bo\tJr/c.flac",
        ]
        self.write(*(tmp_path / name for name in names))
        found = find_speech([tmp_path])
        assert len({speech.utterance for speech in found}) == len(names)
        assert {"Ann_Lee_001_wav", "Bo_Jr_001_wav", "Bo_Jr_c_flac"} <= {speech.utterance for speech in found}
        assert {speech.speaker for speech in found} == {"Ann_Lee", "Bo_Jr"}
        assert all(word.split() == [word] for speech in found for word in (speech.utterance, speech.speaker))
        self.write(tmp_path / ("x" * 120) / ("y" * 120) / "001.wav")
        assert all(len(speech.utterance) <= 150 for speech in find_speech([tmp_path]))

    def test_a_protocol_beside_the_folder_is_said_or_passed_over(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.write(*(tmp_path / "speech" / speaker / f"{speaker}1.wav" for speaker in ("ann", "bo")))
        (tmp_path / "protocol.txt").write_text("S9 LA_T_1 - - bonafide\n")
        assert {speech.speaker for speech in find_speech([tmp_path / "speech"])} == {"ann", "bo"}
        assert "names no audio of" in caplog.text
        (tmp_path / "protocol.txt").write_text("S9 ann1 - - bonafide\n")
        assert [speech.speaker for speech in find_speech([tmp_path / "speech"])] == ["S9"]
        assert "are taken from" in caplog.text
        assert "1 audio files that are not called bona fide there are left out" in caplog.text
        (tmp_path / "protocol.txt").write_text("S9 ann1 - A01 spoof\n")
        with pytest.raises(NasError, match=r"calls no utterance of .* bona fide"):
            find_speech([tmp_path / "speech"])

    def test_folders_of_one_name_in_several_places_are_said(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.write(tmp_path / "ann" / "day1" / "x.wav", tmp_path / "bo" / "day1" / "y.wav")
        assert {speech.speaker for speech in find_speech([tmp_path])} == {"day1"}
        assert "folders called day1 lie in 2 places" in caplog.text
        assert {speech.speaker for speech in find_speech([tmp_path], "^([^/]+)/")} == {"ann", "bo"}

    @pytest.mark.shared
    def test_reference_speech(self, shared: Path) -> None:
        found = find_speech([shared / "data" / "la_real", shared / "data" / "librispeech"])
        assert len(found) == 838 + 351
        assert len({speech.speaker for speech in found}) == 58 + 261


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(4, 40), min_size=1, max_size=3),
    seed=st.integers(0, 9),
    order=st.randoms(use_true_random=False),
)
def test_speakers_are_split_in_their_shares_in_any_order(sizes: list[int], seed: int, order: object) -> None:
    speech = [
        Speech(Path(), f"f{folder}s{speaker}u{number}", f"f{folder}s{speaker}", folder)
        for folder, size in enumerate(sizes)
        for speaker in range(size)
        for number in range(2)
    ]
    expected = split_speakers(speech, SHARES, seed)
    order.shuffle(speech)  # type: ignore[attr-defined]
    assert split_speakers(speech, SHARES, seed) == expected
    for folder, size in enumerate(sizes):
        for partition, share in SHARES.items():
            count = sum(expected[f"f{folder}s{speaker}"] == partition for speaker in range(size))
            assert abs(count - share * size) <= 1


class TestChain:
    def test_trims_clicks_and_silence_but_no_pause(self) -> None:
        waveform = np.full(16000, 1e-5, np.float32)
        waveform[1600:1650] = 0.5
        waveform[4000:8000] = 0.2
        waveform[9600:12000] = 0.2
        assert np.array_equal(trim(waveform, 30.0), waveform[4000:12000])
        for nothing in (np.zeros(0, np.float32), np.zeros(5000, np.float32), np.ones(100, np.float32)):
            assert len(trim(nothing, 30.0)) == 0

    @settings(max_examples=40, deadline=None)
    @given(
        gain=st.floats(1e-3, 10),
        silence=st.integers(0, 4000),
        codec=st.sampled_from(sorted(CODECS)),
        seed=st.integers(0, 99),
    )
    def test_any_input_ends_at_the_level(self, gain: float, silence: int, codec: str, seed: int) -> None:
        chain = Chain(seconds=1.0, shortest_seconds=0.2, level_db=-30, level_spread_db=3)
        random = np.random.default_rng(seed)
        noise = random.standard_normal(12000).cumsum()
        source = np.concatenate([np.zeros(silence), gain * (noise - noise.mean()), np.zeros(silence)]).astype(
            np.float32
        )
        prepared = chain.prepare(source)
        assert prepared is not None
        waveform, samples = prepared
        finished = chain.finish(waveform, samples, codec, np.random.default_rng(seed))
        assert finished.dtype == np.int16
        assert len(finished) <= samples <= RATE
        level = 20 * np.log10(np.sqrt(np.mean(np.square(finished / 32768))))
        assert -33.5 < level < -26.5

    def test_what_is_too_short_or_silent_is_left_out(self) -> None:
        chain = Chain(seconds=1.0, shortest_seconds=0.5)
        assert chain.prepare(np.zeros(RATE, np.float32)) is None
        assert chain.prepare(np.ones(RATE // 2, np.float32)) is None
        assert chain.prepare(np.ones(RATE, np.float32)) is not None

    def test_no_codec_is_exact_and_others_are_not(self) -> None:
        noise = np.random.default_rng(0).standard_normal(8000)
        for name, codec in CODECS.items():
            coded = codec(noise / np.abs(noise).max())
            assert coded.shape == noise.shape
            assert np.allclose(coded, noise / np.abs(noise).max()) == (name == "none")


class TestRecipe:
    def test_builds(self, speech: Path, tmp_path: Path) -> None:
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(
            "seed: 3\nattacks: [phase_random]\nshares: {train: 0.5, eval: 0.5}\n"
            "chain: {seconds: 0.6, shortest_seconds: 0.3, codecs: [none, mu_law]}\n"
        )
        command = ["corpus", "build", "--recipe", str(recipe), "-b", str(speech), "-o", str(tmp_path / "out")]
        result = CliRunner().invoke(app, [*command, "--workers", "0", "--quiet"])
        assert result.exit_code == 0, result.output
        assert {row["attack"] for row in rows(tmp_path / "out" / "manifest.csv")} == {"-", "phase_random"}
        refused = CliRunner().invoke(app, [*command, "--seed", "1"])
        assert isinstance(refused.exception, NasError)
        assert "--seed and --recipe do not go together" in str(refused.exception)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[1, 2]", "must be a mapping"),
            ("", "must be a mapping"),
            ("seed: [", r"recipe\.yaml:1: not valid YAML"),
            ("sede: 1", "did you mean 'seed'"),
            ("output: x", "no key 'output'"),
            ("attacks: world_copy", "attacks must be a list"),
            ("chain: {second: 3}", "did you mean 'seconds'"),
            ("chain: {seconds: long}", r"chain\.seconds must be a number"),
            ("chain: {codecs: none}", r"chain\.codecs must be a list"),
            ("chain: {seconds: 1e+308}", r"recipe\.yaml:1: chain durations must hold"),
            ("chain: {seconds: .inf}", r"chain\.seconds must be a number"),
            ("attacks: [[1]]", r"recipe\.yaml:1: attacks must be a list of names"),
            ("shares: {train: x}", "shares must be a mapping of partitions to numbers"),
            ("seed: 2020-99-99", "seed must be a whole number"),
            ("options: {griffin_lim: 3}", "options must be a mapping of attacks to their settings"),
            ("speaker_pattern: 3", "speaker_pattern must be a regular expression"),
        ],
    )
    def test_wrong_recipes_are_told(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "recipe.yaml").write_text(text)
        with pytest.raises(NasError, match=message):
            read_recipe(tmp_path / "recipe.yaml")

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (0, "griffin_lim.iterations must be a whole number, 1 to 8192"),
            (10**9, "griffin_lim.iterations must be a whole number"),
            (True, "griffin_lim.iterations must be a whole number"),
            ("many", "griffin_lim.iterations must be a whole number, 1 to 8192, not 'many'"),
        ],
    )
    def test_options_of_attacks_are_held_against_their_defaults(
        self, tmp_path: Path, value: object, message: str
    ) -> None:
        options: dict[str, dict[str, Any]] = {"griffin_lim": {"iterations": value}}
        with pytest.raises(NasError, match=message):
            build_corpus([tmp_path], tmp_path / "out", attacks=["griffin_lim"], options=options)

    def test_an_absent_recipe_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(NasError, match="there is no corpus recipe"):
            read_recipe(tmp_path / "absent.yaml")

    def test_the_proxy_recipe_keeps_its_promises(self) -> None:
        settings = read_recipe(find_recipe("proxy/la_proxy"))
        assert set(settings["attacks"]).isdisjoint(settings["evaluation_only"])
        assert {"hibari", "piper"} <= set(settings["evaluation_only"])
        assert settings["chain"].seconds == 4.0
