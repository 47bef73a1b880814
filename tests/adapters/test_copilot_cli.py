"""Copilot CLI sessions: exact counts on real recordings, and what single events mean."""

import json
import re
from typing import Any

import pytest
from adapters.recordings import (
    TRACES,
    Figures,
    assert_calls_pair_up,
    figures,
    lines,
    needs_traces,
    outcome_of,
    payloads,
    read,
    recording,
    steps_of,
)

from quartermaster.adapters import copilot_cli
from quartermaster.core.trajectory import COMMAND_END, COMMAND_START, KEEPER_DECISION, MODEL_CALL

ADAPTER = copilot_cli.ADAPTER

# Model calls, tools that succeeded and that failed by their flag, as documented beside the recordings.
DOCUMENTED = {"long": (54, 67, 1), "one_turn__": (1, 0, 0), "one_turn_newer": (1, 0, 0)}
# Failed by the exit code that the shell printed, although the flag says success: codes 1 and 128.
FAILED_BY_EXIT_CODE = {"long": 2}


def events(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recording("copilot_cli", name).splitlines()]


def counted(name: str) -> Figures:
    """Straight from the JSON."""
    told = events(name)
    answers = [event["data"] for event in told if event["type"] == "assistant.message"]
    ends = [event["data"] for event in told if event["type"] == "tool.execution_complete"]
    codes = [re.search(r"exit code (\d+)>$", (end.get("result") or {}).get("content", "")) for end in ends]
    failed = [
        code for code, end in zip(codes, ends, strict=True) if not end["success"] or (code and code[1] != "0")
    ]
    shutdowns = [event["data"]["modelMetrics"] for event in told if event["type"] == "session.shutdown"]
    usages = [metrics["usage"] for models in shutdowns for metrics in models.values()]
    tokens = sum(usage["inputTokens"] + usage["outputTokens"] for usage in usages)
    return Figures(
        1, len({answer["messageId"] for answer in answers}), len(ends), len(failed), tokens or None
    )


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_a_real_session_are_exact(name: str):
    told = figures(ADAPTER, recording("copilot_cli", name))
    model_calls, succeeded, failed = DOCUMENTED[name]
    assert told == counted(name)
    assert (told.model_calls, told.tool_calls) == (model_calls, succeeded + failed)
    assert told.failed - FAILED_BY_EXIT_CODE.get(name, 0) == failed


