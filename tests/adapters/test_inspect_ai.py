"""Inspect logs: one mission a sample and epoch, from JSON and from archives that trust nobody."""

import io
import json
import random
import struct
import zipfile
import zlib
from typing import Any

import pytest
import zstandard
from told import NO_TRACES, SAMPLES, TRACES, Counts, Told

from quartermaster.adapters.inspect_ai import ADAPTER
from quartermaster.core.trajectory import MODEL_CALL

LOGS = TRACES / "inspect_ai"
needs_traces = pytest.mark.skipif(not LOGS.is_dir(), reason=NO_TRACES)

# The samples of each log as SOURCE.md states them, and the values of their first scorer there; then the
# figures. Tokens are those of the agent alone: what a grading model used is told apart from them.
DOCUMENTED: dict[str, tuple[dict[str, int], Counts, int]] = {
    "2024-11-05T13-31-45": ({"C": 1}, Counts(1, 1, 0, 0, 99), 364),
    "2025-02-11T15-17-00": ({}, Counts(10, 10, 0, 0, 640), 0),
    "2025-05-12T20-27-36": ({"C": 1}, Counts(1, 5, 4, 0, 15_516), 0),
    "2025-05-12T20-28-13-04-00_no-samples": ({}, Counts(0, 0, 0, 0, 0), 0),
    "2025-05-12T20-28-13-04-00_popularity": ({"C": 2, "I": 1}, Counts(3, 3, 0, 0, 198), 0),
    "2025-05-12T20-28-26": ({"C": 3}, Counts(3, 3, 0, 0, 231), 1_761),
    "2025-09-23T08-09-58": ({"C": 11, "I": 5}, Counts(16, 16, 0, 0, 1_286), 9_615),
    "2025-11-07T10-59-47": ({"C": 1}, Counts(1, 1, 0, 0, 620), 0),
    "log_streaming": ({"C": 3, "I": 1}, Counts(4, 4, 0, 0, 258), 0),
    # eleven results of tools without their calls; the one that was not approved did not fail
    "log_tool_call_error": ({}, Counts(1, 0, 11, 10, 0), 0),
    "mmlu-no-summary-choices": ({"I": 1}, Counts(1, 1, 0, 0, 156), 0),
}


def recorded(name: str) -> bytes:
    (path,) = LOGS.glob(f"{name}*")
    return path.read_bytes()


def samples_of(data: bytes) -> list[dict[str, Any]]:
    """The samples of a log, read by the standard library."""
    if data.startswith(b"PK"):
        archive = zipfile.ZipFile(io.BytesIO(data))
        names = [name for name in archive.namelist() if name.startswith("samples/")]
        return [json.loads(archive.read(name)) for name in names]
    return json.loads(data).get("samples") or []


def span(kind: str, key: str, parent: str | None = None, name: str | None = None) -> dict[str, Any]:
    about = {"span_id": key, "parent_id": parent, "name": name or kind}
    return {"event": "span_begin", "id": key, "type": kind, "timestamp": "2026-01-01T10:00:00+00:00"} | about


def happened(event: str, second: int = 1, **more: Any) -> dict[str, Any]:
    return {"event": event, "timestamp": f"2026-01-01T10:00:{second:02d}+00:00"} | more


def asked(second: int = 1, text: str = "Done.", **usage: Any) -> dict[str, Any]:
    counters = {"input_tokens": 10, "output_tokens": 2} | usage
    output = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": counters}
    return happened("model", second, model="openai/gpt-4o", output=output)


def used(second: int, call_id: str, function: str = "look", **more: Any) -> dict[str, Any]:
    completed = f"2026-01-01T10:00:{second + 1:02d}+00:00"
    return happened("tool", second, id=call_id, function=function, arguments={}, completed=completed) | more


def sample(*events: Any, **more: Any) -> dict[str, Any]:
    return {"id": 7, "epoch": 2, "uuid": "u1", "input": "Which?", "events": list(events)} | more


def log(*samples: Any, **about: Any) -> dict[str, Any]:
    known = {"task": "quiz", "created": "2026-01-01", "run_id": "r1", "model": "openai/gpt-4o"}
    return {"version": 2, "status": "success", "eval": known | about, "plan": {}, "samples": list(samples)}


