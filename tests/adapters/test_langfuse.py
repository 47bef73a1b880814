"""Langfuse traces: the deepest generation of a branch is the model call, whatever repeats it."""

import json
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters.langfuse import ADAPTER
from quartermaster.core.trajectory import MODEL_CALL

EXPORTS = TRACES / "langfuse"
needs_traces = pytest.mark.skipif(not EXPORTS.is_dir(), reason=NO_TRACES)

# The cost that SOURCE.md states, the figures, and what of that cost repeats a model call that another
# observation of the same branch tells too.
DOCUMENTED: dict[str, tuple[float, Counts, float]] = {
    # two calls, each told by the framework and by the provider's client inside of it
    "agno": (0.000982, Counts(1, 2, 1, 0, 1_071), 0.0007113),
    "autogen": (0.000025, Counts(1, 1, 0, 0, 44), 0.0),
    "claude-agent": (0.003582, Counts(1, 4, 2, 0, 266), 0.0),
    "crewai": (0.000127, Counts(1, 1, 0, 0, 354), 0.0),
    "google-adk": (0.000010, Counts(1, 2, 1, 0, 76), 0.0),
    "langgraph": (0.000234, Counts(1, 2, 1, 0, 234), 0.0),
    "llamaindex": (0.000842, Counts(1, 1, 0, 0, 94), 0.0),
    # the agent carries a usage of its own, which is not the sum of its generations
    "microsoft-agent": (0.000656, Counts(1, 2, 1, 0, 399), 0.000371),
    "openai-agents": (0.000632, Counts(1, 2, 1, 0, 184), 0.0),
    "pydantic-ai": (0.000323, Counts(1, 4, 3, 0, 1_524), 0.0),
    # generateText repeats the doGenerate inside of it
    "vercel-aisdk": (0.001375, Counts(1, 1, 1, 0, 147), 0.0004475),
    # its total counts 1,173 tokens more than its input and output, which the model thought
    "vertex-ai": (0.000850, Counts(1, 1, 0, 0, 2_023), 0.0),
}


def recorded(name: str) -> bytes:
    (path,) = EXPORTS.glob(f"{name}*.json")
    return path.read_bytes()


def observation(key: str, kind: str = "GENERATION", parent: str | None = None, **more: Any) -> dict[str, Any]:
    times = {"startTime": "2026-01-01T10:00:00.000Z", "endTime": "2026-01-01T10:00:02.500Z"}
    usage = {"input": 10, "output": 2, "total": 12} if kind == "GENERATION" else {}
    about = {"id": key, "traceId": "t", "parentObservationId": parent, "type": kind, "name": key}
    return about | times | {"level": "DEFAULT", "model": None, "usageDetails": usage} | more


def export(*observations: Any, **more: Any) -> dict[str, Any]:
    trace = {"id": "t", "timestamp": "2026-01-01T10:00:00.000Z", "name": "helper"} | more
    return {"trace": trace, "observations": list(observations)}


@needs_traces
def test_every_recording_is_documented_here():
    assert len(list(EXPORTS.glob("*.json"))) == len(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_figures_of_real_traces_are_exact(name: str):
    stated, counts, repeated = DOCUMENTED[name]
    told = Told(ADAPTER, recorded(name))
    assert told.counts == counts
    assert told.cost == pytest.approx(stated - repeated, abs=1e-6)
    assert not told.rejected


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_figures_are_those_of_the_innermost_generations_of_the_file(name: str):
    observations = json.loads(recorded(name))["observations"]
    parents = {one["id"]: one["parentObservationId"] for one in observations}
    generations = {one["id"]: one for one in observations if one["type"] == "GENERATION"}
    around = {parents[key] for key in generations}
    calls = [one for key, one in generations.items() if key not in around]
    told = Told(ADAPTER, recorded(name))
    assert told.counts.model_calls == len(calls)
    assert told.counts.tokens == sum(one["usageDetails"]["total"] for one in calls)
    assert told.cost == pytest.approx(sum(one["totalCost"] for one in calls))
    assert len(told.payloads("span.model")) == len(generations) - len(calls)


@needs_traces
def test_tools_of_real_traces_are_found_also_where_they_are_spans():
    assert Told(ADAPTER, recorded("agno")).tools == [("duckduckgo_search", True)]
    assert Told(ADAPTER, recorded("langgraph")).tools == [("Web-Search", True)]
    assert Told(ADAPTER, recorded("google-adk")).tools == [("say_hello", True)]
    assert Told(ADAPTER, recorded("pydantic-ai")).tools == [
        ("get_pun_suggestion", True),
        ("get_dad_joke_suggestion", True),
        ("get_one_liner_suggestion", True),
    ]


@needs_traces
def test_scores_of_real_traces_are_labels_of_a_judge():
    (created,) = Told(ADAPTER, recorded("microsoft-agent")).payloads("mission.created")
    assert created["labels"]["scores"]["correctness"] == {"value": 1, "origin": "judge"}
    assert created["title"] == "What's the weather in Tokyo?"


def test_what_the_sample_tells():
    told = Told(ADAPTER, (SAMPLES / "langfuse" / "greenhouse.trace.json").read_bytes())
    assert told.counts == Counts(1, 3, 2, 1, 1_534)
    assert told.cost == pytest.approx(0.00051)
    assert told.tools == [("read_moisture", True), ("open_valve", False)]
    assert told.outcomes == [("succeeded", "agent")]
    assert told.payloads("mission.created") == [
        {
            "title": "Is bed 12 too dry, and if so, water it.",
            "goal": "Is bed 12 too dry, and if so, water it.",
            "agent": "gardener",
            "model": "gpt-4.1-mini-2025-04-14",
            "version": "2026.4",
            "labels": {"session": "beds-12"},
        }
    ]


def test_the_api_answers_the_same_trace_in_another_shape():
    whole = export(observation("g"), tags=["a"], scores=[{"name": "s", "value": 1, "source": "ANNOTATION"}])
    answer = whole["trace"] | {"observations": whole["observations"]}
    assert Told(ADAPTER, answer).raw == Told(ADAPTER, whole).raw
    assert ADAPTER.recognises(json.dumps(answer).encode(), whole=True)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input": 100, "output": 5, "total": 105, "input_cache_read": 60}, (40, 5, 60, 105)),
        ({"input": 40, "output": 5, "total": 105, "input_cache_read": 60}, (40, 5, 60, 105)),
        ({"input": 100, "output": 5, "prompt_details.cache_read": 60}, (40, 5, 60, 105)),
        ({"input": 100, "output": 5, "total": 130}, (100, 5, None, 130)),
        ({}, (None, None, None, None)),
        ({"input": "100"}, (None, None, None, None)),
    ],
)
def test_counters_do_not_overlap(usage: Any, expected: tuple[Any, ...]):
    (step,) = Told(ADAPTER, export(observation("g", usageDetails=usage))).of_kind(MODEL_CALL)
    assert (step.input_tokens, step.output_tokens, step.cache_read_tokens, step.tokens) == expected


def test_a_cost_of_zero_is_unknown():
    assert Told(ADAPTER, export(observation("g", totalCost=0))).cost is None


def test_a_generation_around_another_is_no_call_unless_a_tool_stands_between():
    nested = export(observation("a"), observation("b", parent="a"))
    assert Told(ADAPTER, nested).counts.model_calls == 1
    through_span = export(observation("a"), observation("s", "SPAN", "a"), observation("b", parent="s"))
    assert Told(ADAPTER, through_span).counts.model_calls == 1
    asked_by_a_tool = export(observation("a"), observation("t", "TOOL", "a"), observation("b", parent="t"))
    assert Told(ADAPTER, asked_by_a_tool).counts.model_calls == 2


def test_parents_that_run_in_a_circle_end():
    told = Told(ADAPTER, export(observation("a", parent="b"), observation("b", parent="a")))
    assert told.missions == ["langfuse_t"]


def test_the_same_observation_twice_is_one():
    assert Told(ADAPTER, export(observation("a"), observation("a"))).counts.model_calls == 1


def test_observations_come_in_order_of_time_whatever_their_order_in_the_file():
    late = observation("late", "TOOL", startTime="2026-01-01T11:00:00Z", endTime=None)
    told = Told(ADAPTER, export(late, observation("early")))
    assert told.steps[0].kind == MODEL_CALL
    assert told.tools == []


@pytest.mark.parametrize(
    ("observations", "outcomes"),
    [
        ([observation("a", "SPAN")], [("succeeded", "agent")]),
        ([observation("a", "SPAN", level="ERROR", statusMessage="boom")], [("failed", "agent")]),
        ([observation("a", "SPAN", endTime=None)], []),
        ([observation("a", "SPAN"), observation("b", "TOOL", "a", level="ERROR")], [("succeeded", "agent")]),
        ([], []),
    ],
)
def test_how_a_trace_ended_is_how_its_roots_ended(observations: list[Any], outcomes: list[tuple[str, str]]):
    assert Told(ADAPTER, export(*observations)).outcomes == outcomes


def test_a_generation_that_failed_without_an_answer_is_no_model_call():
    failed = observation("a", level="ERROR", statusMessage="429", usageDetails={})
    told = Told(ADAPTER, export(failed))
    assert told.counts.model_calls == 0
    assert [payload["error"] for payload in told.payloads("run.api_error")] == ["429"]


def test_an_id_that_changes_from_run_to_run_is_no_part_of_an_agents_name():
    name = "invoke_agent 171105b7-59dd-49c0-9677-0b95395aa46a"
    (created,) = Told(ADAPTER, export(observation("a", "AGENT", name=name))).payloads("mission.created")
    assert created["agent"] == "invoke_agent"


def test_a_malformed_observation_costs_itself():
    told = Told(ADAPTER, export(observation("a"), 17, observation("b")))
    assert told.counts.model_calls == 2
    assert len(told.rejected) == 1


@pytest.mark.parametrize("trace", [17, None, {}, {"id": ""}, [], "t"])
def test_a_trace_without_an_id_is_rejected(trace: Any):
    told = Told(ADAPTER, {"trace": trace, "observations": [observation("a")]})
    assert (told.entries, len(told.rejected)) == ([], 1)


@pytest.mark.parametrize(
    ("head", "recognised"),
    [
        (b'{"trace": {"id": "a", "timestamp": "b", "input": "cut', True),
        (b'{"trace": {"id": "a", "timestamp": "b"}, "observations": []}', True),
        (b'{"trace": {"id": "a", "timestamp": "b"}}', False),
        (b'{"trace": "text", "observations": []}', False),
        (b'{"id": "a", "timestamp": "b", "observations": [{"x": 1}]}', False),
        (b'[{"trace": {"id": "a", "timestamp": "b"}, "observations": []}]', False),
    ],
)
def test_what_is_recognised(head: bytes, recognised: bool):
    assert ADAPTER.recognises(head, whole=False) is recognised
