"""GitHub Copilot CLI sessions: one event a line, one file a session.

A model call is an assistant message and tells its answer's tokens alone; what was put in is told once, as
a sum for each model, when the session is shut down, and goes onto the last call of that model. The tokens
of a session that was cut off are therefore unknown. Hooks repeat what tools were given and gave, so they
are not read. Whatever sub-agents do counts in the session.
"""

import re
from collections.abc import Iterable
from typing import Final, Literal

from quartermaster.adapters import LineAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._copilot_cli_lines import decode_event, start_of
from quartermaster.adapters._copilot_cli_session import Session
from quartermaster.adapters._lines import Object, is_id, read_objects, text_or_none, time_or_none

_PRODUCER: Final = re.compile(rb'"producer"\s*:\s*"copilot-agent"')


class CopilotCliReader:
    """Reads one session from its first line on."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._last_time: tuple[str, int] | None = None
        self._last_range = (0, 0)

    def read_line(self, line: bytes, offset: int) -> Iterable[Record | RejectedLine]:
        """The entries that a line adds; several objects on one line are read one after the other."""
        outputs: list[Record | RejectedLine] = []
        for item in read_objects(line, offset, decode_event):
            outputs.extend(self._read(item) if isinstance(item, Object) else (item,))
        return outputs

    def finish(self) -> Iterable[Record]:
        """How the session stands at the end of the file."""
        outcome = self._session.outcome() if self._session else None
        return [Record(outcome, *self._last_range)] if outcome else []

    def _read(self, item: Object) -> Iterable[Record | RejectedLine]:
        event = item.value
        self._last_time = time_or_none(event.timestamp) or self._last_time
        if self._last_time is None:
            return (_rejected(item, "no time is known yet: timestamp is missing or no time"),)
        if self._session is None:
            start = start_of(event)
            if start is None or not is_id(start.session_id):
                return (_rejected(item, "no session is known yet: session.start is missing or has no id"),)
            self._session = Session(start.session_id, start, self._last_time[0])
        self._last_range = (item.offset, len(item.text))
        key = text_or_none(event.id) or item.text
        return [
            Record(entry, *self._last_range) for entry in self._session.read(event, key, *self._last_time)
        ]


class CopilotCli:
    """Event logs of GitHub Copilot CLI, under `~/.copilot/session-state` or elsewhere."""

    name = "copilot_cli"
    line_based: Literal[True] = True
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """Some line opens a session of this producer."""
        if _PRODUCER.search(head) is None:
            return False
        if not whole and b"\n" not in head:
            members = {member.name: member.value for member in json.members(head, json.start_of(head))}
            kind = members.get(b"type")
            return (
                kind is not None and head[kind.start : kind.end] == b'"session.start"' and b"data" in members
            )
        return any(_opens_session(line) for line in json.complete_lines(head, whole=whole))

    def line_reader(self) -> CopilotCliReader:
        """A fresh reader."""
        return CopilotCliReader()


def _opens_session(line: bytes) -> bool:
    if b'"session.start"' not in line:
        return False
    try:
        start = start_of(decode_event(line))
    except json.UNDECODABLE:
        return False
    return start is not None and start.producer == "copilot-agent" and is_id(start.session_id)


def _rejected(item: Object, reason: str) -> RejectedLine:
    return RejectedLine(item.offset, len(item.text), reason)


ADAPTER: Final[LineAdapter] = CopilotCli()
