"""Bad input on the command line: one sentence, exit code 2, nothing half-written."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile

from nas.cli import main

GENOTYPE = (
    '{"normal": [["skip_connect", 0], ["skip_connect", 1]], "expand": [["skip_connect", 0], ["skip_connect", 1]]}'
)


def audio(path: Path, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).normal(0, 0.1, int(16_000 * seconds))
    soundfile.write(path, noise, 16_000)


def la_tree(root: Path, utterances: int = 8) -> Path:
    """A small tree laid out as ASVspoof 2019 LA is distributed."""
    for partition, letter, ending in (("train", "T", "train.trn"), ("dev", "D", "dev.trl")):
        lines = []
        for number in range(utterances):
            name = f"LA_{letter}_{number:07d}"
            attack = "-" if number % 2 == 0 else "A01"
            key = "bonafide" if number % 2 == 0 else "spoof"
            lines.append(f"LA_{number % 3:04d} {name} - {attack} {key}")
            audio(root / f"ASVspoof2019_LA_{partition}" / "flac" / f"{name}.flac")
        protocols = root / "ASVspoof2019_LA_cm_protocols"
        protocols.mkdir(exist_ok=True)
        (protocols / f"ASVspoof2019.LA.cm.{ending}.txt").write_text("\n".join(lines) + "\n")
    return root


def protocol(root: Path) -> Path:
    return root / "ASVspoof2019_LA_cm_protocols" / "ASVspoof2019.LA.cm.train.trn.txt"


def first_audio(root: Path) -> Path:
    return root / "ASVspoof2019_LA_train" / "flac" / "LA_T_0000000.flac"


@contextlib.contextmanager
def chdir(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def nas_command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line, in this process (starting PyTorch anew for every test takes seconds)."""
    output, errors, code = io.StringIO(), io.StringIO(), 0
    with chdir(cwd), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            with mock.patch("sys.argv", ["nas", *arguments]):
                main()
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else int(bool(leave.code))
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def test_the_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nas", "show", "nowhere.json"]
    refused(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300), "nowhere.json")


@pytest.mark.slow
def test_nothing_of_the_current_folder_is_run(tmp_path: Path) -> None:
    """Also under `python -m`, which puts the current folder first."""
    for name in ("torch", "yaml", "typer", "numpy", "json", "matplotlib", "search_spaces", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was run')")
    (tmp_path / "g.json").write_text(GENOTYPE)
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\ntext.latex.preamble: \\input{secret}\n")
    command = [sys.executable, "-m", "nas", "show", "g.json", "-o", "g.svg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "was run" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "g.svg").exists()


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    message = result.stderr.strip().splitlines()[-1]
    for word in words:
        assert word in message, message


SMALL = ["search.batch_size=2", "search.epochs=2", "data.subset={}"]


@pytest.fixture
def la(tmp_path: Path) -> Path:
    return la_tree(tmp_path / "LA")


def search_la(la: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    arguments = ["data.layout=asvspoof2019_la", f"data.root={la}", *SMALL, *overrides, "--quiet", "-o", "out"]
    result = nas_command("search", "raw_pcdarts/toy", *arguments, cwd=la.parent)
    if result.returncode:
        assert not (la.parent / "out").exists()
    return result


def test_the_tree_as_distributed_works(la: Path) -> None:
    result = search_la(la)
    assert result.returncode == 0, result.stderr
    assert (la.parent / "out" / "genotype.json").exists()


def test_missing_protocol(la: Path) -> None:
    protocol(la).unlink()
    refused(search_la(la), "ASVspoof2019.LA.cm.train.trn.txt")


def test_protocol_line_with_wrong_columns(la: Path) -> None:
    lines = protocol(la).read_text().splitlines()
    lines[3] = "LA_0001 LA_T_0000003 spoof"
    protocol(la).write_text("\n".join(lines))
    refused(search_la(la), "train.trn.txt, line 4", "column")


def test_audio_named_but_absent(la: Path) -> None:
    first_audio(la).unlink()
    refused(search_la(la), "LA_T_0000000")


@pytest.mark.parametrize("content", [b"", b"fLaC and then nothing of the kind", b"RIFF\x00\x00\x00\x00WAVE"])
def test_unreadable_audio(la: Path, content: bytes) -> None:
    first_audio(la).write_bytes(content)
    refused(search_la(la), "LA_T_0000000.flac")


def test_empty_audio(la: Path) -> None:
    audio(first_audio(la), seconds=0)
    refused(search_la(la), "LA_T_0000000.flac")


def test_partition_without_a_class(la: Path) -> None:
    text = protocol(la).read_text()
    protocol(la).write_text("\n".join(line for line in text.splitlines() if line.endswith("bonafide")))
    refused(search_la(la), "train", "spoof")


def test_unknown_recipe_key_names_the_nearest(la: Path) -> None:
    refused(search_la(la, "search.epoch=2"), "search.epoch", "did you mean 'epochs'")


def test_partial_factor_that_does_not_divide(la: Path) -> None:
    refused(search_la(la, "supernet.partial=3"), "K_C = 3 does not divide")


def test_crop_of_zero_samples(la: Path) -> None:
    refused(search_la(la, "data.samples=0"), "data.samples", "greater than 0")


def test_crop_too_short_for_the_cells(la: Path) -> None:
    refused(search_la(la, "data.samples=100"), "100 samples", "at least")


def test_batch_larger_than_the_data(la: Path) -> None:
    refused(search_la(la, "search.batch_size=500"), "batch of 500")


def test_no_root(tmp_path: Path) -> None:
    refused(nas_command("search", "raw_pcdarts/mel_fixed", "-o", "out", cwd=tmp_path), "data.root")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("genotype", "words"),
    [
        (GENOTYPE.replace("skip_connect", "std_conv_33", 1), ["std_conv_33"]),
        (GENOTYPE.replace('["skip_connect", 1]', '["skip_connect", 2]', 1), ["genotype.json", "node 2", "earlier"]),
        ("not a genotype", ["genotype.json"]),
    ],
)
def test_wrong_genotype(tmp_path: Path, genotype: str, words: list[str]) -> None:
    four = genotype
    if "std_conv_33" in genotype:
        cell = '[["skip_connect", 0], ["std_conv_33", 1]]'
        four = f'{{"normal": [{", ".join([cell] * 4)}], "expand": [{", ".join([cell] * 4)}]}}'
    (tmp_path / "genotype.json").write_text(four)
    arguments = ["train", "raw_pcdarts/toy", "--genotype", "genotype.json", "-o", "out", "--quiet"]
    refused(nas_command(*arguments, cwd=tmp_path), *words)
    assert not (tmp_path / "out").exists()


def test_an_output_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("mine")
    refused(nas_command("search", "raw_pcdarts/toy", "-o", "out", "--quiet", cwd=tmp_path), "not empty")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious.txt"]


def test_evaluate_wants_one_thing(tmp_path: Path) -> None:
    refused(nas_command("evaluate", cwd=tmp_path), "--scores")
    refused(nas_command("evaluate", "nowhere", cwd=tmp_path), "nowhere")
    refused(nas_command("show", "nowhere.json", cwd=tmp_path), "nowhere.json")


def test_help_teaches(tmp_path: Path) -> None:
    for verb in ("demo", "search", "train", "evaluate", "show", "corpus"):
        result = nas_command(verb, "--help", cwd=tmp_path)
        assert result.returncode == 0
        assert len(result.stdout.split()) > 40
