"""OTLP in JSON: exports of resources, scopes and spans, with their old names and their new ones."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from quartermaster.adapters._span_documents import Container, Level, checked
from quartermaster.adapters._spans import Span, exceptions_of, failure_of, hex_id
from quartermaster.errors import Rejected

_ERROR: Final = (2, "2", "STATUS_CODE_ERROR")
_TRACE_DIGITS: Final = 32
_SPAN_DIGITS: Final = 16
_DEPTH_LIMIT: Final = 16


class Value(msgspec.Struct, rename="camel", gc=False):
    """A value of an attribute, with its type as its name."""

    string_value: Any = None
    int_value: Any = None
    double_value: Any = None
    bool_value: Any = None
    array_value: Any = None
    kvlist_value: Any = None
    bytes_value: Any = None


class Attribute(msgspec.Struct, gc=False):
    """One attribute."""

    key: Any = None
    value: Value | None = None


class Resource(msgspec.Struct, gc=False):
    """What spans and records come from."""

    attributes: list[Attribute] | None = None


class _Export(msgspec.Struct, rename="camel", gc=False):
    resource_spans: list[msgspec.Raw] | None = None
    batches: list[msgspec.Raw] | None = None

    def lists(self) -> list[msgspec.Raw] | None:
        return self.batches if self.resource_spans is None else self.resource_spans

    def about(self, outer: Any) -> Any:
        return {}


class _ResourceSpans(msgspec.Struct, rename="camel", gc=False):
    resource: Resource | None = None
    scope_spans: list[msgspec.Raw] | None = None
    instrumentation_library_spans: list[msgspec.Raw] | None = None

    def lists(self) -> list[msgspec.Raw] | None:
        if self.scope_spans is not None or self.instrumentation_library_spans is not None:
            return [*(self.scope_spans or ()), *(self.instrumentation_library_spans or ())]
        return None if self.resource is None else []

    def about(self, outer: Any) -> Any:
        return attributes_of(self.resource.attributes if self.resource else None)


class _ScopeSpans(msgspec.Struct, gc=False):
    spans: list[msgspec.Raw] | None = None
    scope: Any = None

    def lists(self) -> list[msgspec.Raw] | None:
        return [] if self.spans is None and self.scope is not None else self.spans

    def about(self, outer: Any) -> Any:
        return outer


class _Status(msgspec.Struct, gc=False):
    code: Any = None
    message: Any = None


class _Event(msgspec.Struct, gc=False):
    name: Any = None
    attributes: list[Attribute] | None = None


class _Span(msgspec.Struct, rename="camel", gc=False):
    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    name: str | None = None
    start_time_unix_nano: int | str | None = None
    end_time_unix_nano: int | str | None = None
    attributes: list[Attribute] | None = None
    events: list[_Event] | None = None
    status: _Status | None = None


_decode_span = msgspec.json.Decoder(_Span).decode


def attributes_of(attributes: list[Attribute] | None) -> dict[str, Any]:
    """Attributes by name, their values as plain ones."""
    return {
        attribute.key: plain(attribute.value)
        for attribute in attributes or ()
        if type(attribute.key) is str and attribute.value is not None
    }


def plain(value: Value) -> Any:
    """A value without its type."""
    if value.string_value is not None:
        return value.string_value
    if value.int_value is not None:
        return whole_number(value.int_value)
    if value.double_value is not None:
        return value.double_value
    if value.bool_value is not None:
        return value.bool_value
    if value.array_value is not None:
        return _plain_list(value.array_value, 0)
    if value.kvlist_value is not None:
        return _plain_object(value.kvlist_value, 0)
    return value.bytes_value


def _plain_any(value: Any, depth: int) -> Any:
    """A value inside of a list or an object of values."""
    if not isinstance(value, dict) or depth > _DEPTH_LIMIT:
        return None
    for name, inner in value.items():
        match name:
            case "intValue":
                return whole_number(inner)
            case "arrayValue":
                return _plain_list(inner, depth + 1)
            case "kvlistValue":
                return _plain_object(inner, depth + 1)
            case _:
                return inner
    return None


def _plain_list(value: Any, depth: int) -> list[Any]:
    values = value.get("values") if isinstance(value, dict) else None
    return [_plain_any(item, depth) for item in values] if isinstance(values, list) else []


def _plain_object(value: Any, depth: int) -> dict[str, Any]:
    values = value.get("values") if isinstance(value, dict) else None
    members = [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []
    return {str(item.get("key")): _plain_any(item.get("value"), depth) for item in members}


def whole_number(value: Any) -> int | None:
    """A whole number, which this encoding writes as a text."""
    if type(value) is int:
        return value
    if type(value) is not str or len(value) > 20 or not value.removeprefix("-").isdecimal():
        return None
    return int(value)


def read_span(text: bytes, resource: Mapping[str, Any]) -> Span:
    """One span; raises Rejected for one that says too little, msgspec's errors for what is no span."""
    span = _decode_span(text)
    trace_id = _id(span.trace_id, _TRACE_DIGITS)
    span_id = _id(span.span_id, _SPAN_DIGITS)
    if trace_id is None or span_id is None:
        raise Rejected("traceId or spanId is missing or no id")
    attributes = attributes_of(span.attributes)
    exceptions = exceptions_of((event.name, attributes_of(event.attributes)) for event in span.events or ())
    status = span.status or _Status()
    failed, message = failure_of(status.code in _ERROR, attributes, status.message, *exceptions)
    return checked(
        Span(
            trace_id,
            span_id,
            _id(span.parent_span_id, _SPAN_DIGITS) if span.parent_span_id else None,
            span.name or "span",
            whole_number(span.start_time_unix_nano) or 0,
            whole_number(span.end_time_unix_nano) or None,
            failed,
            message,
            attributes,
            resource or {},
        )
    )


def _id(text: str, digits: int) -> str | None:
    """An id in hex, or in base64 as some exporters write it."""
    found = hex_id(text, digits)
    if found is not None or len(text) not in (12, 24) or not text.endswith("="):
        return found
    try:
        return hex_id(msgspec.convert(text, bytes).hex(), digits)
    except msgspec.ValidationError:
        return None


EXPORT: Final = Level(msgspec.json.Decoder(_Export).decode, frozenset({b"resourceSpans", b"batches"}))
CONTAINER: Final = Container(
    (
        EXPORT,
        Level(
            msgspec.json.Decoder(_ResourceSpans).decode,
            frozenset({b"scopeSpans", b"instrumentationLibrarySpans"}),
        ),
        Level(msgspec.json.Decoder(_ScopeSpans).decode, frozenset({b"spans"})),
    ),
    read_span,
)
