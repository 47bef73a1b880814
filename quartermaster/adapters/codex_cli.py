"""Codex CLI rollouts: one file is one session, its first line says which.

Everything stands there twice, as what the model produced and as an event: calls and answers are read
from the former, tokens and ends of turns from the latter. A model call is a change of the tokens used
so far, not a mention of them. The exit code of a command that was left running comes with a later call
and ends the command, not that call. History that a compaction repeats is not read again.
"""

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import LineAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._codex_cli_lines import decode_line, meta_of
from quartermaster.adapters._codex_cli_session import Session
from quartermaster.adapters._lines import Object, is_id, read_objects, time_or_none


class CodexCliReader:
    """Reads one rollout from its first line on."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._last_time: tuple[str, int] | None = None
        self._last_range = (0, 0)

    def read_line(self, line: bytes, offset: int) -> Iterable[Record | RejectedLine]:
        """The entries that a line adds; several objects on one line are read one after the other."""
        outputs: list[Record | RejectedLine] = []
        for item in read_objects(line, offset, decode_line):
            outputs.extend(self._read(item) if isinstance(item, Object) else (item,))
        return outputs

    def finish(self) -> Iterable[Record]:
        """How the session stands at the end of the file."""
        outcome = self._session.outcome() if self._session else None
        return [Record(outcome, *self._last_range)] if outcome else []

    def _read(self, item: Object) -> Iterable[Record | RejectedLine]:
        line = item.value
        self._last_time = time_or_none(line.timestamp) or self._last_time
        if self._last_time is None:
            return (_rejected(item, "no time is known yet: timestamp is missing or no time"),)
        if self._session is None:
            meta = meta_of(line) if line.type == "session_meta" else None
            if meta is None or not is_id(meta.id):
                return (_rejected(item, "no session is known yet: session_meta is missing or has no id"),)
            self._session = Session(meta.id, meta, self._last_time[0])
        self._last_range = (item.offset, len(item.text))
        entries = self._session.read(line, item.text, *self._last_time)
        return [Record(entry, *self._last_range) for entry in entries]


class CodexCli:
    """Session files of Codex CLI, under `~/.codex/sessions` or elsewhere."""

    name = "codex_cli"
    line_based: Literal[True] = True
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """Some line opens a session."""
        if b'"session_meta"' not in head:
            return False
        if not whole and b"\n" not in head:
            start = json.start_of(head)
            members = {member.name: member.value for member in json.members(head, start)}
            kind = members.get(b"type")
            return (
                kind is not None
                and head[kind.start : kind.end] == b'"session_meta"'
                and b"payload" in members
            )
        return any(_opens_session(line) for line in json.complete_lines(head, whole=whole))

    def line_reader(self) -> CodexCliReader:
        """A fresh reader."""
        return CodexCliReader()


class _Probe(msgspec.Struct, gc=False):
    type: Any = None
    payload: msgspec.Raw = msgspec.Raw(b"null")


_probe = msgspec.json.Decoder(_Probe).decode


def _opens_session(line: bytes) -> bool:
    if b'"session_meta"' not in line:
        return False
    try:
        probe = _probe(line)
    except json.UNDECODABLE:
        return False
    return bool(probe.type == "session_meta" and bytes(probe.payload).startswith(b"{"))


def _rejected(item: Object, reason: str) -> RejectedLine:
    return RejectedLine(item.offset, len(item.text), reason)


ADAPTER: Final[LineAdapter] = CodexCli()
