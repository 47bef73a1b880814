"""Where a series of points changed its level: a divisive search names the point, a control chart confirms it.

The search is E-divisive with a t-test in sliding windows (Matteson and James 2014; Fleming et al., "Hunter",
2023). The chart is a one-sided EWMA (Roberts 1959) against the first points of the present level. Either
alone alarms too often; a change that both see in one direction is confirmed.
"""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

import msgspec

from quartermaster.core.distributions import student_t_cdf
from quartermaster.core.intervals import variance

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW: Final = 50
SIGNIFICANCE: Final = 0.001
_WEAK_FACTOR: Final = 10
"""The first pass accepts points at ten times the p-value; the second keeps those that still hold."""

REFERENCE: Final = 20
"""Points of a level that a chart is set up from."""
_WEIGHT: Final = 0.2
_LIMIT: Final = 3.0
_SHORTEST: Final = 2
"""Points of a level that a course tells of: a single one is an outlier, or not a level yet."""
_DECIMALS: Final = 12
"""Differences beyond these are the rounding of sums, no change of anything."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of level. Points `start` to `index` are the level before, `index` to `end` the one after.

    `confirmed_at` is the point, the second of the new level or a later one, at which the chart was outside
    its limits in the direction of the change; None while it has not been, or where no chart could be set up.
    """

    start: int
    index: int
    end: int
    rose: bool
    p_value: float
    confirmed_at: int | None


class Course(msgspec.Struct, frozen=True):
    """What became of a series. The flags say whether a chart is outside its limits at the last point."""

    changes: tuple[Change, ...]
    high: bool
    low: bool


class _Split(msgspec.Struct, frozen=True):
    index: int
    score: float


def course_of(values: Sequence[float], *, spread: float = 0.0) -> Course:
    """The changes of a series, and whether its end leaves the present level.

    `spread` stands in for the standard deviation of a reference whose points are all equal.
    """
    indexes = change_points(values, shortest=_SHORTEST)
    edges = (0, *indexes, len(values))
    reference = 0
    changes: list[Change] = []
    for start, index, end in zip(edges, edges[1:], edges[2:], strict=False):
        before, after = values[start:index], values[index:end]
        rose = fmean(after) > fmean(before)
        confirmed_at = None
        if index >= reference + REFERENCE:
            confirmed_at = _first_outside(values, reference, index + 1, end, spread, rose=rose)
        if confirmed_at is not None or index < reference + REFERENCE:
            reference = index
        changes.append(
            Change(
                start=start,
                index=index,
                end=end,
                rose=rose,
                p_value=_two_sided(before, after),
                confirmed_at=confirmed_at,
            )
        )
    last = len(values) - 1
    high, low = (
        _first_outside(values, reference, last, len(values), spread, rose=rose) is not None
        for rose in (True, False)
    )
    return Course(tuple(changes), high, low)


def change_points(
    values: Sequence[float],
    *,
    window: int = WINDOW,
    significance: float = SIGNIFICANCE,
    shortest: int = 1,
) -> tuple[int, ...]:
    """Index of the first point of each new level, in order; no level has fewer points than `shortest`."""
    weak = _weak_points(values, window, significance * _WEAK_FACTOR)
    return _hold(values, weak, significance, shortest)


def _first_outside(
    values: Sequence[float], reference: int, since: int, end: int, spread: float, *, rose: bool
) -> int | None:
    """The first point from `since` on, before `end`, at which the chart is beyond its limit on that side."""
    first = reference + REFERENCE
    if max(since, first) >= end:
        return None
    known = values[reference:first]
    level = average = fmean(known)
    deviation = math.sqrt(variance(known)) or spread
    sign = 1 if rose else -1
    for index in range(first, end):
        average += _WEIGHT * (values[index] - average)
        seen = 1 - (1 - _WEIGHT) ** (2 * (index - first + 1))
        limit = _LIMIT * deviation * math.sqrt(_WEIGHT / (2 - _WEIGHT) * seen)
        if index >= since and sign * (average - level) > limit + 10**-_DECIMALS:
            return index
    return None