@needs_traces
def test_every_real_session_is_documented_here():
    assert len(list((TRACES / "copilot_cli").glob("*.jsonl"))) == len(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_no_line_of_a_real_session_is_rejected_and_its_calls_pair_up(name: str):
    data = recording("copilot_cli", name)
    assert read(ADAPTER, data)[1] == []
    assert_calls_pair_up(ADAPTER, data)


@needs_traces
@pytest.mark.parametrize(
    ("name", "outcome"), [("long", None), ("one_turn__", "succeeded"), ("one_turn_newer", "succeeded")]
)
def test_a_real_session_has_ended_when_it_was_shut_down(name: str, outcome: str | None):
    assert outcome_of(ADAPTER, recording("copilot_cli", name)) == outcome


def event(kind: str, seconds: int, **data: Any) -> dict[str, Any]:
    timestamp = f"2026-05-11T14:00:{seconds:02d}.000Z"
    return {"type": kind, "data": data, "id": f"e{kind}{seconds}", "timestamp": timestamp}


CONTEXT = {"cwd": "/home/ada/orchard", "branch": "main", "headCommit": "0b6f"}
START = event(
    "session.start",
    0,
    sessionId="s1",
    producer="copilot-agent",
    copilotVersion="1.0.64",
    selectedModel="gpt-5",
    context=CONTEXT,
)


def session(*values: dict[str, Any]) -> bytes:
    return lines([START, *values])


def answered(seconds: int, message: str, output: int, content: str = "") -> dict[str, Any]:
    about = {"messageId": message, "model": "claude-sonnet-4.6", "outputTokens": output}
    return event("assistant.message", seconds, content=content, **about)


def started(seconds: int, tool: str = "bash", **arguments: Any) -> dict[str, Any]:
    return event("tool.execution_start", seconds, toolCallId="c1", toolName=tool, arguments=arguments)


def completed(seconds: int, *, success: bool = True, **told: Any) -> dict[str, Any]:
    return event("tool.execution_complete", seconds, toolCallId="c1", success=success, **told)


def shut_down(seconds: int, kind: str = "routine", **usage: int) -> dict[str, Any]:
    metrics = {"claude-sonnet-4.6": {"requests": {"count": 2, "cost": 1}, "usage": usage}}
    return event("session.shutdown", seconds, shutdownType=kind, modelMetrics=metrics)


def test_a_mission_has_the_model_that_answered_not_the_one_that_was_selected():
    data = session(event("user.message", 1, content="why?"), answered(2, "m1", 5))
    assert payloads(ADAPTER, data, "mission.created") == [
        {
            "title": "why?",
            "agent": "copilot-cli",
            "model": "claude-sonnet-4.6",
            "version": "1.0.64",
            "commit": "0b6f",
            "labels": {"cwd": "/home/ada/orchard", "git_branch": "main"},
        }
    ]


def test_what_was_put_in_goes_onto_the_last_call_so_that_the_sum_is_right():
    data = session(
        answered(1, "m1", 30),
        answered(2, "m2", 20),
        shut_down(3, inputTokens=1_000, cacheReadTokens=700, cacheWriteTokens=100, outputTokens=50),
    )
    steps = steps_of(ADAPTER, data, MODEL_CALL)
    assert [step.output_tokens for step in steps] == [30, 20]
    last = steps[-1]
    assert (last.input_tokens, last.cache_read_tokens, last.cache_write_tokens) == (200, 700, 100)
    assert sum(step.tokens for step in steps) == 1_050


def test_the_tokens_of_a_session_that_was_cut_off_are_unknown():
    data = session(answered(1, "m1", 30))
    assert [step.tokens for step in steps_of(ADAPTER, data, MODEL_CALL)] == [None]
    assert payloads(ADAPTER, data, "llm.call")[0]["answer_tokens"] == 30


def test_a_sum_of_0_is_unknown_and_the_price_of_requests_is_no_money():
    (payload,) = payloads(
        ADAPTER, session(answered(1, "m1", 0), shut_down(2, inputTokens=0, outputTokens=0)), "llm.call"
    )
    assert payload == {"model": "claude-sonnet-4.6"}


def test_cached_tokens_that_cannot_be_inside_of_the_input_come_on_top_of_it():
    data = session(answered(1, "m1", 5), shut_down(2, inputTokens=10, cacheReadTokens=700, outputTokens=5))
    assert [step.tokens for step in steps_of(ADAPTER, data, MODEL_CALL)] == [715]


def test_a_model_that_only_the_sum_knows_is_one_call():
    data = session(shut_down(2, inputTokens=10, outputTokens=5))
    assert [step.tokens for step in steps_of(ADAPTER, data, MODEL_CALL)] == [15]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("boom\n<shellId: 3 completed with exit code 128>", 128),
        ("fine\n<exited with exit code 0>", 0),
        ("it says: exit code 3\nand goes on", 0),
    ],
)
def test_the_exit_code_that_a_shell_ends_with_wins_over_the_flag(content: str, code: int):
    data = session(started(1, command="make"), completed(2, result={"content": content}))
    _, end = payloads(ADAPTER, data, "exec.command")
    assert (end["command"], end["tool"], end["exit_code"]) == ("make", "bash", code)


def test_the_flag_counts_where_no_shell_ran():
    data = session(
        started(1, "view", path="a.py"), completed(2, success=False, error={"message": "no such file"})
    )
    start, end = payloads(ADAPTER, data, "exec.command")
    assert start["arguments"] == {"path": "a.py"}
    assert (end["command"], end["exit_code"], end["error"]) == ("view", 1, "no such file")


