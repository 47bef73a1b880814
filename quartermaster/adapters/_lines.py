"""Lines of recordings that hold one JSON object each, or nearly so."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import msgspec

from quartermaster.adapters import RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.core.journal import ID_LIMIT, parse_instant
from quartermaster.errors import Rejected

T = TypeVar("T")


class Object(NamedTuple):
    """One object of a line: its JSON text as recorded, where that stands, and what was read from it."""

    text: bytes
    offset: int
    value: Any


def read_objects(line: bytes, offset: int, decode: Callable[[bytes], Any]) -> Iterable[Object | RejectedLine]:
    """The object of a line, or each of several that are glued together; nothing for a blank line."""
    if not offset and line.startswith(json.BYTE_ORDER_MARK):
        offset = len(json.BYTE_ORDER_MARK)
        line = line[offset:]
    line = line.removesuffix(b"\r")
    if not line or line.isspace():
        return ()
    first = read_object(line, offset, decode)
    if isinstance(first, Object):
        return (first,)
    spans = json.split_concatenated(line)
    if spans is None:
        return (first,)
    return [read_object(line[start : start + length], offset + start, decode) for start, length in spans]


def read_object(text: bytes, offset: int, decode: Callable[[bytes], Any]) -> Object | RejectedLine:
    """One object, mended where that helps."""
    try:
        return Object(text, offset, decode(text))
    except json.UNDECODABLE as error:
        reason = json.why_undecodable(error)
    mended = json.repaired(text)
    if mended != text:
        try:
            return Object(text, offset, decode(mended))
        except json.UNDECODABLE:
            pass
    return RejectedLine(offset, len(text), reason)


def or_none(decode: Callable[[Any], T], text: Any) -> T | None:
    """The value, mended where that helps; None where it is of another type."""
    try:
        return decode(text)
    except msgspec.ValidationError:
        return None
    except json.UNDECODABLE:
        pass
    try:
        return decode(json.repaired(bytes(text)))
    except json.UNDECODABLE:
        return None


def time_or_none(text: Any) -> tuple[str, int] | None:
    """A time and its instant; None for what is no time."""
    try:
        return text, parse_instant(text)
    except Rejected:
        return None


def is_id(value: Any) -> bool:
    """Whether a mission can be called that."""
    return type(value) is str and 0 < len(value) <= ID_LIMIT and not value.isspace()


def text_or_none(value: Any) -> str | None:
    """A text that says something."""
    return value if type(value) is str and value else None


def count_or_none(value: Any) -> int | None:
    """A whole number."""
    return value if type(value) is int else None
