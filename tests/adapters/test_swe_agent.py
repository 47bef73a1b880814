"""SWE-agent trajectories: one mission a file, counted from the file's own steps."""

import json
import re
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters.swe_agent import ADAPTER
from quartermaster.core.trajectory import MODEL_CALL

RUNS = TRACES / "swe_agent"
needs_traces = pytest.mark.skipif(not RUNS.is_dir(), reason=NO_TRACES)

# Steps, failed commands, tokens (sent and received together) and cost, as the recordings have them.
# `function_calling_simple` has no steps, only a history with five actions: these are its steps here.
DOCUMENTED = {
    "m1867_default": (14, 1, 0, None),
    "m1867_window100": (11, 1, 0, None),
    "m1867_cursors": (12, 1, 0, None),
    "m1867_xml": (11, 1, 0, None),
    "m1867_fncall": (11, 1, 0, None),
    "m1867_fncall_replace": (13, 0, 0, None),
    "ctf_web": (21, 0, 0, None),
    "ctf_katy": (18, 2, 0, None),
    "ctf_flash": (4, 1, 0, None),
    "ctf_rock": (12, 2, 0, None),
    "function_calling_simple": (5, 0, 0, None),
    "humanevalfix": (5, 0, 0, None),
    "testrepo_i1": (5, 0, 52861 + 326, 0.53839),
    "testrepo_1c2844": (5, 0, 7141 + 243, 0.01952),
}


def recorded(name: str) -> bytes:
    return (RUNS / f"{name}.traj").read_bytes()


def step(action: Any = "ls", observation: Any = "a.py", response: Any = "I look.", **more: Any) -> Any:
    return {"action": action, "observation": observation, "response": response, "thought": response} | more


def run(*steps: Any, **more: Any) -> dict[str, Any]:
    return {"trajectory": list(steps), "history": []} | more


@needs_traces
def test_every_recording_is_documented_here():
    assert {path.stem for path in RUNS.glob("*.traj")} == set(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_a_real_run_are_exact(name: str):
    told = Told(ADAPTER, recorded(name))
    steps, failed, tokens, cost = DOCUMENTED[name]
    assert told.counts == Counts(1, steps, steps, failed, tokens)
    assert told.cost == (None if cost is None else pytest.approx(cost))
    assert not told.rejected


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_are_those_of_the_file(name: str):
    document = json.loads(recorded(name))
    taken = document.get("trajectory") or [m for m in document["history"] if m["role"] == "assistant"]
    stats = document.get("info", {}).get("model_stats", {})
    told = Told(ADAPTER, recorded(name))
    assert told.counts.model_calls == told.counts.tool_calls == len(taken)
    assert told.counts.tokens == stats.get("tokens_sent", 0) + stats.get("tokens_received", 0)
    assert (told.cost or 0) == pytest.approx(stats.get("instance_cost", 0))


@needs_traces
@pytest.mark.parametrize("name", sorted(set(DOCUMENTED) - {"function_calling_simple"}))
def test_failed_commands_are_those_whose_observation_says_so(name: str):
    words = re.compile(
        r"\s*(EXECUTION TIMED OUT|Wrong flag!|strings: .*No such file|Your proposed edit has introduced)"
    )
    steps = json.loads(recorded(name))["trajectory"]
    assert Told(ADAPTER, recorded(name)).counts.failed == sum(
        words.match(one["observation"]) is not None for one in steps
    )


@needs_traces
def test_every_real_run_that_says_how_it_ended_was_submitted():
    for name in DOCUMENTED:
        expected = [] if name == "function_calling_simple" else [("succeeded", "agent")]
        assert Told(ADAPTER, recorded(name)).outcomes == expected


@needs_traces
def test_one_issue_under_six_configurations_is_six_missions():
    names = [name for name in DOCUMENTED if name.startswith("m1867")]
    assert len({Told(ADAPTER, recorded(name)).missions[0] for name in names}) == 6


@needs_traces
def test_a_task_is_named_by_its_problem_and_not_by_its_file():
    (created,) = Told(ADAPTER, recorded("m1867_fncall")).payloads("mission.created")
    assert created["task"] == "swe_agent/marshmallow-code__marshmallow-1867"
    assert (created["agent"], created["model"]) == ("swe-agent", "gpt-4o")


def test_what_the_sample_tells():
    told = Told(ADAPTER, (SAMPLES / "swe_agent" / "lantern_timezone.traj").read_bytes())
    assert told.counts == Counts(1, 6, 6, 1, 16_435)
    assert told.cost == pytest.approx(0.0431)
    assert told.payloads("mission.created") == [
        {
            "title": "Dusk has no time zone Lanterns in Lisbon light up an hour late.",
            "goal": "Dusk has no time zone\nLanterns in Lisbon light up an hour late.",
            "task": "swe_agent/harbour__lantern-12",
            "agent": "swe-agent",
            "model": "gpt-4o",
            "version": "1.1.0",
            "labels": {
                "exit_status": "submitted",
                "repository": "https://example.org/harbour/lantern",
                "base_commit": "5e0c1b7",
            },
            "clock": "ordinal",
        }
    ]


def test_tokens_and_cost_of_the_run_stand_on_its_last_call_and_the_others_say_so():
    stats = {"instance_cost": 0.5, "tokens_sent": 100, "tokens_received": 7}
    first, last = Told(ADAPTER, run(step(), step(), info={"model_stats": stats})).payloads("llm.call")
    assert first == {"cost_usd": 0.0, "counted_by": "the last call of the run"}
    assert last == {
        "input_tokens": 100,
        "output_tokens": 7,
        "cost_usd": 0.5,
        "counts": "the whole run",
    }


def test_a_cost_of_zero_is_unknown():
    stats = {"instance_cost": 0, "tokens_sent": 0, "tokens_received": 0}
    told = Told(ADAPTER, run(step(), info={"model_stats": stats}))
    assert [(call.tokens, call.cost) for call in told.of_kind(MODEL_CALL)] == [(None, None)]


@pytest.mark.parametrize(
    ("observation", "succeeded"),
    [
        ("\nEXECUTION TIMED OUT", False),
        ("Your proposed edit has introduced new syntax error(s).", False),
        ("The command 'make' was cancelled because it took more than 30 seconds.", False),
        ("bash: frob: command not found", False),
        ("cat: a.txt: No such file or directory", False),
        ("Traceback (most recent call last):\n  File", False),
        ("Error: no file is open", False),
        ("", True),
        ("the log says: No such file", True),
        ("3 tests, 0 errors", True),
    ],
)
def test_a_command_failed_where_the_environment_says_so(observation: str, succeeded: bool):
    assert Told(ADAPTER, run(step(observation=observation))).tools == [("ls", succeeded)]


def test_the_time_that_a_command_took_is_told():
    told = Told(ADAPTER, run(step(execution_time=0.25)))
    assert [payload.get("duration_ms") for payload in told.payloads("exec.command")] == [None, 250]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("submitted", [("succeeded", "agent")]),
        ("exit_cost", [("limit_reached", "agent")]),
        ("submitted (exit_context)", [("limit_reached", "agent")]),
        ("exit_command_timeout", [("timed_out", "agent")]),
        ("exit_forfeit", [("aborted", "agent")]),
        ("early_exit", [("failed", "agent")]),
        (None, []),
    ],
)
def test_how_a_run_ended(status: Any, outcome: list[tuple[str, str]]):
    assert Told(ADAPTER, run(step(), info={"exit_status": status})).outcomes == outcome


