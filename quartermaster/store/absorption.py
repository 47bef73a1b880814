"""Missions that turn out to be a part of another one.

A trace is a mission of its own until it is known which conversation it belongs to; then its entries
move there, and whatever is told of it later goes there too.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from quartermaster.core.journal import read_entry
from quartermaster.core.trajectory import key_of
from quartermaster.store import chain
from quartermaster.store.database import Connection
from quartermaster.store.raw import RawReader, append_raws

_OF_TRACES: Final = "otel_"
"""Begins the ids of missions that may be absorbed and that may absorb: those of traces alone."""

_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Payload(msgspec.Struct):
    mission_id: str = ""


class _Fact(msgspec.Struct):
    mission_id: str = ""
    payload: _Payload = msgspec.field(default_factory=_Payload)


_decode_fact = msgspec.json.Decoder(_Fact).decode


def homes_of(connection: Connection, workspace: int, homes: Sequence[str | None]) -> list[str | None]:
    """The missions that entries of these missions go to: of an absorbed one, the one that absorbed it."""
    current: dict[str | None, str | None] = {home: home for home in homes}
    for home in current:
        if home is not None and home.startswith(_OF_TRACES):
            row = connection.execute(
                "select mission.mission_id from link join mission on mission.id = link.mission"
                " where link.workspace = ? and link.link = ?",
                (workspace, _link_of(home)),
            ).fetchone()
            current[home] = row[0] if row else home
    return [current[home] for home in homes]


def absorb(
    connection: Connection, workspace: int, raw: bytes, into: int, key_of_id: Callable[[str], int | str]
) -> int | None:
    """Move the mission that a `mission.absorbed` names into the one it was told of; its number, if it was.

    What was told of the absorbed mission as a whole ends with it: the other one tells that itself.
    `key_of_id` is how the id of an entry is stored.
    """
    name = absorbed_mission(raw)
    if name is None:
        return None
    row = connection.execute(
        "select id, next_sequence from mission where workspace = ? and mission_id = ?", (workspace, name)
    ).fetchone()
    if row is not None and row[0] == into:
        return None
    connection.execute("insert or replace into link values (?, ?, ?)", (workspace, _link_of(name), into))
    if row is None:
        return None
    absorbed, entries = int(row[0]), int(row[1])
    connection.execute("delete from entry where mission = ? and trace is null", (absorbed,))
    _move_links(connection, workspace, absorbed, into)
    keys = _move_raws(connection, absorbed, entries, into)
    _move_rows(connection, workspace, absorbed, into, [key_of_id(key) for key in keys])
    _move_totals(connection, absorbed, into)
    return absorbed


def absorbed_mission(raw: bytes) -> str | None:
    """The mission that a `mission.absorbed` puts into its own; None where it may not."""
    try:
        fact = _decode_fact(raw)
    except _UNDECODABLE:
        return None
    name = fact.payload.mission_id
    return name if name.startswith(_OF_TRACES) and fact.mission_id.startswith(_OF_TRACES) else None


def _link_of(mission_id: str) -> int:
    return key_of("mission", mission_id)


def _move_links(connection: Connection, workspace: int, absorbed: int, into: int) -> None:
    traces = connection.execute(
        "select text from name where id in (select distinct trace from entry where mission = ?)", (absorbed,)
    ).fetchall()
    connection.executemany(
        "update link set mission = ? where workspace = ? and link = ?",
        [(into, workspace, key_of("trace", text)) for (text,) in traces],
    )


def _move_raws(connection: Connection, absorbed: int, count: int, into: int) -> set[str]:
    """Put the raw entries behind those of the other mission; their ids, as they tell them."""
    first, tail = connection.execute(
        "select next_sequence, tail_entries from mission where id = ?", (into,)
    ).fetchone()
    raws = RawReader(connection)
    moved = [raws.read(absorbed, sequence) or b"" for sequence in range(count)]
    connection.execute("update entry set sequence = sequence + ? where mission = ?", (first, absorbed))
    tail = append_raws(connection, into, first, tail, moved)
    chain.move(connection, absorbed, into, first)
    connection.execute(
        "update mission set next_sequence = ?, tail_entries = ? where id = ?", (first + count, tail, into)
    )
    for table in ("tail", "block"):
        connection.execute(f"delete from {table} where mission = ?", (absorbed,))  # noqa: S608
    return {entry_id for raw in moved if raw and (entry_id := read_entry(raw).id)}


def _move_rows(
    connection: Connection, workspace: int, absorbed: int, into: int, told_keys: Sequence[int | str]
) -> None:
    keys = [row[0] for row in connection.execute("select entry_id from entry where mission = ?", (absorbed,))]
    connection.execute("update entry set mission = ? where mission = ?", (into, absorbed))
    connection.executemany(
        "update entry_key set mission = ? where workspace = ? and entry_id = ? and mission = ?",
        [(into, workspace, key, absorbed) for key in {*keys, *told_keys}],
    )


def _move_totals(connection: Connection, absorbed: int, into: int) -> None:
    left = connection.execute("select count(*) from entry where mission = ?", (into,)).fetchone()[0]
    connection.execute(
        "update mission set entries = ?, model_calls = mission.model_calls + other.model_calls,"
        " calls_with_tokens = mission.calls_with_tokens + other.calls_with_tokens,"
        " calls_with_cost = mission.calls_with_cost + other.calls_with_cost,"
        " total_tokens = mission.total_tokens + other.total_tokens, cost = mission.cost + other.cost,"
        " first_instant = min(mission.first_instant, other.first_instant),"
        " last_instant = max(mission.last_instant, other.last_instant),"
        " started_at = min(mission.started_at, other.started_at),"
        " ended_at = max(mission.ended_at, other.ended_at), revision = mission.revision + 1"
        " from (select * from mission where id = ?) as other where mission.id = ?",
        (left, absorbed, into),
    )
    connection.execute("delete from mission_outcome where mission = ?", (absorbed,))
    connection.execute(
        "insert or ignore into source_mission select ?, source from source_mission where mission = ?",
        (into, absorbed),
    )
    connection.execute("delete from source_mission where mission = ?", (absorbed,))
    connection.execute("delete from mission where id = ?", (absorbed,))
