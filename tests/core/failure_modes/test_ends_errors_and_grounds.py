"""Ends, errors, ungrounded calls, side effects: the smallest mission that shows each, and the nearest one."""

from typing import Any

import pytest
from recorded import needs_traces, transcripts_below

from quartermaster.core.failure_modes import Context, FailureMode, Severity, find_failure_modes
from quartermaster.core.transcript import Event, EventKind, Told, Transcript


def call(name: str = "bash", *, ok: bool | None = True, **more: Any) -> dict[str, Any]:
    return {"kind": EventKind.TOOL_CALL, "name": name, "succeeded": ok, "step": 0, **more}


def said(text: str, agent: str | None = None) -> dict[str, Any]:
    return {"kind": EventKind.AGENT_MESSAGE, "text": text, "agent": agent}


def asked(text: str) -> dict[str, Any]:
    return {"kind": EventKind.USER_MESSAGE, "text": text}


def noted(**more: Any) -> dict[str, Any]:
    return {"kind": EventKind.NOTE, "entry_type": "run.failed", **more}


def found(
    name: str, *told: dict[str, Any], context: Context | None = None, **facts: Any
) -> list[FailureMode]:
    events = tuple(
        Event(
            **({"name": "", "entry_type": "t"} | one | {"position": at, "entry_id": f"e{at}", "instant": at})
        )
        for at, one in enumerate(told)
    )
    transcript = Transcript(mission_id="m", events=events, **facts)
    return list(find_failure_modes(transcript, context or Context(), names=[name]))


def steps(name: str, *told: dict[str, Any], **more: Any) -> list[tuple[int, ...]]:
    return [one.steps for one in found(name, *told, **more)]


PLAN = {"todos": [{"content": "a", "status": "completed"}, {"content": "b", "status": "in_progress"}]}
DONE = {"todos": [{"content": "a", "status": "completed"}, {"content": "b", "status": "completed"}]}


def test_an_end_with_an_open_plan_is_premature():
    assert steps("premature_termination", call("TodoWrite", arguments=PLAN), said("All done.")) == [(0, 1)]
    closed = (call("TodoWrite", arguments=PLAN), call("TodoWrite", arguments=DONE), said("All done."))
    assert steps("premature_termination", *closed) == []
    assert steps("premature_termination", call("TodoWrite", arguments=PLAN), said("Shall I go on?")) == []


def test_an_end_after_a_failed_call_is_premature_unless_it_is_told():
    assert steps("premature_termination", call(ok=False, exit_code=2), said("All done.")) == [(0, 1)]
    assert steps("premature_termination", call(ok=False), said("The build failed."), said("Bye.")) == []
    assert steps("premature_termination", call(ok=False), call(), said("All done.")) == []


def test_a_required_check_that_never_ran_weighs_more():
    [finding] = found(
        "premature_termination", call(), said("Done."), context=Context(required_tools=("verify",))
    )
    assert (finding.severity, finding.evidence) == (Severity.HIGH, {"never_ran": ["verify"]})


def test_a_mission_that_nobody_calls_good_did_not_end_too_early():
    assert steps("premature_termination", call(ok=False), said("All done."), outcome="failed") == []


def test_work_after_the_end_is_told_where_the_one_who_may_end_it_said_so():
    done = said("The task is complete.", "lead")
    further = [said("more", "lead"), call(agent="lead"), call(agent="lead")]
    assert steps("continues_after_completion", done, *further) == [(0, 1, 2, 3)]
    assert steps("continues_after_completion", done, asked("and now?"), *further) == []
    assert steps("continues_after_completion", done, *further[:2]) == []
    by_another = (said("go", "lead"), said("The task is complete.", "helper"), *further)
    assert steps("continues_after_completion", *by_another) == []


def test_checking_after_the_end_is_no_further_work():
    checks = [
        call(command="pytest -q"),
        call("verify_order"),
        call(command="ruff check"),
        call(command="go test"),
    ]
    assert steps("continues_after_completion", said("The task is done."), *checks) == []


def test_errors_that_come_close_together_are_a_storm():
    storm = [call(ok=True)] * 10 + [call(ok=False), call(ok=True)] * 5 + [call(ok=True)] * 10
    assert steps("error_storm", *storm) == [(10, 12, 14, 16, 18)]
    assert steps("error_storm", *[call(ok=True), call(ok=True), call(ok=False)] * 6) == []


def test_half_of_a_few_calls_is_a_storm_and_a_search_without_a_hit_is_no_error():
    assert steps("error_storm", *[call(ok=False), call()] * 3) == [(0, 2, 4)]
    no_hit = call(ok=False, exit_code=1, command="grep -rn nothing src")
    assert steps("error_storm", *[no_hit, call()] * 3) == []
    assert steps("error_storm", *[call(ok=False, refused=True), call()] * 3) == []


