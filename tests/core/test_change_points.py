"""Where a series changed its level, and how often that is said of one that never did."""

import math
import time
from collections.abc import Callable
from random import Random
from statistics import fmean, median

import pytest

from quartermaster.core.change_points import REFERENCE, change_points, course_of

TASKS = 20
CHANGE = 60
LENGTH = 100

Nights = Callable[[Random, float], list[float]]


def noise(count: int, seed: int, level: float = 0.0) -> list[float]:
    random = Random(seed)
    return [level + random.gauss(0, 1) for _ in range(count)]


def test_a_step_is_found_at_the_point_where_it_is():
    assert change_points(noise(60, 1) + noise(60, 2, 3.0)) == (60,)


def test_every_level_of_a_long_series_is_found():
    levels = [0.0, 2.0, -1.0, 1.5]
    values = [value for number, level in enumerate(levels) for value in noise(80, number, level)]
    assert len(found := change_points(values)) == 3
    assert all(abs(index - edge) <= 1 for index, edge in zip(found, (80, 160, 240), strict=True))


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [0.1 + 0.2, 0.3] * 60, [7.0] * 300])
def test_too_few_points_and_equal_points_have_no_change(values: list[float]):
    assert change_points(values) == ()
    assert course_of(values).changes == ()


def test_the_scale_and_the_sign_of_the_values_do_not_matter():
    values = noise(50, 3) + noise(50, 4, 1.5)
    found = change_points(values)
    assert found
    assert change_points([1000.0 * value + 5e6 for value in values]) == found
    assert change_points([-value for value in values]) == found


def test_a_single_outlier_is_no_level():
    values = noise(60, 5)
    values[57] += 12.0
    assert change_points(values) == (57,)
    assert course_of(values).changes == ()


def test_the_first_point_of_a_new_level_is_no_level_yet():
    values = noise(60, 5)
    assert course_of([*values, 6.0]).changes == ()
    assert [change.index for change in course_of([*values, 6.0, 6.2]).changes] == [60]


def test_the_chart_confirms_a_change_in_its_own_direction_and_says_when():
    (change,) = course_of(noise(50, 6) + noise(30, 7, -2.0)).changes
    assert not change.rose
    assert abs(change.index - 50) <= 1
    assert change.confirmed_at is not None
    assert change.index < change.confirmed_at <= change.index + 6


def test_a_change_before_the_chart_is_set_up_is_named_and_not_confirmed():
    (change,) = course_of(noise(REFERENCE - 8, 8) + noise(40, 9, 4.0)).changes
    assert (change.index, change.confirmed_at) == (REFERENCE - 8, None)


def test_the_chart_takes_the_new_level_for_its_reference():
    values = noise(60, 10) + noise(60, 11, 3.0)
    course = course_of(values)
    assert [change.confirmed_at is not None for change in course.changes] == [True]
    assert not course.high
    assert not course.low
    later = course_of(values + noise(4, 12, 6.0))
    assert [change.confirmed_at is not None for change in later.changes] == [True, True]


def test_the_end_of_a_series_can_leave_its_level_before_any_test_says_so():
    values = noise(60, 13) + [1.5] * 4
    course = course_of(values)
    assert (course.changes, course.high, course.low) == ((), True, False)


def test_chance_stands_in_for_the_spread_of_a_reference_without_any():
    values = [1.0] * 60 + [0.95]
    assert course_of(values).low
    assert not course_of(values, spread=0.05).low


def test_the_same_values_give_the_same_course():
    values = noise(300, 14) + noise(100, 15, 1.0)
    assert course_of(values) == course_of(list(values))


def test_two_thousand_points_take_a_moment():
    values = [value + number // 100 % 3 for number, value in enumerate(noise(2_000, 16))]
    began = time.process_time()
    assert len(course_of(values).changes) > 10
    assert time.process_time() - began < 1.0


def nights_of_success(random: Random, drop: float) -> list[float]:
    """Success rate of 20 fixed tasks a night, some easy and some hard; `drop` in points of the whole rate."""
    easy = [random.betavariate(0.7, 0.5) for _ in range(TASKS)]
    left = max(0.0, 1 - drop / fmean(easy))
    return [
        fmean(random.random() < task * (left if night >= CHANGE else 1) for task in easy)
        for night in range(LENGTH)
    ]


def nights_of_cost(random: Random, factor: float) -> list[float]:
    """Logarithm of the geometric mean cost of 20 fixed tasks a night; within a task costs spread by 0.45."""
    tasks = [random.gauss(0, 1) for _ in range(TASKS)]
    return [
        fmean(task + random.gauss(0, 0.45) for task in tasks) + (math.log(factor) if night >= CHANGE else 0)
        for night in range(LENGTH)
    ]


def first_alert(values: list[float], *, rises: bool, threshold: float, since: int) -> int | None:
    """The first night whose own course holds a confirmed change for the worse beyond the threshold."""
    for count in range(since, len(values) + 1):
        for change in course_of(values[:count], spread=0.1).changes:
            before, after = values[change.start : change.index], values[change.index : change.end]
            worse = (fmean(after) - fmean(before)) * (1 if rises else -1)
            if change.confirmed_at is not None and worse > threshold:
                return count - 1
    return None


KINDS = {
    "success": (nights_of_success, 0.0, 0.20, {"rises": False, "threshold": 0.05}),
    "cost": (nights_of_cost, 1.0, 1.3, {"rises": True, "threshold": math.log(1.15)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_of_unchanged_agents_few_series_ever_raise_an_alert(kind: str):
    nights, unchanged, _, judged = KINDS[kind]
    random = Random(2027)
    series = 30
    alerts = sum(
        first_alert(nights(random, unchanged), **judged, since=REFERENCE + 2) is not None
        for _ in range(series)
    )
    assert alerts / series <= 0.12


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_change_raises_an_alert_within_ten_nights(kind: str):
    nights, _, changed, judged = KINDS[kind]
    random = Random(2028)
    told = [first_alert(nights(random, changed)[: CHANGE + 11], **judged, since=CHANGE) for _ in range(60)]
    delays = [night - CHANGE + 1 for night in told if night is not None and night >= CHANGE]
    false = sum(night is not None and night < CHANGE for night in told)
    assert sum(delay <= 10 for delay in delays) / (len(told) - false) >= 0.95
    assert median(delays) <= 3
