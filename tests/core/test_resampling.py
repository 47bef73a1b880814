"""The installed rules, put to an unchanged agent and to a changed one, raise the alarms they should."""

import csv
import random
from pathlib import Path

import pytest

from quartermaster.core.resampling import (
    Injected,
    Rate,
    Row,
    interval_coverage,
    outside_noise_alarms,
    simulate,
)

AIRLINE = Path(__file__).resolve().parents[2].parent / "shared/tables/tau_airline_gpt-4o.csv"
needs_the_table = pytest.mark.skipif(not AIRLINE.exists(), reason="the table of repeated runs is not here")


def made_up_rows(tasks=30, runs=4):
    rng = random.Random(8)
    rows = []
    for task in range(tasks):
        ease, length = rng.random(), rng.lognormvariate(3, 0.4)
        for trial in range(runs):
            steps = round(length * rng.lognormvariate(0, 0.3)) + 1
            rows.append(
                Row(
                    task=str(task),
                    trial=trial,
                    success=rng.random() < ease,
                    work_steps=steps,
                    tool_calls=steps // 2,
                    tool_errors=min(steps // 2, rng.random() < 0.2),
                    ungrounded=int(rng.random() < 0.1),
                    cost_usd=0.01 * steps,
                )
            )
    return rows


def recorded_rows():
    with AIRLINE.open() as lines:
        return [
            Row(
                task=line["task"],
                trial=int(line["trial"]),
                success=line["success"] == "1",
                work_steps=float(line["work_steps"]),
                tool_calls=int(line["tool_calls"]),
                tool_errors=int(line["tool_errors"]),
                ungrounded=int(line["ungrounded_arguments"]),
                cost_usd=float(line["cost_usd"]),
            )
            for line in csv.DictReader(lines)
        ]


def test_an_unchanged_agent_is_left_alone_and_a_changed_one_is_not():
    rows = made_up_rows()
    still = simulate(rows, tasks=20, trials=1, resamples=60, seed=1)
    dearer = simulate(rows, tasks=20, trials=1, resamples=20, seed=1, injected=Injected(effort=2.0))
    failing = simulate(rows, tasks=30, trials=2, resamples=20, seed=1, injected=Injected(success_drop=0.4))
    assert still.any.share <= 0.05 + 3 * 0.028
    assert dearer.metrics["work_steps"].share == 1
    assert failing.metrics["mission_success"].share >= 0.9


def test_the_same_seed_gives_the_same_simulation():
    rows = made_up_rows(tasks=12)
    first = simulate(rows, tasks=10, trials=1, resamples=5, seed=4, injected=Injected(effort=1.3))
    assert first == simulate(
        rows[::-1], tasks=10, trials=1, resamples=5, seed=4, injected=Injected(effort=1.3)
    )


def test_a_table_with_too_few_runs_is_refused():
    with pytest.raises(ValueError, match="no task of the table has 4 runs"):
        simulate(made_up_rows(runs=2), tasks=5, trials=2, resamples=1, seed=1)


def test_a_rate_over_nothing_is_none():
    assert Rate(0, 0).share is None
    assert Rate(0, 0).error is None
    assert Rate(1, 4).error == pytest.approx((0.25 * 0.75 / 4) ** 0.5)


@needs_the_table
@pytest.mark.parametrize("metric", ["work_steps", "cost_usd"])
def test_three_earlier_runs_keep_the_grade_outside_noise_honest(metric):
    rate = outside_noise_alarms(recorded_rows(), earlier_runs=3, read=lambda row: getattr(row, metric))
    assert rate.of == 600
    assert rate.share <= 0.06


@needs_the_table
def test_intervals_of_recorded_runs_cover_what_they_promise():
    covered = interval_coverage(recorded_rows(), tasks=20, trials=1, resamples=300, seed=2)
    for metric in ("mission_success", "work_steps", "total_cost_usd"):
        assert covered[metric].share == pytest.approx(0.95, abs=0.015 + 3 * 0.0126)


@needs_the_table
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("tasks", "trials"), [(20, 1), (50, 1), (50, 2)])
def test_false_alarms_of_all_gates_together(tasks, trials):
    rate = simulate(recorded_rows(), tasks=tasks, trials=trials, resamples=2_000, seed=1).any
    assert rate.share <= 0.055


@needs_the_table
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_power_to_see_what_changed():
    rows = recorded_rows()
    drop = simulate(rows, tasks=50, trials=2, resamples=1_000, seed=2, injected=Injected(success_drop=0.2))
    effort = simulate(rows, tasks=50, trials=1, resamples=1_000, seed=3, injected=Injected(effort=1.3))
    assert drop.metrics["mission_success"].share >= 0.85
    assert effort.any.share >= 0.85
