"""Whether a table of trainings can tell architectures apart, and what a comparison of so many of them could show.

A table holds, for each architecture, one value (an EER, a loss) for each training of it that differs in nothing but the
seed. The model is y_ij = mu + architecture_i + training_ij, both random (one-way analysis of variance). Whatever is
compared on such a table (strategies, proxies, early epochs) can be no better than its noise ceiling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from nas.errors import NasError


@dataclass(frozen=True)
class Reliability:
    """What the trainings of several architectures say about the architectures.

    Attributes:
        architectures, trainings: how many, and how many of each (their effective mean where the numbers differ).
        mean: of all values.
        within: standard deviation between trainings of one architecture.
        between: standard deviation between architectures, the noise of training taken off; 0 where nothing is left.
        f: F statistic of the architecture.
        p: how often chance gives such an F (permutation test); small where the architectures differ.
        icc: intraclass correlation of one training, between^2 / (between^2 + within^2), at least 0.
        icc_interval: its 95 % interval (Shrout and Fleiss 1979, ICC(1,1)); exact for equal numbers of trainings.
        split_half: mean correlation of the architectures' means over two random halves of the trainings.
    """

    architectures: int
    trainings: float
    mean: float
    within: float
    between: float
    f: float
    p: float
    icc: float
    icc_interval: tuple[float, float]
    split_half: float

    def of_mean(self, trainings: float | None = None) -> float:
        """Reliability of the mean of so many trainings, those of the table by default (Spearman-Brown)."""
        k = self.trainings if trainings is None else trainings
        return k * self.icc / (1 + (k - 1) * self.icc)

    @property
    def ceiling(self) -> float:
        """Noise ceiling: the correlation that a perfect predictor of the architectures would have with the table's
        means, the square root of their reliability."""
        return sqrt(self.of_mean())

    @property
    def significant(self) -> bool:
        """Whether the architectures differ by more than the noise of training, at the 5 % level."""
        return self.p < 0.05

    def __str__(self) -> str:
        low, high = self.icc_interval
        return (
            f"{self.architectures} architectures x {self.trainings:g} trainings: standard deviation {self.between:.3g} "
            f"between, {self.within:.3g} within; F = {self.f:.2f}, p = {self.p:.2g}; ICC {self.icc:.2f} "
            f"[{low:.2f}, {high:.2f}]; noise ceiling {self.ceiling:.2f}; split-half correlation {self.split_half:.2f}"
        )


def reliability(
    table: Mapping[str, Sequence[float]] | Sequence[Sequence[float]], rounds: int = 2000, seed: int = 0
) -> Reliability:
    """Analyse a table: for each architecture the values of its trainings.

    Args:
        table: at least two architectures, of which at least one has two trainings or more.
        rounds: of the permutation test; half splits use a tenth of them.
        seed: of both.

    Raises:
        NasError: too few values for the question, or one that is not a finite number.
    """
    groups = [np.asarray(v, dtype=np.float64) for v in (table.values() if isinstance(table, Mapping) else table)]
    counts = np.array([len(values) for values in groups])
    if len(groups) < 2 or counts.min(initial=1) < 1 or counts.max(initial=0) < 2:
        raise NasError("reliability needs two architectures or more, each trained, and one of them at least twice")
    values = np.concatenate(groups)
    if not np.isfinite(values).all():
        raise NasError("reliability: a value of the table is not a finite number")
    total, number = len(values), len(groups)
    squares = _between_squares(values, counts)
    all_squares = float(((values - values.mean()) ** 2).sum())
    effective = (total - (counts**2).sum() / total) / (number - 1)
    f = _f(squares, all_squares, number, total)
    within = max(all_squares - squares, 0.0) / (total - number)
    between = max(squares / (number - 1) - within, 0.0) / effective
    generator = np.random.default_rng(seed)
    shuffled = np.array([_between_squares(generator.permutation(values), counts) for _ in range(rounds)])
    # The total is the same in every permutation, so F rises with the squares between.
    p = (1 + int((shuffled >= squares * (1 - 1e-12)).sum())) / (rounds + 1)
    icc = between / (between + within) if between + within > 0 else 0.0
    return Reliability(
        architectures=number,
        trainings=float(effective),
        mean=float(values.mean()),
        within=sqrt(within),
        between=sqrt(between),
        f=f,
        p=p,
        icc=icc,
        icc_interval=_icc_interval(f, number, total, effective),
        split_half=_split_half(groups, max(rounds // 10, 20), generator),
    )


def require_signal(table: Mapping[str, Sequence[float]] | Sequence[Sequence[float]], name: str) -> Reliability:
    """The analysis of a table on which something will be compared.

    Raises:
        NasError: its architectures do not differ by more than the noise of training.
    """
    found = reliability(table)
    if not found.significant:
        raise NasError(f"{name} does not tell its architectures apart, so nothing is compared on it: {found}")
    return found


def detectable_difference(
    arms: tuple[int, int], trainings: int, between: float, within: float, power: float = 0.8, level: float = 0.05
) -> float:
    """The difference of two arms' means that a two-sided t-test finds with probability `power`.

    Args:
        arms: architectures in each arm, each trained `trainings` times.
        between, within: standard deviations as in `Reliability`.

    Raises:
        NasError: fewer than three architectures in all leave no degree of freedom.
    """
    freedom = sum(arms) - 2
    if min(arms) < 1 or freedom < 1 or trainings < 1:
        raise NasError(f"arms of {arms[0]} and {arms[1]} architectures cannot be compared: at least three are needed")
    error = sqrt((between**2 + within**2 / trainings) * (1 / arms[0] + 1 / arms[1]))
    return error * _noncentrality(freedom, power, level)


def architectures_needed(
    difference: float, trainings: int, between: float, within: float, power: float = 0.8, level: float = 0.05
) -> int:
    """Architectures in each of two equal arms, so that a difference of their means is found with such a power.

    Raises:
        NasError: the difference is not above 0, or more than a million would be needed.
    """
    if not difference > 0:
        raise NasError(f"a difference to be shown is above 0, not {difference}")
    low, high = 2, 1_000_000
    if detectable_difference((high, high), trainings, between, within, power, level) > difference:
        raise NasError(f"more than {high:,} architectures in each arm would be needed to show {difference}")
    while low < high:
        middle = (low + high) // 2
        if detectable_difference((middle, middle), trainings, between, within, power, level) <= difference:
            high = middle
        else:
            low = middle + 1
    return low


def _between_squares(values: np.ndarray, counts: np.ndarray) -> float:
    """Sum of squares between groups that follow each other in `values`."""
    sums = np.add.reduceat(values, np.concatenate([[0], np.cumsum(counts)[:-1]]))
    return float(((sums / counts - values.mean()) ** 2 * counts).sum())


def _f(between: float, total: float, groups: int, number: int) -> float:
    within = max(total - between, 0.0) / (number - groups)
    if within > 0:
        return between / (groups - 1) / within
    return float("inf") if between > 0 else 0.0


def _icc_interval(f: float, groups: int, number: int, trainings: float, level: float = 0.05) -> tuple[float, float]:
    if np.isinf(f):
        return (1.0, 1.0)
    one, two = groups - 1, number - groups
    bounds = (f / stats.f.ppf(1 - level / 2, one, two), f * stats.f.ppf(1 - level / 2, two, one))
    low, high = (float((bound - 1) / (bound + trainings - 1)) for bound in bounds)
    return (max(low, 0.0), max(high, 0.0))


def _split_half(groups: list[np.ndarray], rounds: int, generator: np.random.Generator) -> float:
    """Mean Pearson correlation over random halves; architectures with one training take no part. nan where fewer than
    three are left or a half does not vary."""
    several = [values for values in groups if len(values) > 1]
    if len(several) < 3:
        return float("nan")
    found = []
    for _ in range(rounds):
        halves = [(v[: len(v) // 2].mean(), v[len(v) // 2 :].mean()) for v in map(generator.permutation, several)]
        first, second = np.array(halves).T
        if first.std() > 0 and second.std() > 0:
            found.append(float(np.corrcoef(first, second)[0, 1]))
    return float(np.mean(found)) if found else float("nan")


def _noncentrality(freedom: int, power: float, level: float) -> float:
    """Difference in units of its standard error at which a two-sided t-test has this power; what the test finds in the
    wrong direction is neglected."""
    critical = stats.t.ppf(1 - level / 2, freedom)
    return float(brentq(lambda shift: stats.nct.sf(critical, freedom, shift) - power, 0.0, 4 * critical + 10))
