"""What a run directory holds, read for a page: tables, genotype, scores, and the audio of utterances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas import imports
from nas.data.decode import decode
from nas.data.embedded import embedded_table, embedded_waveform
from nas.data.readers import read
from nas.errors import NasError
from nas.frontends.sinc import SAMPLE_RATE
from nas.genotype import Genotype
from nas.metrics.scores import Trials, read_own_scores
from nas.recipe_file import recipe_from
from nas.space import SearchSpace, get_space
from nas.text_files import read_json, read_text
from nas.training.run import read_history, read_settings
from nas.visual.curves import column
from nas.visual.film import Film, read_film

LONGEST_SECONDS = 6.0

Waveforms = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class RunFacts:
    """What a run directory holds; None or empty where it holds nothing of the kind."""

    folder: Path
    kind: str
    name: str
    recipe: Mapping[str, Any]
    recipe_text: str
    environment: Mapping[str, Any]
    history: tuple[dict[str, str], ...]
    genotype: Genotype | None
    space: SearchSpace
    film: Film | None
    trials: Trials | None
    evaluation: Mapping[str, Any]
    card: Mapping[str, Any]

    @property
    def best_dev_eer(self) -> float | None:
        """Lowest EER on the development set over the epochs, percent."""
        values = column(self.history, "dev_eer")[1]
        return float(values.min()) if len(values) else None


def gather_run(folder: str | Path) -> RunFacts:
    """Read a run directory.

    Raises:
        NasError: it is not one, or a file of it is damaged.
    """
    folder = Path(folder)
    values, environment = read_settings(folder)
    evaluation, card = (_table(folder / name) for name in ("scores/eval.json", "card.json"))
    run_recipe = recipe_from(values)
    imports.open_imports(folder, run_recipe.imports)
    recipe = run_recipe.model_dump()
    has_film = any((folder / "genotypes").glob("epoch_*.architecture.json"))
    scores = folder / "scores" / "eval.txt"
    return RunFacts(
        folder=folder,
        kind=str(environment.get("kind", "run")),
        name=str(recipe.get("name", folder.name)),
        recipe=recipe,
        recipe_text=read_text_of(folder, "recipe.yaml"),
        environment=environment,
        history=tuple(read_history(folder, strict=False)),
        genotype=Genotype.load(folder / "genotype.json") if (folder / "genotype.json").exists() else None,
        space=get_space(str(recipe.get("space", "raw_waveform"))),
        film=read_film(folder) if has_film else None,
        trials=read_own_scores(scores) if scores.exists() else None,
        evaluation=evaluation,
        card=card,
    )


def read_text_of(folder: Path, name: str) -> str:
    """The text of a file of a run directory.

    Raises:
        NasError: it is missing, or not text.
    """
    return read_text(folder / name, f"{name} of a run")


def _table(path: Path) -> dict[str, Any]:
    """Keys and values of a JSON file; none where there is no file."""
    values = read_json(path, "file of results") if path.exists() else {}
    if not isinstance(values, dict):
        raise NasError(f"{path} is damaged: it is not a table of keys and values")
    return values


def find_waveforms(run: RunFacts, utterances: Sequence[str]) -> Waveforms:
    """The first seconds of utterances from the corpus of the run's recipe; those that cannot be read are left out."""
    data = run.recipe.get("data")
    if not isinstance(data, dict):
        return {}
    wanted, found = set(utterances), {}
    try:
        if data.get("layout") == "embedded":
            for utterance in embedded_table(seed=0):
                if utterance.utterance in wanted:
                    found[utterance.utterance] = embedded_waveform(0, utterance)
        elif data.get("root"):
            for utterance in read(str(data.get("layout")), Path(str(data["root"])), partitions=("eval",)):
                if utterance.utterance in wanted:
                    found[utterance.utterance] = decode(utterance.path)
    except NasError:
        pass  # a report is written where the corpus is not, too
    return {name: waveform[: int(LONGEST_SECONDS * SAMPLE_RATE)] for name, waveform in found.items()}
