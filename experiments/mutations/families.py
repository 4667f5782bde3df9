"""The kinds of file that are mutated: valid ones to begin with, and what is done with a mutated one."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import soundfile
import torch

import nas
from experiments.mutations.mutate import mutate, mutate_values
from nas.config import SearchedNetwork
from nas.data.corpus import build_corpus
from nas.data.corpus_recipe import read_recipe
from nas.data.readers import read
from nas.data.readers.protocol import read_protocol
from nas.metrics import evaluate_trials, read_asv_scores, read_key, read_scores
from nas.networks.published import read_state
from nas.searching.supernet_search import build_supernet
from nas.space import get_space
from nas.training.checkpoint import CURRENT, read_checkpoint, write_checkpoint
from nas.training.run import Run, read_tensors
from nas.tuning.spending import Spending
from nas.visual.card import gather_card
from nas.visual.film import read_film
from nas.visual.run_facts import gather_run

KINDS = (
    *("recipes", "overrides", "corpus recipes", "genotypes", "score files", "ASV score files"),
    *("manifests", "protocols", "keys", "run directories", "checkpoints", "resume states"),
)
CELL = [["skip_connect", 0], ["std_conv_3", 1]] * 4
RUN_OVERRIDES = ["data.samples=300", "engine.pictures=0", "engine.workers=1", "data.subset=12"]
CORPUS_RECIPE = """attacks: [griffin_lim, phase_random]
evaluation_only: [lpc_pulse_noise]
spoofs_per_utterance: 1
seed: 3
shares: {train: 0.4, dev: 0.3, eval: 0.3}
chain:
  seconds: 1.0
  shortest_seconds: 0.2
  codecs: [none, mu_law]
options:
  griffin_lim: {length: 512, iterations: 2}
  phase_random: {amount: 0.5}
