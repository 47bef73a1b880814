import pytest
from happenings import SECOND, asks, call, happens, mission, model, says

from quartermaster.core.failure_modes import Context, Severity, find_failure_modes
from quartermaster.core.injection import inject_loop, inject_progress, make_mission
from quartermaster.core.transcript import EventKind, Transcript

LOOPS = ("exact_tool_loop", "periodic_tool_loop", "error_retry_loop", "repeated_call")


def found(transcript: Transcript, *names: str):
    return find_failure_modes(transcript, names=names or LOOPS)


def test_three_equal_calls_in_a_row_are_a_warning_and_four_are_serious():
    three, four = (found(mission(*[call(query="x")] * times), "exact_tool_loop") for times in (3, 4))
    assert [(one.severity, one.steps) for one in three] == [(Severity.WARN, (0, 1, 2))]
    assert [(one.severity, one.count) for one in four] == [(Severity.HIGH, 4)]


def test_two_equal_calls_are_no_loop():
    assert found(mission(call(query="x"), call(query="x"))) == ()


def test_a_call_that_answers_anew_is_no_loop():
    assert found(mission(*(call("list_jobs", output=f"{done} of 9 done") for done in range(9)))) == ()


def test_what_differs_in_a_request_id_and_a_time_is_the_same_call():
    calls = (call(query="x", id=f"req_{n}abcdef", at=f"2026-01-0{n}T10:00:00Z") for n in range(1, 4))
    assert [one.detector for one in found(mission(*calls))] == ["D01"]


def test_who_is_asked_again_by_a_user_does_not_loop():
    turn = (asks("look it up"), call(query="x"))
    assert found(mission(*turn * 3), "exact_tool_loop") == ()


def test_an_answer_that_was_not_recorded_makes_a_likeness_and_no_certainty():
    (loop,) = found(mission(*[call("write_stdin", output=None, session=1)] * 4), "exact_tool_loop")
    assert (loop.severity, loop.confidence) == (Severity.INFO, "likely")


def test_rounds_of_several_calls_are_one_loop_with_their_period():
    rounds = [call("a", output="1"), call("b", output="2"), call("c", output="3")] * 4
    (loop,) = found(mission(*rounds))
    assert (loop.detector, loop.count, loop.first, loop.last) == ("D02", 12, 0, 11)
    assert (loop.evidence["period"], loop.evidence["repeats"]) == (3, 4)


def test_what_a_loop_costs_is_what_came_after_its_first_round():
    rounds = [
        model(tokens=100, cost=7),
        call("a", output="1"),
        model(tokens=100, cost=7),
        call("b", output="2"),
    ] * 3
    (loop,) = found(mission(*rounds))
    assert (loop.wasted.steps, loop.wasted.tokens, loop.wasted.cost) == (8, 400, 28)
    assert loop.wasted.seconds == 7


def test_a_cost_that_one_call_does_not_tell_is_unknown():
    calls = [call(query="x"), model(tokens=5, cost=1), call(query="x"), model(tokens=5), call(query="x")]
    (loop,) = found(mission(*calls))
    assert (loop.wasted.tokens, loop.wasted.cost) == (10, None)


def test_a_recording_without_a_clock_says_nothing_of_seconds():
    (loop,) = found(mission(*[call(query="x")] * 3, timed=False))
    assert loop.wasted.seconds is None


def test_the_same_failure_again_and_again_is_a_retry_loop_whatever_its_words():
    tries = [call("fetch", output=f"request timed out after {n} s", failed=True, url="u") for n in (3, 5, 9)]
    (loop,) = found(mission(*tries), "error_retry_loop")
    assert loop.evidence["error_class"] == "timeout"


def test_a_retry_with_another_argument_is_no_retry_loop():
    tries = [call("fetch", output="timed out", failed=True, wait=n) for n in (3, 5, 9)]
    assert found(mission(*tries), "error_retry_loop") == ()


def test_a_call_repeated_among_others_is_told_unless_something_was_written_between():
    look = call("get_user", output="ann", id=1)
    reading = mission(look, call("get_order", id=1), look, call("get_order", id=2), look)
    writing = mission(look, call("update_user", id=1), look, call("update_user", id=2), look)
    assert [one.steps for one in found(reading)] == [(0, 2, 4)]
    assert found(writing) == ()


def test_a_loop_is_not_told_again_as_a_repetition():
    assert [one.detector for one in found(mission(*[call(query="x")] * 5))] == ["D01"]


@pytest.mark.parametrize("period", range(1, 9))
def test_an_injected_loop_is_found_where_it_is(period: int):
    for repeats in (3, 20):
        looped = inject_loop(make_mission(40, period), period, repeats, seed=repeats)
        assert any(set(looped.positions[:50]) == set(one.steps) for one in found(looped.transcript))


@pytest.mark.parametrize("period", range(1, 9))
def test_calls_that_come_again_and_answer_anew_are_no_loop(period: int):
    assert found(inject_progress(make_mission(40, period), period, 5, seed=period).transcript) == ()


def test_the_same_seed_makes_the_same_mission():
    assert inject_loop(make_mission(20, 1), 3, 4, 5) == inject_loop(make_mission(20, 1), 3, 4, 5)
    assert make_mission(20, 1) != make_mission(20, 2)


def test_calls_that_bring_nothing_new_for_long_are_a_stall():
    calls = [call("search", output="nothing found", query=f"q{n}") for n in range(12)]
    (stall,) = found(mission(*calls), "stall")
    assert (stall.count, stall.severity) == (11, Severity.WARN)


def test_edits_that_all_answer_the_same_are_progress():
    assert found(mission(*(call("edit_file", output="written", line=n) for n in range(20))), "stall") == ()


def test_ten_silent_minutes_of_an_agent_at_work_are_a_stall_and_a_user_who_sleeps_is_none():
    late = 3_600 * SECOND
    at_work = mission(call(instant_of="a"), happens(EventKind.MODEL_CALL, "m", instant=late))
    waiting = mission(says("done"), happens(EventKind.USER_MESSAGE, instant=late, text="go on"))
    assert [one.evidence["silent_seconds"] for one in found(at_work, "stall")] == [3_599]
    assert found(waiting, "stall") == ()


def test_a_running_mission_is_silent_until_now():
    running = mission(call(query="x"))
    (stall,) = find_failure_modes(running, Context(now=700 * SECOND), names=("stall",))
    assert stall.evidence["silent_seconds"] == 699
    assert find_failure_modes(running, Context(now=500 * SECOND), names=("stall",)) == ()
