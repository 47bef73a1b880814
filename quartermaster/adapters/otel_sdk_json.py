"""Spans as the Python SDK of OpenTelemetry holds them, dumped with `spans` around them; not OTLP.

Ids are whole numbers of 128 and 64 bits, or hex. The dumps come from runs of agents, each of one
prompt: what was asked names the task. What the agent answered stands beside the spans, and is taken as
the output of the outermost one.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters._documents import element_names, members_by_name
from quartermaster.adapters._entries import output_text
from quartermaster.adapters._otlp import whole_number
from quartermaster.adapters._span_documents import Container, Level, checked, read_document
from quartermaster.adapters._spans import Span, exceptions_of, failure_of, hex_id
from quartermaster.adapters._story import local_instant
from quartermaster.errors import Rejected

_TRACE_DIGITS: Final = 32
_SPAN_DIGITS: Final = 16
_MARKS: Final = (b'"parent"', b'"trace_id"', b'"span_id"', b'"trace_flags"')


class _Context(msgspec.Struct, gc=False):
    trace_id: msgspec.Raw = msgspec.Raw(b"null")
    span_id: msgspec.Raw = msgspec.Raw(b"null")


class _Status(msgspec.Struct, gc=False):
    status_code: Any = None
    description: Any = None


class _Event(msgspec.Struct, gc=False):
    name: Any = None
    attributes: dict[str, Any] | None = None


class _Resource(msgspec.Struct, gc=False):
    attributes: dict[str, Any] | None = None


class _SdkSpan(msgspec.Struct, gc=False):
    context: _Context
    name: str | None = None
    parent: _Context | None = None
    parent_id: msgspec.Raw = msgspec.Raw(b"null")
    start_time: int | str | None = None
    end_time: int | str | None = None
    status: _Status | None = None
    attributes: dict[str, Any] | None = None
    events: list[_Event] | None = None
    resource: _Resource | None = None


class _Dump(msgspec.Struct, gc=False):
    spans: list[msgspec.Raw] | None = None
    final_output: Any = None

    def lists(self) -> list[msgspec.Raw] | None:
        return self.spans

    def about(self, outer: Any) -> Any:
        """What was answered in the end; programs without an answer write None as a text."""
        return self.final_output if self.final_output != "None" else None


_decode_span = msgspec.json.Decoder(_SdkSpan).decode


def _read_span(text: bytes, final_output: Any) -> Span:
    span = _decode_span(text)
    trace_id = _id(span.context.trace_id, _TRACE_DIGITS)
    span_id = _id(span.context.span_id, _SPAN_DIGITS)
    if trace_id is None or span_id is None:
        raise Rejected("trace_id or span_id is missing or no id")
    parent = _id(span.parent.span_id if span.parent is not None else span.parent_id, _SPAN_DIGITS)
    attributes = span.attributes or {}
    if parent is None and final_output:
        attributes = {"gen_ai.output": output_text(final_output)} | attributes
    exceptions = exceptions_of((event.name, event.attributes or {}) for event in span.events or ())
    status = span.status or _Status()
    marked = isinstance(status.status_code, str) and status.status_code.lower() == "error"
    failed, message = failure_of(marked, attributes, status.description, *exceptions)
    return checked(
        Span(
            trace_id,
            span_id,
            parent,
            span.name or "span",
            _instant(span.start_time) or 0,
            _instant(span.end_time),
            failed,
            message,
            attributes,
            (span.resource.attributes if span.resource else None) or {},
        )
    )


def _id(raw: msgspec.Raw, digits: int) -> str | None:
    """An id as a number, which goes beyond 2^53 and must never be a float, or as hex."""
    text = bytes(raw)
    if text[:1] == b'"':
        return hex_id(text[1:-1].decode("ascii", "replace"), digits)
    if not text.isdigit() or len(text) > 39:
        return None
    return hex_id(f"{int(text):x}", digits)


def _instant(value: Any) -> int | None:
    return whole_number(value) if type(value) is int else local_instant(value)


_CONTAINER: Final = Container((Level(msgspec.json.Decoder(_Dump).decode, frozenset({b"spans"})),), _read_span)


class SdkDump:
    """Dumps of one run of an agent each."""

    name = "otel_sdk_json"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """An object with `spans` that have a context, a status and a start, or are too broken to tell."""
        spans = members_by_name(head).get(b"spans")
        if spans is None:
            return False
        names = next(element_names(head, spans, 1), set())
        if {b"context", b"status", b"start_time"} <= names:
            return True
        beginning = head[spans : spans + 1_500]
        return all(name in beginning for name in _MARKS)

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of every span; one that cannot be read costs itself."""
        return read_document(document, _CONTAINER, prompt_is_task=True)


ADAPTER: Final[DocumentAdapter] = SdkDump()
