"""The native journal as NDJSON: one entry a line, kept byte for byte."""

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import LineAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._json import split_concatenated
from quartermaster.adapters.native_document import ADAPTER as DOCUMENT
from quartermaster.adapters.native_document import begins_entry

__all__ = ["ADAPTER", "Native", "NativeReader", "split_concatenated"]


class _Probe(msgspec.Struct, gc=False):
    entry_type: Any = None
    ts: Any = None
    workspace_id: Any = None
    sessionId: Any = None
    parentUuid: Any = msgspec.UNSET


_probe = msgspec.json.Decoder(_Probe).decode


class NativeReader:
    """Hands every line on as it is. Decoding happens once, in the store, which can say what is wrong."""

    def read_line(self, line: bytes, offset: int) -> Iterable[Record | RejectedLine]:
        """The line's bytes, without a carriage return at its end or a byte order mark before the first."""
        if line.endswith(b"\r"):
            line = line[:-1]
        if not offset and line.startswith(json.BYTE_ORDER_MARK):
            offset = len(json.BYTE_ORDER_MARK)
            line = line[offset:]
        if not line or line.isspace():
            return ()
        return (Record(line, offset, len(line)),)

    def finish(self) -> Iterable[Record]:
        """Nothing: a journal says itself how its missions ended."""
        return ()


class Native:
    """One entry a line. A line that does not decode may be several: see `split_concatenated`."""

    name = "native"
    line_based: Literal[True] = True
    keeps_bytes = True
    revisable = False

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """Some line is an entry, none is of a Claude Code session, and it is no document of entries."""
        start = json.start_of(head)
        if json.may_be_list(head, start) or DOCUMENT.recognises(head, whole=whole):
            return False
        if not whole and b"\n" not in head:
            return begins_entry(head, start)
        found = False
        for line in json.complete_lines(head, whole=whole):
            try:
                probe = _probe(line)
            except json.UNDECODABLE:
                continue
            if type(probe.sessionId) is str and probe.parentUuid is not msgspec.UNSET:
                return False
            found = found or _is_entry(probe)
        return found

    def line_reader(self) -> NativeReader:
        """A fresh reader."""
        return NativeReader()


def _is_entry(probe: _Probe) -> bool:
    if type(probe.entry_type) is not str:
        return False
    return type(probe.ts) is str or type(probe.workspace_id) is str


ADAPTER: Final[LineAdapter] = Native()
