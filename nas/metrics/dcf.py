"""The detection costs of ASVspoof 5, Track 1: minDCF, actDCF and Cllr.

Source: Wang et al., "ASVspoof 5: crowdsourced speech data, deepfakes, and adversarial attacks at scale", 2024, and the
evaluation plan. actDCF and Cllr read scores as natural-log likelihood ratios: they say something about a system whose
scores were calibrated (nas.metrics.calibration), and only how far off the scale is for one whose scores were not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from nas.errors import NasError
from nas.metrics.eer import DetectionCurve, as_scores, detection_curve, error_rates


@dataclass(frozen=True)
class OperatingPoint:
    """How often trials are spoofed and what each error costs. The defaults are those of ASVspoof 5.

    Raises:
        NasError: a prior outside (0, 1), a cost that is not positive.
    """

    p_spoof: float = 0.05
    cost_miss: float = 1.0
    cost_false_alarm: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.p_spoof < 1:
            raise NasError(f"the prior of a spoofed trial must lie between 0 and 1, not {self.p_spoof}")
        if not (self.cost_miss > 0 and self.cost_false_alarm > 0):
            raise NasError(f"detection costs must be positive, not {self.cost_miss} and {self.cost_false_alarm}")

    @property
    def miss_weight(self) -> float:
        return self.cost_miss * (1 - self.p_spoof)

    @property
    def false_alarm_weight(self) -> float:
        return self.cost_false_alarm * self.p_spoof

    @property
    def default(self) -> float:
        """The cost of accepting, or rejecting, everything."""
        return min(self.miss_weight, self.false_alarm_weight)

    @property
    def threshold(self) -> float:
        """The log-likelihood ratio above which accepting a trial is the cheaper decision (Bayes)."""
        return -math.log(self.miss_weight / self.false_alarm_weight)


ASVSPOOF5 = OperatingPoint()


def min_dcf(bonafide: ArrayLike, spoof: ArrayLike, point: OperatingPoint = ASVSPOOF5) -> float:
    """The lowest normalised detection cost over all thresholds, 0 to 1."""
    return curve_min_dcf(detection_curve(bonafide, spoof), point)


def curve_min_dcf(curve: DetectionCurve, point: OperatingPoint = ASVSPOOF5) -> float:
    """The minimum detection cost of a curve that is already known."""
    return float(np.min(point.miss_weight * curve.frr + point.false_alarm_weight * curve.far) / point.default)


def act_dcf(bonafide: ArrayLike, spoof: ArrayLike, point: OperatingPoint = ASVSPOOF5) -> float:
    """The normalised detection cost at the Bayes threshold, for scores that are log-likelihood ratios."""
    frr, far = error_rates(bonafide, spoof, point.threshold)
    return (point.miss_weight * frr + point.false_alarm_weight * far) / point.default


def cllr(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """Cost of log-likelihood ratios in bits: 0 is perfect, 1 says nothing (every ratio one), above 1 misleads."""
    positive, negative = as_scores(bonafide, "bona fide"), as_scores(spoof, "spoofed")
    with np.errstate(over="ignore"):
        cost = np.mean(np.logaddexp(0.0, -positive)) + np.mean(np.logaddexp(0.0, negative))
    return float(cost / (2 * math.log(2)))
