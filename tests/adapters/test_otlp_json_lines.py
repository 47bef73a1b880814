"""OTLP in JSON, an export a line: spans of a trace on any number of lines and in any order."""

import json
import random
from typing import Any

import pytest
from told import NO_TRACES, SAMPLES, TRACES

from quartermaster.adapters import Record, RejectedLine, recognise
from quartermaster.adapters.otlp_json import ADAPTER as DOCUMENT
from quartermaster.adapters.otlp_json_lines import ADAPTER

RECORDED = TRACES / "otlp_json"
SAMPLE = SAMPLES / "otlp_json_lines" / "buoy_talk.jsonl"
needs_traces = pytest.mark.skipif(not RECORDED.is_dir(), reason=NO_TRACES)


def read(data: bytes) -> tuple[dict[str, dict[str, Any]], list[RejectedLine]]:
    """The newest telling of every entry, by its id, and what was rejected."""
    reader = ADAPTER.line_reader()
    entries: dict[str, dict[str, Any]] = {}
    rejected: list[RejectedLine] = []
    for line in data.split(b"\n"):
        for output in reader.read_line(line, 0):
            if isinstance(output, Record):
                entry = json.loads(output.raw)
                entries[entry["id"]] = entry
            else:
                rejected.append(output)
    return entries, rejected


def of_type(entries: dict[str, dict[str, Any]], entry_type: str) -> list[dict[str, Any]]:
    return [entry for entry in entries.values() if entry["entry_type"] == entry_type]


def line(*spans: dict[str, Any]) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


def one_span_a_line(document: bytes) -> list[bytes]:
    exported = json.loads(document)["resourceSpans"][0]
    resource = exported["resource"]
    return [
        json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}).encode()
        for span in exported["scopeSpans"][0]["spans"]
    ]


@needs_traces
@pytest.mark.parametrize(
    ("name", "spans", "missions"), [("otlp_agent_spans.json", 5, 1), ("otlp_jsonlines_2records.json", 2, 2)]
)
def test_real_exports_that_speak_no_convention_are_spans_without_calls(name: str, spans: int, missions: int):
    data = (RECORDED / name).read_bytes()
    assert recognise(data, whole=True) is ADAPTER
    entries, rejected = read(data)
    assert len(of_type(entries, "span.other")) == spans
    assert len({entry["mission_id"] for entry in entries.values()}) == missions
    assert not of_type(entries, "llm.call")
    assert not of_type(entries, "exec.command")
    assert not rejected


def test_the_sample_is_what_it_says():
    entries, rejected = read(SAMPLE.read_bytes())
    assert {entry["mission_id"] for entry in entries.values()} == {"otel_buoy-talk-7"}
    assert len(of_type(entries, "llm.call")) == 3
    assert len(of_type(entries, "exec.command")) == 1
    assert [entry["payload"]["outcome"] for entry in of_type(entries, "mission.outcome")] == ["failed"]
    assert of_type(entries, "mission.created")[0]["payload"]["title"] == "Is buoy 12 still on station?"
    assert not rejected


def test_spans_on_lines_of_any_order_end_as_the_whole_document_does():
    document = (SAMPLES / "otlp_json" / "lamp_watch.json").read_bytes()
    whole = {json.loads(one.raw)["id"]: json.loads(one.raw) for one in DOCUMENT.read_document(document)}  # type: ignore[union-attr]
    lines = one_span_a_line(document)
    for seed in range(50):
        random.Random(seed).shuffle(lines)
        entries, rejected = read(b"\n".join(lines))
        assert not rejected
        absorbed = of_type(entries, "mission.absorbed")
        told = {key: one for key, one in entries.items() if one not in absorbed}
        provisional = {one["payload"]["mission_id"] for one in absorbed}
        left = {key: one for key, one in told.items() if one["mission_id"] not in provisional}
        moved = {
            key: one | {"mission_id": "otel_lamp-watch-0412"}
            for key, one in told.items()
            if one["mission_id"] in provisional and not one["entry_type"].startswith("mission.")
        }
        assert moved | left == whole


def test_a_span_that_comes_twice_tells_nothing_new():
    lines = SAMPLE.read_bytes()
    assert read(lines + lines)[0] == read(lines)[0]


@pytest.mark.parametrize("signal", ["resourceLogs", "resourceMetrics"])
def test_lines_of_other_signals_tell_nothing_and_are_no_faults(signal: str):
    entries, rejected = read(SAMPLE.read_bytes() + json.dumps({signal: []}).encode() + b"\n")
    assert entries == read(SAMPLE.read_bytes())[0]
    assert not rejected


def test_an_object_that_is_no_export_is_told():
    _, rejected = read(b'{"name": "not an export"}')
    assert [one.reason for one in rejected] == ["no export of OpenTelemetry"]
