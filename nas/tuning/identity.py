"""What a study is of: trials of different recipes, genotypes, weights, spaces or corpora are not ranked together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from optuna.study import Study

from nas.config import Recipe
from nas.errors import NasError
from nas.genotype import Genotype
from nas.space import get_space
from nas.training.inputs import choose_utterances
from nas.training.standing import differences

IDENTITY = "identity"
"""User attribute of a study."""

FREE = (
    "tune.trials",
    "search.black_box.trials",
    "search.black_box.supernet",
    "data.root",
    "data.cache",
    "data.asv_scores",
    "engine.device",
    "engine.workers",
    "engine.evaluation_batch_size",
    "engine.checkpoint_minutes",
    "engine.pictures",
)
"""Keys that may differ: how far the study goes, and where and on what machine a worker finds things."""

Identity = dict[str, Any]


def comparable(recipe: Recipe) -> dict[str, Any]:
    """A recipe without the keys that workers and later starts of one study may have of their own."""
    content = recipe.model_dump(mode="json")
    for key in FREE:
        section: Any = content
        *sections, last = key.split(".")
        for name in sections:
            section = section[name]
        section.pop(last, None)
    return content


def identity(recipe: Recipe, **files: str | Path | None) -> Identity:
    """The recipe, the space and the corpus of a study, and the contents of the files that its trials start from.

    Args:
        files: genotype, front-end, weights, supernet; a run directory stands for what is taken from it.

    Raises:
        NasError: a file or the corpus is not there.
    """
    return {
        "recipe": comparable(recipe),
        **({"space": _digest(describe(get_space(recipe.space)))} if recipe.searched else {}),
        "corpus": _corpus(recipe),
        **{name: _file(Path(path), name) for name, path in files.items() if path is not None},
    }


def require_identity(study: Study, now: Identity, where: str) -> None:
    """Note what a study is of where it begins; refuse to go on with one of something else.

    Args:
        where: the storage, for the sentence.

    Raises:
        NasError: with what differs.
    """
    if IDENTITY not in study.user_attrs:
        study.set_user_attr(IDENTITY, now)
    before = study.user_attrs[IDENTITY]
    changed = differences(before.get("recipe"), now["recipe"])
    changed += [
        _changed(name, before.get(name), now.get(name))
        for name in sorted({*before, *now} - {"recipe"})
        if _sha(before.get(name)) != _sha(now.get(name))
    ]
    if changed:
        shown = "; ".join(changed[:8]) + (f"; and {len(changed) - 8} more" if len(changed) > 8 else "")
        raise NasError(
            f"{where} holds a study {study.study_name!r} of something else: {shown}; to begin another one there, give "
            "the recipe another name (name=...) and another --output"
        )


def describe(part: Any) -> Any:
    """A search space as plain values: names, kinds, settings and the topology; a function is its name."""
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        values = {field.name: describe(getattr(part, field.name)) for field in dataclasses.fields(part)}
        return {"kind": type(part).__name__, **values}
    if isinstance(part, dict):
        return {str(key): describe(value) for key, value in part.items()}
    if isinstance(part, list | tuple | range):
        return [describe(value) for value in part]
    if part is None or isinstance(part, str | int | float | bool):
        return part
    return getattr(part, "__qualname__", type(part).__name__)


def _corpus(recipe: Recipe) -> str:
    """A digest of which utterances train and score a trial, and of how large their files are; not of where they are."""
    rows = []
    for utterance in choose_utterances(recipe, ("train", "dev")):
        size = utterance.path.stat().st_size if utterance.path.is_file() else None
        rows.append([utterance.utterance, utterance.partition, utterance.label, utterance.attack, size])
    return _digest(rows)


def _file(path: Path, name: str) -> dict[str, str]:
    if name == "genotype":
        genotype = Genotype.load(path)
        return {"file": str(path), "sha256": _digest(str(genotype))}
    file = path / "checkpoints" / "best.safetensors" if path.is_dir() else path
    try:
        return {"file": str(path), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    except OSError as error:
        raise NasError(f"{name} {file} cannot be read: {error.strerror}") from error


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def _sha(part: Any) -> Any:
    return part.get("sha256") if isinstance(part, dict) else part


def _changed(name: str, before: Any, now: Any) -> str:
    if before is None or now is None:
        return f"it was begun with{'out' if before is None else ''} --{name}"
    if isinstance(before, dict) and isinstance(now, dict):
        same = before["file"] == now["file"]
        other = "which has changed since" if same else f"another {name} than {now['file']}"
        return f"it was begun with {before['file']}, {other}"
    return f"the {name} is not the one that it was begun with"
