"""The live doors: what exporters send is one mission a conversation or trace, each span once, in any order.

The proof is made with the SDK, the batch processor and the exporter that agents really use.
"""

import gzip
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from api_world import MEMBER, World
from litestar import Litestar
from litestar.testing import TestClient
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode
from running import Daemon
from told import NO_TRACES, TRACES, Told

from quartermaster.adapters import Record
from quartermaster.adapters.otel_tempo import ADAPTER as TEMPO_ADAPTER
from quartermaster.adapters.otlp_json import ADAPTER
from quartermaster.api.traces import Intake
from quartermaster.core.secrets import Masker

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"
TEMPO = TRACES / "otlp_json" / "tempo_export_with_batches.json"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
MISSIONS = 200
CALLS, TOOLS, PLUMBING = 16, 16, 1
SPANS = 1 + 2 * CALLS + TOOLS + PLUMBING  # the agent, each call twice, the tools, an HTTP request
FAILED_TOOLS = 3
SECOND = 10**9


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    created = World(Path(tmp_path_factory.mktemp("traces")))
    yield created
    created.database.close()


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[TestClient[Litestar]]:
    with world.client(MEMBER) as opened:
        yield opened


def attributes(given: dict[str, Any]) -> list[dict[str, Any]]:
    def value(one: Any) -> dict[str, Any]:
        return {"intValue": str(one)} if isinstance(one, int) else {"stringValue": one}

    return [{"key": key, "value": value(one)} for key, one in given.items()]


def span(trace: int, number: int, parent: int | None, **about: Any) -> dict[str, Any]:
    return {
        "traceId": f"{trace:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": "" if parent is None else f"{parent:016x}",
        "name": about.get("name", "span"),
        "startTimeUnixNano": str((1_700_000_000 + number) * SECOND),
        "endTimeUnixNano": str((1_700_000_000 + about.get("end", number + 1)) * SECOND),
        "attributes": attributes(about.get("attributes", {})),
    }


def agent(trace: int, number: int, parent: int | None = None, **more: Any) -> dict[str, Any]:
    about = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"} | more
    return span(trace, number, parent, attributes=about, end=100)


def model(trace: int, number: int, parent: int | None, **more: Any) -> dict[str, Any]:
    about = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": number,
    }
    return span(trace, number, parent, attributes=about | {"gen_ai.usage.output_tokens": 0} | more)


