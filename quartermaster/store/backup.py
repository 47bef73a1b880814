"""Backups: the whole database as one file, what can be said of such a file, and putting one back."""

import hashlib
import time
from pathlib import Path
from typing import Final

import msgspec

from quartermaster import __version__
from quartermaster.errors import NotFound, StorageError, UsageError
from quartermaster.store import migrations, verification
from quartermaster.store.database import (
    Connection,
    closing_connection,
    connect_unchanging,
    copy_to,
    hold_alone,
    sqlite3,
)

COUNTED: Final = ("workspace", "mission", "entry", "eval_run", "eval_report", "source", "token")
"""Tables whose rows are counted."""

_SIDE_FILES: Final = ("-wal", "-shm", ".heads")


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds: by which version it was made and when (nanoseconds since 1970), and how many
    rows of what."""

    made_by: str
    made_at: int
    schema_version: int
    rows: dict[str, int]


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was looked through. `problems` is empty when nothing was found."""

    file: str
    size: int
    sha256: str
    contents: Contents | None
    problems: tuple[str, ...]


def make(database: Path, target: Path, *, now: int) -> Contents:
    """Write a backup of a database as it is at one moment, while others write to it.

    The file is there as a whole or not at all. Raises UsageError where something is there already.
    """
    if target.exists():
        raise UsageError(f"{target} exists already; choose another name")
    if not target.parent.is_dir():
        raise NotFound(f"there is no folder {target.parent}")
    told: list[Contents] = []

    def finish(copy: Connection) -> None:
        contents = Contents(
            made_by=__version__, made_at=now, schema_version=_schema_of(copy), rows=_counts(copy)
        )
        copy.execute("create table backup (contents text not null) strict")
        copy.execute("insert into backup values (?)", (msgspec.json.encode(contents).decode(),))
        told.append(contents)

    try:
        with closing_connection(database, writable=False) as connection:
            copy_to(connection, target, finish)
    except sqlite3.OperationalError as error:
        raise StorageError(f"{database} cannot be read ({error}); is there room beside it?") from error
    return told[0]


def verify(file: Path) -> Verified:
    """Look through a backup: its pages, its references, its counts and every raw entry.

    Raises NotFound or UsageError for what is no backup at all.
    """
    if not file.is_file():
        raise NotFound(f"no file {str(file)!r}")
    with file.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    contents: Contents | None = None
    problems: list[str] = []
    try:
        with connect_unchanging(file) as connection:
            contents = _contents(connection)
            problems += _problems(connection, contents)
    except sqlite3.DatabaseError as error:
        problems.append(str(error))
    return Verified(
        file=str(file), size=file.stat().st_size, sha256=digest, contents=contents, problems=tuple(problems)
    )


def put_back(file: Path, database: Path, *, now: int) -> Path | None:
    """Make a backup the database; where the one before it lies now, if there was one.

    Raises StorageError, with everything as it was, where the backup is not sound.
    """
    verified = verify(file)
    if verified.problems:
        raise StorageError(f"{file} is not sound ({verified.problems[0]}); nothing was changed")
    incoming = database.with_name(f"{database.name}.incoming")
    incoming.unlink(missing_ok=True)
    with connect_unchanging(file) as connection:
        copy_to(connection, incoming, lambda copy: copy.execute("drop table backup").close())
    aside = _move_aside(database, now)
    incoming.rename(database)
    return aside


def _move_aside(database: Path, now: int) -> Path | None:
    if not database.exists():
        for ending in _SIDE_FILES:
            database.with_name(database.name + ending).unlink(missing_ok=True)
        return None
    hold_alone(database)
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now // 10**9))
    aside = database.with_name(f"{database.stem}.before-restore.{at}.db")
    for ending in ("", *_SIDE_FILES):
        part = database.with_name(database.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    return aside


def _schema_of(connection: Connection) -> int:
    return int(connection.execute("pragma user_version").fetchone()[0])


def _counts(connection: Connection) -> dict[str, int]:
    return {
        table: int(connection.execute(f"select count(*) from {table}").fetchone()[0])  # noqa: S608
        for table in COUNTED
    }


def _contents(connection: Connection) -> Contents:
    application = connection.execute("pragma application_id").fetchone()[0]
    known = connection.execute("select 1 from sqlite_schema where name = 'backup'").fetchone()
    if application != migrations.APPLICATION_ID or known is None:
        raise UsageError("the file is no backup of Quartermaster")
    schema = _schema_of(connection)
    if schema > migrations.SCHEMA_VERSION:
        raise UsageError(f"a newer Quartermaster made the backup (schema {schema}); install that version")
    row = connection.execute("select contents from backup").fetchone()
    return msgspec.json.decode(row[0], type=Contents)


def _problems(connection: Connection, contents: Contents) -> list[str]:
    problems = [
        str(row[0]) for row in connection.execute("pragma integrity_check(10)") if str(row[0]) != "ok"
    ]
    for table, *_ in connection.execute("pragma foreign_key_check").fetchmany(10):
        problems.append(f"a row of {table} refers to one that is not there")
    found = _counts(connection)
    for table, count in contents.rows.items():
        if found.get(table) != count:
            problems.append(f"{found.get(table)} rows of {table}, where {count} were kept")
    return problems or verification.verify_all(connection)
