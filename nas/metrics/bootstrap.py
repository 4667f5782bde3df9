"""Bootstrap intervals: how far a metric moves when the trials, or the speakers, had been others.

Trials of one speaker resemble each other, so resampling single trials gives intervals that are too narrow; resampling
speakers with all of their trials does not, and is the default wherever the speakers are known (Bengio and Mariethoz,
"A statistical significance test for person authentication", Odyssey 2004).

A round draws how often each trial, or each speaker, counts. Trials are sorted once; a round is then a weighted
cumulative sum along that order, which gives exactly what sorting the drawn trials anew would give.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nas.errors import NasError
from nas.metrics.dcf import ASVSPOOF5, OperatingPoint
from nas.metrics.scores import Trials, same_trials
from nas.metrics.tdcf import ASVErrors, Edition, TandemCosts, tandem_costs

Unit = Literal["auto", "speaker", "trial"]
Values = NDArray[np.float64]

CHUNK_ELEMENTS = 2_000_000
"""Weights held at once (rounds times trials)."""

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
    unit = _units(ordered[0], plan)
    ranked = [_System(trials, unit, asv, edition, point, per_attack) for trials in ordered]
    found: list[dict[str, list[Values]]] = [{} for _ in ranked]
    for drawn in _draws(ordered[0], unit, plan):
        for system, values in zip(ranked, found, strict=True):
            for name, value in system.metrics(drawn).items():
                values.setdefault(name, []).append(value)
    return [{name: np.concatenate(parts) for name, parts in values.items()} for values in found]


def p_value(differences: Values) -> float:
    """Two-sided bootstrap significance of paired differences [rounds] against zero."""
    valid = differences[np.isfinite(differences)]
    smaller = min(int(np.sum(valid <= 0)), int(np.sum(valid >= 0)))
    return min(1.0, 2 * (smaller + 1) / (valid.size + 1))


def _units(trials: Trials, plan: Bootstrap) -> NDArray[np.intp]:
    """What each trial is drawn with [N]: its speaker, or itself."""
    if plan.unit_for(trials) == "trial":
        return np.arange(len(trials))
    return np.unique(np.asarray(trials.speaker, dtype=str), return_inverse=True)[1]


def _draws(trials: Trials, unit: NDArray[np.intp], plan: Bootstrap) -> Iterator[Values]:
    """How often each unit was drawn, [units, rounds of a chunk]."""
    rng = np.random.default_rng(plan.seed)
    units = int(unit.max()) + 1
    if plan.unit_for(trials) == "speaker":
        groups = [np.arange(units)]
    else:
        groups = [np.flatnonzero(trials.label == label) for label in (1, 0)]
    per_chunk = max(1, CHUNK_ELEMENTS // len(trials))
    for start in range(0, plan.rounds, per_chunk):
        drawn = np.empty((min(per_chunk, plan.rounds - start), units))
        for row in drawn:
            for members in groups:
                picked = rng.integers(len(members), size=len(members))
                row[members] = np.bincount(picked, minlength=len(members))
        yield np.ascontiguousarray(drawn.T)


class _Ranking:
    """Trials sorted by score and cut into runs of one class.

    Within a run every error moves in steps of one trial, so the number of drawn trials of each run tells the whole
    curve where it matters: costs are lowest at the end of a run, and the EER is reached inside one. There are far fewer
    runs than trials, and fewer the better the system is.
    """

    def __init__(self, score: Values, bonafide: NDArray[np.bool_], unit: NDArray[np.intp], units: int) -> None:
        # Bona fide first among equal scores, as the official order of ties has it.
        order = np.lexsort((~bonafide, score))
        ordered = bonafide[order]
        starts = np.append(True, ordered[1:] != ordered[:-1])
        run = np.cumsum(starts) - 1
        self.bonafide = ordered[starts]
        ones = np.ones(len(order))
        self.trials = sparse.csr_array((ones, (run, unit[order])), shape=(int(run[-1]) + 1, units))

    def weights(self, drawn: Values) -> Values:
        """Drawn trials of each run, [R, runs], of units drawn [units, R]."""
        return np.ascontiguousarray((self.trials @ drawn).T)


class _System:
    """One system's trials, ready to be weighted."""

    def __init__(
        self,
        trials: Trials,
        unit: NDArray[np.intp],
        asv: ASVErrors | None,
        edition: Edition,
        point: OperatingPoint,
        per_attack: bool,
    ) -> None:
        bonafide = trials.label == 1
        units = int(unit.max()) + 1
        self.pooled = _Ranking(trials.score, bonafide, unit, units)
        self.attacks: dict[str, _Ranking] = {}
        for name in trials.attacks if per_attack else ():
            kept = bonafide | (trials.attack == name)
            self.attacks[name] = _Ranking(trials.score[kept], bonafide[kept], unit[kept], units)
        self.costs: TandemCosts | None = tandem_costs(asv, edition) if asv is not None else None
        self.point = point
        wrong = (trials.score >= point.threshold) != bonafide
        bits = np.logaddexp(0.0, np.where(bonafide, -trials.score, trials.score)) / math.log(2)
        # Sums over the trials of each unit, [class, units]: trials, errors at the Bayes threshold, bits of the Cllr.
        self.count, self.errors, self.bits = (
            np.stack([np.bincount(unit, value * of_class, minlength=units) for of_class in (bonafide, ~bonafide)])
            for value in (np.ones(len(trials)), wrong, bits)
        )

    def metrics(self, drawn: Values) -> dict[str, Values]:
        """The metrics [R] of units drawn [units, R]."""
        n_bonafide, n_spoof = count = self.count @ drawn
        weights = self.pooled.weights(drawn)
        miss, accept = self.point.miss_weight, self.point.false_alarm_weight
        with np.errstate(divide="ignore", invalid="ignore"):
            values = {"eer": 100 * weighted_eer(weights, self.pooled.bonafide)}
            if self.costs is not None:
                best = _lowest(weights, self.pooled.bonafide, self.costs.c1 / n_bonafide, self.costs.c2 / n_spoof)
                values["min_tdcf"] = (self.costs.c0 + self.costs.c2 + best) / self.costs.default
            best = _lowest(weights, self.pooled.bonafide, miss / n_bonafide, accept / n_spoof)
            values["min_dcf"] = (accept + best) / self.point.default
            frr, far = self.errors @ drawn / count
            values["act_dcf"] = (miss * frr + accept * far) / self.point.default
            values["cllr"] = (self.bits @ drawn / count).mean(axis=0)
        for name, ranking in self.attacks.items():
            values[f"eer/{name}"] = 100 * weighted_eer(ranking.weights(drawn), ranking.bonafide)
        if self.attacks:
            values["average_eer"] = np.stack([values[f"eer/{name}"] for name in self.attacks]).mean(axis=0)
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
    gap = (n_spoof - below_spoof) / n_spoof - below_bonafide / n_bonafide
    steps = math.floor(gap * (n_bonafide if bonafide else n_spoof) + 1e-9) + np.array([0.0, 1.0])
    # Counts first, then one division each: the very numbers, and so the very choice, of the official routine.
    frr = (below_bonafide + (steps if bonafide else 0.0 * steps)) / n_bonafide
    far = (n_spoof - below_spoof - (0.0 * steps if bonafide else steps)) / n_spoof
    at = int(np.argmin(np.abs(frr - far)))
    return float((frr[at] + far[at]) / 2)


def _lowest(weights: NDArray[np.float64], bonafide: NDArray[np.bool_], up: Values, down: Values) -> Values:
    """The lowest change [R] of a linear cost along the thresholds: bona fide trials add `up`, spoofs take `down`."""
    change = np.where(bonafide, up[:, None], -down[:, None])
    change *= weights
    np.cumsum(change, axis=1, out=change)
    return np.minimum(change.min(axis=1), 0.0)