def packed(*samples: Any, method: int = zipfile.ZIP_DEFLATED, header: bool = True, **files: bytes) -> bytes:
    whole = log()
    head = {name: whole[name] for name in ("version", "status", "eval", "plan")}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.writestr("_journal/start.json", json.dumps(head))
        for number, one in enumerate(samples):
            text = one if isinstance(one, bytes) else json.dumps(one)
            archive.writestr(f"samples/{number}_epoch_1.json", text)
        for name, content in files.items():
            archive.writestr(f"samples/{name}.json", content)
        if header:
            archive.writestr("header.json", json.dumps(head))
    return target.getvalue()


@needs_traces
def test_every_recording_is_documented_here():
    assert len([path for path in LOGS.iterdir() if path.suffix != ".md"]) == len(DOCUMENTED)


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_figures_of_real_logs_are_exact(name: str):
    values, counts, graded = DOCUMENTED[name]
    told = Told(ADAPTER, recorded(name))
    assert told.counts == counts
    assert not told.rejected
    samples = samples_of(recorded(name))
    assert counts.missions == len(samples)
    assert {
        value: [v for one in samples for v in _first_values(one)].count(value) for value in values
    } == values
    events = [event for one in samples for event in one.get("events", [])]
    everything = [event["output"]["usage"]["total_tokens"] for event in events if event["event"] == "model"]
    assert counts.tokens + graded == sum(everything)
    assert counts.model_calls + len(told.payloads("verifier.llm_call")) == len(everything)


def _first_values(one: dict[str, Any]) -> list[Any]:
    return [score["value"] for score in list((one.get("scores") or {}).values())[:1]]


@needs_traces
@pytest.mark.parametrize("name", DOCUMENTED)
def test_verdicts_of_real_logs_are_those_of_their_scorers(name: str):
    values, counts, _ = DOCUMENTED[name]
    outcomes = Told(ADAPTER, recorded(name)).outcomes
    assert outcomes.count(("succeeded", "verifier")) == values.get("C", 0)
    assert outcomes.count(("failed", "verifier")) == values.get("I", 0)
    # ten samples were never scored: that they ended is the agent's own word
    own = counts.missions if name.startswith("2025-02-11") else 0
    assert outcomes.count(("succeeded", "agent")) == own


@needs_traces
def test_a_browser_that_works_by_ten_commands_made_four_calls():
    told = Told(ADAPTER, recorded("2025-05-12T20-27-36"))
    assert len(told.payloads("sandbox.exec")) == 10
    assert [tool for tool, _ in told.tools] == ["web_browser_go", *["web_browser_click"] * 3]
    assert sum(step.cache_read_tokens or 0 for step in told.of_kind(MODEL_CALL)) == 9_088
    assert sum(step.input_tokens or 0 for step in told.of_kind(MODEL_CALL)) == 15_235 - 9_088


def test_what_the_sample_tells():
    told = Told(ADAPTER, (SAMPLES / "inspect_ai" / "tide_gauge.json").read_bytes())
    assert told.counts == Counts(2, 5, 4, 2, 5_238)
    assert told.missions == ["inspect_Hq2nWc7VfR", "inspect_Zb9xKd4TmS"]
    assert told.tools == [
        ("head -3 /data/gauge.csv", True),
        ("awk -F, '{print $3}' /data/gauges.csv", False),
        ("read_table", False),
    ]
    assert [payload["decision"] for payload in told.payloads("keeper.decision")] == ["deny"]
    assert told.outcomes == [
        ("succeeded", "verifier"),
        ("limit_reached", "harness"),
        ("failed", "verifier"),
    ]
    assert told.payloads("mission.created")[0] == {
        "title": "When was high water, and how high was it? The readings are in /data/gauge.csv.",
        "goal": "When was high water, and how high was it? The readings are in /data/gauge.csv.",
        "task": "inspect_ai/tides/tide-gauge",
        "trial": 1,
        "agent": "basic_agent",
        "model": "openai/gpt-4.1-mini",
        "commit": "3ac19e2",
        "harness": "inspect_ai 0.3.140",
        "labels": {"scores": {"model_graded_fact": {"value": "C", "origin": "verifier"}}},
    }