def _weak_points(values: Sequence[float], window: int, significance: float) -> list[int]:
    """Points that split some window well enough, found in windows that overlap by half."""
    found: set[int] = set()
    start = 0
    while start < len(values):
        within = _divided(values[start : start + window], significance)
        found.update(start + index for index in within)
        start = max(start + window // 2, start + within[-1] if within else 0)
    return sorted(found)


def _divided(values: Sequence[float], significance: float) -> list[int]:
    """Split a window at its best point, then the parts, as long as the best split is significant."""
    if len(values) < 2 or max(values) - min(values) < 10**-_DECIMALS:
        return []
    sums = _distance_sums(values)
    parts = {(0, len(values)): _best_split(sums, 0, len(values))}
    while parts:
        (start, end), best = max(parts.items(), key=lambda part: (part[1].score, -part[0][0]))
        if _two_sided(values[start : best.index], values[best.index : end]) > significance:
            break
        del parts[start, end]
        for part in ((start, best.index), (best.index, end)):
            parts[part] = _best_split(sums, *part)
    return sorted({start for start, _ in parts} - {0})


def _distance_sums(values: Sequence[float]) -> "NDArray[Any]":
    """Sums of the distances between the first i and the first j points, for every i and j."""
    import numpy as np  # noqa: PLC0415 - a heavy import that only a trend needs

    points = np.asarray(values, dtype=np.float64)
    sums = np.zeros((len(points) + 1, len(points) + 1))
    sums[1:, 1:] = np.abs(points[:, None] - points[None, :]).cumsum(axis=0).cumsum(axis=1)
    return sums


def _best_split(sums: "NDArray[Any]", start: int, end: int) -> _Split:
    """Where the energy distance between the points before and a stretch after them is the largest.

    For every split and every end of the stretch at once: distances across, less those within either
    side, from differences of the sums (Matteson and James 2014, equations 5 and 7).
    """
    import numpy as np  # noqa: PLC0415 - a heavy import that only a trend needs

    if end - start < 2:
        return _Split(start, -math.inf)
    split = np.arange(start + 1, end)[:, None]
    stop = np.arange(start + 2, end + 1)[None, :]
    left, right = split - start, stop - split
    whole = np.diagonal(sums)
    across = sums[split, stop] - sums[start, stop] - whole[split] + sums[start, split]
    within_left = (whole[split] - 2 * sums[start, split] + whole[start]) / 2
    within_right = (whole[stop] - 2 * sums[split, stop] + whole[split]) / 2
    score = across - right * within_left / np.maximum(left - 1, 1)
    score = (score - left * within_right / np.maximum(right - 1, 1)) * 2 / (stop - start)
    score = np.where(right > 0, score, -np.inf)
    at = int(np.argmax(score))
    return _Split(start + 1 + at // score.shape[1], float(score.flat[at]))


def _hold(values: Sequence[float], indexes: list[int], significance: float, shortest: int) -> tuple[int, ...]:
    """Drop the weakest point, until each that is left separates its two neighbouring levels."""
    indexes = list(indexes)
    chances = [_chance(values, indexes, at, shortest) for at in range(len(indexes))]
    while chances and max(chances) >= significance:
        weakest = chances.index(max(chances))
        del indexes[weakest], chances[weakest]
        for at in range(max(weakest - 1, 0), min(weakest + 1, len(indexes))):
            chances[at] = _chance(values, indexes, at, shortest)
    return tuple(indexes)


def _chance(values: Sequence[float], indexes: Sequence[int], at: int, shortest: int) -> float:
    start = indexes[at - 1] if at else 0
    end = indexes[at + 1] if at + 1 < len(indexes) else len(values)
    if min(indexes[at] - start, end - indexes[at]) < shortest:
        return 1.0
    return _two_sided(values[start : indexes[at]], values[indexes[at] : end])


def _two_sided(before: Sequence[float], after: Sequence[float]) -> float:
    """p of a t-test of equal levels, with squares over n rather than n - 1, as Hunter has it."""
    freedom = len(before) + len(after) - 2
    if freedom < 1:
        return 1.0
    means = fmean(before), fmean(after)
    difference = abs(means[1] - means[0])
    if difference < 10**-_DECIMALS:
        return 1.0
    squares = sum(
        (len(side) - 1) * fmean((value - mean) ** 2 for value in side)
        for side, mean in zip((before, after), means, strict=True)
    )
    error = math.sqrt(squares / freedom * (1 / len(before) + 1 / len(after)))
    if not error:
        return 0.0
    return 2 * student_t_cdf(-difference / error, freedom)
