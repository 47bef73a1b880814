"""OpenHands: trajectories (lists of events) and output lines, and what single events mean in either."""

import json
from pathlib import Path
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine, openhands_output, recognise
from quartermaster.adapters.openhands import ADAPTER
from quartermaster.core.journal import format_instant
from quartermaster.core.trajectory import BUDGET_EXCEEDED, KEEPER_DECISION

RUNS = TRACES / "openhands"
needs_traces = pytest.mark.skipif(not RUNS.is_dir(), reason=NO_TRACES)

# Events, model calls, tool calls, failed ones, tokens, cost. The events of output lines are in sum. The
# resolver's lines name no model response: each action of the agent is a call, and its cost is listed.
DOCUMENTED = {
    "trajs_basic.json": (4, 2, 1, 0, 14_084, None),
    "trajs_basic_gui_mode.json": (18, 5, 4, 0, 24_803, None),
    "resolver_output.jsonl": (8 + 44, 4 + 22, 3 + 21, 11, 0, 0.070713 + 1.152933),
    "multi_swe_bench_output__first2.jsonl": (49 + 70, 23 + 33, 21 + 32, 6 + 13, 567_716 + 415_325, None),
}
COMMANDS = ("run", "run_ipython", "read", "edit")


class _Lines:
    """The line reader as a document: its lines one after the other."""

    def read_document(self, data: bytes) -> list[Record | RejectedLine]:
        reader = openhands_output.ADAPTER.line_reader()
        outputs: list[Record | RejectedLine] = []
        offset = 0
        for line in data.split(b"\n"):
            outputs += reader.read_line(line, offset)
            offset += len(line) + 1
        return [*outputs, *reader.finish()]


LINES: Any = _Lines()


def adapter_of(name: str) -> DocumentAdapter:
    return LINES if name.endswith(".jsonl") else ADAPTER


def histories_of(data: bytes, name: str) -> list[dict[str, Any]]:
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in data.splitlines()]
    return [{"history": json.loads(data)}]


def failed(observation: dict[str, Any]) -> bool:
    extras = observation.get("extras", {})
    code = extras.get("metadata", {}).get("exit_code", observation.get("exit_code"))
    if code is not None:
        return code not in (0, -1)
    return observation["content"].startswith(("ERROR", "[Your proposed edit has", "[No exact match"))


def counted(data: bytes, name: str) -> tuple[int, int, int, int, int]:
    """Events, model calls, tool calls, failed ones and tokens, straight from the JSON."""
    events = calls = tools = broken = tokens = 0
    for run in histories_of(data, name):
        responses: dict[str, int] = {}
        for event in run["history"]:
            response = (event.get("tool_call_metadata") or {}).get("model_response")
            if response:
                responses[response["id"]] = response["usage"]["total_tokens"] + (
                    response["usage"].get("cache_creation_input_tokens") or 0
                )
            elif event.get("source", "agent") == "agent":
                replied = event.get("action") in (*COMMANDS, "finish")
                calls += replied or (event.get("action") == "message" and "source" in event)
            tools += event.get("action") in COMMANDS
            broken += event.get("observation") in COMMANDS and failed(event)
        events += len(run["history"])
        calls += len(responses)
        tokens += sum(responses.values())
    return events, calls, tools, broken, tokens


def action(number: int, kind: str = "run", response: str | None = None, **more: Any) -> dict[str, Any]:
    event = {"id": number, "timestamp": f"2026-03-05T10:00:{number:02d}", "source": "agent", "action": kind}
    if response is not None:
        usage = {"prompt_tokens": 100, "completion_tokens": 5}
        event["tool_call_metadata"] = {"model_response": {"id": response, "model": "m", "usage": usage}}
    return event | {"args": {"command": "ls"}} | more


def observation(number: int, cause: int | None, kind: str = "run", **more: Any) -> dict[str, Any]:
    event = {"id": number, "timestamp": f"2026-03-05T10:00:{number:02d}", "source": "agent"}
    return event | {"observation": kind, "cause": cause, "content": "", "extras": {}} | more


def instance(*history: Any, **more: Any) -> bytes:
    return json.dumps({"instance_id": "a__b-1", "history": list(history)} | more).encode()


@needs_traces
def test_every_recording_is_documented_here():
    names = {path.name for path in RUNS.iterdir() if path.is_file()} - {"SOURCE.md"}
    assert names == set(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_a_real_recording_are_exact(name: str):
    data = (RUNS / name).read_bytes()
    *counts, cost = DOCUMENTED[name]
    assert counted(data, name) == tuple(counts)
    told = Told(adapter_of(name), data)
    assert told.counts == Counts(len(histories_of(data, name)), *counts[1:])
    assert told.cost == (None if cost is None else pytest.approx(cost))
    assert not told.rejected


@needs_traces
def test_the_tokens_of_a_real_output_are_those_of_its_own_metrics():
    name = "multi_swe_bench_output__first2.jsonl"
    data = (RUNS / name).read_bytes()
    usages = [run["metrics"]["accumulated_token_usage"] for run in histories_of(data, name)]
    own = sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in usages)
    assert Told(LINES, data).counts.tokens == own


