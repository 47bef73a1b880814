"""Lists of spans as the SDK of OpenTelemetry for JavaScript holds them, such as those of the Vercel AI SDK.

Times are pairs of seconds and nanoseconds.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._documents import element_names
from quartermaster.adapters._span_documents import Container, Level, checked, read_document
from quartermaster.adapters._spans import Span, exceptions_of, failure_of, hex_id
from quartermaster.errors import Rejected

_TRACE_DIGITS: Final = 32
_SPAN_DIGITS: Final = 16
_ERROR: Final = 2
_SECOND: Final = 10**9


class _Context(msgspec.Struct, gc=False):
    trace_id: str = msgspec.field(name="traceId")
    span_id: str = msgspec.field(name="spanId")


class _Status(msgspec.Struct, gc=False):
    code: Any = None
    message: Any = None


class _Event(msgspec.Struct, gc=False):
    name: Any = None
    attributes: dict[str, Any] | None = None


class _Resource(msgspec.Struct, gc=False):
    attributes: dict[str, Any] | None = None


class _JsSpan(msgspec.Struct, rename="camel", gc=False):
    span_context: _Context
    name: str | None = None
    parent_span_context: _Context | None = None
    parent_span_id: str | None = None
    start_time: list[int] | None = None
    end_time: list[int] | None = None
    status: _Status | None = None
    attributes: dict[str, Any] | None = None
    events: list[_Event] | None = None
    resource: _Resource | None = None


class _List(msgspec.Struct, gc=False):
    spans: list[msgspec.Raw]

    def lists(self) -> list[msgspec.Raw] | None:
        return self.spans

    def about(self, outer: Any) -> Any:
        return None


_decode_span = msgspec.json.Decoder(_JsSpan).decode
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _decode_list(text: Any) -> _List:
    return _List(_decode_elements(text))


def _read_span(text: bytes, _: Any) -> Span:
    span = _decode_span(text)
    trace_id = hex_id(span.span_context.trace_id, _TRACE_DIGITS)
    span_id = hex_id(span.span_context.span_id, _SPAN_DIGITS)
    if trace_id is None or span_id is None:
        raise Rejected("traceId or spanId is missing or no id")
    parent = span.parent_span_context.span_id if span.parent_span_context else span.parent_span_id
    attributes, status = span.attributes or {}, span.status or _Status()
    exceptions = exceptions_of((event.name, event.attributes or {}) for event in span.events or ())
    failed, message = failure_of(status.code == _ERROR, attributes, status.message, *exceptions)
    return checked(
        Span(
            trace_id,
            span_id,
            hex_id(parent, _SPAN_DIGITS) if parent else None,
            span.name or "span",
            _instant(span.start_time) or 0,
            _instant(span.end_time),
            failed,
            message,
            attributes,
            (span.resource.attributes if span.resource else None) or {},
        )
    )


def _instant(pair: list[int] | None) -> int | None:
    return pair[0] * _SECOND + pair[1] if pair is not None and len(pair) == 2 and pair[0] > 0 else None


_CONTAINER: Final = Container((Level(_decode_list, frozenset()),), _read_span)


class JavaScriptSpans:
    """Lists of readable spans, as exporters of JavaScript are given them."""

    name = "openinference_vercel"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """A list of objects with a span context."""
        start = json.start_of(head)
        return any(b"spanContext" in names for names in islice(element_names(head, start), 3))

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of every span; one that cannot be read costs itself."""
        start = json.start_of(document)
        if start < len(document) and document[start] != ord("["):
            yield RejectedLine(start, len(document) - start, "not a list of spans")
            return
        yield from read_document(document, _CONTAINER)


ADAPTER: Final[DocumentAdapter] = JavaScriptSpans()
