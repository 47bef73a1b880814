"""Gemini CLI sessions: exact counts on real recordings, and what single messages mean."""

import json
from typing import Any

import pytest
from adapters.recordings import (
    TRACES,
    Figures,
    entries_of,
    figures,
    needs_traces,
    payloads,
    read,
    recording,
    steps_of,
)

from quartermaster.adapters import gemini_cli
from quartermaster.core.journal import format_instant
from quartermaster.core.trajectory import COMMAND, COMMAND_START, KEEPER_DECISION, MODEL_CALL

ADAPTER = gemini_cli.ADAPTER

# Messages of the model, tool calls and tokens, as documented beside the recordings.
DOCUMENTED = {
    "write_file": (2, 1, 24_329),
    "growing_a": (2, 1, 24_917),
    "growing_b": (6, 4, 63_668),
    "warning_only": (0, 0, 0),
}
# Messages without words and tokens that carry a tool of the message before: no model calls of their own.
CONTINUATIONS = {"growing_b": 1}


def counted(data: bytes) -> Figures:
    """Straight from the JSON."""
    messages = [message for message in json.loads(data)["messages"] if message["type"] == "gemini"]
    told = [message["tokens"]["total"] for message in messages if message["tokens"]["total"]]
    calls = [call for message in messages for call in message.get("toolCalls", [])]
    failed = [call for call in calls if call["status"] != "success"]
    outputs = [call["result"][0]["functionResponse"]["response"]["output"] for call in calls]
    codes = [output.split("Exit Code: ")[1].split("\n")[0] for output in outputs if "Exit Code: " in output]
    assert set(codes) <= {"0"}
    return Figures(1, len(told), len(calls), len(failed), sum(told) if told else None)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_a_real_session_are_exact(name: str):
    data = recording("gemini_cli", name)
    messages, tool_calls, tokens = DOCUMENTED[name]
    told = figures(ADAPTER, data)
    assert told == counted(data)
    assert told.model_calls + CONTINUATIONS.get(name, 0) == messages
    assert (told.tool_calls, told.tokens or 0) == (tool_calls, tokens)


