"""mini-swe-agent runs: bare lists of messages, and wrapped ones with times, usage and cost."""

import json
import re
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters.mini_swe_agent import ADAPTER
from quartermaster.core.journal import format_instant

RUNS = TRACES / "mini_swe_agent"
needs_traces = pytest.mark.skipif(not RUNS.is_dir(), reason=NO_TRACES)

# Messages, commands and failed ones. Bare lists have no tokens and no cost.
DOCUMENTED = {"github_issue.traj.json": (22, 10, 2), "local.traj.json": (6, 2, 0)}


def replied(command: str = "ls", **extra: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": f"I look.\n\n```mswea_bash_command\n{command}\n```"}
    return message | ({"extra": extra} if extra else {})


def gave(code: int = 0, output: str = "") -> dict[str, Any]:
    return {"role": "user", "content": f"<returncode>{code}</returncode>\n<output>\n{output}</output>"}


def asked(*messages: Any) -> list[Any]:
    return [{"role": "system", "content": "One command."}, {"role": "user", "content": "Find it."}, *messages]


@needs_traces
def test_every_recording_is_documented_here():
    assert {path.name for path in RUNS.glob("*.json")} == set(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_a_real_run_are_exact(name: str):
    data = (RUNS / name).read_bytes()
    messages = json.loads(data)
    replies = [message for message in messages if message["role"] == "assistant"]
    failed = sum(re.match(r"<returncode>[1-9]", message["content"]) is not None for message in messages)
    told = Told(ADAPTER, data)
    assert told.counts == Counts(1, len(replies), len(replies), failed, 0)
    assert (len(messages), len(replies), failed) == DOCUMENTED[name]
    assert told.cost is None
    assert told.outcomes == [("succeeded", "agent")]
    assert not told.rejected


def test_what_the_sample_tells():
    data = (SAMPLES / "mini_swe_agent" / "harbour_map_pier.traj.json").read_bytes()
    told = Told(ADAPTER, data)
    usages = [
        message["extra"]["response"]["usage"]
        for message in json.loads(data)["messages"]
        if message["role"] == "assistant"
    ]
    assert told.counts == Counts(1, 5, 5, 1, sum(usage["total_tokens"] for usage in usages))
    assert told.cost == pytest.approx(0.001778)
    assert [tool for tool, succeeded in told.tools if not succeeded] == ["jq . map/piers.json"]
    assert told.payloads("mission.created") == [
        {
            "title": "The harbour map shows the pier twice",
            "task": "mini_swe_agent/harbour__map-31",
            "agent": "mini-swe-agent",
            "model": "openai/gpt-4.1-mini",
            "version": "1.17.2",
            "labels": {"exit_status": "Submitted"},
        }
    ]


def test_cached_input_is_no_fresh_input():
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 60}}
    told = Told(ADAPTER, asked(replied(response={"model": "m", "usage": usage}, cost=0.25)))
    assert told.payloads("llm.call") == [
        {
            "model": "m",
            "input_tokens": 40,
            "output_tokens": 5,
            "cached_input_tokens": 60,
            "cost_usd": 0.25,
        }
    ]


def test_a_cost_that_is_known_for_the_run_only_stands_on_its_last_call():
    document = {"info": {"model_stats": {"instance_cost": 0.5}}, "messages": asked(replied(), replied())}
    assert [call["cost_usd"] for call in Told(ADAPTER, document).payloads("llm.call")] == [0.0, 0.5]
    document["info"]["model_stats"]["instance_cost"] = 0
    assert Told(ADAPTER, document).cost is None


@pytest.mark.parametrize(
    ("result", "ended"),
    [
        (gave(0), True),
        (gave(1, "boom"), False),
        (gave(-9), False),
        ({"role": "user", "content": "", "extra": {"returncode": 3}}, False),
        ({"role": "tool", "content": "", "extra": {"returncode": 0}}, True),
        (
            {"role": "user", "content": "The last command <command>x</command> timed out and was killed."},
            False,
        ),
        ({"role": "user", "content": "Observation: {'output': 'a'}"}, True),
    ],
)
def test_the_exit_code_says_whether_a_command_failed(result: Any, ended: bool):
    assert Told(ADAPTER, asked(replied(), result)).tools == [("ls", ended)]


def test_a_reply_without_exactly_one_command_runs_nothing():
    twice = {"role": "assistant", "content": "```bash\nls\n```\n```bash\npwd\n```"}
    told = Told(ADAPTER, asked(twice, {"role": "user", "content": "Please give one action."}))
    assert told.counts[1:3] == (1, 0)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("Submitted", "succeeded"),
        ("LimitsExceeded", "limit_reached"),
        ("TimeExceeded", "timed_out"),
        ("RuntimeError", "failed"),
    ],
)
def test_how_a_wrapped_run_ended(status: str, outcome: str):
    document = {"info": {"exit_status": status, "mini_version": "1.0"}, "messages": asked(replied())}
    assert Told(ADAPTER, document).outcomes == [(outcome, "agent")]


def test_a_bare_run_that_never_submitted_has_no_end():
    assert Told(ADAPTER, asked(replied(), gave())).outcomes == []
    assert Told(ADAPTER, asked(replied("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"))).outcomes == []


def test_times_are_those_of_the_messages():
    told = Told(ADAPTER, asked(replied(timestamp=1772700000.5), gave()))
    (call,) = [entry for entry in told.entries if entry.entry_type == "llm.call"]
    assert format_instant(call.instant).startswith("2026-03-05T08:40:00.5")
    assert "clock" not in told.payloads("mission.created")[0]


def test_a_run_that_goes_on_stays_one_mission_where_its_messages_have_times():
    begun = Told(ADAPTER, asked(replied(timestamp=1772700000.5)))
    more = Told(ADAPTER, asked(replied(timestamp=1772700000.5), gave(), replied("pwd")))
    assert begun.missions == more.missions
    assert Told(ADAPTER, asked(replied())).missions != Told(ADAPTER, asked(replied(), gave())).missions


@pytest.mark.parametrize(
    ("head", "recognised"),
    [
        (asked(replied()), True),
        (asked({"role": "assistant", "content": "Hello."}), False),
        ({"info": {"mini_version": "1.0"}, "messages": asked()}, True),
        ({"info": {"name": "else"}, "messages": asked()}, False),
        ({"messages": asked(replied())}, False),
    ],
)
def test_what_is_recognised(head: Any, recognised: bool):
    assert ADAPTER.recognises(json.dumps(head).encode(), whole=True) is recognised
