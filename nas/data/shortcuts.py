"""The shortcut report: could a model tell the classes apart without hearing any synthesis?

Every cue of `nas.data.cues` and the file format are tried alone, and all of them together by logistic regression. An
equal error rate near 50 % is what an honest corpus gives; below `SUSPECT` the corpus needs mending before results on it
mean anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.data.cues import CUES, UNITS, Cues
from nas.data.utterance import Utterance
from nas.metrics import eer
from nas.metrics.eer import roc_area

SUSPECT = 0.40
"""An equal error rate below this is a shortcut."""
_SIGNIFICANT = 3.3
"""Standard deviations that the area under the ROC curve must be from one half: 1 in 1,000 by chance."""
_RARE = 5
"""File formats with fewer files than this are one format: a format of its own for each file would prove nothing."""
_FEWEST_OF_ATTACK = 10
_FOLDS = 5


@dataclass(frozen=True)
class Shortcut:
    """One cue alone, in the direction that serves a cheat best.

    Attributes:
        bonafide, spoof: medians in `unit` (for the format: the most frequent one's share).
        area: probability that a random bona fide utterance has the larger value.
        eer: equal error rate, 0 to 1.
        worst_attack: the attack that the cue gives away best, with `worst_eer`; "-" where attacks are too small.
        found: the cue is a shortcut: `eer` below `SUSPECT`, and not by chance.
    """

    name: str
    unit: str
    bonafide: float
    spoof: float
    area: float
    eer: float
    worst_attack: str
    worst_eer: float
    found: bool


@dataclass(frozen=True)
class Shortcuts:
    """What `find_shortcuts` found."""

    cues: tuple[Shortcut, ...]
    """Each cue alone."""
    together: float
    """Equal error rate of the logistic regression on all of them, on speakers that it was not fitted to."""
    together_found: bool
    """Whether the combination is a shortcut."""

    @property
    def found(self) -> tuple[str, ...]:
        """Names of the cues that are shortcuts, and "together" where the combination is one."""
        return (*(cue.name for cue in self.cues if cue.found), *(("together",) if self.together_found else ()))


def find_shortcuts(utterances: Sequence[Utterance], cues: Sequence[Cues], formats: Sequence[str]) -> Shortcuts:
    """Try every cue alone and all together.

    Args:
        cues: what was measured of each utterance.
        formats: the file format of each, in words.

    Raises:
        NasError: a class has no utterance.
    """
    labels = np.array([utterance.label for utterance in utterances])
    attacks = np.array([utterance.attack for utterance in utterances])
    table = np.array([cue.values() for cue in cues])
    kinds = _common_formats(formats)
    columns = [(name, UNITS[name], table[:, place]) for place, name in enumerate(CUES)]
    columns.append(("format", "", _share_of_bonafide(kinds, labels)))
    alone = tuple(_try(name, unit, values, labels, attacks) for name, unit, values in columns)
    indicators = [kinds == kind for kind in sorted(set(kinds.tolist()))[1:]]
    features = np.column_stack([table, *indicators]) if indicators else table
    scores = out_of_fold_scores(features, labels, [utterance.speaker for utterance in utterances])
    together = eer(scores[labels == 1], scores[labels == 0], ties="joined").value
    return Shortcuts(alone, together, together < min(SUSPECT, 0.5 - _SIGNIFICANT * _deviation(labels)))


def _try(name: str, unit: str, values: np.ndarray, labels: np.ndarray, attacks: np.ndarray) -> Shortcut:
    bonafide, spoof = values[labels == 1], values[labels == 0]
    area = roc_area(bonafide, spoof)
    rate = _best_eer(bonafide, spoof)
    sizes = Counter(attacks[labels == 0].tolist())
    rates = {
        attack: _best_eer(bonafide, values[attacks == attack])
        for attack, size in sorted(sizes.items())
        if size >= _FEWEST_OF_ATTACK
    }
    worst = min(rates, key=rates.__getitem__, default="-")
    chance = _SIGNIFICANT * _deviation(labels)
    # Values on both sides of the other class leave the area at one half: a low rate counts as well.
    found = rate < SUSPECT and (abs(area - 0.5) > chance or rate < 0.5 - chance)
    return Shortcut(
        name,
        unit,
        float(np.median(bonafide)),
        float(np.median(spoof)),
        area,
        rate,
        worst,
        rates.get(worst, 0.5),
        bool(found),
    )


def _deviation(labels: np.ndarray) -> float:
    """Standard deviation of the area under the ROC curve of a cue that tells nothing (Mann and Whitney)."""
    bonafide = int(labels.sum())
    return float(np.sqrt((len(labels) + 1) / (12 * bonafide * (len(labels) - bonafide))))


def _best_eer(bonafide: np.ndarray, spoof: np.ndarray) -> float:
    """A cheat would use the cue in whichever direction works."""
    return min(eer(bonafide, spoof, ties="joined").value, eer(-bonafide, -spoof, ties="joined").value)


def _common_formats(formats: Sequence[str]) -> np.ndarray:
    sizes = Counter(formats)
    return np.array([kind if sizes[kind] >= _RARE else "(rare)" for kind in formats])


def _share_of_bonafide(kinds: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each file the share of bona fide among the files of its format."""
    shares = {kind: float(labels[kinds == kind].mean()) for kind in sorted(set(kinds.tolist()))}
    return np.array([shares[kind] for kind in kinds.tolist()])


def out_of_fold_scores(features: np.ndarray, labels: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Scores [N] of logistic regression, each from a fit that saw no utterance of the same group.

    Args:
        features: [N, D].
        labels: [N], 1 or 0.
        groups: e.g. speakers; "-" is a group of its own for each utterance.
    """
    own = [f"\0{place}" if group == "-" else group for place, group in enumerate(groups)]
    generator = np.random.default_rng(0)
    names = generator.permutation(sorted(set(own)))
    if len(names) < 2 * _FOLDS:  # too few speakers to keep any out
        own = [f"\0{place}" for place in range(len(groups))]
        names = generator.permutation(own)
    fold_of = {str(name): place % _FOLDS for place, name in enumerate(names)}
    folds = np.array([fold_of[name] for name in own])
    scores = np.zeros(len(labels))
    for fold in range(_FOLDS):
        fitted, scored = folds != fold, folds == fold
        if scored.any() and len(set(labels[fitted].tolist())) == 2:
            scores[scored] = _logistic_scores(features[fitted], labels[fitted], features[scored])
    return scores


def _logistic_scores(features: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Fit by Newton's method with classes weighted alike and a small ridge; return the log odds of `others`."""
    mean, spread = features.mean(0), features.std(0)
    spread[spread < 1e-9] = 1.0

    def design(rows: np.ndarray) -> np.ndarray:
        return np.column_stack([(rows - mean) / spread, np.ones(len(rows))])

    inputs = design(features)
    weights = np.where(labels == 1, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    ridge = np.full(inputs.shape[1], 1.0)
    ridge[-1] = 1e-6  # the offset is free
    theta = np.zeros(inputs.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ theta, -30, 30)))
        gradient = inputs.T @ (weights * (labels - chance)) - ridge * theta
        curvature = (inputs * (weights * chance * (1 - chance))[:, None]).T @ inputs + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        theta += step
        if np.abs(step).max() < 1e-8:
            break
    return design(others) @ theta
