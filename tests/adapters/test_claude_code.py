"""Claude Code sessions: exact counts on real recordings, and what single lines mean."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quartermaster.adapters import Record, RejectedLine, claude_code
from quartermaster.core.journal import JournalEntry, format_instant, read_entry
from quartermaster.core.trajectory import (
    COMMAND_END,
    COMMAND_START,
    KEEPER_DECISION,
    MODEL_CALL,
    STATUS_CHANGE,
    Step,
    step_of,
)

PROJECT = Path(__file__).resolve().parents[2]
TRACES = Path(os.environ.get("QUARTERMASTER_TRACES", PROJECT.parent / "shared" / "traces"))
SESSIONS = TRACES / "claude_code"

# Message ids (a "<synthetic>" one among them where said), tool calls, failed ones, of these refused, and
# tokens where they are documented beside the recordings.
DOCUMENTED = {
    "tiny": (1, 0, 1, 0, 0, 38_399),
    "queue_op": (2, 0, 1, 0, 0, None),
    "denied": (4, 0, 3, 1, 1, None),
    "tool_use_error": (5, 0, 10, 2, 0, None),
    "sonnet_interrupt": (8, 0, 7, 2, 1, None),
    "synthetic_interrupt": (19, 1, 15, 2, 1, None),
    "subagent": (4, 0, 4, 0, 0, None),
    "mcp_denied": (13, 0, 15, 2, 1, 669_376),
    "many_errors": (39, 0, 63, 13, 0, 2_298_568),
    "compacted": (13, 1, 10, 0, 0, 1_306_041),
    "concatenated_lines": (42, 0, 41, 2, 1, 2_794_622),
    "api_error_message": (57, 1, 71, 5, 0, 3_241_425),
    "api_error_retries": (20, 0, 13, 0, 0, None),
    "growing_a": (18, 0, 15, 0, 0, 803_725),
    "growing_b": (39, 0, 40, 0, 0, 2_070_692),
    "pr_link": (15, 0, 17, 1, 0, 600_817),
}
# Sub-agents: their missions, model calls, tool calls, failed ones and tokens; the documents beside the
# recordings count their lines only.
SUB_AGENTS = {
    "subagent": (1, 10, 18, 1, 630_980),
    "growing_a": (1, 7, 13, 0, 247_157),
    "growing_b": (1, 7, 13, 0, 247_157),
}
needs_traces = pytest.mark.skipif(
    not SESSIONS.is_dir(), reason="no development traces beside the project; set QUARTERMASTER_TRACES"
)


def read(data: bytes) -> tuple[list[Record], list[RejectedLine]]:
    reader = claude_code.ADAPTER.line_reader()
    outputs: list[Record | RejectedLine] = []
    offset = 0
    for line in data.split(b"\n"):
        outputs.extend(reader.read_line(line, offset))
        offset += len(line) + 1
    outputs.extend(reader.finish())
    records = [output for output in outputs if isinstance(output, Record)]
    return records, [output for output in outputs if isinstance(output, RejectedLine)]


def entries_of(data: bytes) -> list[JournalEntry]:
    """The entries as a store keeps them: the last one told under an id is the one that counts."""
    return list({(entry := read_entry(record.raw)).id: entry for record in read(data)[0]}.values())


def is_sub_agent(entry: JournalEntry) -> bool:
    return ".agent-" in (entry.mission_id or "")


def steps_of(data: bytes, kind: int, *, of_sub_agents: bool = False) -> list[Step]:
    entries = (entry for entry in entries_of(data) if is_sub_agent(entry) == of_sub_agents)
    steps = (step_of(entry) for entry in entries)
    return [step for step in steps if step and step.kind == kind]


def failed_of(data: bytes, *, of_sub_agents: bool = False) -> tuple[int, int]:
    """Failed calls, and how many of these a person refused."""
    denials = steps_of(data, KEEPER_DECISION, of_sub_agents=of_sub_agents)
    refused = [step for step in denials if step.success is False]
    ends = steps_of(data, COMMAND_END, of_sub_agents=of_sub_agents)
    ended = [step for step in ends if step.success is False]
    return len(refused) + len(ended), len(refused)


def recording(name: str) -> bytes:
    return next(SESSIONS.glob(f"{name}__*")).read_bytes()


def objects_of(data: bytes) -> Iterator[dict[str, Any]]:
    decode = json.JSONDecoder().raw_decode
    for line in data.decode().splitlines():
        position = 0
        while position < len(line):
            value, position = decode(line, position)
            yield value


def sub_agent_objects_of(data: bytes) -> list[dict[str, Any]]:
    progress = [value["data"] for value in objects_of(data) if value["type"] == "progress"]
    return [inner["message"] for inner in progress if inner["type"] == "agent_progress"]


def counted(values: Iterable[dict[str, Any]]) -> tuple[int, int, int, int]:
    """Model calls, tool calls, failed tool calls and tokens, straight from the JSON."""
    usages: dict[str, dict[str, Any]] = {}
    tools: set[str] = set()
    failed: set[str] = set()
    for value in values:
        message = value.get("message") or {}
        blocks = message.get("content") if isinstance(message.get("content"), list) else []
        if value["type"] == "assistant" and message["model"] != "<synthetic>":
            usages[message["id"]] = message["usage"]
            tools.update(block["id"] for block in blocks if block["type"] == "tool_use")
        if value["type"] == "user":
            failed.update(block["tool_use_id"] for block in blocks if block.get("is_error"))
    counters = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    tokens = sum(usage.get(counter, 0) for usage in usages.values() for counter in counters)
    return len(usages), len(tools), len(failed), tokens


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_a_real_session_are_exact(name: str):
    data = recording(name)
    model_calls = steps_of(data, MODEL_CALL)
    started = steps_of(data, COMMAND_START)
    failed, refused = failed_of(data)
    tokens = sum(step.tokens for step in model_calls)
    assert (len(model_calls), len(started), failed, tokens) == counted(objects_of(data))
    messages, synthetic, tools, documented_failed, documented_refused, documented_tokens = DOCUMENTED[name]
    assert len(model_calls) == messages - synthetic
    assert len(started) == tools
    assert (failed, refused) == (documented_failed, documented_refused)
    assert documented_tokens in (None, tokens)


@needs_traces
def test_every_real_session_is_documented_here():
    assert {path.name.split("__")[0] for path in SESSIONS.glob("*.jsonl")} == set(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_real_session_is_one_mission_with_its_sub_agents_and_no_line_of_it_is_rejected(name: str):
    records, rejected = read(recording(name))
    assert not rejected
    missions = {entry.mission_id for entry in entries_of(recording(name))}
    children = {entry.mission_id for entry in entries_of(recording(name)) if is_sub_agent(entry)}
    assert len(missions - children) == 1
    assert len(children) == SUB_AGENTS.get(name, (0,))[0]
    assert records


@needs_traces
@pytest.mark.parametrize("name", SUB_AGENTS)
def test_the_counts_of_a_real_sub_agent_are_exact_and_its_own(name: str):
    data = recording(name)
    model_calls = steps_of(data, MODEL_CALL, of_sub_agents=True)
    started = steps_of(data, COMMAND_START, of_sub_agents=True)
    failed, _ = failed_of(data, of_sub_agents=True)
    counts = (len(model_calls), len(started), failed, sum(step.tokens for step in model_calls))
    assert counts == SUB_AGENTS[name][1:] == counted(sub_agent_objects_of(data))


@needs_traces
@pytest.mark.parametrize(("name", "outcome"), [("growing_a", None), ("growing_b", "succeeded")])
def test_a_real_sub_agent_has_ended_when_its_session_was_told(name: str, outcome: str | None):
    told = {}
    for record in read(recording(name))[0]:
        entry = json.loads(record.raw)
        if entry["entry_type"] == "mission.outcome" and ".agent-" in entry["mission_id"]:
            told[entry["id"]] = entry["payload"].get("outcome")
    assert list(told.values()) == ([outcome] if outcome else [])


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_call_of_a_real_session_ends_at_most_once_and_after_its_start(name: str):
    data = recording(name)
    starts = {step.pairing: step for step in steps_of(data, COMMAND_START)}
    ends = steps_of(data, COMMAND_END)
    assert len(starts) == len(steps_of(data, COMMAND_START))
    assert len({step.pairing for step in ends}) == len(ends)
    assert all(starts[step.pairing].instant < step.instant for step in ends)
    assert all(starts[step.pairing].tool == step.tool for step in ends)


@needs_traces
def test_a_session_that_grew_begins_with_the_entries_it_had():
    before, after = recording("growing_a"), recording("growing_b")
    assert after.startswith(before)
    earlier = {entry.id for entry in entries_of(before)}
    assert earlier <= {entry.id for entry in entries_of(after)}


@needs_traces
def test_a_session_read_twice_in_one_file_counts_once():
    data = recording("many_errors")
    assert {entry.id for entry in entries_of(data + b"\n" + data)} == {entry.id for entry in entries_of(data)}
    assert counted(objects_of(data))[3] == sum(
        step.tokens for step in steps_of(data + b"\n" + data, MODEL_CALL)
    )


@needs_traces
@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("denied", "succeeded"),
        ("tiny", None),
        ("growing_a", None),
        ("growing_b", "succeeded"),
        ("sonnet_interrupt", None),
        ("api_error_message", "succeeded"),
    ],
)
def test_how_a_real_session_stands(name: str, outcome: str | None):
    assert outcome_of(recording(name)) == outcome


def line(kind: str, seconds: int, **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": f"u{seconds}",
        "parentUuid": None,
        "sessionId": "s1",
        "timestamp": f"2026-03-05T10:00:{seconds:02d}.000Z",
        "version": "2.1.17",
        "cwd": "/home/ada/ferry",
        "gitBranch": "main",
        **more,
    }


def said(text: Any, seconds: int = 0, **more: Any) -> dict[str, Any]:
    return line("user", seconds, message={"role": "user", "content": text}, **more)


def answered(
    seconds: int, *blocks: Any, message_id: str = "m1", output: int = 10, **more: Any
) -> dict[str, Any]:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}
    message = {
        "id": message_id,
        "model": more.pop("model", "claude-opus-4-6"),
        "role": "assistant",
        "content": list(blocks),
        "usage": usage | {"output_tokens": output},
    }
    return line("assistant", seconds, message=message, **more)


def uses(call: str, tool: str = "Bash", **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call, "name": tool, "input": arguments}


def result(call: str, text: Any, *, error: bool = False) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call, "content": text, "is_error": error}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def session(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in lines)


def payloads(data: bytes, entry_type: str) -> list[dict[str, Any]]:
    told = {}
    for record in read(data)[0]:
        entry = json.loads(record.raw)
        if entry["entry_type"] == entry_type:
            told[entry["id"]] = entry.get("payload", {})
    return list(told.values())


def outcome_of(data: bytes) -> str | None:
    return next((payload.get("outcome") for payload in payloads(data, "mission.outcome")), None)


def test_a_mission_is_titled_by_what_the_person_first_said():
    data = session(
        said("<command-name>/clear</command-name>"),
        said("Caveat: these were local commands", 1, isMeta=True),
        said("fix\n  the tests", 2),
        answered(3, text("ok")),
    )
    assert payloads(data, "mission.created") == [
        {
            "title": "fix the tests",
            "agent": "claude-code",
            "model": "claude-opus-4-6",
            "version": "2.1.17",
            "labels": {"cwd": "/home/ada/ferry", "git_branch": "main"},
        }
    ]


def test_a_model_call_that_is_split_over_lines_is_one_call_with_the_last_usage_and_the_first_time():
    data = session(
        said("go"), answered(1, text("a"), output=1), answered(4, uses("t1", command="ls"), output=77)
    )
    (call,) = [entry for entry in entries_of(data) if entry.entry_type == "llm.call"]
    assert format_instant(call.instant) == "2026-03-05T10:00:01Z"
    (step,) = steps_of(data, MODEL_CALL)
    assert (step.input_tokens, step.output_tokens, step.cache_read_tokens, step.cache_write_tokens) == (
        3,
        77,
        100,
        20,
    )


def test_synthetic_notices_are_no_model_calls_and_not_the_model():
    data = session(said("go"), answered(1, text("No response requested."), model="<synthetic>"))
    assert steps_of(data, MODEL_CALL) == []
    assert "model" not in payloads(data, "mission.created")[0]


def test_the_exit_code_of_a_shell_command_is_read_from_its_error():
    data = session(
        answered(0, uses("t1", command="make test")),
        said([result("t1", "Exit code 128\nfatal", error=True)], 1),
    )
    _, end = payloads(data, "exec.command")
    assert (end["command"], end["tool"], end["exit_code"]) == ("make test", "Bash", 128)


@pytest.mark.parametrize("content", ["Error: no such file", "Exit code 0\nodd", [text("boom")], None, 17])
def test_an_error_without_an_exit_code_is_a_failure(content: Any):
    data = session(answered(0, uses("t1", command="ls")), said([result("t1", content, error=True)], 1))
    assert failed_of(data) == (1, 0)


def test_other_tools_are_called_by_their_name_and_keep_their_arguments_cut():
    data = session(
        answered(0, uses("t1", "Write", file_path="a.py", content="x" * 5_000)), said([result("t1", "ok")], 1)
    )
    start, end = payloads(data, "exec.command")
    assert start["command"] == "Write"
    assert start["arguments"]["file_path"] == "a.py"
    assert len(start["arguments"]["content"]) == 400
    assert len(start["arguments_digest"]) == 16
    assert end == {"command": "Write", "phase": "end", "call_id": "t1", "exit_code": 0, "output": "ok"}


def test_a_change_behind_the_cut_of_an_argument_is_seen():
    def digest(content: str) -> str:
        data = session(answered(0, uses("t1", "Write", file_path="a.py", content=content)))
        return payloads(data, "exec.command")[0]["arguments_digest"]

    assert digest("x" * 5_000 + "1") == digest("x" * 5_000 + "1") != digest("x" * 5_000 + "2")


def test_a_shell_keeps_what_it_was_given_beside_its_line_and_what_the_model_remarked():
    line = "make " + "x" * 3_000
    data = session(
        answered(0, uses("t1", command="ls", description="List files", timeout=5)),
        answered(1, uses("t2", command=line, description="Make"), message_id="m2"),
    )
    short, long = payloads(data, "exec.command")
    assert (short["arguments"], short["description"]) == ({"timeout": 5}, "List files")
    assert "arguments_digest" not in short
    assert len(long["command"]) == 2_000
    assert "arguments" not in long and len(long["arguments_digest"]) == 16


@pytest.mark.parametrize("failed", [False, True])
def test_what_a_tool_answered_is_kept_and_what_was_cut_has_a_digest(failed: bool):
    long = "line\n" * 1_000
    data = session(
        answered(0, uses("t1", command="ls")),
        said([result("t1", [text("one"), {"type": "image", "source": {}}, text("two")], error=failed)], 1),
        answered(2, uses("t2", command="cat big"), message_id="m2"),
        said([result("t2", long, error=failed)], 3),
    )
    small, large = [told for told in payloads(data, "exec.command") if told["phase"] == "end"]
    assert small["output"] == "one\n[image]\ntwo"
    assert "output_digest" not in small
    assert large["output"] == long[:999] + "…" + long[-1_000:]
    assert len(large["output_digest"]) == 16


def test_a_call_takes_as_long_as_the_program_notes():
    fetched = said([result("t1", "page")], 1, toolUseResult={"durationMs": 812.6, "code": 200})
    data = session(answered(0, uses("t1", "WebFetch", url="https://tide.example")), fetched)
    assert payloads(data, "exec.command")[1]["duration_ms"] == 813


def test_a_refusal_keeps_what_the_person_said():
    refusal = "The user doesn't want to proceed with this tool use. They said: not today"
    data = session(answered(0, uses("t1", command="rm -r x")), said([result("t1", refusal, error=True)], 1))
    (decision,) = payloads(data, "keeper.decision")
    assert (decision["decision"], decision["output"]) == ("deny", refusal)


def test_why_the_model_stopped_is_the_word_of_its_last_line():
    lines = [answered(0, text("a")), answered(1, text("b"))]
    lines[1]["message"]["stop_reason"] = "end_turn"
    (call,) = payloads(session(*lines), "llm.call")
    assert call["finish_reason"] == "end_turn"


def test_a_sub_agent_that_speaks_within_the_session_is_named_as_one():
    aside = answered(1, text("found it"), message_id="m2") | {"isSidechain": True}
    told = payloads(session(said("go"), aside, answered(2, text("done"))), "message.assistant")
    assert told == [{"text": "found it", "agent": "sub-agent"}, {"text": "done"}]


def test_a_refused_tool_is_a_denied_decision_and_no_failed_command():
    refusal = "The user doesn't want to proceed with this tool use. Do something else."
    data = session(answered(0, uses("t1", "Edit")), said([result("t1", refusal, error=True)], 1))
    assert [step.tool for step in steps_of(data, KEEPER_DECISION)] == ["Edit"]
    assert steps_of(data, COMMAND_END) == []
    assert outcome_of(data) == "aborted"


def test_an_interrupt_is_a_change_of_status():
    data = session(
        said("go"), answered(1, uses("t1")), said([text("[Request interrupted by user for tool use]")], 2)
    )
    assert [step.tool for step in steps_of(data, STATUS_CHANGE)] == ["interrupted"]
    assert outcome_of(data) == "aborted"
    assert len(payloads(data, "message.user")) == 1


def test_an_api_error_is_told_and_is_no_step():
    error = answered(1, text("API Error: 500"), model="<synthetic>", isApiErrorMessage=True, error="unknown")
    retry = line("system", 2, subtype="api_error", retryAttempt=1, maxRetries=10, retryInMs=534.7, error={})
    data = session(said("go"), error, retry)
    assert payloads(data, "run.api_error") == [{"error": "unknown", "text": "API Error: 500"}]
    assert payloads(data, "run.api_retry") == [{"attempt": 1, "max_attempts": 10, "retry_in_ms": 534.7}]
    assert [step_of(entry) for entry in entries_of(data)] == [None] * len(entries_of(data))
    assert outcome_of(data) == "failed"


def test_a_compaction_is_told_and_its_summary_is_nothing_a_person_said():
    boundary = line(
        "system", 1, subtype="compact_boundary", compactMetadata={"trigger": "auto", "preTokens": 9}
    )
    data = session(said("go"), boundary, said("This session is continued ...", 2, isCompactSummary=True))
    assert payloads(data, "run.compaction")[0]["metadata"] == {"trigger": "auto", "preTokens": 9}
    assert [payload["text"] for payload in payloads(data, "message.user")] == ["go"]


def test_a_final_answer_is_a_success_only_when_no_call_is_open():
    assert outcome_of(session(said("go"), answered(1, text("done")))) == "succeeded"
    assert outcome_of(session(said("go"), answered(1, uses("t1"), text("done")))) is None


def test_a_session_that_goes_on_takes_back_how_it_ended():
    ended = session(said("go"), answered(1, text("done")))
    resumed = ended + session(said("one more thing", 2))
    assert outcome_of(ended) == "succeeded"
    assert payloads(resumed, "mission.outcome") == [{"origin": "agent"}]
    (first,) = [read_entry(record.raw).id for record in read(ended)[0] if b"mission.outcome" in record.raw]
    (second,) = [read_entry(record.raw).id for record in read(resumed)[0] if b"mission.outcome" in record.raw]
    assert first == second


def test_a_session_without_any_end_says_nothing_of_an_outcome():
    assert payloads(session(said("go"), answered(1, uses("t1"))), "mission.outcome") == []


def test_each_line_belongs_to_the_session_it_names():
    data = session(
        said("one"),
        said("two", 1, sessionId="s2"),
        answered(2, text("a")),
        answered(3, text("b"), sessionId="s2"),
    )
    missions = [entry.mission_id for entry in entries_of(data) if entry.entry_type == "llm.call"]
    assert missions == ["s1", "s2"]


def test_objects_glued_together_on_one_line_are_all_read():
    glued = session(said("go"), answered(1, text("a"))).replace(b"\n", b"")
    assert len(steps_of(glued, MODEL_CALL)) == 1
    assert len(payloads(glued, "message.user")) == 1


def test_a_line_that_is_no_json_is_rejected_with_its_place_and_reason():
    first = session(said("go"))
    _, rejected = read(first + b"<<<<<<< HEAD\n" + session(answered(1, text("a"))))
    assert [(line.offset, line.length) for line in rejected] == [(len(first), 12)]
    assert rejected[0].reason.startswith("not valid JSON")


def test_a_text_cut_in_the_middle_of_an_emoji_costs_that_emoji_only():
    half = session(said("go"), answered(1, text("fine \ud83d"), uses("t1", command="echo \ud83d")))
    assert b"\\ud83d" in half
    assert payloads(half, "message.assistant") == [{"text": "fine \ufffd"}]
    assert payloads(half, "exec.command")[0]["command"] == "echo \ufffd"


def test_bytes_that_are_no_utf8_inside_of_a_result_cost_nothing():
    data = session(answered(0, uses("t1", command="ls")), said([result("t1", "MARK")], 1))
    assert len(steps_of(data.replace(b"MARK", b"\xff\xfe"), COMMAND_END)) == 1


def test_a_line_without_a_time_happened_when_the_last_one_did():
    undated = answered(1, text("a"))
    del undated["timestamp"]
    (call,) = [e for e in entries_of(session(said("go", 7), undated)) if e.entry_type == "llm.call"]
    assert format_instant(call.instant).startswith("2026-03-05T10:00:07.")


def test_a_line_before_any_time_is_known_is_rejected():
    undated = said("go")
    undated["timestamp"] = "yesterday"
    records, rejected = read(session(undated))
    assert records == []
    assert "time" in rejected[0].reason


def test_what_happens_in_one_millisecond_keeps_its_order():
    blocks = [uses(f"t{index}", command=f"echo {index}") for index in range(9)]
    data = session(said("go"), answered(1, *blocks))
    steps = sorted((e.instant, step) for e in entries_of(data) if (step := step_of(e)))
    assert [step.kind for _, step in steps] == [MODEL_CALL] + [COMMAND_START] * 9
    assert [step.tool for _, step in steps[1:]] == [f"echo {index}" for index in range(9)]


def agent_progress(agent: str, seconds: int, inner: dict[str, Any]) -> dict[str, Any]:
    own = {name: inner[name] for name in ("type", "uuid", "timestamp", "message")}
    told = {"type": "agent_progress", "agentId": agent, "message": own, "normalizedMessages": [own]}
    return line("progress", seconds, data=told)


def agent_lines() -> list[dict[str, Any]]:
    return [
        said("look around", 2),
        answered(3, uses("i1", command="ls"), message_id="inner"),
        said([result("i1", "a.py")], 4),
    ]


def test_what_a_sub_agent_reports_as_progress_is_a_mission_of_its_own():
    told = [agent_progress("a1", 5 + index, inner) for index, inner in enumerate(agent_lines())]
    report = {"agentId": "a1", "status": "completed", "totalTokens": 133, "totalToolUseCount": 1}
    data = session(
        said("go"),
        answered(1, uses("t1", "Task", prompt="look around", subagent_type="scout")),
        *told,
        said([result("t1", "one file")], 9, toolUseResult=report),
        answered(10, text("one file"), message_id="m2"),
    )
    assert len(steps_of(data, MODEL_CALL)) == 2
    assert [step.tokens for step in steps_of(data, MODEL_CALL, of_sub_agents=True)] == [133]
    assert [step.tool for step in steps_of(data, COMMAND_END, of_sub_agents=True)] == ["ls"]
    (child,) = [facts for facts in payloads(data, "mission.created") if "parent_mission_id" in facts]
    assert (child["parent_mission_id"], child["title"]) == ("s1", "look around")
    assert payloads(data, "run.sub_agent") == [
        {
            "agent": "claude-code",
            "to": "scout",
            "agent_id": "a1",
            "call_id": "t1",
            "status": "completed",
            "last_context_tokens": 133,
            "tool_calls": 1,
        }
    ]
    assert [payload["outcome"] for payload in payloads(data, "mission.outcome")] == ["succeeded"] * 2


def test_the_own_file_of_a_sub_agent_tells_the_same_facts_as_its_progress():
    progress = session(said("go"), *(agent_progress("a1", 5, inner) for inner in agent_lines()))
    own_file = session(*({**inner, "isSidechain": True, "agentId": "a1"} for inner in agent_lines()))
    told = {entry.id for entry in entries_of(progress) if is_sub_agent(entry)}
    assert told == {entry.id for entry in entries_of(own_file)}


def test_the_mission_of_a_sub_agent_has_an_id_that_can_stand_in_an_address():
    data = session(agent_progress("a/b", 5, agent_lines()[0]))
    (mission,) = {entry.mission_id for entry in entries_of(data)}
    assert mission
    assert "/" not in mission


def test_a_sub_agent_without_lines_adds_nothing_but_its_report():
    report = {"agentId": "a1", "status": "completed", "totalTokens": 60_137}
    data = session(answered(0, uses("t1", "Task")), said([result("t1", "done")], 1, toolUseResult=report))
    assert len({entry.mission_id for entry in entries_of(data)}) == 1
    assert sum(step.tokens for step in steps_of(data, MODEL_CALL)) == 133


def test_side_lines_of_older_versions_count_in_their_session_and_are_nothing_a_person_said():
    data = session(
        said("go"),
        said("look around", 1, isSidechain=True),
        answered(2, text("inner"), message_id="m2", isSidechain=True),
    )
    assert len(steps_of(data, MODEL_CALL)) == 1
    assert [payload["text"] for payload in payloads(data, "message.user")] == ["go"]
    assert outcome_of(data) is None


@pytest.mark.parametrize(
    "refusal",
    [
        "The user doesn't want to take this action right now. STOP",
        "Permission to use Bash with command rm -rf / has been denied.",
        "Claude requested permissions to write to /etc/hosts, but you haven't granted it yet.",
    ],
)
def test_every_way_to_refuse_a_tool_is_a_denied_decision(refusal: str):
    data = session(answered(0, uses("t1", "Edit")), said([result("t1", refusal, error=True)], 1))
    assert failed_of(data) == (1, 1)


def test_a_tool_that_was_interrupted_has_not_failed():
    interrupt = result("t1", "[Request interrupted by user for tool use]", error=True)
    data = session(answered(0, uses("t1", command="sleep 99")), said([interrupt], 1))
    assert failed_of(data) == (0, 0)
    assert outcome_of(data) == "aborted"
