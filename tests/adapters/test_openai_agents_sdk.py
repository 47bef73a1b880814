"""Traces of the OpenAI Agents SDK: one mission a trace, tokens where the program left them."""

import json
import re
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters import recognise
from quartermaster.adapters.openai_agents_sdk import ADAPTER
from quartermaster.core.trajectory import INPUT_BLOCKED, MODEL_CALL, OUTPUT_BLOCKED

EXPORTS = TRACES / "openai_agents_sdk"
needs_traces = pytest.mark.skipif(not EXPORTS.is_dir(), reason=NO_TRACES)


def recorded(name: str) -> bytes:
    (path,) = EXPORTS.glob(f"{name}*.json")
    return path.read_bytes()


def span(key: str, kind: str, parent: str | None = None, second: int = 1, **more: Any) -> dict[str, Any]:
    data = {"type": kind} | more.pop("data", {})
    times = {
        "started_at": f"2026-01-01T10:00:{second:02d}+00:00",
        "ended_at": f"2026-01-01T10:00:{second + 1:02d}+00:00",
    }
    about = {"object": "trace.span", "id": key, "trace_id": "trace_1", "parent_id": parent, "error": None}
    return about | times | {"span_data": data} | more


def export(*spans: Any, **more: Any) -> dict[str, Any]:
    trace = {"object": "trace", "id": "trace_1", "workflow_name": "Desk", "group_id": None}
    return {"traces": [trace | {"spans": list(spans)} | more]}


@needs_traces
def test_the_figures_of_the_real_trace_are_exact():
    """SOURCE.md states no figures; the responses that the author added as text do."""
    told = Told(ADAPTER, recorded("traces_"))
    assert told.counts == Counts(1, 3, 0, 0, 1_215 + 1_338 + 1_674)
    spans = json.loads(recorded("traces_"))["traces"][0]["spans"]
    responses = [one["response"] for one in spans if one["span_data"]["type"] == "response"]
    totals = [int(re.findall(r"total_tokens=(\d+)", text)[-1]) for text in responses]
    assert told.counts.tokens == sum(totals)
    assert told.cost is None
    assert told.outcomes == [("succeeded", "agent")]
    assert not told.rejected


@needs_traces
def test_the_home_made_dump_beside_the_real_trace_is_none_of_this_format():
    dump = recorded("otel_traces_")
    assert not ADAPTER.recognises(dump, whole=True)
    assert recognise(dump, whole=True) is not ADAPTER


def test_what_the_sample_tells():
    told = Told(ADAPTER, (SAMPLES / "openai_agents_sdk" / "harbour_desk.json").read_bytes())
    assert told.counts == Counts(1, 2, 2, 1, 1_022)
    assert told.tools == [("list_berths", True), ("tide_at", False)]
    assert told.outcomes == [("failed", "agent")]
    (blocked,) = told.payloads("guardrail.output_blocked")
    assert blocked == {"kind": "no_phone_numbers", "direction": "output"}
    assert told.payloads("mission.created") == [
        {
            "title": "Which berth is free tonight for a boat of 11 m?",
            "agent": "Harbour desk",
            "tools": ["list_berths", "tide_at"],
            "model": "gpt-4.1-mini",
            "labels": {"session": "guest-88"},
        }
    ]


def test_traces_and_spans_side_by_side_tell_the_same():
    inside = export(
        span("g", "generation", data={"model": "m"}), span("f", "function", data={"name": "look"})
    )
    (trace,) = inside["traces"]
    spans = trace.pop("spans")
    beside = {"data": [*spans, trace]}
    assert Told(ADAPTER, beside).raw == Told(ADAPTER, export(*spans)).raw
    assert ADAPTER.recognises(json.dumps(beside).encode(), whole=True)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 2},
            (6, 2, 4, 12),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 2}, (10, 2, None, 12)),
        (None, (None, None, None, None)),
    ],
)
def test_tokens_of_a_generation(usage: Any, expected: tuple[Any, ...]):
    told = Told(ADAPTER, export(span("g", "generation", data={"model": "m", "usage": usage})))
    (step,) = told.of_kind(MODEL_CALL)
    assert (step.input_tokens, step.output_tokens, step.cache_read_tokens, step.tokens) == expected


def test_a_response_without_its_text_is_a_call_whose_tokens_are_unknown():
    (step,) = Told(ADAPTER, export(span("r", "response", data={"response_id": "x"}))).of_kind(MODEL_CALL)
    assert (step.tool, step.tokens) == (None, None)


@pytest.mark.parametrize(
    ("second", "kind"), [(0, INPUT_BLOCKED), (1, INPUT_BLOCKED), (2, OUTPUT_BLOCKED), (5, OUTPUT_BLOCKED)]
)
def test_a_guardrail_looks_at_the_answer_once_there_is_one(second: int, kind: int):
    guardrail = span("q", "guardrail", second=second, data={"name": "q", "triggered": True})
    passed = span("p", "guardrail", second=second, data={"name": "p", "triggered": False})
    told = Told(ADAPTER, export(span("g", "generation"), guardrail, passed))
    assert [step.kind for step in told.of_kind(INPUT_BLOCKED, OUTPUT_BLOCKED)] == [kind]


@pytest.mark.parametrize(
    ("spans", "outcomes"),
    [
        ([span("a", "agent")], [("succeeded", "agent")]),
        ([span("a", "agent"), span("b", "agent", error={"message": "boom"})], [("failed", "agent")]),
        ([span("a", "agent", ended_at=None)], []),
        ([span("a", "agent"), span("f", "function", "a", error={"message": "no"})], [("succeeded", "agent")]),
        ([], []),
    ],
)
def test_how_a_trace_ended_is_how_its_roots_ended(spans: list[Any], outcomes: list[tuple[str, str]]):
    assert Told(ADAPTER, export(*spans)).outcomes == outcomes


def test_usage_of_turns_and_tasks_repeats_that_of_their_calls():
    used = {"input_tokens": 10, "output_tokens": 2}
    told = Told(
        ADAPTER,
        export(span("t", "turn", data={"usage": used}), span("g", "generation", "t", data={"usage": used})),
    )
    assert told.counts == Counts(1, 1, 0, 0, 12)


def test_a_malformed_trace_costs_itself():
    good, other = export(span("g", "generation"))["traces"], export(id="trace_2")["traces"]
    told = Told(ADAPTER, {"traces": [*good, 17, {"id": "trace_3", "spans": [5]}, *other]})
    assert told.missions == ["trace_1", "trace_2"]
    assert len(told.rejected) == 2


@pytest.mark.parametrize(
    ("head", "recognised"),
    [
        (json.dumps(export()).encode(), True),
        (b'{"data": [{"object": "trace.span", "id": "a", "trace_id": "b", "span_data": {"cut', True),
        (b'{"data": [{"traceID": "a", "spans": []}]}', False),
        (b'{"traces": [{"id": "a"}]}', False),
        (b'{"traces": 5}', False),
        (b'[{"object": "trace", "id": "a", "workflow_name": "b"}]', False),
    ],
)
def test_what_is_recognised(head: bytes, recognised: bool):
    assert ADAPTER.recognises(head, whole=False) is recognised
