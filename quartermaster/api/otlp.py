"""What exporters of OpenTelemetry send, in protobuf and in JSON, and what they are answered."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from quartermaster import telemetry
from quartermaster.adapters import RejectedLine
from quartermaster.adapters._logs import LogRecord
from quartermaster.adapters._otlp import CONTAINER
from quartermaster.adapters._otlp_logs import LOG_CONTAINER, log_record
from quartermaster.adapters._span_documents import checked, spans_of
from quartermaster.adapters._spans import Span, exceptions_of, failure_of
from quartermaster.core.secrets import Masker
from quartermaster.errors import Rejected
from quartermaster.store.database import Database

T = TypeVar("T")

_ERROR: Final = 2
_TOLD_REASONS: Final = 3
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class HandedIn(NamedTuple, Generic[T]):
    """What a request holds, and why some of it cannot be accepted."""

    accepted: list[T]
    rejected: list[str]

    def message(self) -> str:
        """What the exporter is told of what was rejected."""
        reasons = list(dict.fromkeys(self.rejected))
        more = "; and more" if len(reasons) > _TOLD_REASONS else ""
        return "; ".join(reasons[:_TOLD_REASONS]) + more


class Signal(NamedTuple, Generic[T]):
    """One kind of telemetry: how its requests are read, kept and answered."""

    accept: Callable[[Database, int, Sequence[T], Masker | None], object]
    read_json: Callable[[bytes], HandedIn[T]]
    read_protobuf: Callable[[bytes], HandedIn[T]]
    answer_protobuf: Callable[[HandedIn[T]], bytes]
    rejected_name: str


class Unreadable(Exception):
    """The body is no request of the kind at all."""


def spans_of_json(body: bytes) -> HandedIn[Span]:
    """The spans of an export in JSON."""
    _check_object(body)
    return _sorted_out(spans_of(body, 0, CONTAINER))


def logs_of_json(body: bytes) -> HandedIn[LogRecord]:
    """The log records of an export in JSON."""
    _check_object(body)
    return _sorted_out(spans_of(body, 0, LOG_CONTAINER))


def _check_object(body: bytes) -> None:
    try:
        _decode_object(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError):
        raise Unreadable("The body is no JSON object.") from None


def _sorted_out(found: Iterable[Any]) -> HandedIn[Any]:
    handed_in: HandedIn[Any] = HandedIn([], [])
    for one in found:
        if isinstance(one, RejectedLine):
            handed_in.rejected.append(one.reason)
        else:
            handed_in.accepted.append(one)
    return handed_in


def answer_json(handed_in: HandedIn[Any], rejected_name: str) -> bytes:
    """An answer in JSON; numbers of 64 bits are texts there."""
    if not handed_in.rejected:
        return b'{"partialSuccess":{}}'
    partial = {rejected_name: str(len(handed_in.rejected)), "errorMessage": handed_in.message()}
    return msgspec.json.encode({"partialSuccess": partial})


# The generated classes take a twentieth of a second to load, and a daemon that nobody sends protobuf to
# never needs them.


def spans_of_protobuf(body: bytes) -> HandedIn[Span]:
    """The spans of an export in protobuf."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
        ExportTraceServiceRequest,
    )

    request = _parsed(ExportTraceServiceRequest, body)
    return _read_each(
        (_span, one, resource)
        for holder in request.resource_spans
        for resource in (_attributes(holder.resource.attributes),)
        for scope in holder.scope_spans
        for one in scope.spans
    )


def logs_of_protobuf(body: bytes) -> HandedIn[LogRecord]:
    """The log records of an export in protobuf."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # noqa: PLC0415
        ExportLogsServiceRequest,
    )

    request = _parsed(ExportLogsServiceRequest, body)
    return _read_each(
        (_log, one, resource)
        for holder in request.resource_logs
        for resource in (_attributes(holder.resource.attributes),)
        for scope in holder.scope_logs
        for one in scope.log_records
    )


def answer_spans_protobuf(handed_in: HandedIn[Span]) -> bytes:
    """The answer to an export of spans."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
        ExportTraceServiceResponse,
    )

    response = ExportTraceServiceResponse()
    if handed_in.rejected:
        response.partial_success.rejected_spans = len(handed_in.rejected)
        response.partial_success.error_message = handed_in.message()
    return bytes(response.SerializeToString())


def answer_logs_protobuf(handed_in: HandedIn[LogRecord]) -> bytes:
    """The answer to an export of log records."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (  # noqa: PLC0415
        ExportLogsServiceResponse,
    )

    response = ExportLogsServiceResponse()
    if handed_in.rejected:
        response.partial_success.rejected_log_records = len(handed_in.rejected)
        response.partial_success.error_message = handed_in.message()
    return bytes(response.SerializeToString())


def _parsed(message: Callable[[], Any], body: bytes) -> Any:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # noqa: PLC0415

    parsed = message()
    try:
        parsed.ParseFromString(body)
    except (DecodeError, RecursionError):
        raise Unreadable("The body is no protobuf message of this kind.") from None
    return parsed


def _read_each(
    found: Iterator[tuple[Callable[[Any, dict[str, Any]], T], Any, dict[str, Any]]],
) -> HandedIn[T]:
    handed_in: HandedIn[T] = HandedIn([], [])
    for read, one, resource in found:
        try:
            handed_in.accepted.append(read(one, resource))
        except Rejected as reason:
            handed_in.rejected.append(str(reason))
    return handed_in


def _span(span: Any, resource: dict[str, Any]) -> Span:
    if not any(span.trace_id) or not any(span.span_id) or (len(span.trace_id), len(span.span_id)) != (16, 8):
        raise Rejected("traceId or spanId is missing or no id")
    attributes = _attributes(span.attributes)
    exceptions = exceptions_of((event.name, _attributes(event.attributes)) for event in span.events)
    failed, message = failure_of(span.status.code == _ERROR, attributes, span.status.message, *exceptions)
    return checked(
        Span(
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex() if any(span.parent_span_id) else None,
            span.name or "span",
            span.start_time_unix_nano,
            span.end_time_unix_nano or None,
            failed,
            message,
            attributes,
            resource,
        )
    )


def _log(record: Any, resource: dict[str, Any]) -> LogRecord:
    return log_record(
        instant=record.time_unix_nano or record.observed_time_unix_nano,
        name=record.event_name or None,
        body=_plain(record.body),
        severity=record.severity_number,
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        attributes=_attributes(record.attributes),
        resource=resource,
    )


def _attributes(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _plain(attribute.value) for attribute in attributes}


def _plain(value: Any) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [_plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case "bytes_value":
            return msgspec.to_builtins(value.bytes_value)
        case None:
            return None
        case kind:
            return getattr(value, kind)


SIGNALS: Final[dict[str, Signal[Any]]] = {
    "spans": Signal(
        telemetry.accept_spans, spans_of_json, spans_of_protobuf, answer_spans_protobuf, "rejectedSpans"
    ),
    "logs": Signal(
        telemetry.accept_logs, logs_of_json, logs_of_protobuf, answer_logs_protobuf, "rejectedLogRecords"
    ),
}