def test_a_step_that_only_ends_the_run_is_no_model_call():
    told = Told(ADAPTER, run(step(), step(action="", response="Exit due to cost limit")))
    assert told.counts[1:3] == (1, 1)


def test_a_run_that_goes_on_stays_one_mission_where_its_first_step_was_timed():
    begun, more = run(step(execution_time=0.2)), run(step(execution_time=0.2), step("cat a.py"))
    assert Told(ADAPTER, begun).missions == Told(ADAPTER, more).missions
    other = run(step(execution_time=0.3), step("cat a.py"))
    assert Told(ADAPTER, more).missions != Told(ADAPTER, other).missions


def test_two_runs_without_times_that_only_begin_alike_are_two_missions():
    one, other = run(step(), step("cat a.py")), run(step(), step("cat b.py"))
    assert Told(ADAPTER, one).missions != Told(ADAPTER, other).missions


def test_a_cut_run_without_times_is_rejected_instead_of_becoming_another_mission():
    told = Told(ADAPTER, json.dumps(run(step(), step("cat a.py"))).encode()[:-40])
    assert (told.missions, len(told.rejected)) == ([], 1)


def test_a_malformed_step_costs_that_step():
    told = Told(ADAPTER, run(step(execution_time=0.2), 17, step("cat a.py")))
    assert told.counts[:3] == (1, 2, 2)
    assert [rejected.reason for rejected in told.rejected] == ["not a JSON object"]


@pytest.mark.parametrize("document", [{"trajectory": 5, "history": 5}, {"trajectory": [], "history": []}])
def test_a_run_without_steps_is_rejected(document: Any):
    told = Told(ADAPTER, document)
    assert (told.entries, bool(told.rejected)) == ([], True)


@pytest.mark.parametrize(
    ("head", "recognised"),
    [
        ({"trajectory": [step()]}, True),
        ({"trajectory": [], "history": []}, True),
        ({"history": [{"role": "user", "content": "", "agent": "main", "message_type": "a"}]}, True),
        ({"history": [{"role": "user", "content": ""}], "mistake_step": "3"}, False),
        ({"trajectory": [{"content": "a", "role": "user"}]}, False),
        ([step()], False),
    ],
)
def test_what_is_recognised(head: Any, recognised: bool):
    assert ADAPTER.recognises(json.dumps(head).encode(), whole=True) is recognised
