"""Sources: every file that was offered, how far it was read, and what became of each of its bytes."""

import os
from collections.abc import Iterable
from typing import Any, Final, Literal, get_args

import msgspec
import zstandard

from quartermaster.errors import StorageBusy, UsageError
from quartermaster.store.cursors import read_cursor, write_cursor
from quartermaster.store.database import Connection, sqlite3

State = Literal["reading", "complete", "waiting", "unrecognised", "refused", "failed", "vanished"]
"""reading: bytes are left · complete: all read · waiting: the last record is not whole yet ·
unrecognised: no known format, kept as it is · refused: no regular file of this inbox ·
failed: it cannot be read · vanished: it was removed before it was read to its end."""

STATES: Final[tuple[str, ...]] = get_args(State)

LIST_LIMIT: Final = 200
SHOWN_REJECTIONS: Final = 100
SHOWN_BYTES: Final = 200
"""Bytes of a rejected line that people see."""
_CHANGED_AT: Final = 15
KEPT_BYTES: Final = 65_536
"""Bytes of a rejected line that are kept."""

_COLUMNS: Final = (
    "id, path, generation, format, state, reason, device, inode, size, modified, position, lines,"
    " head_length, head_digest, tail_digest, skipped, anonymous, accepted, duplicate, conflicting,"
    " rejected, masked, name, unknown_types"
)


class Source(msgspec.Struct, kw_only=True):
    """One file of a workspace. `position` is the first byte that is not read; `size` and `modified`
    (nanoseconds; the time of the last change of any kind) are what the file system said last. `name` is
    the path below the folder that it was found in, the one that clients see."""

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
    masked: bytes | None = None
    name: str = ""
    unknown_types: bytes | None = None


class RejectedLineView(msgspec.Struct, frozen=True):
    """A range of a file that was not understood. `line` counts from 1; None in a document. `text` is how
    it begins."""

    line: int | None
    position: int
    length: int
    reason: str
    text: str


class SourceLedger(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file, as people look at it. Of a file that was rewritten, what it says now.

    `name` is its path below the folder that it was found in; `path` is for the people of this machine
    alone. `unknown_types` are entries by type, of types that no number is made of.
    """

    source_id: str
    name: str
    path: str
    format: str | None
    state: State
    reason: str | None
    missions: int
    accepted: int
    duplicate: int
    conflicting: int
    rejected: int
    size: int
    unread: int
    masked: dict[str, int]
    unknown_types: dict[str, int]
    changed_at: int
    rejected_lines: tuple[RejectedLineView, ...] = ()


class SourceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of files is narrowed to. `q` is looked for in the name."""

    q: str | None = None
    state: State | None = None
    format: str | None = None
    cursor: str | None = None
    limit: int = 100


class SourcePage(msgspec.Struct, frozen=True):
    """One page of files, last changed first; their rejected lines are told one file at a time."""

    rows: tuple[SourceLedger, ...]
    next_cursor: str | None


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
        "insert or ignore into source_mission (source, mission) select ?, id from mission where id = ?",
        [(source, mission) for mission in missions],
    )


_LEDGER: Final = (
    "select source.id, source_id, name, path, format, state, reason, accepted, duplicate, conflicting,"
    " rejected, size, max(size - position, 0), masked, unknown_types, changed_at,"
    " (select count(*) from source_mission where source = source.id) from source"
)


def page_of_sources(connection: Connection, workspace: int, filters: SourceFilter) -> SourcePage:
    """One page of the files of a workspace; raises UsageError on a cursor of another list."""
    conditions, values = _conditions(filters)
    scope = ("sources", workspace)
    if filters.cursor:
        conditions.append("(changed_at, id) < (?, ?)")
        values += read_cursor(filters.cursor, scope, (int, int))
    where = "".join(f" and {condition}" for condition in conditions)
    rows = connection.execute(
        f"{_LEDGER} where workspace = ?{where} order by changed_at desc, id desc limit ?",
        (workspace, *values, filters.limit + 1),
    ).fetchall()
    shown = rows[: filters.limit]
    more = len(rows) > filters.limit
    position = (shown[-1][_CHANGED_AT], shown[-1][0]) if more else None
    return SourcePage(
        tuple(_ledger_row(row) for row in shown), write_cursor(scope, position) if position else None
    )


def _conditions(filters: SourceFilter) -> tuple[list[str], list[Any]]:
    if not 1 <= filters.limit <= LIST_LIMIT:
        raise UsageError(f"limit is a number from 1 to {LIST_LIMIT}")
    given = {"state": filters.state, "format": filters.format}
    conditions = [f"{column} = ?" for column, value in given.items() if value is not None]
    values: list[Any] = [value for value in given.values() if value is not None]
    if filters.q:
        conditions.append("name like ? escape '\\'")
        values.append("%" + filters.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%")
    return conditions, values


def list_sources(connection: Connection, workspace: int) -> list[SourceLedger]:
    """Every file of a workspace, by path."""
    rows = connection.execute(f"{_LEDGER} where workspace = ? order by path", (workspace,)).fetchall()
    return [_ledger(connection, row) for row in rows]


def find_ledger(connection: Connection, workspace: int, source_id: str) -> SourceLedger | None:
    """What became of the file of that id in that workspace, if there is one."""
    row = connection.execute(
        f"{_LEDGER} where source_id = ? and workspace = ?", (source_id, workspace)
    ).fetchone()
    return None if row is None else _ledger(connection, row)


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


def files_of_missions(connection: Connection, workspace: int) -> list[tuple[str, str]]:
    """Each mission of a workspace with the name of the file that it was read from last."""
    return connection.execute(
        "select mission.mission_id, source.name from source_mission"
        " join source on source.id = source_mission.source"
        " join mission on mission.id = source_mission.mission"
        " where mission.workspace = ? order by source.id",
        (workspace,),
    ).fetchall()


def _ledger(connection: Connection, row: tuple[Any, ...]) -> SourceLedger:
    lines = connection.execute(
        "select line, position, length, reason, raw from rejected_line where source = ?"
        " and generation = (select generation from source where id = rejected_line.source)"
        " order by position limit ?",
        (row[0], SHOWN_REJECTIONS),
    )
    shown = (
        RejectedLineView(line, position, length, reason, _begins(raw))
        for line, position, length, reason, raw in lines
    )
    return msgspec.structs.replace(_ledger_row(row), rejected_lines=tuple(shown))


def _begins(raw: bytes) -> str:
    """The first bytes of a rejected range as text."""
    kept: bytes = zstandard.ZstdDecompressor().decompress(raw)
    return kept[:SHOWN_BYTES].decode("utf-8", "replace")


def _ledger_row(row: tuple[Any, ...]) -> SourceLedger:
    return SourceLedger(
        source_id=row[1],
        name=row[2],
        path=printable_path(row[3]),
        format=row[4],
        state=row[5],
        reason=row[6],
        accepted=row[7],
        duplicate=row[8],
        conflicting=row[9],
        rejected=row[10],
        size=row[11],
        unread=row[12],
        masked=_counts(row[13]),
        unknown_types=_counts(row[14]),
        changed_at=row[15],
        missions=row[16],
    )


def printable_path(path: bytes) -> str:
    """A path as valid text, whatever bytes it is made of."""
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()


def _counts(told: bytes | None) -> dict[str, int]:
    return msgspec.json.decode(told, type=dict[str, int]) if told else {}
