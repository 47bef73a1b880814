"""What every trace format promises, checked on the sample of each one that is found."""

import json
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from quartermaster.adapters import Adapter, Record, RejectedLine, adapters, recognise
from quartermaster.core.journal import JournalEntry, read_entry
from quartermaster.errors import Rejected

PROJECT = Path(__file__).resolve().parents[2]
SAMPLES = PROJECT / "data" / "samples"
TRACES = Path(os.environ.get("QUARTERMASTER_TRACES", PROJECT.parent / "shared" / "traces"))
HEAD = 256 * 1024
WRONG_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 10**30, 1e300, "", " ", "x" * 600, "2026-13-40T99:99:99Z", [], {}, [1], {"a": 1}, [[]],
)  # fmt: skip

KEEPS_NO_OUTPUT = {
    **dict.fromkeys(("junit_xml", "promptfoo", "promptfoo_lines"), "it calls no tool"),
    **dict.fromkeys(("pytest_json_report", "pytest_reportlog"), "it calls no tool"),
    "mast": "its sample calls no tool",
    "otel_jaeger": "its sample records no results",
    "otel_tempo": "its sample records no results",
}
SAYS_NO_ANSWER = dict.fromkeys(("otel_jaeger", "otel_tempo", "otlp_json"), "its sample records no words")


def sample_paths(adapter: Adapter) -> list[Path]:
    return sorted((SAMPLES / adapter.name).glob("*"))


def lines_of(data: bytes) -> Iterator[tuple[bytes, int]]:
    offset = 0
    for line in data.split(b"\n"):
        yield line, offset
        offset += len(line) + 1


def outputs(adapter: Adapter, data: bytes) -> list[Record | RejectedLine]:
    if not adapter.line_based:
        return list(adapter.read_document(data))
    reader = adapter.line_reader()
    read = [output for line, offset in lines_of(data) for output in reader.read_line(line, offset)]
    return [*read, *reader.finish()]


def entries_and_rejected(adapter: Adapter, data: bytes) -> tuple[list[JournalEntry], int]:
    """What a store would make of it: records whose bytes are the recording's own may still be no entry."""
    entries: list[JournalEntry] = []
    rejected = 0
    for output in outputs(adapter, data):
        if isinstance(output, RejectedLine):
            rejected += 1
            continue
        try:
            entries.append(read_entry(output.raw))
        except Rejected:
            assert adapter.keeps_bytes, f"{adapter.name} wrote an entry that cannot be read: {output.raw!r}"
            rejected += 1
    return entries, rejected


def is_markup(data: bytes) -> bool:
    return data.lstrip().startswith(b"<")


def with_one_more(adapter: Adapter, data: bytes, thing: bytes) -> bytes:
    """The sample with something put before its second line, or before the first element of its list."""
    if adapter.line_based:
        first, rest = data.split(b"\n", 1)
        return first + b"\n" + thing + b"\n" + rest
    if is_markup(data):
        at = data.index(b"<testcase")
        return data[:at] + b"<testcase " + thing + b"/>" + data[at:]
    at = data.index(b"[") + 1
    return data[:at] + thing + b"," + data[at:]


every_adapter = pytest.mark.parametrize("adapter", adapters(), ids=lambda adapter: adapter.name)
every_sample = pytest.mark.parametrize(
    ("adapter", "data"),
    [
        pytest.param(adapter, path.read_bytes(), id=f"{adapter.name}-{path.stem}")
        for adapter in adapters()
        for path in sample_paths(adapter)
    ],
)


@every_adapter
def test_every_format_has_a_sample(adapter: Adapter):
    assert sample_paths(adapter)


@every_sample
def test_a_sample_is_recognised_by_its_format_and_no_other(adapter: Adapter, data: bytes):
    head = data[:HEAD]
    assert [a.name for a in adapters() if a.recognises(head, whole=len(data) <= HEAD)] == [adapter.name]
    assert recognise(head, whole=len(data) <= HEAD) is adapter


@every_sample
def test_the_first_2000_bytes_of_a_sample_are_enough_to_recognise_it(adapter: Adapter, data: bytes):
    assert recognise(data[:2_000], whole=False) is adapter


@every_sample
def test_the_same_bytes_give_the_same_records(adapter: Adapter, data: bytes):
    assert outputs(adapter, data) == outputs(adapter, data)


@every_sample
def test_every_record_of_a_sample_is_an_entry_of_a_mission(adapter: Adapter, data: bytes):
    entries, rejected = entries_and_rejected(adapter, data)
    assert entries
    assert not rejected
    assert all(entry.mission_id for entry in entries)
    assert any(entry.entry_type == "mission.created" for entry in entries)


@every_sample
def test_a_fact_has_one_id_unless_it_is_told_again(adapter: Adapter, data: bytes):
    entries, _ = entries_and_rejected(adapter, data)
    ids = [entry.id for entry in entries]
    assert None not in ids
    assert adapter.revisable or len(set(ids)) == len(ids)


