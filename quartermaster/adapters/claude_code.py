"""Claude Code sessions: one line per content block, one mission per session.

A model call is a message id, however many lines repeat it, with the usage of its last line. A tool
that a person refused is a denied decision and never ended. A sub-agent is a mission of its own, a
child of its session, whether its lines come in a file of their own or as progress of the session; its
model calls count there and nowhere else. Results of calls that the file never began tell nothing.
"""

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import LineAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._claude_code_lines import Line, Message, decode_line, decode_sub_agent
from quartermaster.adapters._claude_code_session import Moment, Session
from quartermaster.adapters._lines import Object, is_id, read_objects, text_or_none, time_or_none
from quartermaster.core.journal import minted_id


class ClaudeCodeReader:
    """Reads one file from its first line on; usually that is one session."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._last_time: tuple[str, int] | None = None
        self._last_range = (0, 0)

    def read_line(self, line: bytes, offset: int) -> Iterable[Record | RejectedLine]:
        """The entries that a line adds; several objects on one line are read one after the other."""
        outputs: list[Record | RejectedLine] = []
        for item in read_objects(line, offset, decode_line):
            outputs.extend(self._read(item) if isinstance(item, Object) else (item,))
        return outputs

    def finish(self) -> Iterable[Record]:
        """How each session stands at the end of the file."""
        outcomes = [session.outcome() for session in self._sessions.values()]
        return [Record(outcome, *self._last_range) for outcome in outcomes if outcome]

    def _read(self, item: Object) -> Iterable[Record | RejectedLine]:
        line, message = item.value
        self._last_time = time_or_none(line.timestamp) or self._last_time
        if not is_id(line.session_id):
            return ()
        if line.type == "progress":
            return self._read_progress(line, item)
        if message is None and line.type != "system":
            return ()
        if self._last_time is None:
            reason = "no time is known yet: timestamp is missing or no time"
            return (RejectedLine(item.offset, len(item.text), reason),)
        agent_id = line.agent_id if line.is_sidechain is True and text_or_none(line.agent_id) else None
        session = self._session(line.session_id, agent_id, self._last_time[0])
        return self._entries(session, line, message, self._last_time, item)

    def _read_progress(self, line: Line, item: Object) -> Iterable[Record]:
        """What a sub-agent wrote, as far as the session was told while it worked."""
        told = decode_sub_agent(line)
        if told is None:
            return ()
        agent_id, inner, message = told
        time = time_or_none(inner.timestamp) or self._last_time
        if message is None or time is None:
            return ()
        inner.version, inner.cwd, inner.git_branch = line.version, line.cwd, line.git_branch
        return self._entries(self._session(line.session_id, agent_id, time[0]), inner, message, time, item)

    def _entries(
        self, session: Session, line: Line, message: Message | None, time: tuple[str, int], item: Object
    ) -> list[Record]:
        key = text_or_none(line.uuid) or item.text
        self._last_range = (item.offset, len(item.text))
        entries = session.read(line, message, Moment(*time, key))
        if session.ended_sub_agent:
            sub_agent = self._sessions.get(_sub_agent_id(line.session_id, session.ended_sub_agent.agent_id))
            if sub_agent:
                sub_agent.ended(session.ended_sub_agent)
        return [Record(entry, *self._last_range) for entry in entries]

    def _session(self, session_id: str, agent_id: str | None, began: str) -> Session:
        mission_id = _sub_agent_id(session_id, agent_id) if agent_id else session_id
        session = self._sessions.get(mission_id)
        if session is None:
            session = Session(mission_id, began, session_id if agent_id else None)
            self._sessions[mission_id] = session
        return session


class ClaudeCode:
    """Session files of Claude Code, under `~/.claude/projects` or elsewhere."""

    name = "claude_code"
    line_based: Literal[True] = True
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """Some line has a session id and a parent."""
        start = json.start_of(head)
        if json.may_be_list(head, start):
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


def _sub_agent_id(session_id: str, agent_id: str) -> str:
    """The mission of a sub-agent: the same for its own file and for what its session was told of it."""
    mission_id = f"{session_id}.agent-{agent_id}"
    plain = is_id(mission_id) and "/" not in agent_id
    return mission_id if plain else minted_id("claude_code", session_id, agent_id)


ADAPTER: Final[LineAdapter] = ClaudeCode()
