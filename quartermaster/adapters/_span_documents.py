"""Documents that hold spans: nested lists of them, read piece by piece where the document is not whole.

A container says how its lists are nested (`Level`) and how one span of it is read. A span that cannot be
read costs that span.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from quartermaster.adapters import Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._spans import LATEST_INSTANT, Recollection, Span, tell
from quartermaster.errors import Rejected

_TOO_EARLY: Final = "the document ends too early"


class Placed(Protocol):
    """What lies in a document, and where."""

    offset: int
    length: int


T = TypeVar("T", bound=Placed)


class Holder(Protocol):
    """A decoded object around a list; what of it spans need beside the list is passed on to them."""

    def lists(self) -> list[msgspec.Raw] | None:
        """The elements of its list; None where it has no such list."""
        ...

    def about(self, outer: Any) -> Any:
        """What spans inside need to know of it and of what lies around it."""
        ...


class Level(NamedTuple):
    """One nesting of lists: how an object around a list is decoded, and how its list may be called."""

    decode: Callable[[Any], Holder]
    names: frozenset[bytes]


class Container(NamedTuple, Generic[T]):
    """How spans lie in a document: the levels from outside to inside, and how one of them is read.

    `read_one` raises Rejected for a span that says too little.
    """

    levels: tuple[Level, ...]
    read_one: Callable[[bytes, Any], T]


class _Piece(NamedTuple):
    """A value of the document, where it begins, and what lies around it."""

    text: bytes
    offset: int
    about: Any


def read_document(
    document: bytes, container: Container[Span], *, prompt_is_task: bool = False
) -> Iterator[Record | RejectedLine]:
    """The entries of all spans of a document, and what of it could not be read."""
    start = json.start_of(document)
    if start == len(document):
        return
    spans: list[Span] = []
    for found in spans_of(document, start, container):
        if isinstance(found, RejectedLine):
            yield found
        else:
            spans.append(found)
    for told in tell(spans, Recollection(), prompt_is_task=prompt_is_task):
        yield Record(told.raw, told.span.offset, told.span.length)


def spans_of(document: bytes, start: int, container: Container[T]) -> Iterator[T | RejectedLine]:
    """Every span of the value that begins there, with where it lies."""
    text = document[start:] if start else document
    yield from _descend(_Piece(text, start, None), container, 0)


def _descend(piece: _Piece, container: Container[T], depth: int) -> Iterator[T | RejectedLine]:
    if depth == len(container.levels):
        yield _span(piece, container)
        return
    level = container.levels[depth]
    holder = _holder(piece.text, level)
    if isinstance(holder, str):
        yield from _recovered(piece, container, depth, holder)
        return
    elements = holder.lists()
    if elements is None:
        yield RejectedLine(piece.offset, len(piece.text), "it holds no spans")
        return
    about = holder.about(piece.about)
    position = 0
    for element in elements:
        inner = bytes(element)
        found = piece.text.find(inner, position)
        position = max(found, position)
        yield from _descend(_Piece(inner, piece.offset + position, about), container, depth + 1)
        position += len(inner)


def _holder(text: bytes, level: Level) -> Holder | str:
    """What is around a list; a text says why it cannot be told."""
    try:
        return level.decode(text)
    except json.UNDECODABLE as error:
        return json.why_undecodable(error)


def _recovered(piece: _Piece, container: Container[T], depth: int, reason: str) -> Iterator[T | RejectedLine]:
    """What can be read of an object that is no valid JSON, or not of the shape that was asked for."""
    level, text = container.levels[depth], piece.text
    whole = json.value_end(text, 0) is not None
    array = _list_in(text, level.names)
    if array is None:
        yield RejectedLine(piece.offset, len(text), reason if whole else _TOO_EARLY)
        return
    spans = list(json.elements(text, array))
    about = _about_of_recovered(text, array, spans, level, piece.about)
    told = False
    for span in spans:
        inner = text[span.start : span.end]
        found = _Piece(inner, piece.offset + min(span.start, len(text) - 1), about)
        if span.end is not None:
            for one in _descend(found, container, depth + 1):
                told = told or isinstance(one, RejectedLine)
                yield one
        else:
            told = True
            yield from _cut_off(found, container, depth + 1)
    if not told:
        yield RejectedLine(piece.offset, len(text), reason if whole else _TOO_EARLY)


def _cut_off(piece: _Piece, container: Container[T], depth: int) -> Iterator[T | RejectedLine]:
    if piece.text[:1] == b"{" and depth < len(container.levels):
        yield from _recovered(piece, container, depth, _TOO_EARLY)
    else:
        yield RejectedLine(piece.offset, max(len(piece.text), 1), _TOO_EARLY)


def _list_in(text: bytes, names: frozenset[bytes]) -> int | None:
    """Where the list of an object begins."""
    if text[:1] == b"[" and not names:
        return 0
    if text[:1] != b"{":
        return None
    for member in json.members(text, 0):
        if member.name in names and text[member.value.start : member.value.start + 1] == b"[":
            return member.value.start
    return None


def _about_of_recovered(text: bytes, array: int, spans: Sequence[json.Span], level: Level, outer: Any) -> Any:
    """What stands around the list, or before it where the object ends with the list."""
    before = text[:array].rstrip(b" \t\r\n")
    last = spans[-1].end if spans else array + 1
    closing = -1 if last is None else text.find(b"]", last)
    attempts = [before + b"[" + text[closing:]] if closing >= 0 else []
    for attempt in (*attempts, before + b"[]}"):
        try:
            return level.decode(attempt).about(outer)
        except json.UNDECODABLE:
            continue
    return outer


def _span(piece: _Piece, container: Container[T]) -> T | RejectedLine:
    reason = "not a span"
    for text in _attempts(piece.text):
        try:
            span = container.read_one(text, piece.about)
        except json.UNDECODABLE as error:
            reason = json.why_undecodable(error)
        except Rejected as rejected:
            reason = str(rejected)
            break
        else:
            span.offset, span.length = piece.offset, len(piece.text)
            return span
    return RejectedLine(piece.offset, len(piece.text), reason)


def _attempts(text: bytes) -> Iterator[bytes]:
    yield text
    mended = json.repaired(text)
    if mended != text:
        yield mended


def checked(span: Span) -> Span:
    """The span, once it is certain that it can be told; raises Rejected otherwise."""
    if not 0 < span.start <= LATEST_INSTANT:
        raise Rejected("the span has no start that makes sense")
    if span.end is not None and not span.start <= span.end <= LATEST_INSTANT:
        span.end = None
    return span
