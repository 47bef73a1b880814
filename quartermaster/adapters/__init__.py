"""Trace formats: bytes of a recording in, native journal entries out.

Each module of this package but this one is one format and exposes `ADAPTER`. Adapters do no I/O and
keep no state outside of the reader they hand out. A reader is deterministic: the same bytes, cut
anywhere, give the same records in the same order.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Literal, Protocol

import msgspec


class Record(msgspec.Struct, frozen=True, gc=False):
    """One native entry (`raw`, the JSON text of one object) and where in the recording it came from.

    `offset` and `length` are bytes of the recording. Several records may come from one range.
    """

    raw: bytes
    offset: int
    length: int


class RejectedLine(msgspec.Struct, frozen=True, gc=False):
    """A range of the recording that could not be read, with the reason for people."""

    offset: int
    length: int
    reason: str


class LineReader(Protocol):
    """Reads one line-based recording from its first byte on; one object per file."""

    def read_line(self, line: bytes, offset: int) -> Iterable[Record | RejectedLine]:
        """Records of one complete line (without its newline). Never raises."""
        ...

    def finish(self) -> Iterable[Record]:
        """What can be said of the recording as it stands, such as its outcome; may be asked again."""
        ...


class LineAdapter(Protocol):
    """A trace format that is read line by line, while it grows.

    `name` is its name everywhere. `keeps_bytes` says that a record's raw bytes are the recording's own
    bytes, so the recording need not be archived beside them. `revisable` says that a later record under a
    known id with another body replaces the earlier one (the recording tells the same fact more
    completely); otherwise it is a conflict and the first one stays.
    """

    name: str
    line_based: Literal[True]
    keeps_bytes: bool
    revisable: bool

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """Whether these first bytes (at most 256 KiB; all of them when `whole`) are of this format."""
        ...

    def line_reader(self) -> LineReader:
        """A fresh reader for one recording."""
        ...


class DocumentAdapter(Protocol):
    """A trace format that is read whole; the attributes are those of LineAdapter."""

    name: str
    line_based: Literal[False]
    keeps_bytes: bool
    revisable: bool

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """Whether these first bytes (at most 256 KiB; all of them when `whole`) are of this format."""
        ...

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """All records of a whole document. Never raises."""
        ...


Adapter = LineAdapter | DocumentAdapter


@cache
def adapters() -> tuple[Adapter, ...]:
    """Every format of this package, by name."""
    names = sorted(
        module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    )
    return tuple(importlib.import_module(f"{__name__}.{name}").ADAPTER for name in names)


def adapter_named(name: str | None) -> Adapter | None:
    """The format of that name, if this program still has it."""
    return next((adapter for adapter in adapters() if adapter.name == name), None)


def recognise(head: bytes, *, whole: bool) -> Adapter | None:
    """The one format that recognises these first bytes, or None: nothing is guessed."""
    matching = [adapter for adapter in adapters() if adapter.recognises(head, whole=whole)]
    return matching[0] if len(matching) == 1 else None
