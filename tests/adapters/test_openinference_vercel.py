"""Spans of the Vercel AI SDK: the inner span asks the model, the outer one is the agent around it."""

import json
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters.openinference_vercel import ADAPTER

RECORDED = TRACES / "openinference_vercel" / "all-spans.json"
needs_traces = pytest.mark.skipif(not RECORDED.is_file(), reason=NO_TRACES)
INPUT = ("ai.usage.promptTokens", "ai.usage.inputTokens", "ai.usage.tokens")
OUTPUT = ("ai.usage.completionTokens", "ai.usage.outputTokens")


def spans() -> list[dict[str, Any]]:
    return list(json.loads(RECORDED.read_bytes()))


@needs_traces
def test_the_counts_of_real_spans_are_exact():
    inner = [span["attributes"] for span in spans() if ".do" in span["name"]]
    tokens = sum(one.get(name, 0) for one in inner for name in INPUT + OUTPUT)
    told = Told(ADAPTER, RECORDED.read_bytes())
    # every span of this recording is a trace of its own, the outer and the inner ones too
    assert told.counts == Counts(10, 5, 0, 0, tokens) == Counts(10, 5, 0, 0, 449)
    assert len(told.payloads("span.agent")) == 5
    assert not told.rejected


@needs_traces
def test_models_are_named_as_the_provider_named_them():
    told = Told(ADAPTER, RECORDED.read_bytes())
    assert {payload["model"] for payload in told.payloads("llm.call")} == {
        "gpt-4o-mini-2024-07-18",
        "text-embedding-3-small",
    }


def test_the_sample_is_what_it_says():
    told = Told(ADAPTER, (SAMPLES / "openinference_vercel" / "knot_lesson.json").read_bytes())
    assert told.counts == Counts(1, 2, 1, 0, 64 + 12 + 118 + 21)
    assert [step.cache_read_tokens for step in told.steps if step.tokens] == [None, 64]
    assert told.tools == [("lookUpKnot", True)]
    assert told.payloads("mission.created")[0]["agent"] == "knot-teacher"
    assert told.outcomes == [("succeeded", "agent")]
