"""Damage that the check has to find: a check that cannot fail says nothing."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

MODES: dict[str, Callable[[Path], None]] = {}


def sabotage(mode: str, database: Path) -> None:
    """Do the damage of that name to a database that nobody has open."""
    MODES[mode](database)


def _by_sql(change: Callable[[sqlite3.Connection], None]) -> Callable[[sqlite3.Connection], None]:
    def damage(database: Path) -> None:
        with closing(sqlite3.connect(database)) as connection, connection:
            change(connection)

    MODES[change.__name__] = damage
    return change


_COLUMNS = (
    "sequence, type, severity, actor_type, actor, trace, run, kind, tool, success, tokens, input_tokens,"
    " output_tokens, cache_read_tokens, cache_write_tokens, cost, duration_ms, pairing, ledger, arguments"
)
_FIRST_SENT = (
    "select e.mission, e.instant, e.entry_id from entry e join mission m on m.id = e.mission"
    " where m.mission_id like 'sent-%' order by e.mission, e.instant limit 1"
)
_FIRST_TOLD = (
    "select e.mission, e.instant, e.entry_id from entry e join name n on n.id = e.type"
    " where n.text = ? order by e.mission, e.instant limit 1"
)


def _remove(connection: sqlite3.Connection, place: tuple[int, int, int | str]) -> None:
    connection.execute("delete from entry where mission = ? and instant = ? and entry_id = ?", place)
    connection.execute("delete from entry_key where entry_id = ?", place[2:])
    connection.execute("update mission set entries = entries - 1 where id = ?", place[:1])


def _copy(connection: sqlite3.Connection, place: tuple[int, int, int | str], *, new_id: bool) -> None:
    """A second row for an entry, a nanosecond later, so that only its id or its telling gives it away."""
    mission, _, entry_id = place
    copied = f"copy-of-{entry_id}" if new_id else entry_id
    connection.execute(
        f"insert into entry (mission, instant, entry_id, {_COLUMNS}) select mission, instant + 1, ?,"
        f" {_COLUMNS} from entry where mission = ? and instant = ? and entry_id = ?",
        (copied, *place),
    )
    if new_id:
        connection.execute(
            "insert into entry_key select workspace, ?, mission, instant + 1, checksum, null from entry_key"
            " where entry_id = ? and mission = ?",
            (copied, entry_id, mission),
        )
    connection.execute("update mission set entries = entries + 1 where id = ?", (mission,))


@_by_sql
def lost_entry(connection: sqlite3.Connection) -> None:
    """An acknowledged entry is gone, and every total agrees with that."""
    _remove(connection, connection.execute(_FIRST_SENT).fetchone())


@_by_sql
def doubled_entry(connection: sqlite3.Connection) -> None:
    """An entry is there twice under one id."""
    _copy(connection, connection.execute(_FIRST_SENT).fetchone(), new_id=False)


@_by_sql
def lost_raw(connection: sqlite3.Connection) -> None:
    """The bytes of some entries are gone."""
    for table in ("tail", "block"):
        connection.execute(
            f"delete from {table} where mission in (select id from mission where mission_id like 'sent-%')"
        )


@_by_sql
def lost_key(connection: sqlite3.Connection) -> None:
    """An entry is there and cannot be found by its id."""
    connection.execute(
        "delete from entry_key where entry_id = ?", connection.execute(_FIRST_SENT).fetchone()[2:]
    )


@_by_sql
def wrong_total(connection: sqlite3.Connection) -> None:
    """A mission counts a token that no entry has."""
    connection.execute("update mission set total_tokens = total_tokens + 1 where mission_id = 'large-a'")


@_by_sql
def file_read_twice(connection: sqlite3.Connection) -> None:
    """A line of a file was read a second time and met itself."""
    connection.execute(
        "update source set duplicate = duplicate + 1 where cast(path as text) like '%large-a%'"
    )


@_by_sql
def lost_run(connection: sqlite3.Connection) -> None:
    """An acknowledged run is gone, with everything that hangs on it."""
    (key,) = connection.execute("select min(id) from eval_run").fetchone()
    connection.execute("delete from eval_event where run = ?", (key,))
    connection.execute("delete from eval_report where run = ?", (key,))
    connection.execute("delete from eval_run where id = ?", (key,))


@_by_sql
def unfinished_run(connection: sqlite3.Connection) -> None:
    """A run never reached its end."""
    connection.execute("update eval_run set status = 'running' where id = (select min(id) from eval_run)")


@_by_sql
def doubled_end(connection: sqlite3.Connection) -> None:
    """A run ended twice in the eyes of those who follow the stream."""
    connection.execute(
        "insert into eval_event (workspace, run, status, at) select workspace, run, status, at"
        " from eval_event where status = 'completed' limit 1"
    )


@_by_sql
def lost_start(connection: sqlite3.Connection) -> None:
    """The journal does not tell that a run began."""
    _remove(connection, connection.execute(_FIRST_TOLD, ("eval.run_started",)).fetchone())


@_by_sql
def doubled_start(connection: sqlite3.Connection) -> None:
    """The journal tells twice that a run began."""
    _copy(connection, connection.execute(_FIRST_TOLD, ("eval.run_started",)).fetchone(), new_id=True)


@_by_sql
def doubled_announcement(connection: sqlite3.Connection) -> None:
    """The journal tells the end of a run twice."""
    _copy(connection, connection.execute(_FIRST_TOLD, ("eval.run_completed",)).fetchone(), new_id=True)


@_by_sql
def doubled_metric(connection: sqlite3.Connection) -> None:
    """The journal tells one metric of a run twice."""
    _copy(connection, connection.execute(_FIRST_TOLD, ("eval.metric",)).fetchone(), new_id=True)


def damaged_file(database: Path) -> None:
    """A page of an index is overwritten."""
    with closing(sqlite3.connect(database)) as connection:
        (page_size,) = connection.execute("pragma page_size").fetchone()
        (root,) = connection.execute("select rootpage from sqlite_schema where name = 'entry_key'").fetchone()
    with database.open("r+b") as file:
        file.seek((root - 1) * page_size + page_size // 2)
        file.write(b"\xa5" * (page_size // 2))


MODES["damaged_file"] = damaged_file