def export(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": list(spans)}]}]}


def send(client: TestClient[Litestar], *spans: dict[str, Any]) -> None:
    answer = client.post("/v1/traces", json=export(*spans))
    assert (answer.status_code, answer.json()) == (200, {"partialSuccess": {}})


def mission(client: TestClient[Litestar], mission_id: str) -> dict[str, Any]:
    found = client.get(f"/api/v1/missions/{mission_id}")
    assert found.status_code == 200, found.text
    return dict(found.json())


def entries(client: TestClient[Litestar], mission_id: str) -> list[dict[str, Any]]:
    listed = client.get(f"/api/v1/journal?mission_id={mission_id}&limit=500").json()["entries"]
    return [entry for entry in listed if not entry["entry_type"].startswith("eval.")]


def calls(client: TestClient[Litestar], mission_id: str) -> list[str]:
    """The ids of the spans that are counted as model calls."""
    found = [one for one in entries(client, mission_id) if one["entry_type"] == "llm.call"]
    return sorted(one["payload"]["span_id"][-2:] for one in found)


def test_a_deeper_call_takes_the_bill_away_whenever_it_comes(client: TestClient[Litestar]):
    spans = [
        agent(1, 1),
        model(1, 2, 1),
        span(1, 3, 2),
        model(1, 4, 3),
        model(1, 5, 2),
        model(1, 6, 1),
        span(1, 7, 6),
    ]
    for trace in range(0x100, 0x128):
        order = [one | {"traceId": f"{trace:032x}"} for one in spans]
        random.Random(trace).shuffle(order)
        while order:
            cut = random.Random(len(order) * trace).randint(1, 3)
            send(client, *order[:cut])
            order = order[cut:]
        found = mission(client, f"otel_{trace:032x}")
        assert calls(client, f"otel_{trace:032x}") == ["04", "05", "06"]
        assert (found["model_calls"], found["total_tokens"]) == (3, 4 + 5 + 6)
        assert found["outcome"] == "succeeded"


def test_spans_of_a_conversation_are_one_mission_whenever_its_name_comes(client: TestClient[Litestar]):
    for seed in range(40):
        trace, name = 0x2000 + seed, f"talk-{seed}"
        talk = {"gen_ai.conversation.id": name}
        order = [
            span(trace, 1, None),
            agent(trace, 2, 1),
            model(trace, 3, 2),
            model(trace, 4, 3, **talk),
            span(trace, 5, 1),
            agent(0x3000 + seed, 6, None, **talk),
            span(0x3000 + seed, 7, 6),
        ]
        random.Random(seed).shuffle(order)
        for one in order:
            send(client, one)
        assert client.get(f"/api/v1/missions/otel_{trace:032x}").status_code == 404
        assert client.get(f"/api/v1/missions/otel_{0x3000 + seed:032x}").status_code == 404
        told = [one for one in entries(client, f"otel_{name}") if "span_id" in one["payload"]]
        assert len(told) == len({one["id"] for one in told}) == 7
        found = mission(client, f"otel_{name}")
        assert (found["model_calls"], found["total_tokens"]) == (1, 4)
        assert found["outcome"] == "succeeded"
        kinds = Counter(one["entry_type"] for one in entries(client, f"otel_{name}"))
        assert kinds["mission.status_change"] == kinds["mission.created"] == kinds["mission.outcome"] == 1


def test_what_is_sent_again_adds_nothing(client: TestClient[Litestar]):
    spans = [agent(0x500, 1), model(0x500, 2, 1), model(0x500, 3, 2), span(0x500, 4, 3)]
    for one in spans:
        send(client, one)
    before = entries(client, f"otel_{0x500:032x}"), mission(client, f"otel_{0x500:032x}")
    send(client, *spans)
    for one in reversed(spans):
        send(client, one)
    assert (entries(client, f"otel_{0x500:032x}"), mission(client, f"otel_{0x500:032x}")) == before


def test_a_file_and_the_live_door_tell_the_same(client: TestClient[Litestar]):
    document = (SAMPLES / "otlp_json" / "lamp_watch.json").read_bytes()
    outputs = [one for one in ADAPTER.read_document(document) if isinstance(one, Record)]  # type: ignore[union-attr]
    answer = client.post("/v1/traces", content=document, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    told = {one["id"]: one for one in entries(client, "otel_lamp-watch-0412")}
    assert told == {one["id"]: one for one in map(json.loads, (output.raw for output in outputs))}


@pytest.mark.skipif(not TEMPO.is_file(), reason=NO_TRACES)
def test_a_real_trace_sent_span_by_span_in_any_order_ends_as_its_file_does(client: TestClient[Litestar]):
    told = Told(TEMPO_ADAPTER, TEMPO.read_bytes())
    expected = {one["id"]: one for one in told.raw}
    spans = [
        (batch["resource"], one)
        for batch in json.loads(TEMPO.read_bytes())["batches"]
        for scope in batch["instrumentationLibrarySpans"]
        for one in scope["spans"]
    ]
    random.Random(3).shuffle(spans)
    for resource, one in spans:
        body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [one]}]}]}
        assert client.post("/v1/traces", json=body).json() == {"partialSuccess": {}}
    [mission_id] = told.missions
    assert mission_id
    kept = {one["id"]: one for one in entries(client, mission_id)}
    extra = [kept.pop(key) for key in kept.keys() - expected.keys()]
    assert {one["entry_type"] for one in extra} <= {"mission.absorbed"}
    provisional = f"otel_{spans[0][1]['traceId']}"  # raw bytes of entries stay as they were told at first
    assert {key: one | {"mission_id": mission_id} for key, one in kept.items()} == expected
    assert {one["mission_id"] for one in kept.values()} <= {mission_id, provisional}
    found = mission(client, mission_id)
    assert (found["model_calls"], found["total_tokens"]) == (2, 4_777)


