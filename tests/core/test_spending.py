"""What a success costs: failed missions are paid for too, and what is unknown is never free."""

import pytest

from quartermaster.core.report import comparison_report, render_markdown
from quartermaster.core.set_comparison import compare_sets
from quartermaster.core.trials import Trial


def side(arm, *, succeeded, cost=0.2, coverage=1.0, tasks=8):
    return [
        Trial(
            mission_id=f"{arm}{task}",
            task=f"task {task}",
            status="succeeded" if task < succeeded else "failed",
            values={"total_cost_usd": cost, "total_tokens": 1_000.0, "work_steps": 5.0},
            cost_coverage=coverage,
        )
        for task in range(tasks)
    ]


def test_failed_missions_are_part_of_what_a_success_costs():
    comparison = compare_sets(side("b", succeeded=8), side("c", succeeded=2, cost=0.1))
    found = comparison.cost_per_success
    assert found.baseline.cost_per_success == pytest.approx(0.2)
    assert found.candidate.cost_per_success == pytest.approx(0.4)
    assert (found.candidate.missions, found.candidate.successes) == (8, 2)
    assert found.candidate.reason is None
    report = render_markdown(comparison_report(comparison, run_id="r"))
    assert "| candidate | $0.80 | 2 of 8 | $0.40 |  |" in report


def test_without_a_success_nothing_was_bought():
    found = compare_sets(side("b", succeeded=3), side("c", succeeded=0)).cost_per_success.candidate
    assert found.cost_per_success is None
    assert found.reason == "no success bought"


def test_what_has_no_price_is_told_and_not_taken_for_nothing():
    partly = compare_sets(side("b", succeeded=4, coverage=0.5), side("c", succeeded=4, cost=None))
    found = partly.cost_per_success
    assert found.baseline.cost_per_success == pytest.approx(0.4)
    assert found.baseline.reason == "at least: a price is known for 50 % of the tokens"
    assert found.candidate.cost_per_success is None
    assert found.candidate.reason == "no cost is known"
    assert found.candidate.coverage == 0


def test_missions_that_called_no_model_do_not_make_the_others_free():
    idle = [
        Trial(
            mission_id=f"i{task}",
            task=f"task {task}",
            status="succeeded",
            values={"total_cost_usd": 0.0 if task else None},
        )
        for task in range(8)
    ]
    found = compare_sets(side("b", succeeded=8), idle).cost_per_success.candidate
    assert found.cost_usd is None
    assert found.reason == "no cost is known"


def test_nothing_compared_costs_nothing_that_could_be_told():
    assert compare_sets([], []).cost_per_success is None


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_counter_that_holds_nonsense_is_unknown(nonsense):
    counted = [
        Trial(
            mission_id=f"n{task}",
            task=f"task {task}",
            status="succeeded",
            values={"total_cost_usd": nonsense if task else 0.2, "total_tokens": nonsense},
        )
        for task in range(8)
    ]
    found = compare_sets(side("b", succeeded=8), counted).cost_per_success.candidate
    assert found.coverage == pytest.approx(1 / 8)
    assert found.cost_usd == pytest.approx(0.2)
    assert found.reason == "at least: a price is known for 12.5 % of the tokens"
