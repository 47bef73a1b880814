"""Intervals for rates and for differences between paired arms; `level` is two-sided throughout."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from quartermaster.core.distributions import (
    beta_quantile,
    normal_quantile,
    normal_upper_tail,
    student_t_quantile,
)

if TYPE_CHECKING:
    import numpy

    Numbers = numpy.ndarray[Any, numpy.dtype[numpy.float64]]

BOOTSTRAP_DRAWS: Final = 9_999


class Interval(msgspec.Struct, frozen=True):
    low: float
    high: float

    def map(self, function: Callable[[float], float]) -> "Interval":
        """The interval of an increasing function of what it bounds."""
        return Interval(function(self.low), function(self.high))


def wilson(successes: int, trials: int, level: float = 0.95) -> Interval | None:
    """Score interval of a rate; None for a rate over nothing."""
    if not trials:
        return None
    z = normal_quantile((1 + level) / 2)
    rate, weight = successes / trials, z * z / trials
    middle = (rate + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(rate * (1 - rate) / trials + weight / (4 * trials))
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return Interval(low, high)


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> Interval | None:
    """Exact interval of a rate, never shorter than promised; None for a rate over nothing."""
    if not trials:
        return None
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else beta_quantile(tail, successes, trials - successes + 1)
    high = 1.0 if successes == trials else beta_quantile(1 - tail, successes + 1, trials - successes)
    return Interval(low, high)


def paired_t(differences: Sequence[float], level: float = 0.95) -> Interval | None:
    """Of the mean difference; None for fewer than two differences, a point where all are the same."""
    count = len(differences)
    if count < 2:
        return None
    mean = math.fsum(differences) / count
    half = student_t_quantile((1 + level) / 2, count - 1) * math.sqrt(variance(differences) / count)
    return Interval(mean - half, mean + half)


def variance(values: Sequence[float]) -> float:
    """Sample variance around the mean of at least two values."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def newcombe_paired(
    both: int, only_first: int, only_second: int, neither: int, level: float = 0.95
) -> Interval | None:
    """Of the first rate minus the second over the same tasks (Newcombe 1998, method 10)."""
    count = both + only_first + only_second + neither
    first = wilson(both + only_first, count, level)
    second = wilson(both + only_second, count, level)
    if first is None or second is None:
        return None
    rate, other = (both + only_first) / count, (both + only_second) / count
    correlation = _newcombe_correlation(both, only_first, only_second, neither)
    difference = rate - other
    below = _joined(rate - first.low, second.high - other, correlation)
    above = _joined(first.high - rate, other - second.low, correlation)
    return Interval(max(-1.0, difference - below), min(1.0, difference + above))


def bca_bootstrap(
    columns: Sequence[Sequence[float]],
    statistic: "Callable[[Numbers], Numbers]",
    levels: Sequence[float],
    seed: int,
    draws: int = BOOTSTRAP_DRAWS,
) -> tuple[Interval, ...] | None:
    """Bias-corrected and accelerated intervals, one for each level, by drawing rows with replacement.

    A row is a task, a column one of its numbers; `statistic` takes an array whose last axis holds the
    mean of each column. None for fewer than two rows, or where a draw makes the statistic infinite.
    """
    import numpy as np  # noqa: PLC0415 - a fifth of a second that only a comparison of sets needs

    rows = np.array(columns, dtype=float).T
    count = len(rows)
    if count < 2:
        return None
    observed = float(statistic(rows.mean(axis=0)))
    with np.errstate(all="ignore"):
        drawn = np.sort(statistic(_means_of_draws(rows, seed, draws)))
        left_out = statistic((rows.sum(axis=0) - rows) / (count - 1))
    if not (math.isfinite(observed) and np.isfinite(drawn).all() and np.isfinite(left_out).all()):
        return None
    bias = _bias(drawn, observed)
    acceleration = _acceleration(left_out)
    return tuple(_bca(drawn, level, bias, acceleration) for level in levels)


def _newcombe_correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if not margins:
        return 0.0
    product: float = both * neither - only_first * only_second
    if product > 0:
        half = (both + only_first + only_second + neither) / 2
        product = max(product - half, 0)
    return product / math.sqrt(margins)


def _joined(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * correlation * one * other + other * other))


def _means_of_draws(rows: "Numbers", seed: int, draws: int) -> "Numbers":
    """One mean of every column per draw; raw bits keep the same draws across versions of numpy."""
    import numpy as np  # noqa: PLC0415 - see bca_bootstrap

    count = len(rows)
    bits = np.random.PCG64(seed)
    sums = np.zeros((draws, rows.shape[1]))
    for _ in range(count):
        raw = bits.random_raw((draws + 1) // 2).view(np.uint32)[:draws]
        sums += rows[(raw.astype(np.uint64) * np.uint64(count)) >> np.uint64(32)]
    means: Numbers = sums / count
    return means


def _bias(drawn: "Numbers", observed: float) -> float:
    below, upto = drawn.searchsorted([observed - _slack(observed), observed + _slack(observed)])
    share = (int(below) + int(upto)) / (2 * len(drawn))
    edge = 1 / (2 * len(drawn))
    return normal_quantile(min(1 - edge, max(edge, share)))


def _slack(observed: float) -> float:
    return 1e-12 * max(1.0, abs(observed))


def _acceleration(left_out: "Numbers") -> float:
    deviations = left_out.mean() - left_out
    largest = float(abs(deviations).max())
    if not largest:
        return 0.0
    shape = deviations / largest
    return float((shape**3).sum() / (6 * (shape**2).sum() ** 1.5))


def _bca(drawn: "Numbers", level: float, bias: float, acceleration: float) -> Interval:
    tail = normal_quantile((1 + level) / 2)
    return Interval(
        _at_share(drawn, _adjusted_share(bias, bias - tail, acceleration)),
        _at_share(drawn, _adjusted_share(bias, bias + tail, acceleration)),
    )


def _adjusted_share(bias: float, shifted: float, acceleration: float) -> float:
    stretch = 1 - acceleration * shifted
    if stretch <= 0:
        return 0.0 if shifted < 0 else 1.0
    return 1 - normal_upper_tail(bias + shifted / stretch)


def _at_share(drawn: "Numbers", share: float) -> float:
    place = share * (len(drawn) - 1)
    floor = min(len(drawn) - 1, int(place))
    ceiling = min(len(drawn) - 1, floor + 1)
    low, high = float(drawn[floor]), float(drawn[ceiling])
    return low + (high - low) * (place - floor)
