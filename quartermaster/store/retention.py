"""Retention: which missions a workspace keeps, and how the others go.

A mission goes for every reader in one transaction; its rows follow in small pieces, so that nobody who
writes has to wait. What is gone is remembered by digests, and does not come in again with its files.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from quartermaster.core.journal import read_entry
from quartermaster.errors import NotFound, Rejected
from quartermaster.store import chain
from quartermaster.store.database import Connection, Database, give_back_pages
from quartermaster.store.journal import entry_key, mission_link
from quartermaster.store.names import find_name
from quartermaster.store.raw import RawReader

NANOSECONDS_PER_DAY: Final = 86_400 * 10**9
_PIECE: Final = 500
_PAGES: Final = 200
_BYTES_OF_ROWS: Final = 150
"""What an entry takes beside its raw bytes: about, as measured on recordings."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What a workspace keeps; None is without limit. `days` count from the last change of a mission here,
    not from when it was recorded; `size` is in bytes. A mission with an entry of `kept_types` stays."""

    days: int | None = None
    missions: int | None = None
    size: int | None = None
    kept_types: tuple[str, ...] = ()

    @property
    def has_limits(self) -> bool:
        return (self.days, self.missions, self.size) != (None, None, None)


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A mission that goes, and which limit it is over: `age`, `count` or `size`."""

    key: int
    mission_id: str
    entries: int
    size: int
    changed_at: int
    revision: int
    because: str


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of retention has removed, and by how many bytes the database file is smaller."""

    missions: int
    entries: int
    freed: int


def set_policy(connection: Connection, workspace: int, policy: Policy) -> None:
    """What this workspace keeps from now on, whatever the settings say."""
    connection.execute(
        "insert or replace into retention values (?, ?, ?, ?, ?)",
        (
            workspace,
            policy.days or 0,
            policy.missions or 0,
            policy.size or 0,
            json.dumps(policy.kept_types),
        ),
    )


def policy_of(connection: Connection, workspace: int, otherwise: Policy) -> Policy:
    """What a workspace keeps: as was said for it, else as the settings say."""
    row = connection.execute(
        "select days, missions, bytes, kept_types from retention where workspace = ?", (workspace,)
    ).fetchone()
    if row is None:
        return otherwise
    return Policy(
        days=row[0] or None,
        missions=row[1] or None,
        size=row[2] or None,
        kept_types=tuple(json.loads(row[3])),
    )


def keep(connection: Connection, workspace: int, mission_id: str, reason: str) -> None:
    """Let no retention remove a mission; it may be kept for several reasons."""
    key = _key_of(connection, workspace, mission_id)
    connection.execute("insert or ignore into kept_mission values (?, ?)", (key, reason))


def release(connection: Connection, workspace: int, mission_id: str, reason: str | None = None) -> None:
    """Let a mission go when it is due, for that reason or (None) for all that kept it."""
    key = _key_of(connection, workspace, mission_id)
    connection.execute(
        "delete from kept_mission where mission = ? and reason = coalesce(?, reason)", (key, reason)
    )


def _key_of(connection: Connection, workspace: int, mission_id: str) -> int:
    row = connection.execute(
        "select id from mission where workspace = ? and mission_id = ?", (workspace, mission_id)
    ).fetchone()
    if row is None:
        raise NotFound(f"no mission {mission_id!r}")
    return int(row[0])


_MISSIONS: Final = """
select id, mission_id, entries, changed_at, revision,
    coalesce((select sum(length(data)) from block where mission = mission.id), 0)
    + coalesce((select sum(length(raw)) from tail where mission = mission.id), 0)
    + entries * ?
from mission where workspace = ? and mission_id is not null order by changed_at desc, id desc
"""

_IN_USE: Final = """
select exists (select 1 from kept_mission where mission = :mission) or exists (
    select 1 from eval_run where status in ('queued', 'running') and workspace = :workspace
    and :mission_id in (mission_id, baseline_mission_id, candidate_mission_id))
