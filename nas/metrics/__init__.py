"""Detection metrics with intervals, score files, calibration: from scored trials to numbers that can be cited.

Scores are higher for bona fide speech, always. A metric never opens a model.
"""

from nas.metrics.bootstrap import Bootstrap, Interval
from nas.metrics.dcf import OperatingPoint, act_dcf, cllr, min_dcf
from nas.metrics.eer import EER, detection_curve, eer, hter
from nas.metrics.evaluation import AttackResult, Evaluation, evaluate_trials
from nas.metrics.keys import Key, read_key
from nas.metrics.scores import ScoreDirectionWarning, Trials, read_scores, write_scores
from nas.metrics.tdcf import ASVErrors, MinTDCF, min_tdcf, read_asv_scores

__all__ = [
    "EER",
    "ASVErrors",
    "AttackResult",
    "Bootstrap",
    "Evaluation",
    "Interval",
    "Key",
    "MinTDCF",
    "OperatingPoint",
    "ScoreDirectionWarning",
    "Trials",
    "act_dcf",
    "cllr",
    "detection_curve",
    "eer",
    "evaluate_trials",
    "hter",
    "min_dcf",
    "min_tdcf",
    "read_asv_scores",
    "read_key",
    "read_scores",
    "write_scores",
]