@needs_traces
@pytest.mark.parametrize(
    ("name", "outcomes"),
    [
        ("trajs_basic.json", [("succeeded", "agent")]),
        ("trajs_basic_gui_mode.json", []),
        ("resolver_output.jsonl", [("succeeded", "agent"), ("succeeded", "harness")] * 2),
        # one says "partial", the other "false": neither says that it is done
        ("multi_swe_bench_output__first2.jsonl", [("failed", "agent")] * 2),
    ],
)
def test_how_a_real_run_ended(name: str, outcomes: list[tuple[str, str]]):
    assert Told(adapter_of(name), (RUNS / name).read_bytes()).outcomes == outcomes


@needs_traces
def test_a_command_that_still_runs_has_no_end():
    told = Told(ADAPTER, (RUNS / "trajs_basic_gui_mode.json").read_bytes())
    assert (told.counts.tool_calls, len(told.tools)) == (4, 3)


@needs_traces
def test_one_event_of_a_real_session_is_recognised_and_refused_for_it_names_no_session():
    events = sorted(Path(RUNS / "session_63b43159" / "events").glob("*.json"))
    assert len(events) == 14
    for path in events:
        assert recognise(path.read_bytes(), whole=True) is ADAPTER
        told = Told(ADAPTER, path.read_bytes())
        assert (told.entries, len(told.rejected)) == ([], 1)
    assert recognise((RUNS / "session_63b43159" / "metadata.json").read_bytes(), whole=True) is None


def test_what_the_sample_of_a_trajectory_tells():
    told = Told(ADAPTER, (SAMPLES / "openhands" / "lighthouse_count.json").read_bytes())
    prompt, completion, written = 4 + 5210 + 5340 + 5500, 60 + 140 + 44 + 52, 5200 + 120 + 160 + 60
    assert told.counts == Counts(1, 4, 3, 1, prompt + completion + written)
    assert told.cost == pytest.approx(0.0309)
    assert told.tools == [("wc -l coast.cvs", False), ("edit", True), ("python count.py", True)]
    assert told.outcomes == [("succeeded", "agent")]
    assert told.payloads("mission.created") == [
        {
            "title": "Count the lighthouses in coast.csv",
            "agent": "openhands",
            "model": "claude-sonnet-4-20250514",
            "version": "0.48.0",
            "labels": {"agent_class": "CodeActAgent"},
            "clock": "local",
        }
    ]


def test_what_the_sample_of_an_output_tells():
    told = Told(LINES, (SAMPLES / "openhands_output" / "bell_output.jsonl").read_bytes())
    assert told.counts == Counts(2, 1 + 3, 1 + 2, 1, 1940)
    assert told.cost == pytest.approx(0.0123)
    assert told.outcomes == [
        ("limit_reached", "harness"),
        ("failed", "verifier"),
        ("succeeded", "agent"),
        ("succeeded", "harness"),
    ]
    assert len(told.of_kind(BUDGET_EXCEEDED)) == 1
    bell, readme = told.payloads("mission.created")
    assert (bell["task"], bell["model"], bell["commit"]) == (
        "openhands/harbour__bell-8",
        "openai/gpt-4.1",
        "77c1d0e",
    )
    assert bell["labels"] == {"agent_class": "CodeActAgent", "max_iterations": 1, "base_commit": "9be1442"}
    assert (readme["task"], readme["clock"]) == ("openhands/harbour/bell#9", "ordinal")


def test_a_response_that_several_events_repeat_is_one_model_call():
    told = Told(
        ADAPTER,
        [action(1, response="r1"), action(2, response="r1"), observation(3, 1), observation(4, 2)],
    )
    assert told.counts == Counts(1, 1, 2, 0, 105)


def test_cache_writes_come_on_top_of_the_prompt_unless_the_details_hold_them():
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "cache_read_input_tokens": 60}
    usage |= {"cache_creation_input_tokens": 30}
    inside = usage | {"prompt_tokens_details": {"cached_tokens": 60, "cache_creation_tokens": 30}}
    fresh = []
    for one in (usage, inside):
        metadata = {"model_response": {"id": "r", "model": "m", "usage": one}}
        (call,) = Told(ADAPTER, [action(1, tool_call_metadata=metadata)]).payloads("llm.call")
        assert (call["cached_input_tokens"], call["cache_creation_tokens"]) == (60, 30)
        fresh.append(call["input_tokens"])
    assert fresh == [40, 10]


def test_the_cost_of_a_call_is_what_the_sum_grew_by_and_a_sum_of_zero_is_unknown():
    spent = [action(n, response=f"r{n}", llm_metrics={"accumulated_cost": n / 4}) for n in (1, 2)]
    assert [call["cost_usd"] for call in Told(ADAPTER, spent).payloads("llm.call")] == [0.25, 0.25]
    unknown = [action(1, response="r", llm_metrics={"accumulated_cost": 0.0})]
    assert Told(ADAPTER, unknown).cost is None