def payloads_of_samples(adapter: Adapter, *entry_types: str) -> list[dict[str, Any]]:
    found = [output for path in sample_paths(adapter) for output in outputs(adapter, path.read_bytes())]
    entries = [json.loads(output.raw) for output in found if isinstance(output, Record)]
    return [entry.get("payload", {}) for entry in entries if entry["entry_type"] in entry_types]


@every_adapter
def test_what_tools_answered_is_kept(adapter: Adapter):
    if adapter.keeps_bytes or adapter.name in KEEPS_NO_OUTPUT:
        pytest.skip(KEEPS_NO_OUTPUT.get(adapter.name, "its entries are kept as they were recorded"))
    ended = [told for told in payloads_of_samples(adapter, "exec.command") if told.get("phase") != "start"]
    assert [told for told in ended if told.get("output")]
    assert not [told for told in ended if "output" not in told and not told.get("error")]
    assert all(isinstance(told.get("output", ""), str) for told in ended)
    assert all(("output_digest" in told) == (len(told.get("output", "")) == 2_000) for told in ended)


@every_adapter
def test_what_the_agent_answered_in_the_end_is_kept(adapter: Adapter):
    if adapter.keeps_bytes or adapter.name in SAYS_NO_ANSWER:
        pytest.skip(SAYS_NO_ANSWER.get(adapter.name, "its entries are kept as they were recorded"))
    said = payloads_of_samples(adapter, "message.assistant")
    assert said and all(told["text"].strip() for told in said)


@every_sample
def test_a_record_says_where_it_came_from(adapter: Adapter, data: bytes):
    for output in outputs(adapter, data):
        assert 0 <= output.offset < output.offset + output.length <= len(data)
        if adapter.keeps_bytes and isinstance(output, Record):
            assert data[output.offset : output.offset + output.length] == output.raw


@every_sample
def test_a_byte_order_mark_and_windows_line_ends_change_no_entry(adapter: Adapter, data: bytes):
    windows = b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")
    assert recognise(windows[:HEAD], whole=len(windows) <= HEAD) is adapter
    assert entries_and_rejected(adapter, windows) == entries_and_rejected(adapter, data)


@every_sample
@pytest.mark.parametrize("bad", [b"17", b'"text"', b"{]}", b'{"a": nonsense}', b"[1]"])
def test_a_bad_line_costs_that_line(adapter: Adapter, data: bytes, bad: bytes):
    entries, _ = entries_and_rejected(adapter, data)
    left, rejected = entries_and_rejected(adapter, with_one_more(adapter, data, bad))
    assert {entry.id for entry in left} == {entry.id for entry in entries}
    assert rejected == 1


