"""The minimum tandem detection cost: what countermeasure errors cost in front of a fixed speaker verification system.

Sources: Kinnunen et al., "t-DCF: a detection cost function for the tandem assessment of spoofing countermeasures and
automatic speaker verification", Odyssey 2018 (the cost of ASVspoof 2019); Kinnunen et al., "Tandem assessment of
spoofing countermeasures and automatic speaker verification: fundamentals", TASLP 2020, the ASV-constrained cost of
ASVspoof 2021.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from nas.columns import ASV_SCORE_FILE, read_columns
from nas.errors import NasError
from nas.labels import NO_ATTACK, attack_of
from nas.metrics.eer import DetectionCurve, as_scores, detection_curve, eer
from nas.words import score_value, shortened

Edition = Literal[2019, 2021]

P_SPOOF = 0.05
P_TARGET = (1 - P_SPOOF) * 0.99
P_NONTARGET = (1 - P_SPOOF) * 0.01
COST_MISS = 1.0
COST_FALSE_ALARM = 10.0
"""Priors and costs of ASVspoof 2019 and 2021, the same for the countermeasure and the verification system."""


class MinTDCF(NamedTuple):
    """The minimum normalised t-DCF, and the score at which it is reached."""

    value: float
    threshold: float


@dataclass(frozen=True)
class ASVErrors:
    """What a speaker verification system gets wrong at its own equal error point, all as fractions.

    `miss_spoof_of` has the miss rate of each attack (source) where the score file names them, for costs per attack.

    Raises:
        NasError: a rate outside 0 to 1.
    """

    miss: float
    false_alarm: float
    miss_spoof: float
    threshold: float = math.nan
    eer: float = math.nan
    miss_spoof_of: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("miss", "false_alarm", "miss_spoof"):
            rate = getattr(self, name)
            if not 0 <= rate <= 1:
                raise NasError(f"ASV error rate {name} must lie between 0 and 1 (a fraction), not {rate}")

    @classmethod
    def from_scores(
        cls,
        target: ArrayLike,
        nontarget: ArrayLike,
        spoof: ArrayLike,
        spoof_source: ArrayLike | None = None,
    ) -> ASVErrors:
        """Errors at the threshold where the verification system rejects targets as often as it accepts non-targets."""
        targets = as_scores(target, "ASV target")
        nontargets = as_scores(nontarget, "ASV nontarget")
        spoofs = as_scores(spoof, "ASV spoof")
        point = eer(targets, nontargets)
        missed = spoofs < point.threshold
        sources = np.asarray(spoof_source if spoof_source is not None else [], dtype=object)
        return cls(
            miss=float(np.mean(targets < point.threshold)),
            false_alarm=float(np.mean(nontargets >= point.threshold)),
            miss_spoof=float(np.mean(missed)),
            threshold=point.threshold,
            eer=point.value,
            miss_spoof_of={
                str(s): float(np.mean(missed[sources == s])) for s in sorted(set(sources.tolist()) - {NO_ATTACK})
            },
        )

    def of_attack(self, attack: str) -> ASVErrors | None:
        """The same system in front of one attack only; None where its scores do not tell that attack.

        The attack "-" stands for spoofs of untold attacks: the pooled miss rate is theirs.
        """
        miss_spoof = self.miss_spoof if attack == NO_ATTACK else self.miss_spoof_of.get(attack)
        if miss_spoof is None:
            return None
        return ASVErrors(self.miss, self.false_alarm, miss_spoof, self.threshold, self.eer)


class TandemCosts(NamedTuple):
    """The t-DCF is (c0 + c1 FRR + c2 FAR) / (c0 + min(c1, c2)); c0 is zero in the 2019 edition."""

    c0: float
    c1: float
    c2: float

    @property
    def default(self) -> float:
        """The cost of a countermeasure that accepts, or rejects, everything."""
        return self.c0 + min(self.c1, self.c2)

    def of(self, curve: DetectionCurve) -> np.ndarray:
        """The normalised cost at each threshold of a curve [K]."""
        return (self.c0 + self.c1 * curve.frr + self.c2 * curve.far) / self.default


def tandem_costs(asv: ASVErrors, edition: Edition = 2019) -> TandemCosts:
    """The coefficients of the t-DCF for a speaker verification system.

    Raises:
        NasError: the verification system is so poor that a coefficient is not positive, so that the cost says nothing
            about the countermeasure.
    """
    rejected_anyway = P_TARGET * COST_MISS * asv.miss + P_NONTARGET * COST_FALSE_ALARM * asv.false_alarm
    c1 = P_TARGET * COST_MISS - rejected_anyway
    if edition == 2019:
        # C1 = Ptar (Cmiss_cm - Cmiss_asv Pmiss_asv) - Pnon Cfa_asv Pfa_asv, both miss costs being 1.
        costs = TandemCosts(0.0, c1, COST_FALSE_ALARM * P_SPOOF * (1 - asv.miss_spoof))
    elif edition == 2021:
        costs = TandemCosts(rejected_anyway, c1, COST_FALSE_ALARM * P_SPOOF * (1 - asv.miss_spoof))
    else:
        raise NasError(f"the t-DCF has a 2019 and a 2021 edition, not {edition}")
    if costs.c1 <= 0 or costs.c2 <= 0:
        raise NasError(
            f"the t-DCF is undefined for these ASV scores (C1 = {costs.c1:.4g}, C2 = {costs.c2:.4g}, both must be "
            "positive): the ASV system makes too many errors, or stops every spoofed trial by itself"
        )
    return costs


def min_tdcf(bonafide: ArrayLike, spoof: ArrayLike, asv: ASVErrors, edition: Edition = 2019) -> MinTDCF:
    """The minimum over all thresholds of the normalised t-DCF: 1 for a countermeasure that does not help.

    Raises:
        NasError: a class without trials, scores that are not finite, ASV errors that leave the cost undefined.
    """
    return curve_min_tdcf(detection_curve(bonafide, spoof), tandem_costs(asv, edition))


def curve_min_tdcf(curve: DetectionCurve, costs: TandemCosts) -> MinTDCF:
    """The minimum t-DCF of a curve that is already known."""
    cost = costs.of(curve)
    at = int(np.argmin(cost))
    return MinTDCF(float(cost[at]), float(curve.threshold[at]))


def read_asv_scores(path: str | Path) -> ASVErrors:
    """The errors of the speaker verification system of an ASVspoof LA score file: lines of `SOURCE KEY SCORE`.

    SOURCE is a word for bona fide speech or an attack, or "-" where it is not told; KEY is target, nontarget or spoof.

    Raises:
        NasError: a line of another form (with its number), a kind of trial that is absent.
    """
    table = read_columns(path, ASV_SCORE_FILE)
    scores = {"target": array("d"), "nontarget": array("d"), "spoof": array("d")}
    sources: list[str] = []
    words: dict[str, str] = {}
    for number, (source, key, value) in table.rows:
        if key not in scores:
            raise NasError(
                f"{path}, line {number}: the key of an ASV trial is target, nontarget or spoof, not {shortened(key)!r}"
            )
        attack = attack_of(source, "spoof" if key == "spoof" else "bonafide")
        if attack is None:
            raise NasError(f"{path}, line {number}: source {shortened(source)!r} and key {key!r} contradict each other")
        scores[key].append(score_value(value, path, number))
        if key == "spoof":
            sources.append(words.setdefault(attack, attack))
    for key, found in scores.items():
        if not found:
            raise NasError(f"{path}: an ASV score file needs target, nontarget and spoof trials, but has no {key} ones")
    try:
        return ASVErrors.from_scores(scores["target"], scores["nontarget"], scores["spoof"], sources)
    except NasError as error:
        raise NasError(f"{path}: {error}") from error