@pytest.mark.parametrize(
    ("told_of_it", "succeeded"),
    [
        ({"extras": {"metadata": {"exit_code": 0}}, "success": False}, True),
        ({"extras": {"metadata": {"exit_code": 127}}, "success": True}, False),
        ({"extras": {"exit_code": 1}}, False),
        ({"success": False}, False),
        ({"success": None, "content": "ERROR:\nno such file"}, False),
        ({"success": True, "content": "ERROR:\nin a log"}, True),
        ({"observation": "error", "content": "boom"}, False),
        ({"content": "all well"}, True),
    ],
)
def test_the_exit_code_wins_over_the_flag_and_the_flag_over_words(told_of_it: Any, succeeded: bool):
    assert Told(ADAPTER, [action(1), observation(2, 1, **told_of_it)]).tools == [("ls", succeeded)]


def test_a_refused_command_is_a_denied_decision_and_no_failure():
    told = Told(ADAPTER, [action(1), observation(2, 1, "user_rejected")])
    assert [(step.tool, step.success) for step in told.of_kind(KEEPER_DECISION)] == [("run", False)]
    assert told.tools == []


@pytest.mark.parametrize(
    ("completed", "outcome"),
    [
        ("true", "succeeded"),
        (True, "succeeded"),
        (None, "succeeded"),
        ("false", "failed"),
        ("partial", "failed"),
    ],
)
def test_the_agent_says_whether_it_finished(completed: Any, outcome: str):
    finish = action(1, "finish", args={"task_completed": completed})
    finished = observation(2, None, "agent_state_changed", extras={"agent_state": "finished"})
    assert Told(ADAPTER, [finish, finished]).outcomes == [(outcome, "agent")]


@pytest.mark.parametrize(
    ("state", "outcomes"),
    [
        ("finished", [("succeeded", "agent")]),
        ("error", [("failed", "agent")]),
        ("stopped", [("aborted", "agent")]),
        ("awaiting_user_input", []),
    ],
)
def test_a_state_may_be_the_end(state: str, outcomes: list[tuple[str, str]]):
    changed = observation(2, None, "agent_state_changed", extras={"agent_state": state})
    assert Told(ADAPTER, [action(1), changed]).outcomes == outcomes


def test_events_without_ids_are_paired_in_order():
    first, second = ({"action": "run", "command": name} for name in ("a", "b"))
    done = {"observation": "run", "exit_code": 0, "content": ""}
    told = Told(
        LINES, instance({"action": "message", "content": "go"}, first, done, second, done | {"exit_code": 2})
    )
    assert told.tools == [("a", True), ("b", False)]
    assert [said["text"] for said in told.payloads("message.user")] == ["go"]


def test_costs_are_only_shared_out_where_there_is_one_for_each_call():
    history = ({"action": "message", "content": "go"}, {"action": "run", "command": "a"})
    assert Told(LINES, instance(*history, metrics={"costs": [0.5]})).cost == 0.5
    assert Told(LINES, instance(*history, metrics={"costs": [0.5, 0.5]})).cost is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [("Agent reached maximum iteration in headless mode", "limit_reached"), ("Connection lost", "failed")],
)
def test_the_harness_says_how_it_went_beside_the_agent(error: str, outcome: str):
    assert Told(LINES, instance(action(1), error=error)).outcomes == [(outcome, "harness")]


def test_a_run_that_goes_on_stays_one_mission():
    begun, more = [action(1)], [action(1), observation(2, 1)]
    assert Told(ADAPTER, begun).missions == Told(ADAPTER, more).missions
    assert Told(ADAPTER, begun).missions != Told(ADAPTER, [action(2)]).missions
    assert Told(LINES, instance(*begun)).missions == Told(LINES, instance(*more)).missions


def test_times_are_taken_as_they_stand():
    told = Told(ADAPTER, [action(1), observation(9, 1)])
    ends = [entry for entry in told.entries if entry.entry_type == "exec.command"]
    assert format_instant(ends[-1].instant) == "2026-03-05T10:00:09Z"


def test_a_malformed_event_costs_that_event_and_a_malformed_line_that_line():
    told = Told(ADAPTER, [action(1), 17, observation(2, 1)])
    assert (told.tools, len(told.rejected)) == ([("ls", True)], 1)
    lines = b"\n".join([instance(action(1)), b'{"instance_id": "x"}', b"{"])
    first, second = Told(LINES, lines).rejected
    assert (first.reason, second.reason) == ("the instance has no history", "JSON ends too early")


@pytest.mark.parametrize(
    ("head", "recognised"),
    [
        ([action(1)], "openhands"),
        (action(1), "openhands"),
        ({"instance_id": "a", "history": [action(1)]}, "openhands_output"),
        ({"issue": {}, "history": [{"content": "go", "action": "message"}]}, "openhands_output"),
        ({"instance_id": "a", "history": [{"role": "user", "content": "a"}]}, None),
        ([{"source": "a"}], None),
    ],
)
def test_what_is_recognised(head: Any, recognised: str | None):
    found = recognise(json.dumps(head).encode(), whole=True)
    assert (found and found.name) == recognised
