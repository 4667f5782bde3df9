"""From scores to log-likelihood ratios and to decisions: what a development set fixes for everything after it.

The map is affine and rising, llr = scale * score + offset, fitted by logistic regression with both classes weighted to
an operating point (Brümmer and du Preez, "Application-independent evaluation of speaker detection", 2006). It changes
no ranking, hence no EER; it makes actDCF and Cllr meaningful and turns a prior and two costs into a threshold.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit

from nas.errors import NasError, nearest
from nas.files import write_text
from nas.metrics.dcf import ASVSPOOF5, OperatingPoint
from nas.metrics.eer import as_scores, detection_curve, eer, error_rates
from nas.metrics.scores import Trials
from nas.text_files import read_json

Criterion = Literal["bayes", "eer", "min_dcf"]
CRITERIA: tuple[Criterion, ...] = ("bayes", "eer", "min_dcf")

RIDGE = 1e-6
"""Weight of the squared slope (of standardised scores): without it classes that do not overlap have no finite fit."""

FORMAT = "nas decision 1"


@dataclass(frozen=True)
class Calibration:
    """llr = scale * score + offset, in natural logarithms; bona fide against spoof."""

    scale: float
    offset: float

    def llr(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Log-likelihood ratios of scores of any shape."""
        return self.scale * np.asarray(scores, dtype=np.float64) + self.offset

    def score(self, llr: float) -> float:
        """The score that has this log-likelihood ratio."""
        return (llr - self.offset) / self.scale

    def apply(self, trials: Trials) -> Trials:
        """The same trials with log-likelihood ratios for scores."""
        return replace(trials, score=self.llr(trials.score))


def fit_calibration(bonafide: ArrayLike, spoof: ArrayLike, point: OperatingPoint = ASVSPOOF5) -> Calibration:
    """Fit the calibration to scores of a development set.

    Raises:
        NasError: a class without trials, scores that are all the same, or that fall with bona fide speech.
    """
    positive, negative = as_scores(bonafide, "bona fide"), as_scores(spoof, "spoofed")
    both = np.concatenate([positive, negative])
    centre, spread = float(both.mean()), float(both.std())
    if not spread > 0:
        raise NasError("scores that are all the same cannot be calibrated")
    x = (both - centre) / spread
    is_bonafide = np.arange(both.size) < positive.size
    # Log-odds of bona fide at the operating point, and weights that make both classes count as it says.
    odds = -point.threshold
    weight = np.where(is_bonafide, expit(odds) / positive.size, expit(-odds) / negative.size)
    sign = np.where(is_bonafide, -1.0, 1.0)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, shift = parameters
        margin = sign * (slope * x + shift + odds)
        pull = weight * sign * expit(margin)
        value = float(weight @ np.logaddexp(0.0, margin)) + RIDGE * slope**2
        return value, np.array([pull @ x + 2 * RIDGE * slope, pull.sum()])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-9})
    slope, shift = (float(value) for value in found.x)
    if not slope > 0:
        raise NasError(
            "the scores do not rise with bona fide speech, so no rising calibration exists; is their direction right?"
        )
    return Calibration(slope / spread, shift - slope * centre / spread)


@dataclass(frozen=True)
class Decision:
    """How a deployed system decides: accept a score at or above `threshold`, chosen on a development set.

    `frr` and `far` are the errors on the development set, in percent; `fitted_on` says what that was.
    """

    threshold: float
    criterion: Criterion
    calibration: Calibration
    point: OperatingPoint = ASVSPOOF5
    frr: float = math.nan
    far: float = math.nan
    fitted_on: dict[str, Any] = field(default_factory=dict)

    def accepts(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """Whether each utterance is taken for bona fide."""
        return np.asarray(scores, dtype=np.float64) >= self.threshold

    def to_json(self) -> str:
        """The content of a threshold file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, allow_nan=False) + "\n"


def fit_decision(
    trials: Trials, criterion: Criterion = "bayes", point: OperatingPoint = ASVSPOOF5, source: str | None = None
) -> Decision:
    """Choose the threshold of a deployed system on a development set.

    Criteria: `bayes`, the cheapest threshold if the calibrated scores are right; `min_dcf`, the one that was cheapest
    on these trials; `eer`, the one where both errors were closest.

    Raises:
        NasError: an unknown criterion, or trials that cannot be calibrated.
    """
    calibration = fit_calibration(trials.bonafide, trials.spoof, point)
    if criterion == "bayes":
        threshold = calibration.score(point.threshold)
    elif criterion == "eer":
        threshold = _above(trials.score, eer(trials.bonafide, trials.spoof).threshold)
    elif criterion == "min_dcf":
        curve = detection_curve(trials.bonafide, trials.spoof, ties="joined")
        cost = point.miss_weight * curve.frr + point.false_alarm_weight * curve.far
        threshold = _above(trials.score, float(curve.threshold[np.argmin(cost)]))
    else:
        raise NasError(f"there is no threshold criterion {criterion!r}{nearest(str(criterion), list(CRITERIA))}")
    frr, far = error_rates(trials.bonafide, trials.spoof, threshold)
    fitted_on = {
        "source": source or trials.source,
        "bonafide": int(trials.bonafide.size),
        "spoof": int(trials.spoof.size),
    }
    return Decision(threshold, criterion, calibration, point, 100 * frr, 100 * far, fitted_on)


def write_decision(path: str | Path, decision: Decision) -> Path:
    """Write a threshold file (JSON)."""
    return write_text(path, decision.to_json())


def read_decision(path: str | Path) -> Decision:
    """Read a threshold file back.

    Raises:
        NasError: it is not one, or a value is missing or of the wrong kind.
    """
    content = read_json(path, "threshold file")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise NasError(f"{path}: not a threshold file (its format is not {FORMAT!r})")
    try:
        if content["criterion"] not in CRITERIA:
            raise NasError(f"{path}: there is no criterion {content['criterion']!r}")
        calibration = Calibration(_number(content["calibration"]["scale"]), _number(content["calibration"]["offset"]))
        point = OperatingPoint(**{name: _number(value) for name, value in content["point"].items()})
        decision = Decision(
            _number(content["threshold"]),
            content["criterion"],
            calibration,
            point,
            _number(content["frr"]),
            _number(content["far"]),
            dict(content["fitted_on"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NasError(f"{path}: a threshold file with a value missing or of the wrong kind ({error})") from error
    if not calibration.scale > 0:
        raise NasError(f"{path}: the scale of a calibration is positive, not {calibration.scale}")
    return decision


def _above(scores: NDArray[np.float64], last_rejected: float) -> float:
    """A threshold halfway between the last rejected score and the next, so that neither is a matter of rounding."""
    higher = scores[scores > last_rejected]
    return float(last_rejected + (higher.min() - last_rejected) / 2) if higher.size else float(last_rejected + 1)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)