def test_protobuf_and_json_tell_the_same_and_each_is_answered_in_its_own(client: TestClient[Litestar]):
    request = ExportTraceServiceRequest()
    holder = request.resource_spans.add()
    one = holder.scope_spans.add().spans.add()
    one.trace_id, one.span_id = bytes.fromhex(f"{0x600:032x}"), bytes.fromhex(f"{1:016x}")
    one.name, one.start_time_unix_nano = "chat", 1_700_000_001 * SECOND
    one.end_time_unix_nano = 1_700_000_002 * SECOND
    for key, given in (("gen_ai.operation.name", "chat"), ("gen_ai.request.model", "m")):
        one.attributes.add(key=key).value.string_value = given
    one.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 7
    answer = client.post("/v1/traces", content=request.SerializeToString(), headers=PROTOBUF)
    assert answer.status_code == 200
    assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()
    before = entries(client, f"otel_{0x600:032x}")
    about = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 7}
    send(client, span(0x600, 1, None, name="chat", attributes=about))
    assert entries(client, f"otel_{0x600:032x}") == before
    assert [one["payload"].get("input_tokens") for one in before if one["entry_type"] == "llm.call"] == [7]


def test_a_span_that_says_too_little_is_named_and_the_others_are_kept(client: TestClient[Litestar]):
    broken = span(0x700, 1, None) | {"traceId": ""}
    answer = client.post("/v1/traces", json=export(broken, span(0x700, 2, None)))
    partial = answer.json()["partialSuccess"]
    assert (answer.status_code, partial["rejectedSpans"]) == (200, "1")
    assert "no id" in partial["errorMessage"]
    assert len([one for one in entries(client, f"otel_{0x700:032x}") if "span_id" in one["payload"]]) == 1
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(name="no ids")
    answer = client.post("/v1/traces", content=request.SerializeToString(), headers=PROTOBUF)
    told = ExportTraceServiceResponse.FromString(answer.content)
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert (told.partial_success.rejected_spans, "no id" in told.partial_success.error_message) == (1, True)


def test_gzip_is_read_up_to_its_limit(world: World):
    with world.client(MEMBER, body_limit_bytes=20_000) as client:
        packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        body = gzip.compress(json.dumps(export(span(0x800, 1, None))).encode())
        assert client.post("/v1/traces", content=body, headers=packed).status_code == 200
        bomb = gzip.compress(b'{"resourceSpans": [' + b" " * 10**7 + b"]}")
        assert len(bomb) < 20_000
        assert client.post("/v1/traces", content=bomb, headers=packed).status_code == 413
        assert client.post("/v1/traces", content=bomb * 2, headers=packed).status_code in (400, 413)


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {"Content-Type": "application/json"}, 400),
        (b"[]", {"Content-Type": "application/json"}, 400),
        (b'{"a": ' * 100_000, {"Content-Type": "application/json"}, 400),
        (b"\xff\xff\xff", PROTOBUF, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Type": ""}, 415),
        (b"{}", {"Content-Type": "application/json", "Content-Encoding": "br"}, 415),
        (b"no gzip", PROTOBUF | {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], PROTOBUF | {"Content-Encoding": "gzip"}, 400),
    ],
)
def test_what_is_no_export_is_refused_in_the_one_shape(
    client: TestClient[Litestar], path: str, body: bytes, headers: dict[str, str], status: int
):
    answer = client.post(path, content=body, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()) == {"type", "title", "status", "detail", "error"}


def check_no_fault(answer: httpx.Response) -> None:
    """It was read, as far as it goes, or is no export at all."""
    assert answer.status_code == 200 or answer.json()["error"] == "unreadable export", answer.text