@pytest.mark.parametrize(
    ("usage", "model", "fresh"),
    [
        (
            {"input_tokens": 100, "output_tokens": 5, "total_tokens": 105, "input_tokens_cache_read": 60},
            "a",
            40,
        ),
        (
            {"input_tokens": 40, "output_tokens": 5, "total_tokens": 105, "input_tokens_cache_read": 60},
            "a",
            40,
        ),
        ({"input_tokens": 40, "input_tokens_cache_read": 60}, "anthropic/claude", 40),
        ({"input_tokens": 100, "input_tokens_cache_read": 60}, "openai/gpt-4o", 40),
    ],
)
def test_counters_do_not_overlap_whatever_the_provider_counts(usage: Any, model: str, fresh: int):
    event = asked() | {"model": model}
    event["output"]["usage"] = usage
    (step,) = Told(ADAPTER, log(sample(event))).of_kind(MODEL_CALL)
    assert (step.input_tokens, step.cache_read_tokens) == (fresh, 60)


def test_a_call_that_was_answered_from_the_cache_used_nothing():
    (step,) = Told(ADAPTER, log(sample(asked() | {"cache": "read"}))).of_kind(MODEL_CALL)
    assert (step.tokens, step.cost) == (0, 0)


def test_a_call_without_an_answer_is_no_model_call():
    failed = happened("model", model="m", error="503", output={"choices": []})
    told = Told(ADAPTER, log(sample(failed, asked(2))))
    assert told.counts.model_calls == 1
    assert [payload["error"] for payload in told.payloads("run.api_error")] == ["503"]


@pytest.mark.parametrize(
    "events",
    [
        [span("scorers", "a"), span("scorer", "b", "a"), asked() | {"span_id": "b"}],
        [happened("step", action="begin", type="scorer"), asked(), happened("step", action="end")],
    ],
)
def test_what_a_grader_asks_is_not_the_agents(events: list[Any]):
    told = Told(ADAPTER, log(sample(*events)))
    assert told.counts.model_calls == 0
    assert [payload["input_tokens"] for payload in told.payloads("verifier.llm_call")] == [10]


@pytest.mark.parametrize(("code", "succeeded"), [(0, True), (2, False)])
def test_the_exit_code_of_the_one_command_of_a_shell_is_the_tools(code: int, succeeded: bool):
    command = happened("sandbox", 2, action="exec", cmd="ls", result=code, span_id="t")
    newer = [span("tool", "t", None, "bash"), used(1, "c", "bash"), command]
    older = [used(1, "c", "bash", events=[command])]
    for events in (newer, older):
        assert Told(ADAPTER, log(sample(*events))).tools == [("bash", succeeded)]


def test_a_command_of_another_tool_or_one_of_several_decides_nothing():
    def ran(code: int) -> dict[str, Any]:
        return happened("sandbox", 2, action="exec", cmd="ls", result=code)

    told = Told(
        ADAPTER,
        log(sample(used(1, "a", "edit", events=[ran(1)]), used(4, "b", "bash", events=[ran(1), ran(0)]))),
    )
    assert told.tools == [("edit", True), ("bash", True)]


def test_a_command_of_the_solver_is_a_step_and_one_of_the_set_up_is_not():
    command = happened("sandbox", 2, action="exec", cmd="make", result=1)
    told = Told(ADAPTER, log(sample(span("init", "i"), command | {"span_id": "i"}, command)))
    assert told.tools == [("make", False)]


def test_tools_that_run_at_once_end_each_in_its_time():
    told = Told(
        ADAPTER, log(sample(used(1, "a"), used(1, "b", error={"type": "timeout", "message": "slow"})))
    )
    assert told.tools == [("look", True), ("look", False)]
    assert all(step.duration_ms == 1000 for step in told.steps if step.success is not None)


@pytest.mark.parametrize("with_event", [True, False])
def test_a_refused_call_is_a_decision_and_no_failure(with_event: bool):
    decided = happened("approval", call={"id": "c", "function": "look"}, decision="reject")
    refused = used(2, "c", error={"type": "approval", "message": "no"})
    told = Told(ADAPTER, log(sample(*([decided] if with_event else []), refused)))
    assert told.counts[2:4] == (1, 0)
    assert [payload["decision"] for payload in told.payloads("keeper.decision")] == ["deny"]


def test_a_call_that_never_ended_has_no_outcome():
    told = Told(ADAPTER, log(sample(used(1, "a", pending=True))))
    assert (told.counts.tool_calls, told.tools) == (1, [])


