"""The first study: does the search find something better than people did? One command, one unit of work a number.

    python -m experiments.run_study la_proxy/manifest.csv --output study            everything, in order
    python -m experiments.run_study la_proxy/manifest.csv --output study --list     what there is, and what is done
    python -m experiments.run_study la_proxy/manifest.csv --output study --only 'train/*'
    python -m experiments.run_study la_proxy/manifest.csv --output study --results FILE    what all of it found, as JSON

A unit is a run directory below the output. One that was interrupted goes on where it stopped, one that is finished is
not run again; what a unit found is in its unit.json. docs/results.md says what the numbers mean.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import nas
from nas.errors import NasError
from nas.files import write_text
from nas.metrics import Bootstrap, Trials, eer, evaluate_trials, write_scores
from nas.metrics.scores import read_own_scores, same_trials
from nas.networks.benchmark import measure_scoring
from nas.text_files import read_json
from nas.training.environment import describe_environment
from nas.visual.film import read_film

PAPER: dict[str, Any] = {"search": [], "train": [], "tune_epochs": 10, "rates": (5e-5, 5e-4)}
"""The paper's sizes; for a GPU."""

_SMALL = ["data.samples=16000", "data.subset={train: 600, dev: 200, eval: 600}"]
_SMALL_CELLS = ["network.channels=16", "network.gru_hidden=64", "network.gru_layers=1", "network.mask=4"]
SMALL: dict[str, Any] = {
    "search": [
        *("search.epochs=6", "search.warmup_epochs=2", "search.learning_rate=1e-3"),
        "search.architecture_learning_rate=6e-3",
    ],
    "train": ["train.epochs=8", "train.batch_size=16", "train.schedule=cosine", "train.final_learning_rate=1e-5"],
    "tune_epochs": 2,
    "rates": (3e-4, 1e-3),
    "all": _SMALL,
    "cells": _SMALL_CELLS,
}
"""One second of 600 training utterances, C = 16: what two cores finish in an afternoon."""

TOY: dict[str, Any] = {
    "search": ["search.epochs=2", "search.warmup_epochs=1", "search.batch_size=4"],
    "train": ["train.epochs=1", "train.batch_size=4", "train.schedule=constant"],
    "tune_epochs": 1,
    "rates": (1e-3, 3e-3),
    "all": ["data.samples=2000"],
    "cells": ["network.channels=4", "network.cells=3", "network.gru_hidden=8", "network.gru_layers=1"],
}
"""For the test of this file; its figures mean nothing."""

SCALES = {"small": SMALL, "paper": PAPER, "toy": TOY}
SEEDS, RETRAININGS, RANDOM = 3, 2, 5
TURNS = 5
FRONTENDS = ("mel_fixed", "mel_learnable", "inverse_mel_fixed", "inverse_mel_learnable", "linear_fixed",
             "linear_learnable", "conv0")  # fmt: skip
HAND_MADE = {"lcnn_lfcc_lstmsum": False, "rawnet2_2019": True, "aasist_l": True, "aasist": True}
"""Hand-made systems, and whether their loss weighs the classes."""


@dataclass(frozen=True)
class Unit:
    """A piece of work with a name that is also its folder; `do` writes the folder and returns what was found."""

    name: str
    do: Callable[[Path], dict[str, Any]]
    needs: tuple[str, ...] = ()


