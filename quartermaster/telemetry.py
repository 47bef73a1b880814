"""Spans and log records that are handed in while agents work: each is kept once, in whatever order.

What was told before is looked up in the same transaction that keeps what is new, so requests may be
sent again, overlap, and come in any order.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from quartermaster.adapters._logs import LogRecord, entry_of_log
from quartermaster.adapters._spans import Branch, Facts, Span, tell
from quartermaster.core.secrets import Masker
from quartermaster.core.trajectory import key_of
from quartermaster.store import journal, spans
from quartermaster.store.database import Connection, Database
from quartermaster.store.journal import Appended

FORMAT: Final = "otlp"
"""The format of missions that came by the live door."""

T = TypeVar("T", Span, LogRecord)

_decode_facts = msgspec.json.Decoder(Facts).decode
_decode_span = msgspec.json.Decoder(Span).decode
_decode_record = msgspec.json.Decoder(LogRecord).decode


class _Kept:
    """What the database knows of spans, and what one transaction adds."""

    def __init__(self, connection: Connection, workspace: int) -> None:
        self._connection = connection
        self._workspace = workspace
        self._branches: dict[str, Branch | None] = {}
        self._changed: dict[str, Branch] = {}
        self._homes: dict[str, str | None] = {}
        self._facts: dict[str, Facts | None] = {}
        self._new_facts: dict[str, Facts] = {}

    def branch(self, entry_id: str) -> Branch | None:
        if entry_id not in self._branches:
            row = spans.find_branch(self._connection, self._workspace, entry_id)
            self._branches[entry_id] = None if row is None else Branch(*row)
        return self._branches[entry_id]

    def keep_branch(self, entry_id: str, branch: Branch) -> None:
        self._branches[entry_id] = self._changed[entry_id] = branch

    def home(self, trace_id: str) -> str | None:
        if trace_id not in self._homes:
            link = key_of("trace", trace_id)
            self._homes[trace_id] = journal.linked_mission(self._connection, self._workspace, link)
        return self._homes[trace_id]

    def keep_home(self, trace_id: str, mission_id: str) -> None:
        self._homes[trace_id] = mission_id  # the journal links the trace to the mission of its entries

    def facts(self, mission_id: str) -> Facts | None:
        if mission_id not in self._facts:
            encoded = spans.find_facts(self._connection, self._workspace, mission_id)
            self._facts[mission_id] = None if encoded is None else _decode_facts(encoded)
        return self._facts[mission_id]

    def keep_facts(self, mission_id: str, facts: Facts) -> None:
        self._facts[mission_id] = self._new_facts[mission_id] = facts

    def told_call(self, entry_id: str) -> bytes | None:
        return journal.find_entry(self._connection, self._workspace, entry_id)

    def keep_call(self, entry_id: str, raw: bytes) -> None:
        """The journal keeps it."""

    def save(self) -> None:
        """Write down what this transaction has added."""
        branches = {
            entry_id: spans.BranchRow(*msgspec.structs.astuple(branch))
            for entry_id, branch in self._changed.items()
        }
        spans.keep_branches(self._connection, self._workspace, branches)
        facts = {mission_id: msgspec.json.encode(one) for mission_id, one in self._new_facts.items()}
        spans.keep_facts(self._connection, self._workspace, facts)


def accept_spans(
    database: Database, workspace: int, handed_in: Sequence[Span], masker: Masker | None
) -> Appended:
    """Keep spans, and tell again what they show in another light. Secrets are masked; None keeps them."""
    database.space.require()
    shown = [_masked(span, _decode_span, masker) for span in handed_in]

    def change(connection: Connection) -> Appended:
        kept = _Kept(connection, workspace)
        raws = [told.raw for told in tell(shown, kept)]
        kept.save()
        return _append(connection, workspace, raws, masker)

    return _counted(database, database.write_blocking(change))


def accept_logs(
    database: Database, workspace: int, handed_in: Sequence[LogRecord], masker: Masker | None
) -> Appended:
    """Keep log records; those of a trace or a session belong to its mission."""
    database.space.require()
    records = [_masked(record, _decode_record, masker) for record in handed_in]

    def change(connection: Connection) -> Appended:
        kept = _Kept(connection, workspace)
        raws = [entry_of_log(record, kept.home) for record in records]
        return _append(connection, workspace, raws, masker)

    return _counted(database, database.write_blocking(change))


def _counted(database: Database, appended: Appended) -> Appended:
    database.intake.add(appended.accepted, FORMAT, "accepted")
    database.intake.add(appended.duplicate, FORMAT, "duplicate")
    return appended


def _masked(handed_in: T, decode: Callable[[bytes], T], masker: Masker | None) -> T:
    """Without the secrets in it. Long texts are cut later, and half of a secret is not known as one."""
    if masker is None:
        return handed_in
    encoded = msgspec.json.encode(handed_in)
    return decode(masker.mask(encoded)[0]) if masker.finds(encoded) else handed_in


def _append(connection: Connection, workspace: int, raws: Sequence[bytes], masker: Masker | None) -> Appended:
    texts = raws if masker is None else [masker.mask(raw)[0] for raw in raws]
    decoded = [journal.decode_entry(raw, None, journal.minted_from_content) for raw in texts]
    return journal.append_decoded(
        connection,
        workspace,
        decoded,
        revisable=True,
        format_name=FORMAT,
        known_names={},
        now=time.time_ns(),
    )