@pytest.mark.parametrize(
    ("more", "outcomes"),
    [
        ({"scores": {"a": {"value": "C"}, "b": {"value": "I"}}}, [("succeeded", "verifier")]),
        ({"scores": {"a": {"value": "P"}}}, [("failed", "verifier")]),
        ({"scores": {"a": {"value": True}}}, [("succeeded", "verifier")]),
        ({"scores": {"a": {"value": 0.25}}}, [("failed", "verifier")]),
        ({"scores": {"a": {"value": 7}}}, []),
        ({"scores": {"a": {"value": {"x": 1}}}}, []),
        ({"error": {"message": "boom"}}, [("failed", "harness")]),
        ({"limit": {"type": "token", "limit": 5}}, [("limit_reached", "harness")]),
        ({"limit": {"type": "working", "limit": 5}}, [("timed_out", "harness")]),
        ({"output": {"choices": [{"stop_reason": "stop"}]}}, [("succeeded", "agent")]),
        ({"output": {"choices": [{"stop_reason": "max_tokens"}]}}, []),
        ({}, []),
    ],
)
def test_how_a_sample_ended(more: dict[str, Any], outcomes: list[tuple[str, str]]):
    told = Told(ADAPTER, log(sample(asked(), **more)))
    assert told.outcomes == outcomes
    assert len(told.payloads("budget.exceeded")) == ("limit" in more)


def test_texts_that_were_put_aside_are_found_again():
    told = Told(
        ADAPTER,
        log(
            sample(
                asked(text="attachment://x"), input="attachment://y", attachments={"x": "Yes", "y": "Why?"}
            )
        ),
    )
    assert told.payloads("message.assistant") == [{"text": "Yes"}]
    assert told.payloads("mission.created")[0]["title"] == "Why?"


def test_a_sample_without_an_id_of_its_own_is_known_by_its_log_its_number_and_its_epoch():
    def ids(**more: Any) -> list[str | None]:
        return Told(ADAPTER, log(sample(uuid=None, **more))).missions

    assert ids() == ids(input="other")
    assert len({*ids(), *ids(epoch=3), *ids(id=8)}) == 3


def test_a_malformed_sample_costs_itself():
    told = Told(ADAPTER, log(sample(), 17, sample(events=[5], uuid="u2"), sample(uuid="u3")))
    assert told.missions == ["inspect_u1", "inspect_u3"]
    assert len(told.rejected) == 2


def test_numbers_that_only_python_writes_cost_nothing():
    text = json.dumps(log(sample(asked(text="NaN"), scores={"a": {"value": float("nan")}})))
    for data in (text.encode(), packed(json.dumps(json.loads(text)["samples"][0]).encode())):
        told = Told(ADAPTER, data)
        assert (told.missions, told.rejected, told.outcomes) == (["inspect_u1"], [], [])
        assert told.payloads("message.assistant") == [{"text": "NaN"}]


def test_an_archive_tells_what_the_same_samples_tell_as_json():
    samples = [sample(asked(), used(2, "c")), sample(asked(), uuid="u2")]
    assert Told(ADAPTER, packed(*samples)).raw == Told(ADAPTER, log(*samples)).raw
    assert Told(ADAPTER, packed(*samples, method=zipfile.ZIP_STORED)).raw == Told(ADAPTER, log(*samples)).raw


def test_an_archive_without_a_header_is_read_by_its_journal():
    assert Told(ADAPTER, packed(sample(), header=False)).raw == Told(ADAPTER, packed(sample())).raw


def test_an_archive_whose_writer_was_killed_gives_the_samples_that_are_whole():
    data = packed(sample(asked()), sample(asked(), uuid="u2"))
    cut = data[: data.index(b"PK\x01\x02")]
    told = Told(ADAPTER, cut)
    assert told.raw == Told(ADAPTER, data).raw
    assert [rejected.reason for rejected in told.rejected] == [
        "the archive is not whole; what stands in it was read"
    ]
    complete = set(Told(ADAPTER, data).ids)
    for length in range(0, len(data), 97):
        assert set(Told(ADAPTER, data[:length]).ids) <= complete


def test_a_damaged_member_costs_itself():
    data = bytearray(packed(sample(asked()), sample(asked(), uuid="u2")))
    at = data.index(b"samples/0") + 40
    data[at : at + 8] = b"\xff" * 8
    told = Told(ADAPTER, bytes(data))
    assert told.missions == ["inspect_u2"]
    assert len(told.rejected) == 1


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"17", b'"a"', b"[" * 100_000, b'{"events": 5}'])
def test_a_member_that_is_no_sample_costs_itself(text: bytes):
    told = Told(ADAPTER, packed(text, sample()))
    assert told.missions == ["inspect_u1"]
    assert len(told.rejected) == 1


