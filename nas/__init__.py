"""Neural architecture search for speech anti-spoofing on raw waveforms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.errors import NasError

if TYPE_CHECKING:
    from nas.config import Recipe
    from nas.genotype import Genotype
    from nas.metrics.evaluation import evaluate_scores
    from nas.networks.published import load_published
    from nas.recipe_file import load_recipe
    from nas.searching.search import search
    from nas.searching.supernet_search import SearchResult
    from nas.space import SearchSpace, get_space, register
    from nas.training.evaluate import evaluate_run as evaluate
    from nas.training.finetune import finetune
    from nas.training.train import TrainResult, load, train
    from nas.tuning.tune import tune

__all__ = [
    "Genotype",
    "NasError",
    "Recipe",
    "SearchResult",
    "SearchSpace",
    "TrainResult",
    "evaluate",
    "evaluate_scores",
    "finetune",
    "get_space",
    "load",
    "load_published",
    "load_recipe",
    "register",
    "resume",
    "search",
    "train",
    "tune",
]

# Imported at first use: PyTorch takes seconds, and `nas --help` and search_spaces/ do not need it.
_HOMES = {
    "Genotype": "nas.genotype",
    "Recipe": "nas.config",
    "SearchResult": "nas.searching.supernet_search",
    "SearchSpace": "nas.space",
    "TrainResult": "nas.training.train",
    "evaluate": "nas.training.evaluate:evaluate_run",
    "evaluate_scores": "nas.metrics.evaluation",
    "finetune": "nas.training.finetune",
    "get_space": "nas.space",
    "load": "nas.training.train",
    "load_published": "nas.networks.published",
    "load_recipe": "nas.recipe_file",
    "register": "nas.space",
    "resume": "nas.searching.search",
    "search": "nas.searching.search",
    "train": "nas.training.train",
    "tune": "nas.tuning.tune",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    return __all__
