"""Exports of Grafana Tempo: counted from the file's own attributes."""

import json
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters.otel_tempo import ADAPTER

RECORDED = TRACES / "otlp_json" / "tempo_export_with_batches.json"
needs_traces = pytest.mark.skipif(not RECORDED.is_file(), reason=NO_TRACES)


def spans() -> list[dict[str, Any]]:
    batches = json.loads(RECORDED.read_bytes())["batches"]
    return [
        span for batch in batches for scope in batch["instrumentationLibrarySpans"] for span in scope["spans"]
    ]


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


@needs_traces
def test_the_counts_of_a_real_trace_are_exact():
    told = Told(ADAPTER, RECORDED.read_bytes())
    nearest = [attributes(span) for span in spans() if span["name"] == "openai.chat"]
    tokens = sum(int(one["llm.usage.total_tokens"]) for one in nearest)
    assert told.counts == Counts(1, len(nearest), 1, 0, tokens) == Counts(1, 2, 1, 0, 4_777)
    assert len([entry for entry in told.raw if "span_id" in entry["payload"]]) == len(spans()) == 86
    assert not told.rejected


@needs_traces
def test_three_spans_for_each_call_are_one_call():
    named = [span["name"].split()[0] for span in spans()]
    assert (named.count("call_llm"), named.count("generate_content"), named.count("openai.chat")) == (2, 2, 2)
    told = Told(ADAPTER, RECORDED.read_bytes())
    assert len(told.payloads("llm.call")) == 2
    assert len(told.payloads("span.model")) == 4


@needs_traces
def test_a_real_trace_knows_what_was_asked_of_whom():
    told = Told(ADAPTER, RECORDED.read_bytes())
    [created] = told.payloads("mission.created")
    assert created["title"] == "list all helm releases"
    assert (created["agent"], created["model"], created["version"]) == ("helm-agent", "gpt-4.1-mini", "0.9.0")
    assert told.missions == ["otel_ctx-eff35888-55ab-4eb0-b90d-7b21f711f91f"]
    assert told.outcomes == [("succeeded", "agent")]


def test_the_sample_is_what_it_says():
    told = Told(ADAPTER, (SAMPLES / "otel_tempo" / "fog_signal.json").read_bytes())
    assert told.counts == Counts(1, 2, 1, 0, 900 + 15 + 960 + 24)
    assert told.payloads("mission.created")[0]["title"] == "Sound the fog signal until noon."
