"""ATIF trajectories: steps, usage of each step, and sessions that go on in another file."""

import json
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters.harbor_atif import ADAPTER
from quartermaster.core.journal import format_instant

RUNS = TRACES / "harbor_atif"
needs_traces = pytest.mark.skipif(not RUNS.is_dir(), reason=NO_TRACES)

SUMMARISED = "terminus_2_hello-world-context-summarization-linear-history.trajectory"
# Steps, model calls, tool calls, tokens and cost. `finish` is no tool call. The agent of the summarised
# session calls no tools: its calls are the commands in its messages.
DOCUMENTED = {
    "openhands_hello-world.trajectory.json": (6, 2, 1, 220 + 80, 0.00135),
    f"{SUMMARISED}.json": (5, 3, 3, 2252 + 160, 0.00723),
    f"{SUMMARISED}.cont-1.json": (8, 4, 2, 4250 + 530, 0.015925),
}
BEYOND_THE_STEPS = {f"{SUMMARISED}.cont-1.json": (7802 - 2252 - 4250, 1030 - 160 - 530)}
"""Tokens of the final metrics that no step of either part has: those of the three helpers that summarised."""


def recorded(name: str) -> bytes:
    return (RUNS / name).read_bytes()


def turn(step_id: Any = 2, message: Any = "I look.", **more: Any) -> dict[str, Any]:
    return {"step_id": step_id, "source": "agent", "message": message} | more


def call(call_id: str = "c1", name: str = "execute_bash", **arguments: Any) -> dict[str, Any]:
    return {"tool_call_id": call_id, "function_name": name, "arguments": arguments or {"command": "ls"}}


def observed(content: Any, call_id: str = "c1") -> dict[str, Any]:
    return {"results": [{"source_call_id": call_id, "content": content}]}


def session(*steps: Any, **more: Any) -> dict[str, Any]:
    agent = {"name": "deckhand", "version": "1", "model_name": "m"}
    return {"schema_version": "ATIF-v1.5", "session_id": "s1", "agent": agent, "steps": list(steps)} | more


