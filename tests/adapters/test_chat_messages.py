"""Plain lists of chat messages, and those of agent teams."""

import json
from pathlib import Path
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters.chat_messages import ADAPTER
from quartermaster.core.trajectory import ASSIGNMENT_COMPLETED, ASSIGNMENT_CREATED

TEAMS = TRACES / "agentrx" / "magentic_one"
needs_traces = pytest.mark.skipif(not TEAMS.is_dir(), reason=NO_TRACES)

# Messages of each recording, by the beginning of its name.
DOCUMENTED = {
    "5f982798": 67,
    "c7afe008": 91,
    "ebbc1f13": 83,
    "52f7224e": 21,
    "3af8028c": 17,
    "e6bc9808": 8,
    "a1e91b78": 25,
    "08cae58d": 129,
    "ccec2229": 37,
    "6b06d186": 17,
    "8b3379c0": 59,
    "840bfca7": 25,
    "8ad84bd6": 44,
    "1f975693": 123,
    "114d5fd0": 33,
    "2ddae3b7": 121,
    "0ec43718": 32,
    "5d0080cb": 51,
    "6e3be83d": 29,
    "797f7a5b": 113,
}
SATISFIED = {"c7afe008", "e6bc9808", "0ec43718"}
NOTES = ("Next speaker", "Stalled.", "Request satisfied.", "Replan counter")


def recorded(name: str) -> Path:
    return next(TEAMS.glob(f"{name}*"))


def calls(*named: str, **ids: str) -> dict[str, Any]:
    made = [{"id": ids.get(name), "function": {"name": name, "arguments": "{}"}} for name in named]
    return {"role": "assistant", "content": None, "tool_calls": made}


def model_calls_of(messages: list[dict[str, str]]) -> int:
    """Replies of agents: not the person's words, what is handed on, nor what the program notes."""
    replies = 0
    for message in messages:
        role, text = message["role"], message["content"]
        noted = role.endswith("(thought)") and text.startswith(NOTES)
        replies += not (role == "human" or "(->" in role or "(termination" in role or noted)
    return replies