def test_random_bytes_never_fail_inside(client: TestClient[Litestar]):
    whole = json.dumps(export(agent(0x900, 1), model(0x900, 2, 1))).encode()
    for seed in range(150):
        chosen = random.Random(seed)
        broken = bytearray(whole)
        for _ in range(chosen.randint(1, 8)):
            broken[chosen.randrange(len(broken))] = chosen.randrange(256)
        for headers in (PROTOBUF, {"Content-Type": "application/json"}):
            check_no_fault(client.post("/v1/traces", content=bytes(broken), headers=headers))


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places_in(value[key])


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_values_of_the_wrong_type_never_fail_inside(client: TestClient[Litestar], path: str):
    chosen = random.Random(11)
    records = [log("api_request", model="m", input_tokens=3), log("tool_result", tool_name="Bash")]
    whole = {
        "/v1/traces": export(agent(0x950, 1), model(0x950, 2, 1, **{"gen_ai.prompt.0.role": "user"})),
        "/v1/logs": {"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": records}]}]},
    }[path]
    wrong = (None, True, 0, -1, 10**30, 1e300, "", " ", "x" * 600, [], {}, [1], {"a": 1}, [[]], {"values": 3})
    for _ in range(400):
        broken = json.loads(json.dumps(whole))
        container, key = chosen.choice(list(places_in(broken)))
        container[key] = chosen.choice(wrong)
        check_no_fault(client.post(path, json=broken))


def test_exporters_are_asked_to_come_back_when_the_writer_is_behind(world: World):
    hold, held = threading.Event(), threading.Event()

    def busy(_: object) -> None:
        held.set()
        hold.wait(10)

    with world.client(MEMBER) as client:
        client.app.state["intake"] = Intake(at_once=2, waiting=0)
        threads = [threading.Thread(target=world.database.write_blocking, args=(busy,)) for _ in range(2)]
        for thread in threads:
            thread.start()
            held.wait(5)
        for _ in range(500):
            if world.database.waiting_changes():
                break
            anyio.run(anyio.sleep, 0.01)
        refused = client.post("/v1/traces", json=export(span(0xA00, 1, None)))
        hold.set()
        for thread in threads:
            thread.join()
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert client.get(f"/api/v1/missions/otel_{0xA00:032x}").status_code == 404
        send(client, span(0xA00, 1, None))
        assert mission(client, f"otel_{0xA00:032x}")["entries"] == 2


def test_secrets_are_masked_before_anything_is_kept(world: World):
    key = "sk-ant-" + "a1B2c3D4e5F6g7H8i9J0"
    with world.client(MEMBER, masker=Masker()) as client:
        send(client, span(0xB00, 1, None, attributes={"http.header": f"x-api-key {key}"}))
        kept = json.dumps(entries(client, f"otel_{0xB00:032x}"))
    assert "masked" in kept
    assert key not in kept


