"""Sources: every file that was offered, how far it was read, and what became of each of its bytes."""

import os
from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec
import zstandard

from quartermaster.errors import StorageBusy
from quartermaster.store.database import Connection, sqlite3

State = Literal["reading", "complete", "waiting", "unrecognised", "refused", "failed", "vanished"]
"""reading: bytes are left · complete: all read · waiting: the last record is not whole yet ·
unrecognised: no known format, kept as it is · refused: no regular file of this inbox ·
failed: it cannot be read · vanished: it was removed before it was read to its end."""

SHOWN_REJECTIONS: Final = 100
KEPT_BYTES: Final = 65_536
"""Bytes of a rejected line that are kept."""

_COLUMNS: Final = (
    "id, path, generation, format, state, reason, device, inode, size, modified, position, lines,"
    " head_length, head_digest, tail_digest, skipped, anonymous, accepted, duplicate, conflicting, rejected"
)


class Source(msgspec.Struct, kw_only=True):
    """One file of a workspace. `position` is the first byte that is not read; `size` and `modified`
    (nanoseconds; the time of the last change of any kind) are what the file system said last."""

    id: int = 0
    path: bytes
    generation: int = 0
    format: str | None = None
    state: State = "reading"
    reason: str | None = None
    device: int | None = None
    inode: int | None = None
    size: int = 0
    modified: int = 0
    position: int = 0
    lines: int = 0
    head_length: int = 0
    head_digest: bytes | None = None
    tail_digest: bytes | None = None
    skipped: int = 0
    anonymous: int = 0
    accepted: int = 0
    duplicate: int = 0
    conflicting: int = 0
    rejected: int = 0


class RejectedLineView(msgspec.Struct, frozen=True):
    """A range of a file that was not understood. `line` counts from 1; None in a document."""

    line: int | None
    position: int
    length: int
    reason: str


