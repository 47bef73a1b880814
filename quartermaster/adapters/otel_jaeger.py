"""Traces as the user interface and the API of Jaeger export them: times in microseconds, tags with types."""

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters._documents import element_names, members_by_name
from quartermaster.adapters._otlp import whole_number
from quartermaster.adapters._span_documents import Container, Level, checked, read_document
from quartermaster.adapters._spans import Span, failure_of, hex_id
from quartermaster.errors import Rejected

_TRACE_DIGITS: Final = 32
_SPAN_DIGITS: Final = 16
_MICROSECOND: Final = 1_000


class _Tag(msgspec.Struct, gc=False):
    key: Any = None
    value: Any = None
    type: Any = None


class _Log(msgspec.Struct, gc=False):
    fields: list[_Tag] | None = None


class _Process(msgspec.Struct, gc=False):
    service_name: Any = msgspec.field(default=None, name="serviceName")
    tags: list[_Tag] | None = None


class _Reference(msgspec.Struct, gc=False):
    kind: Any = msgspec.field(default=None, name="refType")
    span_id: Any = msgspec.field(default=None, name="spanID")


class _JaegerSpan(msgspec.Struct, gc=False):
    trace_id: str = msgspec.field(name="traceID")
    span_id: str = msgspec.field(name="spanID")
    name: str | None = msgspec.field(default=None, name="operationName")
    parent_span_id: Any = msgspec.field(default=None, name="parentSpanID")
    references: list[_Reference] | None = None
    start_time: int | None = msgspec.field(default=None, name="startTime")
    duration: int | None = None
    tags: list[_Tag] | None = None
    logs: list[_Log] | None = None
    process_id: Any = msgspec.field(default=None, name="processID")


class _Answer(msgspec.Struct, gc=False):
    data: list[msgspec.Raw] | None = None

    def lists(self) -> list[msgspec.Raw] | None:
        return self.data

    def about(self, outer: Any) -> Any:
        return None


class _Trace(msgspec.Struct, gc=False):
    spans: list[msgspec.Raw] | None = None
    processes: dict[str, _Process] | None = None

    def lists(self) -> list[msgspec.Raw] | None:
        return self.spans

    def about(self, outer: Any) -> Any:
        """The resource of each process."""
        return {name: _resource(process) for name, process in (self.processes or {}).items()}


_decode_span = msgspec.json.Decoder(_JaegerSpan).decode


def _resource(process: _Process) -> dict[str, Any]:
    return _attributes(process.tags) | {"service.name": process.service_name}


def _attributes(tags: list[_Tag] | None) -> dict[str, Any]:
    return {tag.key: _plain(tag) for tag in tags or () if type(tag.key) is str}


def _plain(tag: _Tag) -> Any:
    return whole_number(tag.value) if tag.type == "int64" else tag.value


def _read_span(text: bytes, resources: Any) -> Span:
    span = _decode_span(text)
    trace_id, span_id = hex_id(span.trace_id, _TRACE_DIGITS), hex_id(span.span_id, _SPAN_DIGITS)
    if trace_id is None or span_id is None:
        raise Rejected("traceID or spanID is missing or no id")
    attributes = _attributes(span.tags)
    marked = attributes.get("error") is True or attributes.get("otel.status_code") == "ERROR"
    logs = [_attributes(log.fields).get("exception.message") for log in span.logs or ()]
    failed, message = failure_of(marked, attributes, attributes.get("otel.status_description"), *logs)
    start = (span.start_time or 0) * _MICROSECOND
    process = span.process_id if type(span.process_id) is str else ""
    return checked(
        Span(
            trace_id,
            span_id,
            _parent_of(span),
            span.name or "span",
            start,
            None if span.duration is None else start + span.duration * _MICROSECOND,
            failed,
            message,
            attributes,
            (resources or {}).get(process) or {},
        )
    )


def _parent_of(span: _JaegerSpan) -> str | None:
    parents = [one.span_id for one in span.references or () if one.kind == "CHILD_OF"]
    parent = next(iter(parents), span.parent_span_id)
    return hex_id(parent, _SPAN_DIGITS) if isinstance(parent, str) else None


_CONTAINER: Final = Container(
    (
        Level(msgspec.json.Decoder(_Answer).decode, frozenset({b"data"})),
        Level(msgspec.json.Decoder(_Trace).decode, frozenset({b"spans"})),
    ),
    _read_span,
)


class Jaeger:
    """Exports of one or more traces."""

    name = "otel_jaeger"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """An object with `data`, the first of which is a trace with spans."""
        data = members_by_name(head).get(b"data")
        if data is None:
            return False
        names = next(element_names(head, data, 1), set())
        return b"spans" in names and bool(names & {b"traceID", b"processes"})

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of every span; one that cannot be read costs itself."""
        return read_document(document, _CONTAINER)


ADAPTER: Final[DocumentAdapter] = Jaeger()
