"""A mission in words: one event for each thing that happened, told from its entries."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quartermaster.core.step_keys import StepKeys, canonical_arguments, error_class
from quartermaster.core.transcript import EventKind, transcript_of


def entry(number, entry_type, payload=None, **more):
    return json.dumps(
        {
            "id": f"j_{number:016x}",
            "mission_id": "mis_1",
            "ts": f"2026-03-01T10:00:{number:02d}Z",
            "entry_type": entry_type,
            "payload": payload or {},
            **more,
        }
    ).encode()


def call(number, command="ls", *, phase=None, **payload):
    return entry(number, "exec.command", {"command": command, "phase": phase, **payload})


def events(*raws):
    return transcript_of(raws).events


def only(*raws):
    (event,) = events(*raws)
    return event


def test_a_call_and_its_result_are_one_event():
    event = only(
        call(1, "rg needle", phase="start", tool="bash", call_id="c1"),
        call(2, "rg needle", phase="end", tool="bash", call_id="c1", exit_code=2, output="no file"),
    )
    assert (event.name, event.command, event.step) == ("bash", "rg needle", 0)
    assert (event.failed, event.exit_code, event.output) == (True, 2, "no file")
    assert event.ended_id == f"j_{2:016x}"
    assert event.ended_at - event.instant == 10**9


def test_a_call_that_never_ended_has_no_outcome():
    event = only(call(1, phase="start", call_id="c1"))
    assert (event.succeeded, event.ended_id) == (None, None)


def test_of_two_open_calls_of_one_command_the_last_ends_first():
    first, second = events(
        call(1, phase="start"),
        call(2, phase="start"),
        call(3, phase="end", output="of the second"),
        call(4, phase="end", output="of the first"),
    )
    assert (first.output, second.output) == ("of the first", "of the second")


def test_a_tool_keeps_its_arguments_and_a_shell_its_line():
    tool, shell = events(call(1, "Read", arguments={"file_path": "a.py"}), call(2, "git status --short"))
    assert (tool.name, tool.command, tool.arguments) == ("Read", None, {"file_path": "a.py"})
    assert (shell.name, shell.command) == ("git", "git status --short")


def test_what_is_said_is_told_with_who_said_it():
    asked, answered = events(
        entry(1, "message.user", {"text": "Fix it"}, actor_type="user"),
        entry(2, "message.assistant", {"text": "Fixed.", "agent": "coder"}, actor_type="agent"),
    )
    assert (asked.kind, asked.text) == (EventKind.USER_MESSAGE, "Fix it")
    assert (answered.kind, answered.text, answered.agent) == (EventKind.AGENT_MESSAGE, "Fixed.", "coder")


def test_the_goal_is_what_was_stated_or_else_what_was_asked_first():
    asked = entry(2, "message.user", {"text": "Fix it"})
    assert transcript_of([asked]).goal == "Fix it"
    created = entry(1, "mission.created", {"goal": "Mend the parser", "title": "parser"})
    assert transcript_of([created, asked]).goal == "Mend the parser"


def test_facts_about_the_mission_are_no_events():
    transcript = transcript_of(
        [
            entry(1, "mission.created", {"task": "t1", "tools": ["read", "write", 3], "labels": {"a": 1}}),
            entry(2, "mission.outcome", {"outcome": "succeeded", "origin": "agent"}),
            entry(3, "mission.outcome", {"outcome": "failed", "origin": "verifier", "reward": 0}),
        ]
    )
    assert transcript.events == ()
    assert (transcript.task, transcript.tools, transcript.labels) == ("t1", ("read", "write"), {"a": 1})
    assert transcript.outcome == "failed", "a verifier's word wins over the agent's"
    assert {one.origin for one in transcript.told} == {"agent", "verifier"}


def test_evaluations_of_this_program_are_no_part_of_the_mission():
    assert events(entry(1, "eval.metric", {"metric": "steps"})) == ()


def test_input_tokens_include_what_a_cache_gave_and_took():
    counters = {"input_tokens": 10, "cache_read_tokens": 200, "cache_creation_tokens": 30, "output_tokens": 5}
    event = only(entry(1, "llm.call", {"model": "m", **counters}))
    assert (event.tokens_in, event.output_tokens, event.tokens) == (240, 5, 245)
    assert only(entry(1, "llm.call", {"model": "m"})).tokens_in is None


def test_a_call_without_a_recorded_cost_is_priced_where_there_is_a_price():
    def price(model, **counters):
        return 7 if model == "known" else None

    known, unknown, recorded = transcript_of(
        [
            entry(1, "llm.call", {"model": "known"}),
            entry(2, "llm.call", {"model": "other"}),
            entry(3, "llm.call", {"model": "known", "cost_usd": 2}),
        ],
        price=price,
    ).events
    assert (known.cost, unknown.cost, recorded.cost) == (7, None, 2 * 10**12)


def test_a_refused_call_is_marked_as_never_carried_out():
    assert only(call(1, cancelled=True)).refused
    assert not only(call(1, exit_code=1)).refused


def test_the_steps_are_numbered_as_in_the_trajectory():
    told = events(
        entry(1, "message.user", {"text": "x"}),
        entry(2, "llm.call", {"model": "m"}),
        entry(3, "cost.incurred", {"cost_usd": 1}),
        call(4),
        entry(5, "mission.status_change", {"to_status": "completed"}),
    )
    assert [(event.kind.name, event.step) for event in told] == [
        ("USER_MESSAGE", None),
        ("MODEL_CALL", 0),
        ("TOOL_CALL", 1),
        ("STATUS", 2),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TYPES = ("exec.command", "llm.call", "message.user", "mission.created", "mission.outcome", "run.note", "x")
KEYS = ("command", "tool", "arguments", "output", "text", "labels", "tools", "reward", "phase", "cost_usd")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6) | JSON)
def test_values_of_any_type_are_told_without_a_fault(entry_type, payload):
    raw = json.dumps({"entry_type": entry_type, "ts": "2026-01-01T00:00:00Z", "payload": payload}).encode()
    for event in transcript_of([raw]).events:
        keys = StepKeys()
        assert isinstance(keys.step(event), int)
        assert isinstance(keys.outcome(event), int)


# Keys


def key(*raws):
    return StepKeys().step(only(*raws))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat /tmp/a91/x.txt", "cat /tmp/b77/x.txt"),
        ("at 2026-01-01T10:00:00Z", "at 2026-02-03 11:22"),
        ("get 8c0e1f8e-0000-4000-8000-000000000001", "get 9c0e1f8e-0000-4000-8000-000000000002"),
        ("see req_abc123def", "see req_xyz987uvw"),
        ("ls   -l", "ls -l"),
    ],
    ids=["temporary path", "time", "uuid", "request id", "white space"],
)
def test_what_is_volatile_does_not_tell_two_calls_apart(one, other):
    assert key(call(1, one)) == key(call(1, other))


def test_other_arguments_make_another_call():
    assert key(call(1, "cat a.txt")) != key(call(1, "cat b.txt"))
    assert key(call(1, "get", arguments={"id": "A-1"})) != key(call(1, "get", arguments={"id": "A-2"}))


def test_arguments_in_another_order_are_the_same_arguments():
    one = only(call(1, "get", arguments={"a": 1, "b": {"d": 2, "c": 3}}))
    other = only(call(1, "get", arguments={"b": {"c": 3, "d": 2}, "a": 1}))
    assert canonical_arguments(one) == canonical_arguments(other)


def test_a_change_behind_what_was_cut_is_another_call():
    one = call(1, "write", arguments={"text": "abc…"}, arguments_digest="00")
    assert key(one) != key(call(1, "write", arguments={"text": "abc…"}, arguments_digest="01"))


def test_an_answer_is_told_apart_by_status_class_and_words_but_not_by_how_long_it_took():
    keys = StepKeys()

    def outcome(**payload):
        return keys.outcome(only(call(1, **payload)))

    assert outcome(output="2 passed in 0.31s") == outcome(output="2 passed in 0.48s")
    assert outcome(output="2 passed") != outcome(output="3 passed")
    assert outcome(output="x", exit_code=0) != outcome(output="x", exit_code=1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Request timed out after 30 s", "timeout"),
        ("HTTP 429 Too Many Requests", "rate limit"),
        ("permission denied: /etc/shadow", "auth"),
        ("cat: a.txt: No such file or directory", "not found"),
        ("ValidationError: missing field", "validation"),
        ("502 Bad Gateway", "server"),
        ("boom", "unknown"),
        (None, "unknown"),
    ],
)
def test_an_error_has_the_class_of_its_words(words, expected):
    assert error_class(words) == expected
