"""What a suite of a given size can see, as the published table has it."""

import math

import pytest

from quartermaster.core.plan import (
    log_variance,
    relative_resolution,
    resolution,
    resolution_table,
    trials_for,
    trials_for_rise,
    within_task_variance,
)


@pytest.mark.parametrize(
    ("tasks", "trials", "airline", "terminal"),
    [(10, 1, 43, 30), (20, 3, 17, 12), (50, 1, 19, 13), (100, 3, 7.8, 5.4), (200, 5, 4.3, 3.0)],
)
def test_the_smallest_visible_drop_is_that_of_the_table(tasks, trials, airline, terminal):
    assert 100 * resolution(0.147, tasks, trials) == pytest.approx(airline, abs=0.51)
    assert 100 * resolution(0.071, tasks, trials) == pytest.approx(terminal, abs=0.51)


def test_the_runs_a_drop_needs():
    assert trials_for(0.05, 0.147) == pytest.approx(726, abs=2)
    assert trials_for(0.10, 0.147) == pytest.approx(182, abs=1)
    assert trials_for_rise(0.20, 0.164) == pytest.approx(61, abs=1)
    with pytest.raises(ValueError, match="nothing"):
        trials_for(0, 0.15)


def test_more_runs_see_less():
    smallest = [row.smallest for row in resolution_table(0.15, (10, 20), (1, 2))]
    assert smallest == sorted(smallest, reverse=True)
    assert relative_resolution(0.16, 50, 1) == pytest.approx(math.expm1(resolution(0.16, 50, 1)))


def test_variance_is_counted_inside_tasks():
    assert within_task_variance([[0.0, 1.0], [1.0, 1.0], [5.0]]) == pytest.approx(0.25)
    assert within_task_variance([[1.0], [2.0]]) is None
    assert log_variance([[1.0, math.e], [0.0, 3.0]]) == pytest.approx(0.5)
