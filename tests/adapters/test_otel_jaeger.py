"""Exports of Jaeger: counted from the file's own tags."""

import json
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters import recognise
from quartermaster.adapters.otel_jaeger import ADAPTER

RUNS = TRACES / "otel_jaeger"
needs_traces = pytest.mark.skipif(not RUNS.is_dir(), reason=NO_TRACES)

# spans, model calls, tool calls, fresh input, cached input, output
DOCUMENTED = {
    "helm.json": (96, 2, 1, 1820 + 1956 - 1792, 1792, 13 + 117),
    "k8s.json": (73, 1, 0, 2203 - 1792, 1792, 139),
}
LABEL_FILES = ("eval_set_helm.json", "evalset_k8s_2026-02-20.json")


def tags_of(name: str) -> list[dict[str, Any]]:
    [trace] = json.loads((RUNS / name).read_bytes())["data"]
    return [{tag["key"]: tag["value"] for tag in span["tags"]} for span in trace["spans"]]


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_counts_of_a_real_trace_are_exact(name: str):
    spans, calls, tools, fresh, cached, output = DOCUMENTED[name]
    told = Told(ADAPTER, (RUNS / name).read_bytes())
    assert told.counts == Counts(1, calls, tools, 0, fresh + cached + output)
    assert sum(step.input_tokens or 0 for step in told.steps) == fresh
    assert sum(step.cache_read_tokens or 0 for step in told.steps) == cached
    assert len([entry for entry in told.raw if "span_id" in entry["payload"]]) == spans == len(tags_of(name))
    assert told.outcomes == [("succeeded", "agent")]


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_totals_are_those_of_the_spans_nearest_to_the_provider(name: str):
    totals = [tags["llm.usage.total_tokens"] for tags in tags_of(name) if "llm.usage.total_tokens" in tags]
    told = Told(ADAPTER, (RUNS / name).read_bytes())
    assert [step.tokens for step in told.steps if step.tokens] == totals
    assert len(told.payloads("span.model")) == len(totals)  # the framework's spans around them


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_one_flagged_span_is_a_request_and_fails_nothing(name: str):
    assert sum(tags.get("error") is True for tags in tags_of(name)) == 1
    told = Told(ADAPTER, (RUNS / name).read_bytes())
    assert not [entry for entry in told.raw if entry.get("severity", "info") != "info"]


@needs_traces
@pytest.mark.parametrize("name", LABEL_FILES)
def test_a_label_file_is_no_recording(name: str):
    assert recognise((RUNS / name).read_bytes(), whole=True) is None


@needs_traces
def test_spans_of_a_conversation_are_one_mission_with_those_that_do_not_name_it():
    told = Told(ADAPTER, (RUNS / "helm.json").read_bytes())
    assert told.missions == ["otel_ctx-7ed9780f-3688-4fc0-b10b-2e4df2f83cf0"]
    assert told.payloads("mission.created")[0]["title"] == "list all Helm releases"


def test_the_sample_is_what_it_says():
    told = Told(ADAPTER, (SAMPLES / "otel_jaeger" / "tide_clerk.json").read_bytes())
    assert told.counts == Counts(1, 2, 1, 1, 220 + 19 + 260 + 33)
    assert told.tools == [("ls tables/1811", False)]  # its exit code says so, its status does not
    assert told.outcomes == [("failed", "agent")]
    assert told.payloads("mission.created")[0]["version"] == "4.1"
