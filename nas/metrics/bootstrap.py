"""Bootstrap intervals: how far a metric moves when the trials, or the speakers, had been others.

Trials of one speaker resemble each other, so resampling single trials gives intervals that are too narrow; resampling
speakers with all of their trials does not, and is the default wherever the speakers are known (Bengio and Mariethoz,
"A statistical significance test for person authentication", Odyssey 2004).

A round draws a weight for every trial (how often it was drawn). Trials are sorted once; a round is then a weighted
cumulative sum along that order, which gives what sorting the drawn trials anew would give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nas.errors import NasError
from nas.metrics.dcf import ASVSPOOF5, OperatingPoint
from nas.metrics.scores import Trials, same_trials
from nas.metrics.tdcf import ASVErrors, Edition, TandemCosts, tandem_costs

Unit = Literal["auto", "speaker", "trial"]
Values = NDArray[np.float64]

CHUNK_ELEMENTS = 500_000
"""Weights held at once (rounds times trials), small enough to stay in a processor's cache."""

FEWEST_SPEAKERS = 2


@dataclass(frozen=True)
class Bootstrap:
    """How to resample: `auto` takes speakers where they are known and trials where they are not.

    Trials are drawn within each class; speakers are drawn together, with all trials of both classes they have.

    Raises:
        NasError: fewer than two rounds, a level outside (0, 1), an unknown unit.
    """

    rounds: int = 1000
    unit: Unit = "auto"
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounds < 2:
            raise NasError(f"a bootstrap needs at least 2 rounds (1000 is usual), not {self.rounds}")
        if not 0 < self.level < 1:
            raise NasError(f"the level of an interval lies between 0 and 1 (0.95 is usual), not {self.level}")
        if self.unit not in ("auto", "speaker", "trial"):
            raise NasError(f"the unit of a bootstrap is speaker, trial or auto, not {self.unit!r}")

    def unit_for(self, trials: Trials) -> Literal["speaker", "trial"]:
        """What is resampled for these trials.

        Raises:
            NasError: speakers are asked for but not known, or there is only one.
        """
        known = trials.speaker is not None and len(set(trials.speaker.tolist())) >= FEWEST_SPEAKERS
        if self.unit == "speaker" and not known:
            raise NasError(
                f"{trials.source}: a bootstrap by speaker needs at least {FEWEST_SPEAKERS} known speakers; name a "
                "protocol that tells the speaker of each trial, or resample by trial"
            )
        return "speaker" if known and self.unit != "trial" else "trial"