def test_secrets_in_what_was_said_and_answered_are_masked_wherever_that_is_kept(world: World):
    key = "sk-ant-" + "a1B2c3D4e5F6g7H8i9J0"
    words = {"gen_ai.completion.0.content": f"The key is {key}."}
    question = {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": f"Is {key} the key?"}
    begun = "-----BEGIN " + "PRIVATE KEY-----\n" + "MIIEvQ" * 500
    printed = f"KEY={key}\n{begun}\n-----END " + "PRIVATE KEY-----"
    result = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.result": printed}
    with world.client(MEMBER, masker=Masker()) as client:
        send(client, agent(0xB01, 1, **{"output.value": f"I found {key}."}))
        send(client, model(0xB01, 2, 1, **words, **question), span(0xB01, 3, 1, attributes=result))
        told = entries(client, f"otel_{0xB01:032x}")
        send(client, agent(0xB01, 1, **{"output.value": f"I found {key}."}))
        assert entries(client, f"otel_{0xB01:032x}") == told
    kinds = Counter(one["entry_type"] for one in told)
    assert (kinds["message.user"], kinds["message.assistant"], kinds["exec.command"]) == (1, 2, 1)
    assert key not in json.dumps(told)
    assert "MIIEvQ" not in json.dumps(told)  # what is cut may end before the key does
    assert world.database.read_blocking(
        lambda connection: connection.execute(
            "select count(*) from span_facts where instr(cast(facts as text), ?)", (key,)
        ).fetchone()
    ) == (0,)


def log(name: str, at: int = 1, **given: Any) -> dict[str, Any]:
    return {
        "timeUnixNano": str((1_700_000_000 + at) * SECOND),
        "body": {"stringValue": f"claude_code.{name}"},
        "attributes": attributes({"event.name": name, "session.id": "s-77", **given}),
    }


def test_log_events_of_a_coding_agent_are_its_calls(client: TestClient[Litestar]):
    own: dict[str, Any] = {"session.id": "coding-agent"}
    records = [
        log("user_prompt", 1, **own, prompt="Mend the fog horn."),
        log("api_request", 2, **own, model="m-1", input_tokens=3, output_tokens=20, cache_read_tokens=900,
            cache_creation_tokens=10, cost_usd="0.25", duration_ms=1200),
        log("tool_decision", 3, **own, tool_name="Bash", decision="reject", source="user_reject"),
        log("tool_result", 4, **own, tool_name="Bash", success="false", duration_ms=5, error="exit 1"),
        log("something_else", 5, **own),
    ]  # fmt: skip
    body = {"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": records}]}]}
    for _ in range(2):
        assert client.post("/v1/logs", json=body).json() == {"partialSuccess": {}}
    told = {one["entry_type"]: one["payload"] for one in entries(client, "otel_coding-agent")}
    assert len(entries(client, "otel_coding-agent")) == 5
    assert told["llm.call"]["cached_input_tokens"] == 900
    assert mission(client, "otel_coding-agent")["total_tokens"] == 933
    assert told["keeper.decision"]["decision"] == "deny"
    assert told["exec.command"]["error"] == "exit 1"
    assert told["log.record"]["name"] == "something_else"


def test_log_records_in_protobuf_belong_to_the_mission_of_their_trace(client: TestClient[Litestar]):
    send(client, agent(0xC00, 1, **{"session.id": "with-logs"}))
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.trace_id, record.time_unix_nano = bytes.fromhex(f"{0xC00:032x}"), 1_700_000_001 * SECOND
    record.body.string_value = "the lamp is lit"
    answer = client.post("/v1/logs", content=request.SerializeToString(), headers=PROTOBUF)
    assert ExportLogsServiceResponse.FromString(answer.content) == ExportLogsServiceResponse()
    bodies = [one["payload"].get("body") for one in entries(client, "otel_with-logs")]
    assert "the lamp is lit" in bodies


def fly(provider: TracerProvider, number: int) -> None:
    """One mission of SPANS spans, in the manner of frameworks that describe each call twice."""
    tracer = provider.get_tracer("flight")
    talk = {"gen_ai.conversation.id": f"flight-{number}"} if number % 2 else {}
    with tracer.start_as_current_span(
        "invoke_agent", attributes={"gen_ai.operation.name": "invoke_agent", **talk}
    ):
        with tracer.start_as_current_span("GET", attributes={"http.request.method": "GET"}) as plumbing:
            plumbing.set_status(Status(StatusCode.ERROR, "404"))
        for index in range(CALLS):
            usage = {"gen_ai.usage.input_tokens": 100 + index, "gen_ai.usage.output_tokens": 10}
            about = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1", **usage, **talk}
            with (
                tracer.start_as_current_span("chat", attributes=about),
                tracer.start_as_current_span("openai.chat", attributes=about),
            ):
                pass
            tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": f"tool_{index}"}
            with tracer.start_as_current_span("execute_tool", attributes=tool) as ran:
                if index < FAILED_TOOLS:
                    ran.set_status(Status(StatusCode.ERROR, "it broke"))


def listed(daemon: Daemon) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = daemon.get(f"/api/v1/missions?limit=200{cursor}")
        rows += page.get("missions") or page.get("rows") or []
        if not page.get("next_cursor"):
            return rows
        cursor = f"&cursor={page['next_cursor']}"