@pytest.mark.parametrize("adapter", [a for a in adapters() if a.line_based], ids=lambda adapter: adapter.name)
def test_half_a_line_costs_that_line(adapter: Adapter):
    data = sample_paths(adapter)[0].read_bytes()
    entries, _ = entries_and_rejected(adapter, data)
    line = data.split(b"\n")[1]
    half = line[: min(200, len(line) // 2)]
    left, rejected = entries_and_rejected(adapter, with_one_more(adapter, data, half))
    assert {entry.id for entry in left} == {entry.id for entry in entries}
    assert rejected == 1


@every_sample
@pytest.mark.parametrize("depth", [10_000, 100_000])
@pytest.mark.parametrize(
    "around", [b"%s", b'{"payload": %s}', b'{"message": {"content": %s}}', b'{"traj": %s}']
)
def test_deep_nesting_costs_that_line(adapter: Adapter, data: bytes, depth: int, around: bytes):
    deep = around % (b"[" * depth + b"]" * depth)
    entries, _ = entries_and_rejected(adapter, data)
    left, rejected = entries_and_rejected(adapter, with_one_more(adapter, data, deep))
    assert {entry.id for entry in left} == {entry.id for entry in entries}
    assert rejected == 1


@every_sample
def test_nesting_that_never_closes_is_told_and_raises_nothing(adapter: Adapter, data: bytes):
    _, rejected = entries_and_rejected(adapter, with_one_more(adapter, data, b"[" * 100_000))
    assert rejected >= 1


@every_sample
def test_a_recording_that_is_cut_off_anywhere_gives_what_is_complete(adapter: Adapter, data: bytes):
    complete = {entry.id for entry in entries_and_rejected(adapter, data)[0]}
    for length in range(0, len(data), 97):
        entries, rejected = entries_and_rejected(adapter, data[:length])
        assert rejected <= 1, f"cut at {length}"
        assert {entry.id for entry in entries} <= complete, f"cut at {length}"


@every_sample
def test_bytes_that_are_no_text_raise_nothing(adapter: Adapter, data: bytes):
    for seed in range(40):
        random_bytes = random.Random(seed)
        broken = bytearray(data)
        for _ in range(20):
            broken[random_bytes.randrange(len(broken))] = random_bytes.randrange(256)
        entries, _ = entries_and_rejected(adapter, bytes(broken))
        assert all(entry.entry_type for entry in entries)
        assert recognise(bytes(broken[:HEAD]), whole=True) in (None, *adapters())


@every_sample
def test_values_of_the_wrong_type_cost_at_most_their_line(adapter: Adapter, data: bytes):
    chosen = random.Random(20260302)
    for _ in range(500):
        entries, _ = entries_and_rejected(adapter, mutated(adapter, data, chosen))
        assert all(entry.entry_type for entry in entries)


@every_adapter
@pytest.mark.parametrize(
    "data", [b"", b"\n", b" \r\n\n", b"\x00" * 4096, b"\xef\xbb\xbf", b"[", b"{", b"[]", b"{}"]
)
def test_what_says_nothing_is_recognised_by_nobody_and_gives_no_entry(adapter: Adapter, data: bytes):
    assert not adapter.recognises(data, whole=True)
    assert not adapter.recognises(data, whole=False)
    assert entries_and_rejected(adapter, data)[0] == []


@every_sample
def test_a_recording_that_grew_begins_with_what_was_read_before(adapter: Adapter, data: bytes):
    if not adapter.line_based:
        return
    lines = list(lines_of(data))
    reader = adapter.line_reader()
    told: list[Record | RejectedLine] = []
    for count, (line, offset) in enumerate(lines, start=1):
        told.extend(reader.read_line(line, offset))
        resumed = adapter.line_reader()
        again = [output for line, offset in lines[:count] for output in resumed.read_line(line, offset)]
        assert again == told
        assert list(resumed.finish()) == list(reader.finish())


def test_every_development_trace_is_recognised_by_one_format_or_none():
    if not TRACES.is_dir():
        pytest.skip("no development traces beside the project; set QUARTERMASTER_TRACES")
    found: dict[str, set[str | None]] = {}
    for path in TRACES.rglob("*"):
        if path.is_dir() or path.name in ("SOURCE.md", "README.md"):
            continue
        data = path.read_bytes()
        names = [a.name for a in adapters() if a.recognises(data[:HEAD], whole=len(data) <= HEAD)]
        assert len(names) <= 1, f"{path.name} is claimed by {names}"
        found.setdefault(path.relative_to(TRACES).parts[0], set()).add(names[0] if names else None)
    assert found["claude_code"] == {"claude_code"}
    assert found["otlp_json"] == {"otlp_json_lines", "otel_tempo"}
    assert found["otel_sdk_json"] == {"otel_sdk_json"}
    assert found["otel_jaeger"] == {"otel_jaeger", None}
    assert found["openinference_vercel"] == {"openinference_vercel"}
    assert found["codex_cli"] == {"codex_cli"}
    assert found["codex_exec_text"] == {"codex_exec_text", None}
    assert found["copilot_cli"] == {"copilot_cli"}
    assert found["gemini_cli"] == {"gemini_cli"}
    assert found["tau_bench"] == {"tau_bench"}
    # an answer of crewship's chain API: a graph of what led to what, without a single journal entry
    assert found["crewship"] == {None}
    # a home-made dump of spans lies beside its trace
    assert found["openai_agents_sdk"] == {"openai_agents_sdk", "otel_sdk_json"}
    assert found["langfuse"] == {"langfuse"}
    assert found["inspect_ai"] == {"inspect_ai"}
    assert found["tau2_bench"] == {"tau2_bench"}
    # its list of failed runs is a result list of tau-bench, its teams are message lists, labels are beside
    assert found["agentrx"] == {"tau_bench", "chat_messages", None}
    assert found["swe_agent"] == {"swe_agent"}
    assert found["mini_swe_agent"] == {"mini_swe_agent"}
    assert found["who_and_when"] == {"who_and_when"}
    assert found["mast"] == {"mast", None}
    assert found["openhands"] == {"openhands", "openhands_output", None}
    assert found["harbor_atif"] == {"harbor_atif"}
    assert found["trae_agent"] == {"trae_agent", None}


def mutated(adapter: Adapter, data: bytes, chosen: random.Random) -> bytes:
    """The sample with one value, anywhere in it, replaced by another of whatever type."""
    if is_markup(data):
        return with_another_attribute(data, chosen)
    if not adapter.line_based:
        return json.dumps(replaced(json.loads(data), chosen)).encode()
    lines = data.split(b"\n")
    index = chosen.randrange(len(lines) - 1)
    try:
        value = replaced(json.loads(lines[index]), chosen)
    except ValueError:  # a format of plain text
        value = chosen.choice(WRONG_VALUES)
    lines[index] = json.dumps(value).encode()
    return b"\n".join(lines)


def with_another_attribute(data: bytes, chosen: random.Random) -> bytes:
    place = chosen.choice(list(re.finditer(rb'(?<==")[^"]*', data)))
    value = quoteattr(str(chosen.choice(WRONG_VALUES)))[1:-1].encode()
    return data[: place.start()] + value + data[place.end() :]


def replaced(value: Any, chosen: random.Random) -> Any:
    places = list(places_in(value))
    container, key = chosen.choice(places)
    container[key] = chosen.choice(WRONG_VALUES)
    return value


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places_in(value[key])
