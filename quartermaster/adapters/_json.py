"""JSON where it lies: byte ranges of values in recordings that may be cut off, glued together or broken.

Whole values are decoded by msgspec. What is here works on brackets and quotes alone, so it never
recurses, needs no valid JSON and can say where the last complete value ends.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
"""What decoding raises for bytes that are not the JSON that was asked for."""

_TOKEN: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]"]', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^\s,:\[\]{}\"]++")
_BETWEEN: Final = re.compile(rb"[\s,]*+")
_COLON: Final = re.compile(rb"\s*+:\s*+")
_BLANK: Final = re.compile(rb"\s*+")
_CLOSING: Final = {b"{": b"}", b"[": b"]", b'"': b'"'}
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Span(NamedTuple):
    """A value's range of bytes; `end` is None where the recording ends before the value does."""

    start: int
    end: int | None


class Member(NamedTuple):
    """One member of an object: its name as written, without quotes, and the range of its value."""

    name: bytes
    value: Span


def start_of(data: bytes) -> int:
    """Where the first value begins: behind a byte order mark and white space."""
    begin = len(BYTE_ORDER_MARK) if data.startswith(BYTE_ORDER_MARK) else 0
    return skip_blank(data, begin)


def may_be_list(data: bytes, start: int) -> bool:
    """Whether what begins there may become a list of objects. A broken first line of a file of lines may
    begin with a bracket too, but no recording is a list of anything else."""
    if data[start : start + 1] != b"[":
        return False
    first = skip_blank(data, start + 1)
    return data[first : first + 1] in (b"", b"{")


def skip_blank(data: bytes, position: int) -> int:
    """The first position from here on that is no white space."""
    return _end(_BLANK.match(data, position), position)


def value_end(data: bytes, start: int) -> int | None:
    """Where the value that begins at `start` ends; None where the data ends before it.

    Only brackets of the opening kind count, so that a stray one of the other kind does no harm.
    """
    opening = data[start : start + 1]
    closing = _CLOSING.get(opening)
    if closing is None:
        scalar = _SCALAR.match(data, start)
        return scalar.end() if scalar and scalar.end() < len(data) else None
    depth = 0
    for token in _TOKEN.finditer(data, start):
        mark = token.group()
        if mark == b'"':
            return None
        if mark == opening:
            depth += 1
        elif mark == closing:
            depth -= 1
        if depth <= 0:
            return token.end()
    return None


def elements(data: bytes, start: int) -> Iterator[Span]:
    """The elements of the array at `start`. A last span without an end: the array is cut off there."""
    position = start + 1
    while True:
        element = _end(_BETWEEN.match(data, position), position)
        if data[element : element + 1] == b"]":
            return
        end = value_end(data, element) if element < len(data) else None
        if end is None:
            yield Span(position if element >= len(data) else element, None)
            return
        yield Span(element, end)
        position = end


def members(data: bytes, start: int) -> Iterator[Member]:
    """The members of the object at `start`, as far as they can be told."""
    position = start + 1
    while True:
        name = _TOKEN.match(data, _end(_BETWEEN.match(data, position), position))
        if name is None or len(name.group()) < 2:
            return
        colon = _COLON.match(data, name.end())
        if colon is None or colon.end() >= len(data):
            return
        end = value_end(data, colon.end())
        yield Member(name.group()[1:-1], Span(colon.end(), end))
        if end is None:
            return
        position = end


def array_spans(document: bytes, start: int) -> Iterator[Span]:
    """The elements of a document that is one array: fast where it is valid, recovered where it is not.

    What follows the array, if anything does, comes as one last span without an end.
    """
    try:
        decoded = _decode_elements(memoryview(document)[start:])
    except UNDECODABLE:
        yield from _recovered(document, start)
        return
    yield from spans_of(document, start, decoded)


def spans_of(document: bytes, array: int, decoded: list[msgspec.Raw]) -> Iterator[Span]:
    """Where the elements of an array that begins at `array` stand, once it was decoded."""
    position = array + 1
    for raw in decoded:
        begin = _end(_BETWEEN.match(document, position), position)
        position = begin + len(memoryview(raw))
        yield Span(begin, position)


def _recovered(document: bytes, start: int) -> Iterator[Span]:
    position = start + 1
    for span in elements(document, start):
        yield span
        if span.end is None:
            return
        position = span.end
    closing = document.index(b"]", position)
    rest = skip_blank(document, closing + 1)
    if rest < len(document):
        yield Span(rest, None)


def split_concatenated(line: bytes) -> list[tuple[int, int]] | None:
    """(offset, length) of each object of a line of several complete objects; None for any other line."""
    spans: list[tuple[int, int]] = []
    position = skip_blank(line, 0)
    while position < len(line):
        end = value_end(line, position) if line[position] == ord("{") else None
        if end is None:
            return None
        spans.append((position, end - position))
        position = skip_blank(line, end)
    return spans if len(spans) > 1 else None


def repaired(data: bytes) -> bytes:
    """The data with half surrogate pairs and bytes that are no UTF-8 replaced by U+FFFD.

    Programs that cut texts by their UTF-16 length leave such halves behind.
    """
    text = data.decode("utf-8", "replace").encode()
    return _ESCAPE.sub(lambda found: rb"\ufffd" if found.group(1) else found.group(), text)


def decoded_or_none(raw: Any) -> Any:
    """The value of some JSON text, repaired where that helps; None where nothing does."""
    for attempt in (bytes, lambda text: repaired(bytes(text))):
        try:
            return msgspec.json.decode(attempt(raw))
        except UNDECODABLE:
            continue
    return None


def why_undecodable(error: Exception) -> str:
    """The reason for people why some bytes are no JSON."""
    if isinstance(error, RecursionError):
        return "JSON is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not valid UTF-8"
    if isinstance(error, msgspec.ValidationError):
        return "not a JSON object" if "Expected `object`" in str(error) else f"not readable: {error}"
    if "truncated" in str(error):
        return "JSON ends too early"
    return f"not valid JSON: {error}"[:200]


def complete_lines(head: bytes, *, whole: bool) -> list[bytes]:
    """The lines of the first bytes of a file; a last one that may go on is left out."""
    lines = head.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    return lines if whole else lines[:-1]


def _end(found: re.Match[bytes] | None, otherwise: int) -> int:
    return found.end() if found else otherwise