def test_two_storms_are_two_findings():
    storm, calm = [call(ok=False)] * 5, [call()] * 20
    assert [len(one) for one in steps("error_storm", *storm, *calm, *storm)] == [5, 5]


@pytest.mark.parametrize(
    "output",
    [
        '{"error": "no such user"}',
        '{"status": 503, "body": ""}',
        '{"exit_code": 1, "output": ""}',
        "Error: user not found",
        "Traceback (most recent call last):\n  File x\nValueError: no",
        "HTTP/1.1 404 Not Found",
    ],
)
def test_an_answer_in_the_shape_of_an_error_is_a_silent_failure(output: str):
    assert steps("silent_tool_failure", call("get_user", output=output)) == [(0,)]


@pytest.mark.parametrize(
    "output",
    [
        '{"error": null, "user": 1}',
        '{"error": 0}',
        '{"status": 200}',
        '{"items": [{"error": "one of them"}]}',
        "3 errors were fixed",
        "All good",
        '{"error',
    ],
)
def test_an_answer_that_only_speaks_of_errors_is_none(output: str):
    assert steps("silent_tool_failure", call("get_user", output=output)) == []


def test_a_file_that_is_shown_may_hold_errors():
    assert steps("silent_tool_failure", call(command="cat app.log", output="Error: old")) == []
    assert steps("silent_tool_failure", call("read_file", output='{"error": "x"}')) == []


def test_a_call_without_an_end_is_an_orphan_unless_it_may_still_run():
    assert steps("orphan", call(ok=None), said("Done.")) == [(0,)]
    assert steps("orphan", said("Go."), call(ok=None)) == []
    assert steps("orphan", call(ok=None, output="x"), said("Done.")) == []


def test_failures_of_the_ground_are_told_by_class_and_weigh_more_at_the_end():
    refused = call("fetch", ok=False, error="HTTP 429 Too Many Requests")
    [finding] = found("infrastructure", refused, call("fetch"))
    assert (finding.evidence["class"], finding.severity) == ("rate limit", Severity.INFO)
    [finding] = found(
        "infrastructure", call("fetch"), noted(error="Error code: 401 - Incorrect API key provided")
    )
    assert (finding.evidence["class"], finding.severity) == ("auth", Severity.HIGH)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("getaddrinfo ENOTFOUND api.example.com", "dns"),
        ("503 Service Unavailable", "server"),
        ("read timed out", "timeout"),
        ("404 Client Error: Not Found for url", "not found"),
    ],
)
def test_classes_of_infrastructure(error: str, kind: str):
    [finding] = found("infrastructure", call("fetch", ok=False, error=error), call("fetch"))
    assert finding.evidence["class"] == kind


@pytest.mark.parametrize(
    "error",
    [
        "cat: a.txt: No such file or directory",
        "bash: ./x: Permission denied",
        "AssertionError: 500 != 501",
        "order 404",
    ],
)
def test_what_a_program_says_of_files_and_numbers_is_no_infrastructure(error: str):
    assert steps("infrastructure", call(ok=False, error=error), call()) == []


def test_a_tool_that_is_not_declared_is_named_where_others_are():
    [finding] = found("ungrounded_action", call("get_user"), call("get_usr"), tools=("get_user",))
    assert (finding.severity, finding.steps, finding.evidence["tool"]) == (Severity.HIGH, (1,), "get_usr")
    assert steps("ungrounded_action", call("exec"), tools=("shell",)) == []
    assert steps("ungrounded_action", call("exec")) == []


def test_an_id_that_nobody_told_is_made_up():
    made_up = call("cancel_order", arguments={"order_id": "W4419087"}, output="ok")
    assert steps("ungrounded_action", asked("cancel my order"), made_up) == [(1,)]
    assert steps("ungrounded_action", asked("cancel order #W4419087"), made_up) == []
    listed = call("list_orders", output='{"orders": ["W4419087"]}')
    assert steps("ungrounded_action", asked("cancel my order"), listed, made_up) == []


def test_what_an_agent_may_think_up_is_not_made_up():
    free = {"query": "top10", "date": "2026-05-01", "size": "12px", "path": "src/a1b2.py", "version": "v2"}
    assert steps("ungrounded_action", asked("look"), call("make", arguments=free, output="ok")) == []


def test_what_was_written_is_known_only_once_the_write_succeeded():
    write = {"arguments": {"key": "abc12345"}, "output": "ok"}
    read = call("load", arguments={"key": "abc12345"}, output="1")
    [finding] = found("ungrounded_action", asked("go"), call("save", **write), read)
    assert (finding.evidence["tool"], finding.steps) == ("save", (1,))
    kept = call("note_it", arguments={"text": "abc12345"}, output="ok")
    assert steps("ungrounded_action", asked("go"), kept, read) == []
    lost = call("note_it", ok=False, arguments={"text": "abc12345"}, output="no")
    assert steps("ungrounded_action", asked("go"), lost, read) == [(2,)]