@dataclass(frozen=True)
class Interval:
    """A percentile interval of the resampled values."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Values, level: float) -> Interval:
        """The middle `level` of the values; rounds in which a class was not drawn (nan) do not count.

        Raises:
            NasError: no round drew both classes.
        """
        if not np.isfinite(values).any():
            raise NasError(
                "no round of the bootstrap drew trials of both classes: there are too few speakers or rounds"
            )
        outside = (1 - level) / 2
        low, high = np.nanquantile(values, [outside, 1 - outside])
        return cls(float(low), float(high))


def resample(
    systems: Sequence[Trials],
    plan: Bootstrap,
    asv: ASVErrors | None = None,
    edition: Edition = 2019,
    point: OperatingPoint = ASVSPOOF5,
    per_attack: bool = False,
) -> list[dict[str, Values]]:
    """The metrics of each system in each round, [rounds] each; all systems see the same draws, so they can be paired.

    The metrics are those of `nas.metrics.Evaluation`: eer (percent), min_tdcf, min_dcf, act_dcf, cllr and, with
    `per_attack`, eer/ATTACK and average_eer. A round in which a class has no trial gives nan.

    Raises:
        NasError: systems of different trials, speakers that are asked for but not known, a class without trials.
    """
    ordered = same_trials(systems)
    ranked = [_Ranked(trials, asv, edition, point, per_attack) for trials in ordered]
    found: list[dict[str, list[Values]]] = [{} for _ in ranked]
    for weights in _draws(ordered[0], plan):
        for system, values in zip(ranked, found, strict=True):
            for name, value in system.metrics(weights).items():
                values.setdefault(name, []).append(value)
    return [{name: np.concatenate(parts) for name, parts in values.items()} for values in found]


def p_value(differences: Values) -> float:
    """Two-sided bootstrap significance of paired differences [rounds] against zero."""
    valid = differences[np.isfinite(differences)]
    smaller = min(int(np.sum(valid <= 0)), int(np.sum(valid >= 0)))
    return min(1.0, 2 * (smaller + 1) / (valid.size + 1))


def _draws(trials: Trials, plan: Bootstrap) -> Iterator[NDArray[np.float64]]:
    """How often each trial was drawn, [rounds of a chunk, N], in the order of the trials."""
    rng = np.random.default_rng(plan.seed)
    per_chunk = max(1, CHUNK_ELEMENTS // max(1, len(trials)))
    by_speaker = plan.unit_for(trials) == "speaker"
    if by_speaker:
        names, speaker = np.unique(np.asarray(trials.speaker, dtype=str), return_inverse=True)
    classes = [np.flatnonzero(trials.label == label) for label in (1, 0)]
    for start in range(0, plan.rounds, per_chunk):
        rounds = min(per_chunk, plan.rounds - start)
        if by_speaker:
            drawn = np.stack([_counts(rng, len(names)) for _ in range(rounds)])
            yield drawn[:, speaker]
        else:
            weights = np.empty((rounds, len(trials)))
            for row in weights:
                for members in classes:
                    row[members] = _counts(rng, len(members))
            yield weights


def _counts(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """How often each of `size` things was drawn in as many draws with replacement."""
    return np.bincount(rng.integers(size, size=size), minlength=size).astype(np.float64)


class _Ranked:
    """One system's trials sorted by score, ready for weights."""

    def __init__(
        self, trials: Trials, asv: ASVErrors | None, edition: Edition, point: OperatingPoint, per_attack: bool
    ) -> None:
        # Bona fide first among equal scores, as the official order of ties has it.
        order = np.lexsort((trials.label == 0, trials.score))
        self.order = order
        self.bonafide = trials.label[order] == 1
        self.costs: TandemCosts | None = tandem_costs(asv, edition) if asv is not None else None
        self.point = point
        accepted = trials.score >= point.threshold
        self.wrong = (accepted != (trials.label == 1)).astype(np.float64)
        self.surprise = np.logaddexp(0.0, np.where(trials.label == 1, -trials.score, trials.score)) / np.log(2)
        self.label = trials.label == 1
        self.attacks: dict[str, NDArray[np.int64]] = {}
        if per_attack:
            attack = trials.attack[order]
            for name in trials.attacks:
                self.attacks[name] = np.flatnonzero(self.bonafide | (attack == name))

    def metrics(self, weights: NDArray[np.float64]) -> dict[str, Values]:
        """The metrics for weights [R, N] in the order of the trials."""
        ordered = weights[:, self.order]
        n_bonafide = weights @ self.label.astype(np.float64)
        n_spoof = weights.sum(axis=1) - n_bonafide
        with np.errstate(divide="ignore", invalid="ignore"):
            values = {"eer": 100 * weighted_eer(ordered, self.bonafide)}
            if self.costs is not None:
                best = _lowest(ordered, self.bonafide, self.costs.c1 / n_bonafide, self.costs.c2 / n_spoof)
                values["min_tdcf"] = (self.costs.c0 + self.costs.c2 + best) / self.costs.default
            miss, accept = self.point.miss_weight, self.point.false_alarm_weight
            best = _lowest(ordered, self.bonafide, miss / n_bonafide, accept / n_spoof)
            values["min_dcf"] = (accept + best) / self.point.default
            frr = weights @ (self.wrong * self.label) / n_bonafide
            far = weights @ (self.wrong * ~self.label) / n_spoof
            values["act_dcf"] = (miss * frr + accept * far) / self.point.default
            positive = weights @ (self.surprise * self.label) / n_bonafide
            negative = weights @ (self.surprise * ~self.label) / n_spoof
            values["cllr"] = (positive + negative) / 2
            for name, columns in self.attacks.items():
                values[f"eer/{name}"] = 100 * weighted_eer(ordered[:, columns], self.bonafide[columns])
        if self.attacks:
            each = np.stack([values[f"eer/{name}"] for name in self.attacks])
            values["average_eer"] = each.mean(axis=0)
        return values


def weighted_eer(weights: NDArray[np.float64], bonafide: NDArray[np.bool_]) -> Values:
    """The EER as a fraction [R] of trials sorted by score, each standing as often as its weight [R, N] says.

    Equal to the EER of the repeated trials: within one trial's repetitions the errors move in steps too, and the
    official rule takes the step where they are closest. nan where a class has no trial.
    """
    n_bonafide = weights @ bonafide.astype(np.float64)
    n_spoof = weights.sum(axis=1) - n_bonafide
    # FRR >= FAR  <=>  below_bonafide * n_spoof + below_spoof * n_bonafide >= n_bonafide * n_spoof, all whole numbers.
    reached = np.where(bonafide, n_spoof[:, None], n_bonafide[:, None])
    reached *= weights
    np.cumsum(reached, axis=1, out=reached)
    target = n_bonafide * n_spoof
    values = np.full(len(weights), np.nan)
    for row in np.flatnonzero(target > 0):
        at = int(np.searchsorted(reached[row], target[row]))
        below_bonafide = float(weights[row, :at] @ bonafide[:at])
        below_spoof = float(weights[row, :at].sum()) - below_bonafide
        values[row] = _crossing(below_bonafide, below_spoof, bool(bonafide[at]), n_bonafide[row], n_spoof[row])
    return values


def _crossing(below_bonafide: float, below_spoof: float, bonafide: bool, n_bonafide: float, n_spoof: float) -> float:
    """The EER where the repetitions of the next trial carry FRR past FAR."""
    frr, far = below_bonafide / n_bonafide, (n_spoof - below_spoof) / n_spoof
    size = n_bonafide if bonafide else n_spoof
    steps = np.floor((far - frr) * size + 1e-9) + np.array([0.0, 1.0])
    rejected = frr + (steps / n_bonafide if bonafide else np.zeros(2))
    accepted = far - (np.zeros(2) if bonafide else steps / n_spoof)
    at = int(np.argmin(np.round(np.abs(rejected - accepted), 12)))
    return float((rejected[at] + accepted[at]) / 2)


def _lowest(weights: NDArray[np.float64], bonafide: NDArray[np.bool_], up: Values, down: Values) -> Values:
    """The lowest change [R] of a linear cost along the thresholds: bona fide trials add `up`, spoofs take `down`."""
    change = np.where(bonafide, up[:, None], -down[:, None])
    change *= weights
    np.cumsum(change, axis=1, out=change)
    return np.minimum(change.min(axis=1), 0.0)
