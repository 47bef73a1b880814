"""Distribution functions by the incomplete beta function, to 1e-9 and better, with nothing but `math`."""

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Final

_NORMAL: Final = NormalDist()
_SMALLEST: Final = 1e-300
_PRECISION: Final = 1e-16
_ROUNDS: Final = 100_000


def normal_quantile(probability: float) -> float:
    return _NORMAL.inv_cdf(probability)


def normal_upper_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def log_incomplete_beta(a: float, b: float, x: float) -> float:
    """Logarithm of the regularised incomplete beta function I_x(a, b), for 0 < x < 1."""
    if x < (a + 1) / (a + b + 2):
        return _log_front(a, b, x) - math.log(a) + math.log(_continued_fraction(a, b, x))
    rest = _log_front(a, b, x) - math.log(b) + math.log(_continued_fraction(b, a, 1 - x))
    return math.log1p(-math.exp(rest)) if rest < 0 else -math.inf


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), for a > 0 and b > 0."""
    if x <= 0:
        return 0.0
    return 1.0 if x >= 1 else math.exp(log_incomplete_beta(a, b, x))


def binomial_upper_tail(successes: int, trials: int, probability: float = 0.5) -> float:
    """P(X >= successes) for X ~ Binomial(trials, probability)."""
    if successes <= 0:
        return 1.0
    if successes > trials:
        return 0.0
    return incomplete_beta(successes, trials - successes + 1, probability)


def student_t_cdf(t: float, degrees: float) -> float:
    tail = 0.5 * incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))
    return 1 - tail if t > 0 else tail


@lru_cache(maxsize=1024)
def student_t_quantile(probability: float, degrees: float) -> float:
    """The t below which a share of `probability` lies, found by halving an interval to its last bit."""
    if probability == 0.5:
        return 0.0
    if probability < 0.5:
        return -_upper_t(probability, degrees)
    return _upper_t(1 - probability, degrees)


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x at which I_x(a, b) reaches `probability`."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        if incomplete_beta(a, b, middle) < probability:
            low = middle
        else:
            high = middle
    return high


def _upper_t(tail: float, degrees: float) -> float:
    low, high = 0.0, 1.0
    while student_t_cdf(-high, degrees) > tail:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        if student_t_cdf(-middle, degrees) > tail:
            low = middle
        else:
            high = middle
    return high


def _log_front(a: float, b: float, x: float) -> float:
    return a * math.log(x) + b * math.log1p(-x) - log_beta(a, b)


def _continued_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, evaluated by Lentz's method."""
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, _ROUNDS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _away_from_zero(1 + even * d)
        c = _away_from_zero(1 + even / c)
        fraction *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _away_from_zero(1 + odd * d)
        c = _away_from_zero(1 + odd / c)
        fraction *= d * c
        if abs(d * c - 1) < 4 * _PRECISION:
            break
    return fraction


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _SMALLEST else _SMALLEST