@needs_traces
def test_every_real_session_is_documented_here():
    assert len(list((TRACES / "gemini_cli").glob("*.json"))) == len(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_nothing_of_a_real_session_is_rejected_and_it_has_no_outcome(name: str):
    data = recording("gemini_cli", name)
    assert read(ADAPTER, data)[1] == []
    assert payloads(ADAPTER, data, "mission.outcome") == []


@needs_traces
def test_a_session_that_was_written_anew_begins_with_the_entries_it_had():
    before, after = recording("gemini_cli", "growing_a"), recording("gemini_cli", "growing_b")
    earlier = {entry.id for entry in entries_of(ADAPTER, before)}
    assert not after.startswith(before)
    assert earlier <= {entry.id for entry in entries_of(ADAPTER, after)}


def message(kind: str, seconds: int, content: Any = "", **more: Any) -> dict[str, Any]:
    timestamp = f"2026-02-18T09:30:{seconds:02d}.000Z"
    return {"id": f"m{seconds}", "timestamp": timestamp, "type": kind, "content": content, **more}


def tokens(given: int, output: int, cached: int = 0, thoughts: int = 0, tool: int = 0) -> dict[str, int]:
    total = given + output + thoughts + tool
    return {
        "input": given,
        "output": output,
        "cached": cached,
        "thoughts": thoughts,
        "tool": tool,
        "total": total,
    }


def call(name: str, output: str, status: str = "success", **args: Any) -> dict[str, Any]:
    key = "output" if status == "success" else "error"
    result = [{"functionResponse": {"id": "c1", "name": name, "response": {key: output}}}]
    timestamp = "2026-02-18T09:30:59.000Z"
    return {
        "id": "c1",
        "name": name,
        "args": args,
        "result": result,
        "status": status,
        "timestamp": timestamp,
    }


def answer(seconds: int, content: str = "", *calls: dict[str, Any], **usage: int) -> dict[str, Any]:
    counters = tokens(**(usage or {"given": 10, "output": 2}))
    return message("gemini", seconds, content, model="gemini-2.5-pro", tokens=counters, toolCalls=list(calls))


def session(*messages: dict[str, Any], **more: Any) -> bytes:
    about = {"sessionId": "s1", "projectHash": "ab12", "startTime": "2026-02-18T09:30:00.000Z", **more}
    return json.dumps({**about, "messages": messages}, indent=2).encode()


def test_a_mission_is_titled_by_what_the_person_first_said():
    data = session(message("user", 1, [{"text": "add a\ncolumn"}]), answer(2, "ok"))
    assert payloads(ADAPTER, data, "mission.created") == [
        {
            "title": "add a column",
            "agent": "gemini-cli",
            "model": "gemini-2.5-pro",
            "labels": {"project": "ab12"},
        }
    ]


def test_the_counters_of_a_call_do_not_overlap():
    data = session(answer(1, "ok", given=100, output=7, cached=60, thoughts=5, tool=3))
    (step,) = steps_of(ADAPTER, data, MODEL_CALL)
    assert (step.input_tokens, step.cache_read_tokens, step.output_tokens) == (43, 60, 12)
    assert step.tokens == 115


def test_a_message_without_words_and_tokens_only_carries_tools():
    carrier = answer(2, "", call("read_file", "text", path="a"), given=0, output=0)
    told = figures(ADAPTER, session(answer(1, "I will look."), carrier))
    assert (told.model_calls, told.tool_calls) == (1, 1)


def test_an_answer_without_tokens_is_a_call_that_tells_none():
    (payload,) = payloads(ADAPTER, session(answer(1, "ok", given=0, output=0)), "llm.call")
    assert payload == {"provider": "google", "model": "gemini-2.5-pro"}


@pytest.mark.parametrize(
    ("output", "status", "code"),
    [
        ("Command: make\nOutput: boom\nExit Code: 2\nSignal: 0", "success", 2),
        ("Command: make\nOutput: Exit Code: 9\nExit Code: 0\nSignal: 0", "success", 0),
        ("Command: make\nOutput: fine", "success", 0),
        ("make: not found", "error", 1),
    ],
)
def test_the_exit_code_in_the_text_wins_over_the_status(output: str, status: str, code: int):
    data = session(answer(1, "", call("run_shell_command", output, status, command="make")))
    (told,) = payloads(ADAPTER, data, "exec.command")
    assert (told["command"], told["tool"], told["exit_code"]) == ("make", "run_shell_command", code)


def test_other_tools_keep_their_arguments_and_are_told_when_they_were_called():
    data = session(answer(1, "", call("write_file", "no such folder", "error", path="a.py")))
    (told,) = payloads(ADAPTER, data, "exec.command")
    assert (told["command"], told["arguments"], told["exit_code"]) == ("write_file", {"path": "a.py"}, 1)
    (entry,) = [entry for entry in entries_of(ADAPTER, data) if entry.entry_type == "exec.command"]
    assert format_instant(entry.instant) == "2026-02-18T09:30:59Z"


def test_a_refused_tool_is_a_denied_decision_and_a_cancelled_one_never_ended():
    refused = call("edit", "[Operation Cancelled] Reason: User did not allow tool call", "cancelled")
    cut_off = call("edit", "[Operation Cancelled] Reason: User cancelled", "cancelled")
    for tool, decisions in ((refused, ["edit"]), (cut_off, [])):
        data = session(answer(1, "", tool))
        assert [step.tool for step in steps_of(ADAPTER, data, KEEPER_DECISION)] == decisions
        assert len(steps_of(ADAPTER, data, COMMAND_START)) == 1
        assert steps_of(ADAPTER, data, COMMAND) == []


def test_a_call_that_was_running_is_the_same_call_once_it_has_ended():
    running, ended = call("edit", "", "executing"), call("edit", "done")
    first = [entry.id for entry in entries_of(ADAPTER, session(answer(1, "", running)))]
    assert first == [entry.id for entry in entries_of(ADAPTER, session(answer(1, "", ended)))]


def test_notices_are_told_and_a_cancelled_request_is_a_change_of_status():
    data = session(message("warning", 1, "Hook failed"), message("info", 2, "Request cancelled."))
    assert payloads(ADAPTER, data, "run.notice") == [{"kind": "warning", "text": "Hook failed"}]
    assert payloads(ADAPTER, data, "mission.status_change") == [{"to_status": "interrupted"}]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (session(sessionId=7), "sessionId"),
        (b'{"sessionId": "s1", "projectHash": "ab12", "messages": 7}', "messages"),
        (session(startTime="yesterday"), "no time"),
    ],
)
def test_a_document_that_cannot_be_a_session_is_rejected_with_the_reason(data: bytes, reason: str):
    records, rejected = read(ADAPTER, data)
    assert records == []
    assert [reason in line.reason for line in rejected] == [True]


def test_a_document_that_is_cut_off_gives_what_is_complete():
    data = session(message("user", 1, "go"), answer(2, "ok"))
    records, rejected = read(ADAPTER, data[: data.index(b'"ok"')])
    assert [entry["entry_type"] for entry in map(json.loads, (record.raw for record in records))] == [
        "mission.created",
        "message.user",
    ]
    assert [line.reason for line in rejected] == ["the document ends too early"]
