"""Log records of OTLP in JSON."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from quartermaster.adapters._logs import LogRecord
from quartermaster.adapters._otlp import Attribute, Resource, Value, attributes_of, plain, whole_number
from quartermaster.adapters._span_documents import Container, Level
from quartermaster.adapters._spans import LATEST_INSTANT, hex_id
from quartermaster.errors import Rejected

_TRACE_DIGITS: Final = 32
_SPAN_DIGITS: Final = 16


class _Export(msgspec.Struct, rename="camel", gc=False):
    resource_logs: list[msgspec.Raw] | None = None

    def lists(self) -> list[msgspec.Raw] | None:
        return self.resource_logs

    def about(self, outer: Any) -> Any:
        return {}


class _ResourceLogs(msgspec.Struct, rename="camel", gc=False):
    resource: Resource | None = None
    scope_logs: list[msgspec.Raw] | None = None

    def lists(self) -> list[msgspec.Raw] | None:
        return [] if self.scope_logs is None and self.resource is not None else self.scope_logs

    def about(self, outer: Any) -> Any:
        return attributes_of(self.resource.attributes if self.resource else None)


class _ScopeLogs(msgspec.Struct, rename="camel", gc=False):
    log_records: list[msgspec.Raw] | None = None
    scope: Any = None

    def lists(self) -> list[msgspec.Raw] | None:
        return [] if self.log_records is None and self.scope is not None else self.log_records

    def about(self, outer: Any) -> Any:
        return outer


class _Record(msgspec.Struct, rename="camel", gc=False):
    time_unix_nano: int | str | None = None
    observed_time_unix_nano: int | str | None = None
    severity_number: Any = None
    event_name: str | None = None
    body: Value | None = None
    attributes: list[Attribute] | None = None
    trace_id: str | None = None
    span_id: str | None = None


_decode = msgspec.json.Decoder(_Record).decode


def _read_record(text: bytes, resource: Mapping[str, Any]) -> LogRecord:
    record = _decode(text)
    severity = record.severity_number
    return log_record(
        instant=whole_number(record.time_unix_nano) or whole_number(record.observed_time_unix_nano) or 0,
        name=record.event_name,
        body=None if record.body is None else plain(record.body),
        severity=severity if type(severity) is int else 0,
        trace_id=record.trace_id or "",
        span_id=record.span_id or "",
        attributes=attributes_of(record.attributes),
        resource=resource or {},
    )


def log_record(
    *,
    instant: int,
    name: str | None,
    body: Any,
    severity: int,
    trace_id: str,
    span_id: str,
    attributes: Mapping[str, Any],
    resource: Mapping[str, Any],
) -> LogRecord:
    """A record, once it is certain that it can be told; raises Rejected otherwise."""
    if not 0 < instant <= LATEST_INSTANT:
        raise Rejected("the log record has no time that makes sense")
    told_name = name or attributes.get("event.name")
    return LogRecord(
        instant,
        told_name if isinstance(told_name, str) else None,
        body,
        severity,
        hex_id(trace_id, _TRACE_DIGITS),
        hex_id(span_id, _SPAN_DIGITS),
        attributes,
        resource,
    )


LOG_CONTAINER: Final = Container(
    (
        Level(msgspec.json.Decoder(_Export).decode, frozenset({b"resourceLogs"})),
        Level(msgspec.json.Decoder(_ResourceLogs).decode, frozenset({b"scopeLogs"})),
        Level(msgspec.json.Decoder(_ScopeLogs).decode, frozenset({b"logRecords"})),
    ),
    _read_record,
)
