"""The native journal as one document: a JSON array of entries, an API reply around one, or one entry."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json

_LOOKED_AT: Final = 3
_ENTRY_NAMES: Final = frozenset({b"ts", b"workspace_id"})
_SPREAD_OUT: Final = re.compile(rb"\{[ \t\r]*\n")


class _Envelope(msgspec.Struct):
    entries: list[msgspec.Raw]


_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode


class NativeDocument:
    """Every record is the bytes of one element of the document, in the order of the document."""

    name = "native_document"
    line_based: Literal[False] = False
    keeps_bytes = True
    revisable = False

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """An array or `entries` with entries in it, or one entry that is spread over several lines."""
        start = json.start_of(head)
        array = _array_of(head, start)
        if array is not None:
            return any(
                begins_entry(head, span.start) for span in islice(json.elements(head, array), _LOOKED_AT)
            )
        return _SPREAD_OUT.match(head, start) is not None and begins_entry(head, start)

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The elements as records; what is no object, or not there in full, as rejected ranges.

        Documents that were joined, such as the pages of an export, are read one after the other.
        """
        start = json.start_of(document)
        array = _array_of(document, start)
        decoded = None if array is None else _decoded_whole(document, start)
        if array is not None and decoded is not None:
            yield from (_read(document, span) for span in json.spans_of(document, array, decoded))
            return
        while start < len(document):
            end = json.value_end(document, start) if document[start] in b"{[" else None
            yield from _read_one(document, start, end)
            start = len(document) if end is None else json.skip_blank(document, end)


def _decoded_whole(document: bytes, start: int) -> list[msgspec.Raw] | None:
    """The elements of a document that is one valid array or envelope and nothing else."""
    decode = _decode_array if document[start] == ord("[") else _decode_envelope
    try:
        decoded = decode(memoryview(document)[start:])
    except json.UNDECODABLE:
        return None
    return decoded.entries if isinstance(decoded, _Envelope) else decoded


def _read_one(document: bytes, start: int, end: int | None) -> Iterator[Record | RejectedLine]:
    array = _array_of(document, start)
    if array is None:
        yield _read(document, json.Span(start, end))
        return
    spans = json.array_spans if array == start else json.elements
    for span in spans(document, array):
        if end is not None and span.start >= end:
            return  # what follows the array is the next document
        yield _read(document, span)


def _array_of(data: bytes, start: int) -> int | None:
    """Where the array of entries begins: the document itself or its member `entries`."""
    if data[start : start + 1] == b"[":
        return start
    if data[start : start + 1] != b"{":
        return None
    for member in json.members(data, start):
        if member.name == b"entry_type":
            return None
        if member.name == b"entries" and data[member.value.start : member.value.start + 1] == b"[":
            return member.value.start
    return None


def begins_entry(data: bytes, start: int) -> bool:
    """Whether the object at `start` is an entry, as far as the data shows it."""
    if data[start : start + 1] != b"{":
        return False
    typed = placed = False
    for member in json.members(data, start):
        value = data[member.value.start : member.value.start + 1]
        typed = typed or (member.name == b"entry_type" and value == b'"')
        placed = placed or member.name in _ENTRY_NAMES
        if typed and placed:
            return True
    return False


def _read(document: bytes, span: json.Span) -> Record | RejectedLine:
    start, end = span
    if start < len(document) and document[start] != ord("{"):
        return RejectedLine(start, (end or len(document)) - start, "not a JSON object")
    if end is None:
        return RejectedLine(start, len(document) - start, "the document ends too early")
    return Record(document[start:end], start, end - start)


ADAPTER: Final[DocumentAdapter] = NativeDocument()