def test_a_denied_permission_is_a_decision_and_no_failed_command():
    denied = event(
        "permission.completed", 2, toolCallId="c1", result={"kind": "denied-interactively-by-user"}
    )
    data = session(
        started(1, command="git push"), denied, completed(3, success=False, error={"message": "no"})
    )
    assert [(step.tool, step.success) for step in steps_of(ADAPTER, data, KEEPER_DECISION)] == [
        ("bash", False)
    ]
    assert steps_of(ADAPTER, data, COMMAND_END) == []
    assert len(steps_of(ADAPTER, data, COMMAND_START)) == 1


def test_an_approved_permission_is_a_decision_that_succeeded():
    approved = event("permission.completed", 2, toolCallId="c1", result={"kind": "approved"})
    data = session(started(1, command="git push"), approved, completed(3, result={"content": "ok"}))
    assert [step.success for step in steps_of(ADAPTER, data, KEEPER_DECISION)] == [True]
    assert [step.success for step in steps_of(ADAPTER, data, COMMAND_END)] == [True]


def test_hooks_repeat_what_is_told_and_are_not_read():
    data = session(event("hook.start", 1, hookType="preToolUse", input={"toolName": "bash"}))
    assert figures(ADAPTER, data).tool_calls == 0


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        ([shut_down(2)], "succeeded"),
        ([shut_down(2, "error")], "failed"),
        ([event("abort", 2, reason="user initiated")], "aborted"),
        ([event("abort", 2, reason="user initiated"), shut_down(3)], "aborted"),
        ([event("session.error", 2, message="quota")], "failed"),
        ([shut_down(2), event("user.message", 3, content="more")], None),
        ([], None),
    ],
)
def test_the_last_end_is_the_outcome_until_the_session_goes_on(ends: list[Any], outcome: str | None):
    assert outcome_of(ADAPTER, session(event("user.message", 1, content="go"), *ends)) == outcome


def test_an_abort_is_a_change_of_status():
    data = session(event("abort", 2, reason="user initiated"))
    (payload,) = payloads(ADAPTER, data, "mission.status_change")
    assert payload == {"to_status": "interrupted", "reason": "user initiated"}


def test_lines_before_the_one_that_opens_the_session_are_rejected_with_the_reason():
    _, rejected = read(ADAPTER, lines([answered(1, "m1", 5), START]))
    assert ["session.start" in line.reason for line in rejected] == [True]


def test_what_a_tool_answered_is_kept_of_failures_too():
    long = "line\n" * 1_000
    fine = session(
        started(1, command="cat big", description="Show it"), completed(2, result={"content": long})
    )
    start, end = payloads(ADAPTER, fine, "exec.command")
    assert (start["description"], "arguments" in start) == ("Show it", False)
    assert (end["output"], len(end["output_digest"])) == (long[:999] + "…" + long[-1_000:], 16)
    failed = session(started(1, "view", path="a.py"), completed(2, success=False, error={"message": "gone"}))
    assert payloads(ADAPTER, failed, "exec.command")[1]["output"] == "gone"


def test_a_sub_agent_is_named_when_it_is_sent_out_and_when_it_speaks():
    spoken = event(
        "assistant.message", 3, messageId="m1", model="x", content="two pears", parentToolCallId="c1"
    )
    data = session(
        started(1, "task", prompt="count the pears"),
        event("subagent.started", 2, toolCallId="c1", agentName="explore"),
        spoken,
        answered(4, "m2", 5, "There are two pears."),
    )
    assert payloads(ADAPTER, data, "run.sub_agent") == [
        {"agent": "copilot-cli", "to": "explore", "call_id": "c1"}
    ]
    assert payloads(ADAPTER, data, "message.assistant") == [
        {"text": "two pears", "agent": "explore"},
        {"text": "There are two pears."},
    ]