@needs_traces
def test_every_recording_is_documented_here():
    assert {path.name for path in RUNS.glob("*.json")} == set(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_a_real_part_are_exact(name: str):
    document = json.loads(recorded(name))
    turns = [
        step for step in document["steps"] if step["source"] == "agent" and not step.get("is_copied_context")
    ]
    metrics = [step["metrics"] for step in turns]
    tools = [
        call for step in turns for call in step.get("tool_calls", ()) if call["function_name"] != "finish"
    ]
    if not any("tool_calls" in step for step in turns):
        tools = [command for step in turns for command in json.loads(step["message"])["commands"]]
    tokens = sum(one["prompt_tokens"] + one["completion_tokens"] for one in metrics)
    cost = sum(one["cost_usd"] for one in metrics)
    steps, *expected, expected_cost = DOCUMENTED[name]
    assert (len(document["steps"]), len(turns), len(tools), tokens) == (steps, *expected)
    told = Told(ADAPTER, recorded(name))
    assert told.counts == Counts(1, len(turns), len(tools), 0, tokens)
    assert told.cost == pytest.approx(cost) == pytest.approx(expected_cost)
    assert not told.rejected


@needs_traces
def test_the_two_parts_of_a_real_session_are_one_mission_that_counts_each_call_once():
    first, second = (Told(ADAPTER, recorded(f"{SUMMARISED}{part}.json")) for part in ("", ".cont-1"))
    assert first.missions == second.missions
    assert set(first.ids) & set(second.ids) == {first.ids[0]}
    assert first.raw[0]["payload"] == second.raw[0]["payload"]
    assert first.entries[-1].instant < second.entries[1].instant
    final = json.loads(recorded(f"{SUMMARISED}.cont-1.json"))["final_metrics"]
    prompt, completion = BEYOND_THE_STEPS[f"{SUMMARISED}.cont-1.json"]
    together = first.counts.tokens + second.counts.tokens
    assert final["total_prompt_tokens"] + final["total_completion_tokens"] == together + prompt + completion


@needs_traces
def test_the_final_metrics_of_a_real_session_without_helpers_are_the_sum_of_its_steps():
    name = "openhands_hello-world.trajectory.json"
    (totals,) = Told(ADAPTER, recorded(name)).payloads("run.totals")
    assert (
        totals["prompt_tokens"] + totals["completion_tokens"] == Told(ADAPTER, recorded(name)).counts.tokens
    )


def test_what_the_sample_tells():
    told = Told(ADAPTER, (SAMPLES / "harbor_atif" / "tide_table.trajectory.json").read_bytes())
    assert told.counts == Counts(1, 4, 3, 1, 5490 + 218)
    assert told.cost == pytest.approx(0.0093)
    assert told.tools == [
        ("ls data && head -3 data/brest.txt", True),
        ("awk -f to_csv.awk data/brest.txt > tides.csv", False),
        ("str_replace_editor", True),
    ]
    assert told.outcomes == [("succeeded", "agent")]
    assert told.payloads("mission.created") == [
        {
            "title": "Write the tide table of Brest into tides.csv, with a header line.",
            "agent": "deckhand",
            "model": "anthropic/claude-sonnet-4-5",
            "version": "0.4.1",
            "labels": {"schema_version": "ATIF-v1.5"},
        }
    ]
    assert format_instant(told.entries[0].instant) == "2026-03-05T11:00:00Z"


def test_cached_input_is_no_fresh_input_and_a_cost_of_zero_is_unknown():
    metrics = {"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 60, "cost_usd": 0}
    assert Told(ADAPTER, session(turn(metrics=metrics))).payloads("llm.call") == [
        {"model": "m", "input_tokens": 40, "output_tokens": 5, "cached_input_tokens": 60}
    ]


@pytest.mark.parametrize(
    ("content", "succeeded"),
    [
        ("a\n[The command completed with exit code 0.]", True),
        ("a\n[The command completed with exit code 127.]", False),
        ("<returncode>1</returncode>", False),
        ("Error: no such file", False),
        ("the text explains exit code 3", True),
        (None, True),
        ([{"type": "text", "text": "ERROR: no"}], False),
    ],
)
def test_a_tool_failed_by_its_exit_code_else_by_its_words(content: Any, succeeded: bool):
    document = session(turn(tool_calls=[call()], observation=observed(content)))
    assert Told(ADAPTER, document).tools == [("ls", succeeded)]


def test_a_call_that_nothing_answers_stays_open():
    told = Told(ADAPTER, session(turn(tool_calls=[call("c1"), call("c2")], observation=observed("a", "c2"))))
    assert (told.counts.tool_calls, told.tools) == (2, [("ls", True)])


def test_commands_that_are_written_into_a_message_are_commands():
    written = {"analysis": "", "commands": [{"keystrokes": "make\n"}, {"keystrokes": "\n"}]}
    result = {"results": [{"content": "New Terminal Output:"}]}
    told = Told(ADAPTER, session(turn(message="First: " + json.dumps(written), observation=result)))
    assert told.tools == [("make", True)]
    typed = Told(ADAPTER, session(turn(tool_calls=[call(name="bash_command", keystrokes="make\n")])))
    assert typed.payloads("exec.command")[0]["command"] == "make"


@pytest.mark.parametrize(
    ("last", "outcomes"),
    [
        (turn(message=json.dumps({"commands": [], "task_complete": True})), [("succeeded", "agent")]),
        (turn(tool_calls=[call(name="mark_task_complete")]), [("succeeded", "agent")]),
        (turn(tool_calls=[call(name="finish")]), [("succeeded", "agent")]),
        (turn(), []),
    ],
)
def test_a_session_ends_where_its_last_turn_says_so(last: Any, outcomes: list[tuple[str, str]]):
    assert Told(ADAPTER, session(turn(1), last)).outcomes == outcomes
    assert Told(ADAPTER, session(last, turn(3))).outcomes == []


def test_copied_steps_and_turns_without_a_model_are_no_model_calls():
    told = Told(ADAPTER, session(turn(1, is_copied_context=True), turn(2, llm_call_count=0), turn(3)))
    assert told.counts.model_calls == 1


def test_sessions_of_other_agents_are_other_missions():
    other = session(turn(), agent={"name": "else"})
    assert Told(ADAPTER, session(turn())).missions != Told(ADAPTER, other).missions


def test_a_malformed_step_costs_that_step():
    told = Told(ADAPTER, session(turn(1), 17, turn(2)))
    assert (told.counts.model_calls, len(told.rejected)) == (2, 1)


@pytest.mark.parametrize(
    ("version", "recognised"), [("ATIF-v1.7", True), ("1.0", False), (None, False), (17, False)]
)
def test_what_is_recognised(version: Any, recognised: bool):
    data = json.dumps(session(turn(), schema_version=version)).encode()
    assert ADAPTER.recognises(data, whole=True) is recognised
