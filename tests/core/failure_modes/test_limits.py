import pytest
from happenings import SECOND, asks, call, happens, mission, model, says

from quartermaster.core.failure_modes import Context, find_failure_modes
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.core.transcript import EventKind, Transcript


def found(transcript: Transcript, name: str, **known):
    return find_failure_modes(transcript, Context(**known), names=(name,))


def test_each_budget_is_exceeded_at_the_step_that_exceeds_it():
    spent = mission(*[model(cost=PICODOLLARS)] * 5)
    over = found(spent, "budget_overrun", cost_budget=2 * PICODOLLARS, step_budget=4, seconds_budget=100)
    assert [(one.evidence["budget"], one.first) for one in over] == [("cost", 2), ("steps", 4)]
    assert over[0].reason == "the budget of $2.00 was exceeded"
    assert over[0].wasted.cost == 3 * PICODOLLARS


def test_a_budget_of_seconds_says_nothing_of_a_recording_without_a_clock():
    spent = mission(*[model()] * 5, timed=False)
    assert found(spent, "budget_overrun", seconds_budget=1) == ()


def test_a_mission_dearer_than_all_earlier_ones_is_named_once_there_are_five():
    dear = mission(*[model(cost=PICODOLLARS)] * 8)
    earlier = (PICODOLLARS,) * 4
    assert found(dear, "budget_overrun", earlier_costs=earlier) == ()
    (over,) = found(dear, "budget_overrun", earlier_costs=(*earlier, 2 * PICODOLLARS))
    assert (over.evidence["median"], over.first) == (PICODOLLARS, 3)
    assert found(dear, "budget_overrun", earlier_costs=(*earlier, 9 * PICODOLLARS)) == ()


def test_an_end_that_costs_most_and_finds_nothing_is_named():
    early = [call("read", output=f"page {n}", page=n) for n in range(40)]
    late = [call("read", output="page 1", page=n) for n in range(5)]
    dear = [event for one in late for event in (model(cost=100), one)]
    (over,) = found(mission(model(cost=100), *early, *dear, model(cost=100)), "budget_overrun")
    assert over.evidence["share"] > 0.5
    new = [event for n in range(5) for event in (model(cost=100), call("read", output=f"new {n}", page=n))]
    assert found(mission(model(cost=100), *early, *new, model(cost=100)), "budget_overrun") == ()


def window(model_name: str) -> int | None:
    return 1_000


def test_a_call_that_nearly_fills_the_window_is_named_with_what_a_cache_gave():
    calls = [model(input_tokens=100), model(input_tokens=500, cache_read_tokens=400)]
    (full,) = found(mission(*calls), "context_runaway", context_window=window)
    assert (full.first, full.evidence["largest"]) == (1, 900)
    assert found(mission(*calls), "context_runaway") == ()


def test_a_context_that_overflows_within_five_calls_is_named():
    growing = mission(*(model(input_tokens=100 * n) for n in range(1, 8)))
    settled = mission(*(model(input_tokens=700) for _ in range(8)))
    (over,) = found(growing, "context_runaway", context_window=window)
    assert over.evidence["growth_per_call"] == 100
    assert found(settled, "context_runaway", context_window=window) == ()


def test_ten_condensations_with_nothing_done_between_are_named():
    condensed = happens(EventKind.NOTE, "run.compaction")
    assert len(found(mission(*[condensed, model()] * 10), "context_runaway")) == 1
    assert found(mission(*[condensed, call(query="x")] * 10), "context_runaway") == ()


@pytest.mark.parametrize(
    ("cause", "last"),
    [
        ("status", happens(EventKind.STATUS, "limit_reached")),
        ("limit", says("Max rounds (30) reached.")),
        ("limit", says("I stop: the maximum number of steps was exceeded, step limit of 40 reached")),
        ("token limit", model(finish_reason="length")),
        ("content filter", model(finish_reason="content_filter")),
        ("content filter", says("400: the answer was filtered due to our content management policy")),
        ("crash", says("working\nTraceback (most recent call last):\n  File")),
        ("broken off", happens(EventKind.TOOL_CALL, "shell")),
        ("broken off", call(query="x")),
    ],
    ids=range(9),
)
def test_what_ended_a_mission_is_named(cause: str, last):
    (stopped,) = found(mission(asks("find it"), call(query="a"), last), "stopped_by_a_limit")
    assert stopped.evidence["cause"] == cause


def test_a_mission_that_answers_or_succeeds_or_still_runs_was_not_stopped():
    answered = mission(asks("find it"), call(query="a"), says("Here it is."))
    limited = mission(says("Max rounds (30) reached."), outcome="succeeded")
    running = mission(asks("find it"), call(query="a"))
    assert found(answered, "stopped_by_a_limit") == ()
    assert found(limited, "stopped_by_a_limit") == ()
    assert found(running, "stopped_by_a_limit", now=5 * SECOND) == ()
    assert found(mission(), "stopped_by_a_limit") == ()