@needs_traces
def test_every_recording_is_documented_here():
    assert {path.name[:8] for path in TEAMS.glob("*.json")} == set(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_a_real_team_are_exact(name: str):
    data = recorded(name).read_bytes()
    messages = json.loads(data)
    told = Told(ADAPTER, data)
    assert len(messages) == DOCUMENTED[name]
    assert told.counts == Counts(1, model_calls_of(messages), 0, 0, 0)
    handed_on = sum("(->" in message["role"] for message in messages)
    assert len(told.of_kind(ASSIGNMENT_CREATED)) == handed_on
    assert len(told.of_kind(ASSIGNMENT_COMPLETED)) <= handed_on
    spoken = ("message.user", "message.assistant", "run.note", "assignment.created")
    said = [payload for kind in spoken for payload in told.payloads(kind)]
    assert len(said) == sum(bool(message["content"].strip()) for message in messages)


@needs_traces
def test_a_real_team_succeeded_by_its_own_word_where_it_said_so():
    for name in DOCUMENTED:
        expected = [("succeeded", "agent")] if name in SATISFIED else []
        assert Told(ADAPTER, recorded(name).read_bytes()).outcomes == expected, name


def test_what_the_sample_of_a_chat_tells():
    told = Told(ADAPTER, (SAMPLES / "chat_messages" / "observatory_dome.json").read_bytes())
    assert told.counts == Counts(1, 5, 4, 1, 0)
    assert told.tools == [
        ("dome_status", True),
        ("forecast", False),
        ("forecast", True),
        ("close_dome", True),
    ]
    assert told.outcomes == []
    assert told.payloads("mission.created") == [
        {"title": "Is the dome closed, and will it rain tonight?", "clock": "ordinal"}
    ]


def test_what_the_sample_of_a_team_tells():
    told = Told(ADAPTER, (SAMPLES / "chat_messages" / "ferry_ramp_team.json").read_bytes())
    assert told.counts == Counts(1, 4, 0, 0, 0)
    assert [call["agent"] for call in told.payloads("llm.call")] == [
        "Orchestrator",
        "Orchestrator",
        "WebSurfer",
        "Orchestrator",
    ]
    (assigned,) = told.payloads("assignment.created")
    assert (assigned["by"], assigned["target"], assigned["step"]) == ("Orchestrator", "WebSurfer", 3)
    assert told.payloads("assignment.completed") == [{"assignment_id": "3", "target": "WebSurfer"}]
    assert told.outcomes == [("succeeded", "agent")]


def test_results_answer_by_id_and_without_one_in_order():
    first, second = {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}
    in_order = [calls("a", "b"), first, second]
    by_id = [calls("a", "b", a="x", b="y"), first | {"tool_call_id": "y"}, second | {"tool_call_id": "x"}]
    assert [tool for tool, _ in Told(ADAPTER, in_order).tools] == ["a", "b"]
    assert [tool for tool, _ in Told(ADAPTER, by_id).tools] == ["b", "a"]


def test_an_id_that_is_used_twice_is_two_calls():
    result = {"role": "tool", "content": "ok", "tool_call_id": "x"}
    told = Told(ADAPTER, [calls("a", a="x"), result, calls("a", a="x"), result])
    assert (told.counts.tool_calls, told.tools) == (2, [("a", True), ("a", True)])
    assert len(set(told.ids)) == len(told.ids)


@pytest.mark.parametrize(
    ("content", "succeeded"),
    [
        ("Error: none", False),
        ('{"error": "none"}', False),
        ("Traceback (most recent call last):", False),
        ('{"errors": 0}', True),
        ("Errors were corrected", True),
        ("", True),
        (None, True),
    ],
)
def test_a_tool_failed_where_its_result_is_an_error(content: Any, succeeded: bool):
    assert Told(ADAPTER, [calls("a"), {"role": "tool", "content": content}]).tools == [("a", succeeded)]


def test_content_blocks_hold_calls_and_results_too():
    used = {"type": "tool_use", "id": "t1", "name": "lookup", "input": {"word": "pier"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "no such word", "is_error": True}
    told = Told(
        ADAPTER,
        [
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}, used]},
            {"role": "user", "content": [result]},
        ],
    )
    assert told.tools == [("lookup", False)]
    assert told.payloads("message.user") == []
    assert told.payloads("exec.command")[0]["arguments"] == {"word": "pier"}


def test_a_request_object_names_its_model():
    document = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}, calls("a")]}
    told = Told(ADAPTER, document)
    assert told.payloads("mission.created")[0]["model"] == "gpt-4o"
    assert [step.tool for step in told.steps][:1] == ["gpt-4o"]


def test_a_conversation_is_known_by_all_that_was_said():
    one = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    other = [one[0], {"role": "assistant", "content": "Good day."}]
    assert Told(ADAPTER, one).missions == Told(ADAPTER, json.dumps(one, indent=3).encode()).missions
    assert Told(ADAPTER, one).missions != Told(ADAPTER, other).missions


def test_a_cut_conversation_is_rejected_instead_of_becoming_another_mission():
    data = (SAMPLES / "chat_messages" / "observatory_dome.json").read_bytes()
    told = Told(ADAPTER, data[:-30])
    assert (told.missions, len(told.rejected)) == ([], 1)


@pytest.mark.parametrize(
    ("head", "recognised"),
    [
        ([{"role": "user", "content": "Hi"}], True),
        ([{"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "a"}], True),
        ({"messages": [{"role": "user", "content": "Hi"}]}, True),
        ({"messages": [{"role": "user", "content": "Hi"}], "projectHash": "a"}, False),
        ({"messages": [{"role": "user", "content": "Hi"}], "info": {}}, False),
        ([{"role": "user", "content": "<returncode>0</returncode>"}], False),
        ([{"traj": [], "reward": 1}], False),
        ([{"role": "user", "parts": []}], False),
    ],
)
def test_what_is_recognised(head: Any, recognised: bool):
    assert ADAPTER.recognises(json.dumps(head).encode(), whole=True) is recognised
