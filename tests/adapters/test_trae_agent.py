"""Trae Agent trajectories: exact counts of fifteen real runs, and what their parts mean."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters import recognise
from quartermaster.adapters.trae_agent import ADAPTER
from quartermaster.core.journal import format_instant

RUNS = TRACES / "trae_agent"
needs_traces = pytest.mark.skipif(not RUNS.is_dir(), reason=NO_TRACES)

# Steps, tool calls, failed ones, and the agent's own verdict (None: killed, so it gave none).
DOCUMENTED = {
    "8aa1485f/gpt-4o__2025-10-08_16-04-31": (14, 16, 3, True),
    "8aa1485f/gpt-4o__2025-10-08_16-14-08": (13, 14, 4, True),
    "8aa1485f/gpt-5__2025-10-09_11-32-54": (26, 24, 2, True),
    "8aa1485f/gpt-5__2025-09-17_18-03-45": (1, 0, 0, False),
    "8aa1485f/claude-sonnet-45__2025-11-28_02-25-29": (7, 6, 1, False),
    "0d243f2a/gpt-4o__2025-11-05_17-16-42": (6, 4, 3, False),
    "0d243f2a/gpt-4o__2025-11-05_16-46-20": (23, 28, 17, None),
    "0d243f2a/gpt-5__2025-10-14_14-11-42": (1, 0, 0, False),
    "0d243f2a/gpt-5__2025-11-06_03-26-11": (45, 42, 13, False),
    "0d243f2a/claude-sonnet-45__2025-11-27_15-42-14": (24, 22, 0, False),
    "22d33bac/gpt-4o__2025-11-05_16-46-20": (6, 7, 3, None),
    "22d33bac/gpt-4o__2025-11-05_17-16-42": (14, 14, 3, True),
    "22d33bac/gpt-5__2025-10-14_14-11-42": (1, 0, 0, False),
    "22d33bac/gpt-5__2025-11-06_03-26-11": (43, 40, 8, False),
    "22d33bac/claude-sonnet-45__2025-11-27_15-42-14": (55, 53, 1, False),
}
UNDERWAY_WHEN_KILLED = {"22d33bac/gpt-4o__2025-11-05_16-46-20": 1}
"""Calls the model had asked for when the run was killed: begun here, in no step of the recording."""


def path_of(name: str) -> Path:
    return next(RUNS.glob(f"task_{name}*/trajectory.json"))


def counted(document: dict[str, Any]) -> tuple[int, int, int, int]:
    """Model calls, tool calls and failed ones of the steps, and tokens, straight from the JSON."""
    steps = document["agent_steps"]
    usages = [call["response"]["usage"] for call in document["llm_interactions"]]
    return (
        len(usages),
        sum(len(step["tool_calls"] or ()) for step in steps),
        sum(result["success"] is False for step in steps for result in step["tool_results"] or ()),
        sum(usage["input_tokens"] + usage["output_tokens"] for usage in usages),
    )


def usage(fresh: int = 100, output: int = 5, read: int = 0, write: int = 0) -> dict[str, int]:
    return {
        "input_tokens": fresh,
        "output_tokens": output,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": write,
        "reasoning_tokens": 2,
    }


def asked(second: int, *calls: Any, **more: Any) -> dict[str, Any]:
    response = {"content": "", "model": "m-1", "usage": usage(), "tool_calls": list(calls)} | more
    return {"timestamp": f"2026-03-05T10:00:{second:02d}.0", "model": "m", "response": response}


def call(call_id: str, name: str = "bash", **arguments: Any) -> dict[str, Any]:
    return {"call_id": call_id, "name": name, "arguments": arguments or {"command": "ls"}}


def did(second: int, *results: Any, error: str | None = None) -> dict[str, Any]:
    calls = [call(result["call_id"]) for result in results]
    return {
        "timestamp": f"2026-03-05T10:00:{second:02d}.5",
        "tool_calls": calls or None,
        "tool_results": list(results) or None,
        "error": error,
    }


def result(call_id: str, success: bool = True, error: str = "") -> dict[str, Any]:
    return {"call_id": call_id, "success": success, "result": "", "error": error}


def run(*moments: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "task": "In /srv/a/b fix it.",
        "start_time": "2026-03-05T10:00:00.0",
        "end_time": "2026-03-05T10:01:00.0",
        "provider": "openai",
        "model": "m",
        "llm_interactions": [moment for moment in moments if "response" in moment],
        "agent_steps": [moment for moment in moments if "tool_results" in moment],
        "success": True,
    } | more


@needs_traces
def test_every_recording_is_documented_here():
    assert len(list(RUNS.glob("*/*/trajectory.json"))) == len(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_a_real_run_are_exact(name: str):
    data = path_of(name).read_bytes()
    document = json.loads(data)
    calls, tools, failed, tokens = counted(document)
    steps, documented_tools, documented_failed, _ = DOCUMENTED[name]
    assert (len(document["agent_steps"]), tools, failed) == (steps, documented_tools, documented_failed)
    told = Told(ADAPTER, data)
    assert told.counts == Counts(1, calls, tools + UNDERWAY_WHEN_KILLED.get(name, 0), failed, tokens)
    assert len(told.tools) == tools
    assert told.cost is None
    assert not told.rejected


@needs_traces
def test_the_agent_has_its_own_verdict_and_a_killed_run_has_none():
    words = {True: [("succeeded", "agent")], False: [("failed", "agent")], None: []}
    for name, (*_, success) in DOCUMENTED.items():
        assert Told(ADAPTER, path_of(name).read_bytes()).outcomes == words[success], name


@needs_traces
def test_a_real_run_that_died_says_why():
    for name, (*_, success) in DOCUMENTED.items():
        told = Told(ADAPTER, path_of(name).read_bytes())
        assert len(told.payloads("run.failed")) == (success is False), name


@needs_traces
def test_runs_of_one_task_name_one_task_whatever_folder_they_were_given():
    tasks = Counter()
    for name in DOCUMENTED:
        (created,) = Told(ADAPTER, path_of(name).read_bytes()).payloads("mission.created")
        tasks[name.split("/")[0], created["task"]] += 1
    # one of the runs of the third task was asked in other words
    assert sorted(tasks.values()) == [1, 4, 5, 5]


@needs_traces
def test_files_beside_a_trajectory_are_recognised_by_nobody():
    for path in (*RUNS.glob("*/*/journal.json"), *RUNS.glob("*/*/run_summary.json")):
        assert recognise(path.read_bytes(), whole=True) is None, path.name


def test_what_the_sample_tells():
    data = (SAMPLES / "trae_agent" / "almanac_leap_years.json").read_bytes()
    told = Told(ADAPTER, data)
    assert told.counts == Counts(1, 4, 4, 1, counted(json.loads(data))[3])
    assert told.tools == [
        ("cat almanac/moon.py", True),
        ("python -m pytest -q tests/test_moon.py", False),
        ("str_replace_based_edit_tool", True),
        ("python -m pytest -q tests/test_moon.py", True),
    ]
    assert told.outcomes == [("succeeded", "agent")]
    (created,) = told.payloads("mission.created")
    assert (created["agent"], created["model"], created["clock"]) == ("trae-agent", "gpt-4o", "local")
    assert created["labels"] == {"provider": "openai", "max_steps": 20}


@pytest.mark.parametrize(("provider", "fresh"), [("openai", 40), ("anthropic", 100), ("bedrock", 100)])
def test_what_the_cache_gave_is_part_of_the_input_of_some_providers_only(provider: str, fresh: int):
    document = run(asked(1, usage=usage(100, 5, read=60)), provider=provider)
    (told,) = Told(ADAPTER, document).payloads("llm.call")
    assert (told["input_tokens"], told["cached_input_tokens"], told["output_tokens"]) == (fresh, 60, 5)
    assert (told["reasoning_tokens"], told["model"]) == (2, "m-1")


def test_an_interaction_and_its_step_are_one_model_call_and_one_command():
    told = Told(ADAPTER, run(asked(1, call("c1")), did(1, result("c1"))))
    assert told.counts[1:3] == (1, 1)
    assert told.tools == [("ls", True)]


def test_the_flag_of_a_result_says_whether_it_failed_and_words_on_stderr_do_not():
    told = Told(
        ADAPTER,
        run(
            asked(1, call("c1"), call("c2"), call("c3")),
            did(1, result("c1", True, "a warning"), result("c2", False, "boom"), result("c3", False)),
        ),
    )
    assert [succeeded for _, succeeded in told.tools] == [True, False, False]
    ends = [payload for payload in told.payloads("exec.command") if payload["phase"] == "end"]
    assert [end.get("error") for end in ends] == [None, "boom", "failed"]


def test_task_done_is_the_end_and_no_tool():
    told = Told(ADAPTER, run(asked(1, call("c1", "task_done")), did(1)))
    assert told.counts.tool_calls == 0
    assert told.payloads("mission.status_change") == [{"to_status": "completed"}]


def test_a_killed_run_leaves_its_last_call_open():
    told = Told(ADAPTER, run(asked(1, call("c1")), end_time="", success=False))
    assert (told.counts.tool_calls, told.tools, told.outcomes) == (1, [], [])


@pytest.mark.parametrize(
    ("error", "max_steps", "outcome"),
    [(None, 1, "limit_reached"), ("Error code: 429", 1, "failed"), (None, 9, "failed")],
)
def test_a_run_without_success_used_up_its_steps_or_failed(error: Any, max_steps: int, outcome: str):
    document = run(did(1, error=error), success=False, max_steps=max_steps)
    assert Told(ADAPTER, document).outcomes == [(outcome, "agent")]


def test_a_run_that_goes_on_stays_one_mission():
    begun, more = run(asked(1), end_time=""), run(asked(1), asked(2))
    assert Told(ADAPTER, begun).missions == Told(ADAPTER, more).missions
    later = run(asked(1), start_time="2026-03-05T11:00:00.0")
    assert Told(ADAPTER, begun).missions != Told(ADAPTER, later).missions


def test_times_are_those_of_the_recording():
    told = Told(ADAPTER, run(asked(1, call("c1")), did(2, result("c1"))))
    times = {entry.entry_type: format_instant(entry.instant) for entry in told.entries}
    assert times["llm.call"] == "2026-03-05T10:00:01Z"
    assert times["exec.command"] == "2026-03-05T10:00:02.5Z"


def test_a_malformed_step_costs_that_step():
    document = run(asked(1, call("c1")), did(1, result("c1")))
    document["agent_steps"].append({"tool_results": 17})
    told = Told(ADAPTER, document)
    assert (told.tools, len(told.rejected)) == ([("ls", True)], 1)


@pytest.mark.parametrize("broken", [{"task": 5}, {"start_time": "soon"}, {"start_time": None}])
def test_a_run_without_a_task_or_a_start_is_rejected(broken: dict[str, Any]):
    told = Told(ADAPTER, run(asked(1)) | broken)
    assert (told.entries, len(told.rejected)) == ([], 1)
