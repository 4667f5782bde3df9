"""The equal error rate and the curve of errors behind every detection metric, as ASVspoof defines them.

Scores are higher for bona fide speech. A trial is accepted where its score is at or above the threshold, so the false
rejection rate (FRR) is the share of bona fide trials below it and the false acceptance rate (FAR) the share of spoofed
trials at or above it.

Source: the routine that ASVspoof 2019, 2021 and 5 publish with their metrics (`eval_metrics.py`, compute_det_curve and
compute_eer), whose order of tied scores is part of the definition.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.errors import NasError

Scores = NDArray[np.float64]
Ties = Literal["official", "joined"]

BELOW_ALL = 0.001
"""How far under the lowest score the first threshold lies, the one that accepts every trial."""


class EER(NamedTuple):
    """The equal error rate as a fraction, and the score at which it is reached."""

    value: float
    threshold: float


class DetectionCurve(NamedTuple):
    """The errors of every threshold, from the one that accepts all trials to the one that rejects all: [K] each."""

    threshold: Scores
    frr: Scores
    far: Scores

    def joined(self) -> DetectionCurve:
        """The same with trials of one score as one step."""
        last = np.append(self.threshold[1:] != self.threshold[:-1], True)
        last[0] = True  # The threshold below all scores, also where 0.001 is lost in the scale of the lowest.
        return DetectionCurve(self.threshold[last], self.frr[last], self.far[last])


def as_scores(scores: ArrayLike | Iterable[float], name: str) -> Scores:
    """Scores of one class as float64 [N].

    Raises:
        NasError: none, or scores that are not finite.
    """
    array = np.asarray(scores, dtype=np.float64).reshape(-1)
    if array.size == 0:
        raise NasError(f"there are no {name} trials: every metric needs at least one trial of each class")
    broken = array.size - int(np.count_nonzero(np.isfinite(array)))
    if broken:
        raise NasError(f"{broken} of {array.size} {name} scores are not finite numbers: every trial needs a score")
    return array


def detection_curve(bonafide: ArrayLike, spoof: ArrayLike, ties: Ties = "official") -> DetectionCurve:
    """FRR and FAR at every threshold.

    With `ties="official"` each trial is a step of its own, sorted stably with bona fide first: K = trials + 1, and a
    bona fide and a spoofed trial of the same score count as confused. With `ties="joined"` trials of one score are one
    step, which is what a threshold can really do. Both are the same where no score is shared between the classes.

    Raises:
        NasError: a class without trials, scores that are not finite.
    """
    positive, negative = as_scores(bonafide, "bona fide"), as_scores(spoof, "spoofed")
    scores = np.concatenate([positive, negative])
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    below = np.cumsum(order < positive.size)
    frr = np.concatenate([[0.0], below / positive.size])
    far = np.concatenate([[1.0], (negative.size - (np.arange(1, scores.size + 1) - below)) / negative.size])
    threshold = np.concatenate([[ordered[0] - BELOW_ALL], ordered])
    curve = DetectionCurve(threshold, frr, far)
    return curve.joined() if ties == "joined" else curve


def eer(bonafide: ArrayLike, spoof: ArrayLike, ties: Ties = "official") -> EER:
    """The equal error rate: the mean of FRR and FAR at the first threshold where they are closest.

    Scores that do not tell the classes apart at all (one constant for every trial) are 1.0 by the official order of
    ties and 0.5 with `ties="joined"`.

    Raises:
        NasError: a class without trials, scores that are not finite.
    """
    return curve_eer(detection_curve(bonafide, spoof, ties))


def curve_eer(curve: DetectionCurve) -> EER:
    """The equal error rate of a curve that is already known."""
    at = int(np.argmin(np.abs(curve.frr - curve.far)))
    return EER(float((curve.frr[at] + curve.far[at]) / 2), float(curve.threshold[at]))


def error_rates(bonafide: ArrayLike, spoof: ArrayLike, threshold: float) -> tuple[float, float]:
    """(FRR, FAR) at one threshold: bona fide below it are rejected, spoofed trials at or above it accepted."""
    positive, negative = as_scores(bonafide, "bona fide"), as_scores(spoof, "spoofed")
    return float(np.mean(positive < threshold)), float(np.mean(negative >= threshold))


def hter(bonafide: ArrayLike, spoof: ArrayLike, threshold: float) -> float:
    """Half total error rate, the mean of FRR and FAR, at a threshold carried over from another set of trials.

    Raises:
        NasError: a class without trials, scores or a threshold that are not finite.
    """
    if not np.isfinite(threshold):
        raise NasError(f"the threshold must be a finite score, not {threshold}")
    return sum(error_rates(bonafide, spoof, threshold)) / 2


def roc_points(bonafide: ArrayLike, spoof: ArrayLike) -> tuple[Scores, Scores]:
    """(FAR, true acceptance rate) [K] from (0, 0) to (1, 1), one point for each threshold that can be set."""
    curve = detection_curve(bonafide, spoof, ties="joined")
    return curve.far[::-1], 1.0 - curve.frr[::-1]


def det_points(bonafide: ArrayLike, spoof: ArrayLike) -> tuple[Scores, Scores]:
    """(FAR, FRR) [K] of the thresholds at which both errors happen, the points a DET plot can show on its normal axes.

    Empty where the classes are separated without error.
    """
    curve = detection_curve(bonafide, spoof, ties="joined")
    shown = (curve.far > 0) & (curve.far < 1) & (curve.frr > 0) & (curve.frr < 1)
    return curve.far[shown], curve.frr[shown]


def roc_area(bonafide: ArrayLike, spoof: ArrayLike) -> float:
    """The probability that a bona fide trial scores above a spoofed one, ties counting one half."""
    far, accepted = roc_points(bonafide, spoof)
    return float(np.sum(np.diff(far) * (accepted[1:] + accepted[:-1])) / 2)