"""
SCORES = "".join(f"u{number} {number % 7 - 3.5:.2f}\n" for number in range(12))
LABELLED = "".join(
    f"u{number} {'-' if number % 2 else 'A01'} {'bonafide' if number % 2 else 'spoof'} {number % 7 - 3.5:.2f}\n"
    for number in range(12)
)
PROTOCOL = "".join(
    f"S{number % 3} u{number} - {'-' if number % 2 else 'A01'} {'bonafide' if number % 2 else 'spoof'}\n"
    for number in range(12)
)
ASV = "".join(
    f"{('bonafide target', 'bonafide nontarget', 'A01 spoof')[number % 3]} {number - 5.5}\n" for number in range(15)
)


def families(home: Path) -> dict[str, Callable[[random.Random, Path], None]]:
    """Trials by the name of the kind of file: each mutates a file in the empty folder that it is given, and uses it.

    Args:
        home: where the valid ones are made.
    """
    speech, audio = _speech(home / "speech"), _audio(home / "audio")
    trained = _trained(home)
    space = get_space("raw_waveform")
    packaged = [path.read_bytes() for path in sorted(Path(nas.__file__).parents[1].glob("experiments/*/*.yaml"))]
    recipes = [content for content in packaged if b"chain:" not in content]
    genotype = nas.Genotype.load(trained / "genotype.json")
    genotypes = [
        ((trained / "genotype.json").read_bytes(), "json"),
        (str(genotype).encode(), None),
        (f"PC_DARTS = {genotype}\nOTHER = {genotype}\n".encode(), None),
    ]

    def recipe(chance: random.Random, folder: Path) -> None:
        file = _write(folder / "recipe.yaml", mutate(chance.choice(recipes), chance, "yaml"))
        loaded = nas.load_recipe(file)
        loaded.to_yaml()
        network = loaded.network
        if isinstance(network, SearchedNetwork) and network.channels <= 16 and network.gru_hidden <= 64:
            build_supernet(loaded)

    def override(chance: random.Random, folder: Path) -> None:
        nas.load_recipe("raw_pcdarts/toy", [mutate(b"search.epochs=3", chance).decode("utf-8", "surrogateescape")])

    def corpus_recipe(chance: random.Random, folder: Path) -> None:
        file = _write(folder / "corpus.yaml", mutate(CORPUS_RECIPE.encode(), chance, "yaml"))
        build_corpus([speech], folder / "corpus", workers=0, progress=False, **read_recipe(file))

    def genotype_file(chance: random.Random, folder: Path) -> None:
        content, structure = chance.choice(genotypes)
        loaded = nas.Genotype.load(_write(folder / "genotype", mutate(content, chance, structure)))
        loaded.to_json()
        loaded.validate(space)

    def score_file(chance: random.Random, folder: Path) -> None:
        content, protocol = chance.choice([(SCORES, PROTOCOL), (LABELLED, None)])
        file = _write(folder / "scores.txt", mutate(content.encode(), chance))
        beside = _write(folder / "protocol.txt", protocol.encode()) if protocol else None
        evaluate_trials(read_scores(file, beside))

    def asv_scores(chance: random.Random, folder: Path) -> None:
        read_asv_scores(_write(folder / "asv.txt", mutate(ASV.encode(), chance)))

    def manifest(chance: random.Random, folder: Path) -> None:
        for path in audio.glob("*.wav"):
            (folder / path.name).symlink_to(path)
        file = _write(folder / "manifest.csv", mutate((audio / "manifest.csv").read_bytes(), chance))
        list(read("manifest", file))

    def protocol(chance: random.Random, folder: Path) -> None:
        read_protocol(_write(folder / "protocol.txt", mutate(PROTOCOL.encode(), chance)))

    def key(chance: random.Random, folder: Path) -> None:
        file = _write(folder / "key.txt", mutate(PROTOCOL.encode(), chance))
        read_scores(_write(folder / "scores.txt", SCORES.encode()), read_key(file))

    def run_directory(chance: random.Random, folder: Path) -> None:
        run = _copy(trained, folder / "run")
        texts = [path for path in sorted(run.rglob("*")) if path.suffix in (".yaml", ".json", ".csv", ".txt")]
        file = chance.choice(texts)
        structure = {".json": "json", ".yaml": "yaml"}.get(file.suffix)
        content = mutate(file.read_bytes(), chance, structure)
        file.unlink()
        _write(file, content)
        _use_run(run)

    def checkpoint(chance: random.Random, folder: Path) -> None:
        run = _copy(trained, folder / "run")
        best = run / "checkpoints" / "best.safetensors"
        tensors = read_tensors(best)
        if chance.random() < 0.5:
            content = best.read_bytes()
            best.unlink()
            # The header is the better part of it.
            _write(best, _mutate_header(content, chance))
            nas.load(run)
            return
        torch.save(mutate_tensors(tensors, chance), folder / "weights.pth")
        content = (folder / "weights.pth").read_bytes()
        if chance.random() < 0.6:
            at = content.find(b"data.pkl")
            piece = mutate(content[at : at + 4000], chance)
            content = content[:at] + piece + content[at + 4000 :] if chance.random() < 0.7 else mutate(content, chance)
        read_state(_write(folder / "weights.pth", content))

    def resume_state(chance: random.Random, folder: Path) -> None:
        run = _copy(trained, folder / "run")
        for path in (run / "checkpoints").glob("resume.*"):
            content = path.read_bytes()
            path.unlink()
            _write(path, content)
        found = read_checkpoint(run / "checkpoints")
        assert found is not None
        tensors, state = found
        if chance.random() < 0.25:
            _write(run / "checkpoints" / CURRENT, _mutate_header((run / "checkpoints" / CURRENT).read_bytes(), chance))
        elif chance.random() < 0.4:
            write_checkpoint(run / "checkpoints", mutate_tensors(tensors, chance), state)
        else:
            part = chance.choice(list(state))
            try:
                write_checkpoint(run / "checkpoints", tensors, {**state, part: mutate_values(state[part], chance)})
            except (ValueError, UnicodeError):
                return
        nas.resume(run, progress=False)

    uses = (
        *(recipe, override, corpus_recipe, genotype_file, score_file, asv_scores),
        *(manifest, protocol, key, run_directory, checkpoint, resume_state),
    )
    return dict(zip(KINDS, uses, strict=True))


def mutate_tensors(tensors: Mapping[str, torch.Tensor], chance: random.Random) -> dict[str, torch.Tensor]:
    """One tensor removed, renamed, added, or of another shape, type or content."""
    changed = dict(tensors)
    name = chance.choice(list(changed))
    tensor = changed[name]
    action = chance.choice(("remove", "rename", "add", "shape", "type", "nan", "value"))
    if action == "remove":
        del changed[name]
    elif action == "rename":
        changed[name + "x"] = changed.pop(name)
    elif action == "add":
        changed["x"] = torch.zeros(3)
    elif action == "shape":
        changed[name] = torch.zeros(chance.choice([(0,), (), (1,), (3, 3), (2, *tensor.shape)]))
    elif action == "type":
        kinds = (torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64)
        changed[name] = tensor.to(chance.choice(kinds))
    else:
        value = float("nan") if action == "nan" else chance.choice((0.0, -1.0, 1e30))
        changed[name] = torch.full(tensor.shape, value).to(tensor.dtype)
    return changed


def _mutate_header(content: bytes, chance: random.Random) -> bytes:
    length = int.from_bytes(content[:8], "little")
    action = chance.choice(("length", "values", "bytes", "whole"))
    if action == "length":
        return chance.choice((0, 1, length - 1, length + 1, 2**30, 2**63)).to_bytes(8, "little") + content[8:]
    if action == "whole":
        return mutate(content, chance)
    header = content[8 : 8 + length]
    if action == "values":
        header = json.dumps(mutate_values(json.loads(header), chance)).encode("utf-8", "surrogatepass")
    else:
        header = mutate(header, chance)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _use_run(run: Path) -> None:
    """All that reads the texts of a run directory."""
    opened = Run.open(run)
    facts = gather_run(run)
    Spending.read(run)
    if facts.film is not None or any((run / "genotypes").glob("epoch_*.architecture.json")):
        read_film(run)
    if facts.trials is not None:
        gather_card(run, evaluate_trials(facts.trials), latency=False)
    if opened.kind == "train" and opened.recipe.network == nas.load_recipe("raw_pcdarts/toy", RUN_OVERRIDES).network:
        nas.load(run)


def _copy(trained: Path, folder: Path) -> Path:
    """A copy of a run whose files are links until they are replaced."""
    return Path(shutil.copytree(trained, folder, copy_function=lambda source, target: Path(target).symlink_to(source)))


def _write(path: Path, content: bytes) -> Path:
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    return path


def _trained(home: Path) -> Path:
    file = _write(home / "genotype.json", json.dumps({"normal": CELL, "expand": CELL}).encode())
    run = home / "run"
    nas.train(nas.load_recipe("raw_pcdarts/toy", [*RUN_OVERRIDES, "train.epochs=1"]), file, run, progress=False)
    (run / "scores" / "eval.txt").write_text(LABELLED)
    evaluation = evaluate_trials(read_scores(run / "scores" / "eval.txt", higher="bonafide"))
    (run / "scores" / "eval.json").write_text(evaluation.to_json())
    Spending("pcdarts", 12.5, supernets_trained=1).write(run)
    return run


def _speech(folder: Path) -> Path:
    generator = np.random.default_rng(1)
    for speaker in range(4):
        (folder / f"s{speaker}").mkdir(parents=True)
        noise = generator.normal(0, 0.1, 8000).cumsum()
        soundfile.write(folder / f"s{speaker}" / f"u{speaker}.wav", 0.5 * noise / np.abs(noise).max(), 16_000)
    return folder


def _audio(folder: Path) -> Path:
    folder.mkdir()
    lines = ["path,key,attack,speaker,partition"]
    for number in range(9):
        soundfile.write(folder / f"u{number}.wav", np.full(160, 0.1), 16_000)
        made_by = "bonafide,-" if number % 2 else "spoof,A01"
        lines.append(f"u{number}.wav,{made_by},s{number % 3},{('train', 'dev', 'eval')[number % 3]}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder
