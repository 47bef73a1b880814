"""Span dumps of the Python SDK: counted from the file's own spans, and as their source describes them."""

import json
import re
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters import recognise
from quartermaster.adapters.otel_sdk_json import ADAPTER

RUNS = TRACES / "otel_sdk_json"
CONFLICT = "corrupt_merge_conflict/AGNO_trace.json"
needs_traces = pytest.mark.skipif(not RUNS.is_dir(), reason=NO_TRACES)

NAMES = (
    sorted(str(path.relative_to(RUNS)) for path in RUNS.glob("*/*.json") if "corrupt" not in str(path))
    if RUNS.is_dir()
    else []
)
EXPORTED_TWICE = {"2025-07-11_mistral-small_genai/OPENAI_trace.json": 1}
"""Recordings in which one span of a tool stands twice, under one id: it is one call."""
NO_AGENT_SPAN = {"2025-05-19_gpt-4.1-mini_openinference/LLAMA_INDEX_trace.json"}
"""Recordings in which no span says that it is an agent: nobody tells how the run ended."""
INPUT_TOKENS = ("gen_ai.usage.input_tokens", "llm.token_count.prompt")
OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "llm.token_count.completion")


def spans_of(name: str) -> list[dict[str, Any]]:
    return list(json.loads((RUNS / name).read_bytes())["spans"])


def number(span: dict[str, Any], names: tuple[str, ...]) -> int:
    return sum(span["attributes"].get(name, 0) for name in names)


def is_model(span: dict[str, Any]) -> bool:
    attributes = span["attributes"]
    return attributes.get("openinference.span.kind") == "LLM" or (
        attributes.get("gen_ai.operation.name") == "call_llm"
    )


def is_tool(span: dict[str, Any]) -> bool:
    attributes = span["attributes"]
    return attributes.get("openinference.span.kind") == "TOOL" or (
        attributes.get("gen_ai.operation.name") == "execute_tool"
    )


def deepest(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Model spans in which no other model span lies, directly or not."""
    parents = {span["context"]["span_id"]: span["parent"]["span_id"] for span in spans}
    around: set[int] = set()
    for span in filter(is_model, spans):
        above = span["parent"]["span_id"]
        while above is not None and above in parents:
            around.add(above)
            above = parents[above]
    return [span for span in spans if is_model(span) and span["context"]["span_id"] not in around]


def counted(spans: list[dict[str, Any]]) -> Counts:
    calls = deepest(spans)
    tools = {span["context"]["span_id"]: span for span in spans if is_tool(span)}.values()
    return Counts(
        1,
        len(calls),
        len(tools),
        sum(span["status"]["status_code"] == "error" for span in tools),
        sum(number(span, INPUT_TOKENS + OUTPUT_TOKENS) for span in calls),
    )


def dump(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"spans": list(spans), "final_output": None}


def span(number: int, parent: int | None = None, status: str = "ok", **attributes: Any) -> dict[str, Any]:
    context = {"trace_id": 2**127 + 1, "span_id": number}
    return {
        "name": "span",
        "context": context,
        "parent": {"trace_id": None if parent is None else 2**127 + 1, "span_id": parent},
        "start_time": 1_748_365_666_232_706_461,
        "end_time": 1_748_365_667_302_883_277,
        "status": {"status_code": status, "description": None},
        "attributes": {name.replace("__", "."): value for name, value in attributes.items()},
        "events": [],
    }


@needs_traces
@pytest.mark.parametrize("name", NAMES)
def test_the_counts_of_a_real_run_are_exact(name: str):
    told = Told(ADAPTER, (RUNS / name).read_bytes())
    assert told.counts == counted(spans_of(name))
    assert not told.rejected


@needs_traces
@pytest.mark.parametrize("name", NAMES)
def test_the_counts_are_those_that_the_source_states(name: str):
    row = re.search(rf"\| {re.escape(name)} \|.*", (RUNS / "SOURCE.md").read_text())
    assert row
    spans, tools, naive = map(
        int, re.findall(r"(\d+) spans, (\d+) tool spans, .* naively over spans (\d+)", row[0])[0]
    )
    told = Told(ADAPTER, (RUNS / name).read_bytes())
    twice = EXPORTED_TWICE.get(name, 0)
    assert len([entry for entry in told.raw if "span_id" in entry["payload"]]) == spans - twice
    assert told.counts.tool_calls == tools - twice
    assert sum(number(one, INPUT_TOKENS) for one in spans_of(name)) == naive  # what the source has summed
    repeated = sum(payload.get("input_tokens", 0) for payload in told.payloads("span.model"))
    agents = sum(payload["attributes"].get(INPUT_TOKENS[1], 0) for payload in told.payloads("span.agent"))
    billed = sum(payload["input_tokens"] for payload in told.payloads("llm.call"))
    assert billed + repeated + agents == naive


@needs_traces
@pytest.mark.parametrize("name", NAMES)
def test_recorded_cost_is_kept_and_half_a_cost_is_none(name: str):
    spans = deepest(spans_of(name))
    recorded = [
        one["attributes"]["gen_ai.usage.input_cost"] + one["attributes"]["gen_ai.usage.output_cost"]
        for one in spans
        if "gen_ai.usage.input_cost" in one["attributes"]
    ]
    # the older dumps say that completions of 15 tokens and more cost nothing
    assert all(one["attributes"].get("cost_completion", 0) == 0 for one in spans)
    assert Told(ADAPTER, (RUNS / name).read_bytes()).cost == (
        pytest.approx(sum(recorded)) if recorded else None
    )


@needs_traces
@pytest.mark.parametrize("name", NAMES)
def test_a_real_run_knows_its_task_its_model_and_how_it_ended(name: str):
    told = Told(ADAPTER, (RUNS / name).read_bytes())
    [created] = told.payloads("mission.created")
    assert "America/New_York" in created["task"]
    assert created["model"] == ("mistral/mistral-small-latest" if "mistral" in name else "gpt-4.1-mini")
    assert told.outcomes == ([] if name in NO_AGENT_SPAN else [("succeeded", "agent")])


@needs_traces
def test_a_file_with_conflict_marks_is_recognised_and_every_broken_span_is_told():
    document = (RUNS / CONFLICT).read_bytes()
    assert recognise(document, whole=True) is ADAPTER
    told = Told(ADAPTER, document)
    assert told.counts == Counts(0, 0, 0, 0, 0)
    assert told.rejected


def test_the_sample_is_what_it_says():
    told = Told(ADAPTER, (SAMPLES / "otel_sdk_json" / "gull_count.json").read_bytes())
    assert told.counts == Counts(1, 4, 3, 1, 180 + 236 + 270 + 300 + 16 + 20 + 15 + 41)
    assert told.tools == [("count_birds", False), ("count_birds", True), ("write_file", True)]
    assert told.outcomes == [("succeeded", "agent")]
    assert told.payloads("mission.created")[0]["task"].startswith("Count the gulls")


def test_ids_beyond_what_a_double_can_hold_stay_apart():
    told = Told(ADAPTER, dump(span(2**63 + 1), span(2**63 + 2), span(2**63 + 1)))
    assert len({payload["span_id"] for payload in told.payloads("span.other")}) == 2
    assert told.missions == [f"otel_{2**127 + 1:032x}"]


def test_a_status_that_is_unset_is_no_failure():
    tool = {"gen_ai__operation__name": "execute_tool", "gen_ai__tool__name": "look"}
    told = Told(ADAPTER, dump(span(1, status="unset", **tool), span(2, status="error", **tool)))
    assert told.tools == [("look", True), ("look", False)]