class SourceLedger(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file, as people look at it. Of a file that was rewritten, what it says now."""

    path: str
    format: str | None
    state: State
    reason: str | None
    missions: int
    accepted: int
    duplicate: int
    conflicting: int
    rejected: int
    unread: int
    rejected_lines: tuple[RejectedLineView, ...] = ()


class Rejection(msgspec.Struct, frozen=True):
    """A rejected range with its bytes (or the first of them)."""

    line: int | None
    position: int
    length: int
    reason: str
    raw: bytes


def find_source(connection: Connection, workspace: int, path: bytes) -> Source | None:
    """The source of that path in that workspace."""
    row = connection.execute(
        f"select {_COLUMNS} from source where workspace = ? and path = ?",  # noqa: S608
        (workspace, path),
    ).fetchone()
    return None if row is None else _source(row)


def _source(row: tuple[Any, ...]) -> Source:
    return Source(**dict(zip(_COLUMNS.replace(" ", "").split(","), row, strict=True)))


def known_files(connection: Connection, workspace: int) -> dict[bytes, tuple[int | None, int, int]]:
    """What each path that needs no further look was like when it was read: inode, size, modified."""
    rows = connection.execute(
        "select path, inode, size, modified from source"
        " where workspace = ? and state in ('complete', 'refused')",
        (workspace,),
    )
    return {row[0]: row[1:] for row in rows}


def save_source(
    connection: Connection, workspace: int, source: Source, read_from: tuple[int, int], now: int
) -> int:
    """Write a source back; `read_from` is the (generation, position) that the reading started at.

    Raises StorageBusy when another process has read the same file meanwhile: nothing of this reading may
    be kept then.
    """
    fields = {**msgspec.structs.asdict(source), "workspace": workspace, "now": now}
    if source.id == 0:
        columns = [name for name in fields if name not in ("id", "now")]
        row = connection.execute(
            f"insert into source ({', '.join(columns)}, created_at, changed_at)"  # noqa: S608
            f" values ({', '.join(':' + name for name in columns)}, :now, :now)"
            " on conflict (workspace, path) do nothing returning id",
            fields,
        ).fetchone()
        if row is None:
            raise StorageBusy("another process reads the same file; it is read again")
        return int(row[0])
    columns = [name for name in fields if name not in ("id", "now", "workspace", "path")]
    changed = connection.execute(
        f"update source set {', '.join(f'{name} = :{name}' for name in columns)}, changed_at = :now"  # noqa: S608
        " where id = :id and generation = :old_generation and position = :old_position",
        {**fields, "old_generation": read_from[0], "old_position": read_from[1]},
    )
    if changed.rowcount == 0:
        raise StorageBusy("another process reads the same file; it is read again")
    return source.id


def contradicts(error: StorageBusy) -> bool:
    """Whether it was the data, not the hour: trying again would not help."""
    return isinstance(error.__cause__, sqlite3.IntegrityError)


def keep_rejections(
    connection: Connection, source: int, generation: int, rejections: Iterable[Rejection]
) -> None:
    """Keep ranges that were not understood, with their first 64 KiB."""
    compress = zstandard.ZstdCompressor(level=3).compress
    connection.executemany(
        "insert or replace into rejected_line values (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                source,
                generation,
                one.position,
                one.length,
                one.line,
                one.reason,
                compress(one.raw[:KEPT_BYTES]),
            )
            for one in rejections
        ],
    )


def keep_bytes(connection: Connection, source: int, generation: int, position: int, data: bytes) -> None:
    """Keep bytes of a recording whose entries are derived."""
    connection.execute(
        "insert or replace into source_bytes values (?, ?, ?, ?, ?)",
        (source, generation, position, len(data), zstandard.ZstdCompressor(level=3).compress(data)),
    )


def drop_older_bytes(connection: Connection, source: int, generation: int) -> None:
    """Forget the bytes of earlier generations of a document that was rewritten as a whole."""
    connection.execute("delete from source_bytes where source = ? and generation < ?", (source, generation))


def add_missions(connection: Connection, source: int, missions: Iterable[int]) -> None:
    """Note that missions got entries from a source."""
    connection.executemany(
        "insert or ignore into source_mission (source, mission) values (?, ?)",
        [(source, mission) for mission in missions],
    )


_LEDGER: Final = (
    "select source.id, path, format, state, reason, accepted, duplicate, conflicting, rejected,"
    " max(size - position, 0), (select count(*) from source_mission where source = source.id) from source"
)


def list_sources(connection: Connection, workspace: int) -> list[SourceLedger]:
    """Every file of a workspace, by path."""
    rows = connection.execute(f"{_LEDGER} where workspace = ? order by path", (workspace,)).fetchall()
    return [_ledger(connection, row) for row in rows]


def ledger_of(connection: Connection, source: int) -> SourceLedger:
    """What became of one file."""
    return _ledger(connection, connection.execute(f"{_LEDGER} where source.id = ?", (source,)).fetchone())


def sources_of(connection: Connection, mission: int) -> list[SourceLedger]:
    """The files that a mission's entries came from."""
    rows = connection.execute(
        f"{_LEDGER} join source_mission on source_mission.source = source.id"
        " where source_mission.mission = ? order by path",
        (mission,),
    ).fetchall()
    return [_ledger(connection, row) for row in rows]


def _ledger(connection: Connection, row: tuple[Any, ...]) -> SourceLedger:
    lines = connection.execute(
        "select line, position, length, reason from rejected_line where source = ?"
        " and generation = (select generation from source where id = rejected_line.source)"
        " order by position limit ?",
        (row[0], SHOWN_REJECTIONS),
    )
    return SourceLedger(
        path=os.fsdecode(row[1]).encode("utf-8", "backslashreplace").decode(),
        format=row[2],
        state=row[3],
        reason=row[4],
        accepted=row[5],
        duplicate=row[6],
        conflicting=row[7],
        rejected=row[8],
        unread=row[9],
        missions=row[10],
        rejected_lines=tuple(RejectedLineView(*line) for line in lines),
    )
