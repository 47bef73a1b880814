"""Recordings that are one document: read whole where they are whole, else piece by piece.

Lists of pieces (steps, messages, events) are typed Structs whose unread fields are skipped. Where the
document is cut off or one piece is not readable, the pieces around it are still found and read.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from quartermaster.adapters import Record, RejectedLine
from quartermaster.adapters import _json as json

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

Decode = Callable[[Any], Any]
_TOO_EARLY = "the document ends too early"


def read_object(
    document: bytes, decoder: msgspec.json.Decoder[S], lists: Mapping[str, Decode]
) -> tuple[S | None, list[RejectedLine]]:
    """A document that is one object, and what of it was not readable.

    `lists` names the fields that are lists of pieces, each with what decodes one piece. None: the
    document is no object at all.
    """
    start = json.start_of(document)
    if start == len(document):
        return None, []
    whole = or_none(decoder.decode, memoryview(document)[start:])
    if whole is not None:
        return whole, []
    if document[start] != ord("{"):
        return None, [RejectedLine(start, len(document) - start, "not a JSON object")]
    rejected: list[RejectedLine] = []
    fields = _recovered_fields(document, start, lists, rejected)
    struct: type[S] = decoder.type
    names = zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True)
    return struct(**{field: fields[name] for field, name in names if name in fields}), rejected


def read_list(document: bytes, decode: Callable[[Any], T]) -> tuple[list[T], list[RejectedLine]]:
    """The readable elements of a document that is one list, and what of it was not readable."""
    read: list[T] = []
    rejected: list[RejectedLine] = []
    for element in each_of_list(document, decode):
        if isinstance(element, RejectedLine):
            rejected.append(element)
        else:
            read.append(element[0])
    return read, rejected


def each_of_list(document: bytes, decode: Callable[[Any], T]) -> Iterator[tuple[T, json.Span] | RejectedLine]:
    """Each element of a document that is one list, with where it stands."""
    start = json.start_of(document)
    if start == len(document):
        return
    if document[start] != ord("["):
        yield RejectedLine(start, len(document) - start, "not a list")
        return
    for span in json.array_spans(document, start):
        element = _decoded(document, span, decode)
        yield element if isinstance(element, RejectedLine) else (element, span)


def records_of(
    document: bytes, entries: list[bytes], rejected: list[RejectedLine], nothing: str
) -> Iterator[Record | RejectedLine]:
    """What a document gave. One that gave neither entries nor a reason is rejected as a whole: `nothing`."""
    for entry in entries:
        yield Record(entry, 0, len(document))
    yield from rejected
    start = json.start_of(document)
    if not entries and not rejected and start < len(document):
        yield RejectedLine(start, len(document) - start, nothing)


def is_cut(document: bytes, rejected: list[RejectedLine]) -> bool:
    """Whether the end of the document is among what was not readable."""
    return any(line.offset + line.length == len(document) for line in rejected)


def or_none(decode: Callable[[Any], T], text: Any) -> T | None:
    """The value, mended where that helps; None where nothing does."""
    try:
        return decode(text)
    except json.UNDECODABLE:
        pass
    try:
        return decode(json.repaired(bytes(text)))
    except json.UNDECODABLE:
        return None


def element_names(data: bytes, array: int, count: int = 3) -> Iterator[set[bytes]]:
    """The names of the members of each of the first elements of the array at `array`."""
    if data[array : array + 1] != b"[":
        return
    for index, span in enumerate(json.elements(data, array)):
        if index == count or data[span.start : span.start + 1] != b"{":
            return
        yield {member.name for member in json.members(data, span.start)}


@lru_cache(maxsize=1)
def members_by_name(head: bytes) -> Mapping[bytes, int]:
    """Where the value of each member begins, of a document that begins as an object; empty for others.

    The last answer is kept: every format asks the same of the same head.
    """
    start = json.start_of(head)
    if head[start : start + 1] != b"{":
        return {}
    return {member.name: member.value.start for member in json.members(head, start)}


def _recovered_fields(
    document: bytes, start: int, lists: Mapping[str, Decode], rejected: list[RejectedLine]
) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, begin, end in _recovered_members(document, start, lists, fields, rejected):
        if name not in lists:
            fields[name] = json.decoded_or_none(document[begin:end])
        else:
            rejected.append(RejectedLine(begin, end - begin, f"{name} is not a list"))
    if not rejected:
        cut_off = json.value_end(document, start) is None
        reason = _TOO_EARLY if cut_off else "not valid JSON"
        rejected.append(RejectedLine(start, len(document) - start, reason))
    return fields


def _recovered_members(
    document: bytes,
    start: int,
    lists: Mapping[str, Decode],
    fields: dict[str, Any],
    rejected: list[RejectedLine],
) -> Iterator[tuple[str, int, int]]:
    """The members that are not lists of pieces; those that are go to `fields`.

    Where such a list ends is told by its elements, so that a broken one does not hide what follows.
    """
    position: int | None = start
    while position is not None:
        before, position = position, None
        for member in json.members(document, before):
            name = member.name.decode("utf-8", "replace")
            begin, end = member.value
            if name in lists and document[begin : begin + 1] == b"[":
                fields[name], end = _recovered_list(document, begin, lists[name], rejected)
                position = None if end is None else end - 1
                break
            if end is not None:
                yield name, begin, end


def _recovered_list(
    document: bytes, array: int, decode: Decode, rejected: list[RejectedLine]
) -> tuple[list[Any], int | None]:
    """The readable elements of an array, and where it ends."""
    read: list[Any] = []
    end: int | None = array + 1
    for span in json.elements(document, array):
        element = _decoded(document, span, decode)
        (rejected if isinstance(element, RejectedLine) else read).append(element)
        end = span.end
    if end is None:
        return read, None
    closing = document.find(b"]", end)
    return read, closing + 1 if closing >= 0 else None


def _decoded(document: bytes, span: json.Span, decode: Callable[[Any], T]) -> T | RejectedLine:
    start, end = span
    if end is None:
        start = min(start, len(document) - 1)
        return RejectedLine(start, len(document) - start, _TOO_EARLY)
    text = document[start:end]
    try:
        return decode(text)
    except json.UNDECODABLE as error:
        reason = json.why_undecodable(error)
    mended = json.repaired(text)
    if mended != text:
        try:
            return decode(mended)
        except json.UNDECODABLE:
            pass
    return RejectedLine(start, end - start, reason)
