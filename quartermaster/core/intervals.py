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
    return _bootstrap([columns], statistic, levels, seed, draws)


def two_sample_bootstrap(
    baseline: Sequence[float],
    candidate: Sequence[float],
    statistic: "Callable[[Numbers], Numbers]",
    levels: Sequence[float],
    *,
    seed: int,
) -> tuple[Interval, ...] | None:
    """The same for arms without tasks: missions are drawn inside each arm, the means stand side by side."""
    return _bootstrap([[baseline], [candidate]], statistic, levels, seed, BOOTSTRAP_DRAWS)


def _bootstrap(
    samples: Sequence[Sequence[Sequence[float]]],
    statistic: "Callable[[Numbers], Numbers]",
    levels: Sequence[float],
    seed: int,
    draws: int,
) -> tuple[Interval, ...] | None:
    import numpy as np  # noqa: PLC0415 - a fifth of a second that only a comparison of sets needs

    tables = [np.array(columns, dtype=float).T for columns in samples]
    if min(map(len, tables)) < 2:
        return None
    bits = np.random.PCG64(seed)
    means = [table.mean(axis=0) for table in tables]
    with np.errstate(all="ignore"):
        observed = float(statistic(np.concatenate(means)))
        drawn = statistic(np.concatenate([_means_of_draws(table, bits, draws) for table in tables], axis=1))
        left_out = [statistic(_with_left_out(means, place, table)) for place, table in enumerate(tables)]
    if not (math.isfinite(observed) and all(np.isfinite(values).all() for values in (drawn, *left_out))):
        return None
    drawn = np.sort(drawn)
    bias, acceleration = _bias(drawn, observed), _acceleration(left_out)
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


def _means_of_draws(rows: "Numbers", bits: "numpy.random.PCG64", draws: int) -> "Numbers":
    """One mean of every column per draw; raw bits keep the same draws across versions of numpy."""
    import numpy as np  # noqa: PLC0415 - see _bootstrap

    count = len(rows)
    sums = np.zeros((rows.shape[1], draws))
    for _ in range(count):
        raw = bits.random_raw((draws + 1) // 2).view(np.uint32)[:draws]
        drawn = (raw.astype(np.uint64) * np.uint64(count)) >> np.uint64(32)
        for column, values in enumerate(rows.T):
            sums[column] += values[drawn]
    means: Numbers = sums.T / count
    return means


def _with_left_out(means: "Sequence[Numbers]", place: int, rows: "Numbers") -> "Numbers":
    """All means, once for every row of the sample at `place` that is left out of its own."""
    import numpy as np  # noqa: PLC0415 - see _bootstrap

    without = (rows.sum(axis=0) - rows) / (len(rows) - 1)
    return np.concatenate(
        [without if index == place else np.tile(mean, (len(rows), 1)) for index, mean in enumerate(means)],
        axis=1,
    )


def _bias(drawn: "Numbers", observed: float) -> float:
    below, upto = drawn.searchsorted([observed - _slack(observed), observed + _slack(observed)])
    share = (int(below) + int(upto)) / (2 * len(drawn))
    edge = 1 / (2 * len(drawn))
    return normal_quantile(min(1 - edge, max(edge, share)))


def _slack(observed: float) -> float:
    return 1e-12 * max(1.0, abs(observed))


def _acceleration(left_out: "Sequence[Numbers]") -> float:
    """How the spread changes with the statistic, from what each left-out row does to it."""
    shapes = [(values.mean() - values) * ((len(values) - 1) / len(values)) for values in left_out]
    largest = max(float(abs(shape).max()) for shape in shapes)
    if not largest:
        return 0.0
    cubes = sum(float(((shape / largest) ** 3).sum()) for shape in shapes)
    squares = sum(float(((shape / largest) ** 2).sum()) for shape in shapes)
    return cubes / (6 * math.sqrt(squares) ** 3)


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
