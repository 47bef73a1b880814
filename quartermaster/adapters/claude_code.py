"""Claude Code sessions: one line per content block, one mission per session.

A model call is a message id, however many lines repeat it, with the usage of its last line. A tool
that a person refused is a denied decision and never ended. What sub-agents did is only counted where
their lines stand in the session's own file. Results of calls that the file never began tell nothing.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import LineAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._claude_code_lines import Line, Message, decode_line
from quartermaster.adapters._claude_code_session import Moment, Session
from quartermaster.core.journal import ID_LIMIT, parse_instant
from quartermaster.errors import Rejected


class ClaudeCodeReader:
    """Reads one file from its first line on; usually that is one session."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._last_time: tuple[str, int] | None = None
        self._last_range = (0, 0)

    def read_line(self, line: bytes, offset: int) -> Iterable[Record | RejectedLine]:
        """The entries that a line adds; several objects on one line are read one after the other."""
        if not offset and line.startswith(json.BYTE_ORDER_MARK):
            offset = len(json.BYTE_ORDER_MARK)
            line = line[offset:]
        line = line.removesuffix(b"\r")
        if not line or line.isspace():
            return ()
        parsed = _parsed(line)
        if not isinstance(parsed, str):
            return self._read(line, offset, parsed)
        objects = json.split_concatenated(line)
        if objects is None:
            return (RejectedLine(offset, len(line), parsed),)
        return list(self._read_each(line, offset, objects))

    def finish(self) -> Iterable[Record]:
        """How each session stands at the end of the file."""
        outcomes = [session.outcome() for session in self._sessions.values()]
        return [Record(outcome, *self._last_range) for outcome in outcomes if outcome]

    def _read_each(
        self, line: bytes, offset: int, objects: list[tuple[int, int]]
    ) -> Iterator[Record | RejectedLine]:
        for start, length in objects:
            text = line[start : start + length]
            parsed = _parsed(text)
            if isinstance(parsed, str):
                yield RejectedLine(offset + start, length, parsed)
            else:
                yield from self._read(text, offset + start, parsed)

    def _read(
        self, text: bytes, offset: int, parsed: tuple[Line, Message | None]
    ) -> Iterable[Record | RejectedLine]:
        line, message = parsed
        self._last_time = _time(line.timestamp) or self._last_time
        if not _is_id(line.session_id) or (message is None and line.type != "system"):
            return ()
        if self._last_time is None:
            return (RejectedLine(offset, len(text), "no time is known yet: timestamp is missing or no time"),)
        session = self._sessions.get(line.session_id)
        if session is None:
            session = self._sessions[line.session_id] = Session(line.session_id, self._last_time[0])
        key = line.uuid if type(line.uuid) is str and line.uuid else text
        self._last_range = (offset, len(text))
        entries = session.read(line, message, Moment(*self._last_time, key))
        return [Record(entry, offset, len(text)) for entry in entries]


class ClaudeCode:
    """Session files of Claude Code, under `~/.claude/projects` or elsewhere."""

    name = "claude_code"
    line_based: Literal[True] = True
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """Some line has a session id and a parent."""
        start = json.start_of(head)
        if head[start : start + 1] == b"[":
            return False
        if not whole and b"\n" not in head:
            names = {member.name for member in json.members(head, start)}
            return {b"sessionId", b"parentUuid"} <= names
        return any(_is_session_line(line) for line in json.complete_lines(head, whole=whole))

    def line_reader(self) -> ClaudeCodeReader:
        """A fresh reader."""
        return ClaudeCodeReader()


class _Probe(msgspec.Struct, rename="camel", gc=False):
    session_id: Any = None
    parent_uuid: Any = msgspec.UNSET


_probe = msgspec.json.Decoder(_Probe).decode


def _is_session_line(line: bytes) -> bool:
    try:
        probe = _probe(line)
    except json.UNDECODABLE:
        return False
    return type(probe.session_id) is str and probe.parent_uuid is not msgspec.UNSET


def _parsed(text: bytes) -> tuple[Line, Message | None] | str:
    """The line, or the reason why it is none."""
    try:
        return decode_line(text)
    except json.UNDECODABLE as error:
        reason = json.why_undecodable(error)
    mended = json.repaired(text)
    if mended == text:
        return reason
    try:
        return decode_line(mended)
    except json.UNDECODABLE:
        return reason


def _time(text: Any) -> tuple[str, int] | None:
    try:
        return text, parse_instant(text)
    except Rejected:
        return None


def _is_id(value: Any) -> bool:
    return type(value) is str and 0 < len(value) <= ID_LIMIT and not value.isspace()


ADAPTER: Final[LineAdapter] = ClaudeCode()