def test_nothing_is_called_made_up_after_an_answer_that_was_kept_in_part():
    cut = call("list_orders", output="W1 ...", output_digest="d")
    made_up = call("cancel_order", arguments={"order_id": "W4419087"}, output="ok")
    assert steps("ungrounded_action", asked("cancel"), cut, made_up) == []


def test_a_place_that_was_guessed_and_missed():
    missed = call("read", ok=False, error="No such file", arguments={"file_path": "/w/src/guess.py"})
    assert steps("ungrounded_action", asked("fix it"), missed) == [(1,)]
    assert steps("ungrounded_action", asked("fix src/guess.py"), missed) == []


def test_arguments_that_do_not_fit_the_schema():
    schema = {
        "properties": {"n": {"type": "integer"}, "kind": {"enum": ["a", "b"]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    context = Context(tool_schemas={"put": schema})
    [finding] = found("ungrounded_action", call("put", arguments={"kind": "c", "x": "y"}), context=context)
    assert finding.evidence["faults"] == [
        "n is missing",
        "kind is none of the allowed values",
        "x is unknown",
    ]
    assert steps("ungrounded_action", call("put", arguments={"n": 1, "kind": "a"}), context=context) == []
    assert steps("ungrounded_action", call("put", arguments={"n": True}), context=context) == [(0,)]


def test_an_agent_that_leaves_its_role():
    context = Context(agent_tools={"reader": ("read",), "writer": ("read", "write")})
    [finding] = found(
        "role_breach", call("write", agent="writer"), call("write", agent="reader"), context=context
    )
    assert (finding.steps, finding.agent, finding.severity) == ((1,), "reader", Severity.HIGH)
    assert steps("role_breach", said("writer: I have written it.", "reader"), context=context) == [(0,)]
    assert steps("role_breach", said("writer: I have written it.", "writer"), context=context) == []
    assert steps("role_breach", call("write", agent="reader")) == []


def test_a_payment_that_succeeds_twice_is_told_and_a_look_twice_is_not():
    pay = call("send_payment", arguments={"to": "ann", "amount": 5}, output="ok")
    [finding] = found("repeated_side_effect", pay, call("get_balance"), pay)
    assert (finding.steps, finding.severity, finding.evidence["times"]) == ((0, 2), Severity.HIGH, 2)
    failed = call("send_payment", ok=False, arguments={"to": "ann", "amount": 5})
    assert steps("repeated_side_effect", failed, pay) == []
    silent = call("send_payment", arguments={"to": "ann", "amount": 5}, output="Error: no funds")
    assert steps("repeated_side_effect", silent, pay) == []
    look = call("get_orders", arguments={"user": "ann"}, output="[]")
    assert steps("repeated_side_effect", look, look) == []
    other = call("send_payment", arguments={"to": "bob", "amount": 5}, output="ok")
    assert steps("repeated_side_effect", pay, other) == []


def test_tests_said_to_pass_without_a_run_after_the_last_change():
    edit = call("Edit", arguments={"file_path": "src/app.py"})
    passed = call(command="pytest -q", output="3 passed")
    claim = said("All tests pass.")
    assert steps("unverified_claim", passed, edit, claim) == [(1, 2)]
    assert steps("unverified_claim", edit, passed, claim) == []
    assert steps("unverified_claim", edit, call(command="pytest -q", ok=False), claim) == [(0, 1, 2)]
    assert steps("unverified_claim", edit, call("Task", arguments={"prompt": "run the tests"}), claim) == []
    assert steps("unverified_claim", edit, said("The tests should pass now.")) == []


def test_a_mission_without_events_shows_nothing():
    told = (Told(origin="agent", outcome="succeeded"),)
    assert find_failure_modes(Transcript(mission_id="m", events=(), told=told)) == ()


OURS = (
    "premature_termination",
    "continues_after_completion",
    "error_storm",
    "ungrounded_action",
    "unverified_claim",
    "role_breach",
    "silent_tool_failure",
    "repeated_side_effect",
)


@needs_traces
def test_missions_that_a_verifier_called_good_are_left_alone():
    """115 missions of two benchmarks succeeded by the word of a verifier; none of them shows any of these."""
    missions = [one for folder in ("tau_bench", "tau2_bench") for _, one in transcripts_below(folder)]
    good = [one for one in missions if one.outcome == "succeeded"]
    flagged = [one.mission_id for one in good if find_failure_modes(one, names=OURS)]
    assert len(good) > 100
    assert len(flagged) <= 0.02 * len(good)


@needs_traces
def test_missions_of_the_same_benchmarks_that_show_one_have_failed():
    missions = [one for folder in ("tau_bench", "tau2_bench") for _, one in transcripts_below(folder)]
    flagged = [one for one in missions if find_failure_modes(one, names=OURS)]
    assert flagged
    assert all(one.outcome == "failed" for one in flagged)