def test_a_member_that_unpacks_to_far_more_than_it_is_costs_itself():
    bomb = b'{"id": 1, "input": "' + b" " * (8 << 20) + b'"}'
    noise = json.dumps(random.Random(1).randbytes(60_000).hex()).encode()
    told = Told(ADAPTER, packed(sample(), bomb=bomb, noise=noise))
    assert told.missions == ["inspect_u1"]
    assert [rejected.reason for rejected in told.rejected] == [
        "samples/bomb.json claims to be packed better than any recording can be",
        "samples/noise.json: not a JSON object",
    ]


def test_an_archive_that_claims_far_more_than_it_is_is_refused():
    told = Told(ADAPTER, packed(sample(), bomb=b" " * (8 << 20)))
    assert told.entries == []
    assert {rejected.reason for rejected in told.rejected} == {
        "the archive claims to hold more than any recording of its size does"
    }


def test_members_that_share_their_bytes_cannot_grow_without_end():
    name = b"samples/%d.json"
    content = zlib.compress(b" " * 900_000, 9)[2:-4]
    data, entries = b"", []
    first = name % 0
    header = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, 0, len(content), 900_000, len(first), 0)
    data = header + first + content
    for number in range(1_000):
        one = name % number
        fields = (20, 20, 0, 8, 0, 0, 0, len(content), 900_000, len(one), 0, 0, 0, 0, 0, 0)
        entries.append(struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *fields) + one)
    directory = b"".join(entries)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1_000, 1_000, len(directory), len(data), 0)
    told = Told(ADAPTER, data + directory + end)
    assert told.entries == []
    assert {rejected.reason for rejected in told.rejected} == {
        "the archive claims to hold more than any recording of its size does"
    }


def test_a_member_that_holds_more_than_it_says_costs_itself():
    data = packed(sample(asked()))
    size = len(json.dumps(sample(asked())))
    lying = data.replace(struct.pack("<L", size), struct.pack("<L", size - 1))
    told = Told(ADAPTER, lying)
    assert told.entries == []
    assert [rejected.reason for rejected in told.rejected] == [
        "samples/0_epoch_1.json does not match its checksum"
    ]


def test_members_packed_by_zstandard_are_read():
    text = json.dumps(sample(asked())).encode()
    content = zstandard.compress(text)
    name = b"samples/1_epoch_1.json"
    about = (93, 0, 0, zlib.crc32(text), len(content), len(text), len(name), 0)
    data = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, *about) + name + content
    begun = packed()
    told = Told(ADAPTER, begun[: begun.index(b"PK\x01\x02")] + data)
    assert told.raw == Told(ADAPTER, packed(sample(asked()))).raw


@pytest.mark.parametrize("flags_and_method", [(1, 8), (0, 12)])
def test_members_that_are_encrypted_or_packed_otherwise_cost_themselves(flags_and_method: tuple[int, int]):
    flags, method = flags_and_method
    name = b"samples/1_epoch_1.json"
    about = (20, flags, method, 0, 0, 0, 4, 4, len(name), 0)
    begun = packed()
    data = (
        begun[: begun.index(b"PK\x01\x02")] + struct.pack("<4s5H3L2H", b"PK\x03\x04", *about) + name + b"abcd"
    )
    assert len(Told(ADAPTER, data).rejected) == 2


@pytest.mark.parametrize(
    ("head", "recognised"),
    [
        (json.dumps(log()).encode(), True),
        (b'{"version": 2, "status": "started", "eval": {"task": "a", "created": "b", "model": "cut', True),
        (b'{"status": "success", "eval": {"score": 1}}', False),
        (b'{"status": "success", "eval": "quiz"}', False),
        (b"PK\x03\x04" + b"\x00" * 100, False),
        (b"PK\x03\x04", False),
    ],
)
def test_what_is_recognised(head: bytes, recognised: bool):
    assert ADAPTER.recognises(head, whole=False) is recognised


def test_an_archive_is_recognised_by_its_journal_alone():
    assert ADAPTER.recognises(packed()[:400], whole=False)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("samples/1_epoch_1.json", "{}")
    assert not ADAPTER.recognises(target.getvalue(), whole=True)


def test_a_changed_byte_of_an_archive_raises_nothing_and_loses_nothing_silently():
    data = packed(sample(asked()), sample(asked(), uuid="u2"))
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0xFF
        told = Told(ADAPTER, bytes(changed))
        assert told.entries or told.rejected, f"byte {position}: nothing was read, and nothing was said of it"