def check_everything_arrived_once(daemon: Daemon) -> None:
    rows = listed(daemon)
    assert len(rows) == MISSIONS
    tokens = sum(100 + index + 10 for index in range(CALLS))
    for row in rows:
        assert (row["model_calls"], row["total_tokens"]) == (CALLS, tokens), row
        assert row["outcome"] == "succeeded"
    for row in rows[:: MISSIONS // 10]:
        told = daemon.get(f"/api/v1/journal?mission_id={row['mission_id']}&limit=500")["entries"]
        spans = [one["payload"]["span_id"] for one in told if "span_id" in one["payload"]]
        assert len(spans) == len(set(spans)) == SPANS
        tools = [one for one in told if one["entry_type"] == "exec.command"]
        assert len(tools) == TOOLS
        assert sum("error" in one["payload"] for one in tools) == FAILED_TOOLS
    count = sum(
        daemon.get(f"/api/v1/journal/count?entry_type={kind}")["count"]
        for kind in ("span.agent", "span.model", "span.other", "llm.call", "exec.command")
    )
    assert count == MISSIONS * SPANS


def exporter(daemon: Daemon) -> OTLPSpanExporter:
    return OTLPSpanExporter(
        endpoint=f"{daemon.url}/v1/traces", headers={"Authorization": f"Bearer {daemon.token}"}
    )


def test_the_real_exporter_comes_back_until_everything_is_kept(
    world: World, caplog: pytest.LogCaptureFixture
):
    hold, held = threading.Event(), threading.Event()

    def busy(_: object) -> None:
        held.set()
        hold.wait(30)

    recorded = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(recorded))
    for number in range(24):
        provider.get_tracer("t").start_span("wait", attributes={"session.id": f"patient-{number}"}).end()
    with world.server() as address, ThreadPoolExecutor(24) as threads:
        writing = threads.submit(world.database.write_blocking, busy)
        held.wait(5)
        sender = OTLPSpanExporter(endpoint=f"{address}/v1/traces", headers=world.headers(MEMBER), timeout=60)
        results = [threads.submit(sender.export, [one]) for one in recorded.get_finished_spans()]
        while "retrying" not in caplog.text and not all(one.done() for one in results):
            anyio.run(anyio.sleep, 0.02)
        hold.set()
        writing.result(10)
        assert {one.result(60) for one in results} == {SpanExportResult.SUCCESS}
    assert "retrying" in caplog.text
    with world.client(MEMBER) as client:
        for number in range(24):
            assert mission(client, f"otel_patient-{number}")["entries"] == 2


def test_the_real_sdk_delivers_200_missions_of_50_spans_none_missing_and_none_twice(tmp_path: Path):
    with Daemon.start(tmp_path / "home") as daemon:
        provider = TracerProvider(resource=Resource.create({"service.name": "flights"}))
        provider.add_span_processor(BatchSpanProcessor(exporter(daemon), max_queue_size=MISSIONS * SPANS))
        for number in range(MISSIONS):
            fly(provider, number)
        assert provider.force_flush(60_000)
        provider.shutdown()
        check_everything_arrived_once(daemon)


def test_spans_in_shuffled_requests_that_are_sent_twice_are_there_once(tmp_path: Path):
    recorded = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "flights"}))
    provider.add_span_processor(BatchSpanProcessor(recorded, max_queue_size=MISSIONS * SPANS))
    for number in range(MISSIONS):
        fly(provider, number)
    provider.force_flush()
    spans: list[ReadableSpan] = list(recorded.get_finished_spans())
    assert len(spans) == MISSIONS * SPANS
    chosen = random.Random(7)
    chosen.shuffle(spans)
    requests = [spans[start : start + 97] for start in range(0, len(spans), 97)]
    bodies = [encode_spans(request).SerializeToString() for request in requests] * 2
    chosen.shuffle(bodies)
    with Daemon.start(tmp_path / "home") as daemon:
        headers = PROTOBUF | {"Authorization": f"Bearer {daemon.token}", "Content-Encoding": "gzip"}
        with httpx.Client(base_url=daemon.url, headers=headers, timeout=30) as client:
            for body in bodies:
                assert client.post("/v1/traces", content=gzip.compress(body, 1)).status_code == 200
        check_everything_arrived_once(daemon)