class Study:
    """The units of a study of one corpus at one scale.

    Args:
        corpus: manifest of the corpus, with train, dev and eval.
        output: folder of all run directories.
        scale: "small" or "paper".
        real: a folder with real spoofs, `protocol.txt` (SPEAKER UTTERANCE - ATTACK KEY) and `flac/`; None leaves them
            out.
    """

    def __init__(self, corpus: Path, output: Path, scale: str, real: Path | None) -> None:
        self.corpus, self.output, self.scale, self.real = corpus, output, SCALES[scale], real
        self.units: dict[str, Unit] = {}
        self._declare()

    @cached_property
    def manifest(self) -> list[dict[str, str]]:
        """The rows of the corpus's manifest."""
        with open(self.corpus, encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    def recipe(self, name: str, *overrides: str) -> nas.Recipe:
        """A packaged recipe on this corpus at this scale."""
        cells = self.scale.get("cells", []) if name.startswith("raw_pcdarts/") else []
        data = ["data.layout=manifest", f"data.root={self.corpus.absolute()}", f"data.cache={self.output / 'cache'}"]
        return nas.load_recipe(name, [*data, *self.scale.get("all", []), *cells, *overrides])

    def add(self, name: str, do: Callable[[Path], dict[str, Any]], *needs: str) -> str:
        self.units[name] = Unit(name, do, needs)
        return name

    def _declare(self) -> None:
        chance = random.Random(0)
        space = nas.get_space("raw_waveform")
        genotypes = [nas.Genotype.random(space, chance) for _ in range(RANDOM)]
        searches = [self.add_search(f"search/mel_fixed-{seed}", "mel_fixed", seed=seed) for seed in range(SEEDS)]
        tuned = self.add_tuning("raw_pcdarts/mel_fixed", searches[0])
        systems = []
        for seed, found in enumerate(searches):
            for again in range(RETRAININGS):
                systems.append(self.add_training(f"train/searched-{seed}-{again}", "mel_fixed", found, tuned, again))
        for number, genotype in enumerate(genotypes):
            systems.append(self.add_training(f"train/random-{number}", "mel_fixed", genotype, tuned, 0))
        for name, weighted in HAND_MADE.items():
            changes = self.class_weights() if weighted else []
            rate = self.add_tuning(f"baselines/{name}", None, *changes)
            systems.append(self.add_hand_made(f"train/{name}", f"baselines/{name}", rate, *changes))
        for name in FRONTENDS:
            found = searches[0] if name == "mel_fixed" else self.add_search(f"search/{name}-0", name)
            if name != "mel_fixed":
                self.add_training(f"frontend/{name}-searched", name, found, tuned, 0)
                # The genotype of the first search; a learnt front-end comes from its own configuration.
                self.add_training(f"frontend/{name}-same", name, searches[0], tuned, 0, found)
        for partial in (1, 4):
            found = self.add_search(f"search/partial-{partial}", "mel_fixed", f"supernet.partial={partial}")
            self.add_training(f"train/partial-{partial}", "mel_fixed", found, tuned, 0)
        found = self.add_search("search/second-order", "mel_fixed", "search.order=second")
        self.add_training("train/second-order", "mel_fixed", found, tuned, 0)
        self.add("one-shot", lambda folder: self.one_shot(searches[0], genotypes), searches[0], *systems[:11])
        self.add("fusion", lambda folder: self.fusion(systems), *systems)
        self.add("latency", lambda folder: self.latency(systems), *systems)
        watched = [name for name in self.units if name.startswith("search/")]
        self.add("operations", lambda folder: self.operations(watched), *watched)
        if self.real is not None:
            for name in systems:
                self.add(f"real/{Path(name).name}", lambda folder, name=name: self.score_real(folder, name), name)  # type: ignore[misc]

    def add_search(self, name: str, recipe: str, *overrides: str, seed: int = 0) -> str:
        def do(folder: Path) -> dict[str, Any]:
            made = self.recipe(f"raw_pcdarts/{recipe}", *self.scale["search"], *overrides, f"seed={seed}")
            found = nas.resume(folder) if (folder / "recipe.yaml").exists() else nas.search(made, folder)
            assert isinstance(found, nas.SearchResult)
            return {"genotype": str(found.genotype), "epoch": found.epoch, "dev_eer": found.eer}

        return self.add(name, do)

    def class_weights(self) -> list[str]:
        """The published losses weigh the classes for the shares of ASVspoof; here those of this training set."""
        keys = [row["key"] for row in self.manifest if row["partition"] == "train"]
        subset = self.recipe("raw_pcdarts/mel_fixed").data.subset
        balanced = isinstance(subset, int) or "train" in subset
        spoof = 0.5 if balanced else keys.count("bonafide") / len(keys)
        return [f"network.options.loss_options={{weights: [{spoof:.4g}, {1 - spoof:.4g}]}}"]

    def add_tuning(self, recipe: str, search: str | None, *changes: str) -> str:
        """Short trainings at each learning rate; the best is the one with the lowest EER on development."""

        def do(folder: Path) -> dict[str, Any]:
            eers = {}
            for rate in self.scale["rates"]:
                change = [f"train.epochs={self.scale['tune_epochs']}", f"train.learning_rate={rate}"]
                made = self.recipe(recipe, *self.scale["train"], *changes, *change)
                eers[rate] = self.train(made, folder / f"{rate:g}", search)
            return {"dev_eers": eers, "learning_rate": min(eers, key=lambda rate: eers[rate])}

        return self.add(f"tune/{Path(recipe).name}", do, *([search] if search else []))

    def add_training(
        self, name: str, recipe: str, genotype: str | nas.Genotype, tuned: str, seed: int, learnt: str | None = None
    ) -> str:
        def do(folder: Path) -> dict[str, Any]:
            made = self.recipe(f"raw_pcdarts/{recipe}", *self.scale["train"], *self.rate(tuned), f"seed={seed}")
            self.train(made, folder, genotype, learnt)
            return self.evaluate(folder)

        searches = [need for need in (genotype, learnt) if isinstance(need, str)]
        return self.add(name, do, tuned, *searches)

    def add_hand_made(self, name: str, recipe: str, tuned: str, *changes: str) -> str:
        def do(folder: Path) -> dict[str, Any]:
            self.train(self.recipe(recipe, *self.scale["train"], *changes, *self.rate(tuned)), folder, None)
            return self.evaluate(folder)

        return self.add(name, do, tuned)

    def rate(self, tuned: str) -> list[str]:
        return [f"train.learning_rate={self.found(tuned)['learning_rate']}"]

    def train(
        self, recipe: nas.Recipe, folder: Path, genotype: str | nas.Genotype | None, learnt: str | None = None
    ) -> float:
        """Train, or go on; EER on the development set. A learnt front-end comes from the search of the genotype, or
        from another one."""
        if (folder / "recipe.yaml").exists():
            result = nas.resume(folder)
            assert isinstance(result, nas.TrainResult)
            return result.eer
        given = self.output / genotype / "genotype.json" if isinstance(genotype, str) else genotype
        frontend = self.output / learnt / "genotype.frontend.safetensors" if learnt else None
        return nas.train(recipe, given, folder, frontend=frontend if frontend and frontend.is_file() else None).eer

    def evaluate(self, folder: Path) -> dict[str, Any]:
        """EER on all of evaluation, pooled and by attack; size and speed."""
        result = nas.evaluate(folder, bootstrap=1000, whole=True)
        card = read_json(folder / "card.json", "result card")
        evaluation = json.loads(result.to_json())
        return {"eer": result.eer, "bootstrap": evaluation.get("bootstrap"), "model": card.get("model")} | {
            "per_attack": {name: attack.eer for name, attack in result.per_attack.items()}
        }

    def seen_and_unseen(self, folder: Path) -> dict[str, Any]:
        """EER and its interval on the attacks that training has seen, and on those that it has not."""
        seen = {row["attack"] for row in self.manifest if row["partition"] == "train"}
        trials = read_own_scores(folder / "scores" / "eval.txt")
        heard = np.isin(trials.attack, list(seen))
        found: dict[str, Any] = {}
        for name, spoofs in (("seen", heard), ("unseen", ~heard)):
            result = evaluate_trials(trials.select((trials.label == 1) | spoofs), bootstrap=Bootstrap())
            interval = result.intervals["eer"]
            found |= {f"eer_{name}": result.eer, f"eer_{name}_interval": [interval.low, interval.high]}
        return found

    def one_shot(self, search: str, drawn: list[nas.Genotype]) -> dict[str, Any]:
        """What the supernet believes of each genotype, on all of development, against what its training says."""
        from scipy.stats import kendalltau, spearmanr

        from nas.tuning.one_shot import OneShot

        recipe = self.recipe("raw_pcdarts/mel_fixed", *self.scale["search"])
        assert isinstance(recipe.data.subset, dict)
        subset = {partition: count for partition, count in recipe.data.subset.items() if partition != "dev"}
        judge = OneShot(
            self.output / search,
            recipe.model_copy(update={"data": recipe.data.model_copy(update={"subset": subset})}),
        )
        rows = []
        for seed in range(SEEDS):
            genotype = nas.Genotype.load(self.output / f"search/mel_fixed-{seed}" / "genotype.json")
            trained = self.found(f"train/searched-{seed}-0")["eer"]
            rows.append({"genotype": f"searched-{seed}", "one_shot": judge.eer(genotype), "trained": trained})
        for number, genotype in enumerate(drawn):
            trained = self.found(f"train/random-{number}")["eer"]
            rows.append({"genotype": f"random-{number}", "one_shot": judge.eer(genotype), "trained": trained})
        pairs = [row["one_shot"] for row in rows], [row["trained"] for row in rows]
        return {"rows": rows, "spearman": float(spearmanr(*pairs)[0]), "kendall": float(kendalltau(*pairs)[0])}

    def fusion(self, systems: list[str]) -> dict[str, float]:
        """EER on evaluation of RawNet2 and LCNN together, and of the two with each other system.

        Scores are standardised, which needs no labels, and added.
        """
        scored = {name: read_own_scores(self.output / name / "scores" / "eval.txt") for name in systems}
        aligned = dict(zip(scored, same_trials(list(scored.values())), strict=True))
        scores = {name: (trials.score - trials.score.mean()) / trials.score.std() for name, trials in aligned.items()}
        pair = [name for name in systems if name.startswith(("train/rawnet2", "train/lcnn"))]
        both = np.sum([scores[name] for name in pair], axis=0)
        human = aligned[pair[0]].label == 1
        found = {"+".join(pair): eer(both[human], both[~human])}
        for name in systems:
            if name not in pair:
                three = both + scores[name]
                found[name] = eer(three[human], three[~human])
        return {name: 100 * result.value for name, result in found.items()}

    def latency(self, systems: list[str]) -> dict[str, float]:
        """Milliseconds of scoring one utterance, with PyTorch's threads as they are; the systems take turns.

        The card of each run has its own, taken beside whatever else was running.
        """
        samples = self.recipe("raw_pcdarts/mel_fixed").data.samples
        networks = {name: nas.load(self.output / name) for name in systems}
        times: dict[str, list[float]] = {name: [] for name in systems}
        for _ in range(TURNS):
            for name, network in networks.items():
                times[name] += measure_scoring(network, samples, rounds=2, threads=torch.get_num_threads()).plain
        return {name: 1000 * median(found) for name, found in times.items()}

    def operations(self, searches: list[str]) -> dict[str, Any]:
        """Share of kept operations without weights in each cell kind after every epoch of every search."""
        films = {name: read_film(self.output / name) for name in searches}
        return {
            name: {kind: film.parameter_free(kind).tolist() for kind in film.space.types}
            for name, film in films.items()
        }

    def score_real(self, folder: Path, system: str) -> dict[str, Any]:
        """Real spoofs against bona fide speech of speakers that training has not heard."""
        from nas.training.score import open_scorer

        assert self.real is not None
        heard = {row["speaker"] for row in self.manifest if row["partition"] != "eval"}
        score = open_scorer(self.output / system, None, None)
        rows = []
        for line in (self.real / "protocol.txt").read_text(encoding="utf-8").splitlines():
            speaker, utterance, _, attack, key = line.split()
            if key == "spoof" or speaker not in heard:
                path = self.real / "flac" / f"{utterance}.flac"
                rows.append((utterance, attack, int(key == "bonafide"), score(path).score, speaker))
        names, attacks, labels, scores, speakers = (np.array(column) for column in zip(*rows, strict=True))
        trials = Trials(utterance=names, attack=attacks, label=labels, score=scores, speaker=speakers)
        write_scores(folder / "real.txt", trials)
        spoofs, human = trials.score[trials.label == 0], trials.score[trials.label == 1]
        below = [float((human > spoof).mean()) for spoof in spoofs]
        return {"spoofs": len(spoofs), "bonafide": len(human), "share_of_human_above": below} | {
            "eer": nas.evaluate_scores(folder / "real.txt", higher="bonafide").eer
        }

    def found(self, name: str) -> dict[str, Any]:
        """What a finished unit found."""
        content: dict[str, Any] = read_json(self.output / name / "unit.json", "record of a unit")
        return content["found"]

    def results(self, names: list[str]) -> str:
        """What the finished ones of these units found and cost, and on what, as JSON."""
        rows = {}
        for name in filter(self.done, names):
            unit = read_json(self.output / name / "unit.json", "record of a unit")
            told = {key: unit["environment"][key] for key in ("time", "git", "cpu", "threads", "gpus")}
            scored = (self.output / name / "scores" / "eval.txt").exists()
            attacks = self.seen_and_unseen(self.output / name) if scored else {}
            rows[name] = (
                unit["found"] | attacks | {key: round(unit[key], 1) for key in ("seconds", "processor_seconds")} | told
            )
        return json.dumps(rows, indent=1) + "\n"

    def done(self, name: str) -> bool:
        return (self.output / name / "unit.json").exists()

    def run(self, name: str) -> None:
        """Run a unit and what it needs, where that is not done."""
        if self.done(name):
            return
        unit = self.units[name]
        for need in unit.needs:
            self.run(need)
        print(f"== {name}", flush=True)
        clocks = time.perf_counter(), time.process_time()
        folder = self.output / name
        found = unit.do(folder)
        spent = {"seconds": time.perf_counter() - clocks[0], "processor_seconds": time.process_time() - clocks[1]}
        content = {"unit": name, "found": found, **spent, "environment": describe_environment()}
        write_text(folder / "unit.json", json.dumps(content, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.run_study", description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, help="manifest.csv of the vocoded proxy (nas corpus build)")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run directories")
    parser.add_argument("--scale", choices=SCALES, default="small", help="sizes: small for two cores, paper for a GPU")
    parser.add_argument("--only", action="append", help="names of units, with * and ?; repeatable")
    parser.add_argument("--real", type=Path, help="folder with protocol.txt and flac/ of real bona fide and spoofs")
    parser.add_argument("--results", type=Path, help="run nothing; write what the finished units found to this JSON")
    parser.add_argument("--list", action="store_true", help="list the units and whether they are done")
    arguments = parser.parse_args()
    study = Study(arguments.corpus, arguments.output.absolute(), arguments.scale, arguments.real)
    chosen = [n for n in study.units if any(fnmatch(n, pattern) for pattern in arguments.only or ["*"])]
    if arguments.list:
        for name in chosen:
            print("done " if study.done(name) else "     ", name)
        return 0
    try:
        if not chosen:
            raise NasError(f"--only {' '.join(arguments.only)}: there is no such unit; --list shows them")
        if arguments.results:
            write_text(arguments.results, study.results(chosen))
            return 0
        for name in chosen:
            study.run(name)
    except (NasError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