"""


def due(connection: Connection, workspace: int, policy: Policy, now: int) -> list[Due]:
    """The missions that go, longest unchanged first. Those that are kept count towards the limits."""
    if not policy.has_limits:
        return []
    found: list[Due] = []
    kept_types = [number for text in policy.kept_types if (number := find_name(connection, text)) is not None]
    kept = size_so_far = 0
    for key, mission_id, entries, changed_at, revision, size in connection.execute(
        _MISSIONS, (_BYTES_OF_ROWS, workspace)
    ):
        because = _over(policy, now - changed_at, kept, size_so_far + size)
        if because is None or _is_kept(connection, workspace, key, mission_id, kept_types):
            kept += 1
            size_so_far += size
            continue
        found.append(
            Due(
                key=key,
                mission_id=mission_id,
                entries=entries,
                size=size,
                changed_at=changed_at,
                revision=revision,
                because=because,
            )
        )
    return found[::-1]


def _over(policy: Policy, age: int, kept: int, size: int) -> str | None:
    if policy.days is not None and age > policy.days * NANOSECONDS_PER_DAY:
        return "age"
    if policy.missions is not None and kept >= policy.missions:
        return "count"
    if policy.size is not None and size > policy.size:
        return "size"
    return None


def _is_kept(
    connection: Connection, workspace: int, key: int, mission_id: str, kept_types: list[int]
) -> bool:
    names = {"mission": key, "workspace": workspace, "mission_id": mission_id}
    if connection.execute(_IN_USE, names).fetchone()[0]:
        return True
    marks = ",".join("?" * len(kept_types))
    of_type = f"select 1 from entry where mission = ? and type in ({marks}) limit 1"  # noqa: S608
    return bool(kept_types) and connection.execute(of_type, (key, *kept_types)).fetchone() is not None


def remove(connection: Connection, workspace: int, one: Due, now: int) -> bool:
    """Take a mission away from every reader; False where it has changed or is kept meanwhile."""
    same = connection.execute(
        "select 1 from mission where id = ? and revision = ?", (one.key, one.revision)
    ).fetchone()
    if same is None or _is_kept(connection, workspace, one.key, one.mission_id, []):
        return False
    connection.execute(
        "insert or replace into removed values (?, ?, ?)", (workspace, mission_link(one.mission_id), now)
    )
    connection.execute(
        "insert or replace into removed select workspace, link, ? from link"
        " where workspace = ? and mission = ?",
        (now, workspace, one.key),
    )
    connection.execute("delete from link where workspace = ? and mission = ?", (workspace, one.key))
    _forget_sources(connection, one.key)
    connection.execute("delete from mission_outcome where mission = ?", (one.key,))
    connection.execute(
        "delete from span_facts where workspace = ? and mission_id = ?", (workspace, one.mission_id)
    )
    connection.execute("delete from mission where id = ?", (one.key,))
    chain.check_out(connection, workspace, one.key)
    connection.execute("insert into remains values (?, ?)", (one.key, workspace))
    return True


def _forget_sources(connection: Connection, mission: int) -> None:
    """The bytes that were kept of files of which no mission is left; how far they were read stays known."""
    rows = connection.execute(
        "delete from source_mission where mission = ? returning source", (mission,)
    ).fetchall()
    for (source,) in rows:
        connection.execute(
            "delete from source_bytes where source = ?"
            " and not exists (select 1 from source_mission where source = ?)",
            (source, source),
        )


def clear_some(connection: Connection) -> bool:
    """Delete a piece of what removed missions have left; whether there may be more."""
    row = connection.execute("select mission, workspace from remains limit 1").fetchone()
    if row is None:
        return False
    mission, workspace = row
    cleared = (
        _clear_rows(connection, workspace, mission)
        or _clear_block(connection, workspace, mission)
        or _clear_tail(connection, workspace, mission)
    )
    if not cleared:
        connection.execute("delete from remains where mission = ?", (mission,))
    return True


def _clear_rows(connection: Connection, workspace: int, mission: int) -> bool:
    rows = connection.execute(
        "select instant, entry_id from entry where mission = ? limit ?", (mission, _PIECE)
    ).fetchall()
    connection.executemany(
        "delete from entry where mission = ? and instant = ? and entry_id = ?",
        [(mission, instant, key) for instant, key in rows],
    )
    _clear_keys(connection, workspace, mission, (key for _, key in rows))
    connection.executemany(
        "delete from span where workspace = ? and span = ?",
        [(workspace, key) for _, key in rows if isinstance(key, int)],
    )
    return bool(rows)


def _clear_block(connection: Connection, workspace: int, mission: int) -> bool:
    """The ids of earlier tellings stand in their bytes alone."""
    row = connection.execute(
        "select first_sequence, entries from block where mission = ? limit 1", (mission,)
    ).fetchone()
    if row is None:
        return False
    raws = RawReader(connection)
    told = (raws.read(mission, sequence) for sequence in range(row[0], row[0] + row[1]))
    _clear_keys(connection, workspace, mission, _ids_of(raw for raw in told if raw is not None))
    connection.execute("delete from block where mission = ? and first_sequence = ?", (mission, row[0]))
    return True


def _clear_tail(connection: Connection, workspace: int, mission: int) -> bool:
    rows = connection.execute("delete from tail where mission = ? returning raw", (mission,)).fetchall()
    _clear_keys(connection, workspace, mission, _ids_of(raw for (raw,) in rows))
    return bool(rows)


def _clear_keys(connection: Connection, workspace: int, mission: int, keys: Iterator[int | str]) -> None:
    connection.executemany(
        "delete from entry_key where workspace = ? and entry_id = ? and mission = ?",
        [(workspace, key, mission) for key in keys],
    )


def _ids_of(raws: Iterator[bytes]) -> Iterator[int | str]:
    for raw in raws:
        try:
            entry_id = read_entry(raw).id
        except Rejected:
            continue
        if entry_id is not None:
            yield entry_key(entry_id)


def run(
    database: Database,
    workspace: int,
    policy: Policy,
    *,
    now: int,
    pause_seconds: float = 0.0,
    stopping: Callable[[], bool] = lambda: False,
) -> Removed:
    """Remove what is due, each mission in one transaction, then its rows in pieces, then free pages.

    Ends early when `stopping` says so; what is left is taken up by the next run.
    """
    before = database.path.stat().st_size
    missions = entries = 0
    found = database.read_blocking(lambda connection: due(connection, workspace, policy, now), 60.0)
    for one in found:
        if stopping():
            break
        if database.write_blocking(lambda connection: remove(connection, workspace, one, now)):  # noqa: B023
            missions += 1
            entries += one.entries
    _until_done(database, clear_some, pause_seconds, stopping)
    _until_done(database, lambda connection: give_back_pages(connection, _PAGES), pause_seconds, stopping)
    database.checkpoint()
    database.write_blocking(lambda connection: None)  # answered after the checkpoint before it
    return Removed(missions=missions, entries=entries, freed=max(before - database.path.stat().st_size, 0))


def _until_done(
    database: Database,
    piece: Callable[[Connection], bool],
    pause_seconds: float,
    stopping: Callable[[], bool],
) -> None:
    while database.write_blocking(piece) and not stopping():
        time.sleep(pause_seconds)
