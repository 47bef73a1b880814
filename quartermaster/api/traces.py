"""The live doors for telemetry: OTLP over HTTP, spans and log records, in protobuf and in JSON."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import anyio.to_thread
from anyio import CapacityLimiter
from litestar import post
from litestar.openapi.spec import OpenAPIMediaType, RequestBody

from quartermaster.api.access import Call, services_of
from quartermaster.api.answers import JSON, Answer
from quartermaster.api.bodies import read_bytes
from quartermaster.api.documentation import TEXT, described, operation
from quartermaster.api.edge import fields_of
from quartermaster.api.problems import Problem, bad_request, storage_full, too_large
from quartermaster.api.services import Services
from quartermaster.errors import StorageFull
from quartermaster.store.access import Role
from quartermaster.store.database import Database

PROTOBUF: Final = "application/x-protobuf"
_REQUESTS_AT_ONCE: Final = 16
_UNPACKED_AT_ONCE: Final = 2
_WAITING_CHANGES: Final = 64
_DECODED_FACTOR: Final = 4
"""How many times the limit of a body its decompressed content may have."""

_EXPORT: Final = RequestBody(
    description="An export of OTLP.",
    content={
        PROTOBUF: OpenAPIMediaType(schema=TEXT),
        JSON: OpenAPIMediaType(schema=TEXT),
    },
    required=True,
)


class Intake:
    """How much telemetry is being taken in. When that is too much, exporters are asked to come back."""

    def __init__(self, *, at_once: int = _REQUESTS_AT_ONCE, waiting: int = _WAITING_CHANGES) -> None:
        self._at_once = at_once
        self._waiting = waiting
        self._open = 0
        self._limiter: CapacityLimiter | None = None

    @contextmanager
    def taken(self, database: Database) -> Iterator[None]:
        """One request of those that may be worked on at once; 503 when the writer is behind."""
        if self._open >= self._at_once or database.waiting_changes() > self._waiting:
            raise Problem(
                503,
                "too much at once",
                "The writer is behind; send the same again after Retry-After seconds.",
                headers={"Retry-After": "1"},
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def work(self, work: Callable[[], bytes]) -> bytes:
        """Do the work of one request in a thread; few at once are unpacked, which takes most memory."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(_UNPACKED_AT_ONCE)
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


@post(
    "/v1/traces",
    opt={"role": Role.MEMBER},
    status_code=200,
    operation_class=operation(body=_EXPORT),
    responses=described({200: dict[str, Any]}, 400, 401, 403, 413, 415, 503),
    tags=["telemetry"],
)
async def add_spans(request: Call) -> Answer:
    """Add spans (OTLP/HTTP). Answered after the commit; the same spans may be sent again."""
    return await _taken_in(request, "spans")


@post(
    "/v1/logs",
    opt={"role": Role.MEMBER},
    status_code=200,
    operation_class=operation(body=_EXPORT),
    responses=described({200: dict[str, Any]}, 400, 401, 403, 413, 415, 503),
    tags=["telemetry"],
)
async def add_logs(request: Call) -> Answer:
    """Add log records (OTLP/HTTP). Answered after the commit; the same records may be sent again."""
    return await _taken_in(request, "logs")


async def _taken_in(request: Call, signal: str) -> Answer:
    services, workspace = services_of(request), request.auth.workspace
    fields = fields_of(request.scope)
    in_protobuf, compressed = _is_protobuf(fields), _is_compressed(fields)
    intake: Intake = request.app.state["intake"]
    with intake.taken(services.database):
        body = await read_bytes(request)

        def work() -> bytes:
            plain = _decompressed(body, services.body_limit_bytes) if compressed else body
            return _accepted(plain, signal, services, workspace, in_protobuf=in_protobuf)

        try:
            answer = await intake.work(work)
        except StorageFull as full:
            raise storage_full(503) from full  # exporters give up at 507, and come back after 503
    return Answer(200, answer, media_type=PROTOBUF if in_protobuf else JSON)


def _accepted(body: bytes, name: str, services: Services, workspace: int, *, in_protobuf: bool) -> bytes:
    from quartermaster.api import otlp  # noqa: PLC0415 - a start must not wait for what few daemons are sent

    signal = otlp.SIGNALS[name]
    try:
        handed_in = (signal.read_protobuf if in_protobuf else signal.read_json)(body)
    except otlp.Unreadable as error:
        raise bad_request("unreadable export", str(error)) from None
    if handed_in.accepted:
        signal.accept(services.database, workspace, handed_in.accepted, services.masker)
    if in_protobuf:
        return signal.answer_protobuf(handed_in)
    return otlp.answer_json(handed_in, signal.rejected_name)


def _is_protobuf(fields: dict[bytes, bytes]) -> bool:
    essence = fields.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if essence not in (PROTOBUF, JSON):
        raise Problem(415, "unsupported content type", f"Send OTLP as {PROTOBUF} or {JSON}.")
    return essence == PROTOBUF


def _is_compressed(fields: dict[bytes, bytes]) -> bool:
    encoding = fields.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b"", b"gzip"):
        raise Problem(415, "unsupported content encoding", "Send the body with gzip or without compression.")
    return encoding == b"gzip"


def _decompressed(body: bytes, limit: int) -> bytes:
    """The content of gzip, of which no more is unpacked than may be kept; members may follow each other."""
    limit *= _DECODED_FACTOR
    parts: list[bytes] = []
    size, rest = 0, body
    try:
        while rest:
            decoder = zlib.decompressobj(wbits=31)
            parts.append(decoder.decompress(rest, limit - size + 1))
            size += len(parts[-1])
            if size > limit:
                raise too_large(limit)
            if not decoder.eof:
                raise bad_request("unreadable export", "The gzip content ends too early; send it again.")
            rest = decoder.unused_data
    except zlib.error:
        raise bad_request("unreadable export", "The body is no gzip content.") from None
    return b"".join(parts)
