"""Detection metrics with intervals, score files, calibration: from scored trials to numbers that can be cited.

Scores are higher for bona fide speech, always. A metric never opens a model.
"""

from nas.metrics.bootstrap import Bootstrap, Interval
from nas.metrics.calibration import (
    Calibration,
    Decision,
    fit_calibration,
    fit_decision,
    read_decision,
    write_decision,
)
from nas.metrics.comparison import Comparison, Difference, Seeds, Spread, compare, over_seeds
from nas.metrics.dcf import OperatingPoint, act_dcf, cllr, min_dcf
from nas.metrics.eer import EER, det_points, detection_curve, eer, error_rates, hter, roc_area, roc_points
from nas.metrics.evaluation import AttackResult, Evaluation, evaluate_scores, evaluate_trials
from nas.metrics.keys import Key, read_key
from nas.metrics.published import read_measured, report_table
from nas.metrics.reliability import (
    Reliability,
    architectures_needed,
    detectable_difference,
    reliability,
    require_signal,
)
from nas.metrics.scores import ScoreDirectionWarning, Trials, read_scores, write_protocol, write_scores
from nas.metrics.tdcf import ASVErrors, MinTDCF, min_tdcf, read_asv_scores

__all__ = [
    "EER",
    "ASVErrors",
    "AttackResult",
    "Bootstrap",
    "Calibration",
    "Comparison",
    "Decision",
    "Difference",
    "Evaluation",
    "Interval",
    "Key",
    "MinTDCF",
    "OperatingPoint",
    "Reliability",
    "ScoreDirectionWarning",
    "Seeds",
    "Spread",
    "Trials",
    "act_dcf",
    "architectures_needed",
    "cllr",
    "compare",
    "det_points",
    "detectable_difference",
    "detection_curve",
    "eer",
    "error_rates",
    "evaluate_scores",
    "evaluate_trials",
    "fit_calibration",
    "fit_decision",
    "hter",
    "min_dcf",
    "min_tdcf",
    "over_seeds",
    "read_asv_scores",
    "read_decision",
    "read_key",
    "read_measured",
    "read_scores",
    "reliability",
    "report_table",
    "require_signal",
    "roc_area",
    "roc_points",
    "write_decision",
    "write_protocol",
    "write_scores",
]
