"""The database file, its connections and the one thread that writes.

This is the only module that imports SQLite: two SQLite libraries with one file open in one process
drop each other's locks. sqlite-utils prefers `pysqlite3` where it is installed, so this does too.
"""

import asyncio
import json
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

from quartermaster.errors import (
    HomeLocked,
    OutcomeUnknown,
    StorageBusy,
    StorageError,
    StorageFull,
    TookTooLong,
)
from quartermaster.imports import without
from quartermaster.instruments import SIZES, Count, Histogram
from quartermaster.pulse import Pulse
from quartermaster.store import migrations
from quartermaster.store.space import Space

if TYPE_CHECKING:
    import sqlite3 as sqlite3  # noqa: PLC0414 - this is where others get it from
else:
    try:
        import pysqlite3.dbapi2 as sqlite3
    except ImportError:
        import sqlite3

Connection = sqlite3.Connection
T = TypeVar("T")

READERS: Final = 4
GROUP_LIMIT: Final = 500
"""Changes that share one transaction at the most."""

_OLDEST_SQLITE: Final = (3, 37, 0)
"""The first with strict tables."""
_FIXED_SQLITE: Final = (3, 51, 3)
_PAGES_BETWEEN_CHECKPOINTS: Final = 4000
_HEADS_SECONDS: Final = 5.0
"""How often, while much is written, the heads of the chains are told beside the database."""
_BUSY_MILLISECONDS: Final = 5000
_REST_SECONDS: Final = 5.0
"""How long nothing is written before the write-ahead log is emptied."""

_BUSY: Final = (5, 6)
_READ_ONLY: Final = 8
_DISK: Final = 10
_CORRUPT: Final = 11
_FULL: Final = 13
_NOT_A_DATABASE: Final = 26
_NO_ROOM_FOR_INDEX: Final = 4874
"""Result codes of SQLite; the last is extended: no room for the index of the log on a full disk."""

_HEADS: Final = """
select workspace_id, number, lower(hex(link)) from chain_head join workspace on workspace.id = workspace
order by workspace_id
"""
_STOP: Final = "stop"
_CHECKPOINT: Final = "checkpoint"


def sqlite_version() -> str:
    """Version of the SQLite library in use."""
    return str(sqlite3.sqlite_version)


def sqlite_fault() -> str | None:
    """What is wrong with a SQLite that can corrupt a database when two connections checkpoint, else None.

    Only the writer checkpoints here, so the fault cannot strike unless another program does.
    """
    version = sqlite3.sqlite_version_info
    backported = (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    if version >= _FIXED_SQLITE or backported:
        return None
    return (
        f"SQLite {sqlite_version()} can damage a database that two programs checkpoint at once;"
        " let no other program write to it, or install the extra: pip install 'quartermaster[sqlite]'"
    )


def connect(path: Path, *, writable: bool) -> Connection:
    """A connection with this program's pragmas. Readers can neither write nor checkpoint."""
    connection = sqlite3.connect(
        path, timeout=5, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    configure(connection, writable=writable)
    return connection


def configure(connection: Connection, *, writable: bool) -> None:
    """Set this program's pragmas."""
    connection.execute(f"pragma busy_timeout = {_BUSY_MILLISECONDS}")  # before WAL: another may hold the lock
    connection.execute("pragma trusted_schema = off")
    connection.execute("pragma temp_store = memory")
    if writable:
        connection.execute("pragma page_size = 8192")
        connection.execute("pragma auto_vacuum = incremental")
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = on")
        connection.execute("pragma journal_size_limit = 67108864")
        connection.execute(f"pragma wal_autocheckpoint = {_PAGES_BETWEEN_CHECKPOINTS}")
        connection.execute("pragma cache_size = -49152")
    else:
        connection.execute("pragma query_only = on")
        connection.execute("pragma wal_autocheckpoint = 0")
        connection.execute("pragma cache_size = -4096")


def prepare(path: Path) -> None:
    """Create or upgrade the database file. Raises StorageError, with what to do, for one that is damaged,
    foreign, newer than this program, or not this user's to write."""
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StorageError(f"SQLite {sqlite_version()} is too old; install 'quartermaster[sqlite]'")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_file(path)
    Space(path.parent).require_to_open()
    if not path.exists():
        path.touch(mode=0o600)
    try:
        with closing_connection(path) as connection:
            _check_origin(connection)
            _check_after_fault(path, connection)
            if _user_version(connection) < migrations.SCHEMA_VERSION:
                _upgrade(path, connection)
    except sqlite3.DatabaseError as error:
        raise _unopened(path, error) from error


def _check_file(path: Path) -> None:
    if not path.exists():
        if path.with_name(path.name + "-wal").exists():
            raise StorageError(
                f"{path} is missing, although its log is there; put it back or restore a backup"
            )
        if not os.access(path.parent, os.W_OK):
            raise StorageError(f"the folder {path.parent} cannot be written; change its permissions")
        return
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise StorageError(f"{path} belongs to user {status.st_uid}; start as that user, or change its owner")
    if status.st_mode & 0o007:
        raise StorageError(f"others may read {path}; run: chmod 600 {path}")
    for place in (path.parent, path):
        if not os.access(place, os.R_OK | os.W_OK):
            raise StorageError(f"{place} cannot be written; change its permissions, or how it is mounted")


def _unopened(path: Path, error: sqlite3.DatabaseError) -> StorageError:
    if _code_of(error) in (_FULL, _NO_ROOM_FOR_INDEX):
        return StorageFull("the disk is full; free some space")
    if _code_of(error) in _BUSY:
        return StorageBusy(f"another program holds {path}; end it, and try again")
    return StorageError(
        f"the database {path} cannot be opened ({error}); put back a backup: quartermaster restore FILE"
    )


def quick_check(path: Path) -> str | None:
    """What is wrong with a database file; None when nothing was found. Reads all of it."""
    try:
        with closing_connection(path, writable=False) as connection:
            return _complaint(connection)
    except sqlite3.DatabaseError as error:
        return str(error)


def _complaint(connection: Connection) -> str | None:
    said = str(connection.execute("pragma quick_check(1)").fetchone()[0])
    return None if said == "ok" else said


def _check_after_fault(path: Path, connection: Connection) -> None:
    """Look through the whole file where its disk failed under it before."""
    mark = _mark_of_fault(path)
    if not mark.exists():
        return
    complaint = _complaint(connection)
    if complaint is not None:
        raise StorageError(
            f"the database {path} is damaged ({complaint}); put back a backup: quartermaster restore FILE"
        )
    mark.unlink()


def heads_beside(path: Path) -> Path:
    """The file beside a database that says how far each chain has come."""
    return path.with_name(path.name + ".heads")


def log_beside(path: Path) -> Path:
    """The write-ahead log of a database."""
    return path.with_name(path.name + "-wal")


def _mark_of_fault(path: Path) -> Path:
    return path.with_name(path.name + ".needs-check")


def _check_origin(connection: Connection) -> None:
    application = connection.execute("pragma application_id").fetchone()[0]
    tables = connection.execute("select count(*) from sqlite_schema").fetchone()[0]
    if tables and application != migrations.APPLICATION_ID:
        raise StorageError("the database file belongs to another program; choose another home folder")
    if _user_version(connection) > migrations.SCHEMA_VERSION:
        raise StorageError("the database was written by a newer Quartermaster; install that version")


def _user_version(connection: Connection) -> int:
    return int(connection.execute("pragma user_version").fetchone()[0])


def _upgrade(path: Path, connection: Connection) -> None:
    """Make the tables, or bring those of an earlier version to this one; a copy is kept of the earlier."""
    with without("numpy", "pandas"):  # for column types of theirs: a second and 85 MiB where they are there
        import sqlite_utils  # noqa: PLC0415 - a quarter of a start's time, and only a first start needs it

    if _user_version(connection):
        _keep_copy(path, connection)
    connection.execute(f"pragma application_id = {migrations.APPLICATION_ID}")
    migrations.migrate(sqlite_utils.Database(connection, execute_plugins=False))


def _keep_copy(path: Path, connection: Connection) -> None:
    size = path.stat().st_size
    free = Space(path.parent).free()
    if free < 2 * size:
        raise StorageFull(
            f"this version upgrades the database and keeps a copy of it first ({size >> 20:,} MiB);"
            f" there are only {free >> 20:,} MiB free"
        )
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    copy_to(connection, path.with_name(f"{path.stem}.before-schema-{migrations.SCHEMA_VERSION}.{at}.db"))


def copy_to(connection: Connection, target: Path, finish: Callable[[Connection], None] | None = None) -> None:
    """A copy of the database as of one moment, while others write; whole, on disk and private, or not there.

    `finish` may add to the copy before it gets its name. Raises StorageError where the copy is not sound.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        copy = sqlite3.connect(part, isolation_level=None)
        try:
            copy.execute("pragma synchronous = off")  # all of it is put on disk below, once
            connection.backup(copy)  # in one step: in several, every change in between begins it anew
            copy.execute("pragma journal_mode = delete")
            if finish is not None:
                finish(copy)
            complaint = _complaint(copy)
        finally:
            copy.close()
        if complaint is not None:
            raise StorageError(f"the copy is not sound ({complaint}); the database itself may be damaged")
        sync(part)
        part.rename(target)
        sync(target.parent)
    except (sqlite3.DatabaseError, OSError) as error:
        raise StorageError(f"the copy could not be written ({error}); is there room for it?") from error
    finally:
        part.unlink(missing_ok=True)
        part.with_name(f"{part.name}-journal").unlink(missing_ok=True)  # left where the copy had no room


def sync(place: Path) -> None:
    """Have a file, or the names in a folder, on disk."""
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def closing_connection(path: Path, *, writable: bool = True) -> Iterator[Connection]:
    """A connection for one short piece of work."""
    connection = connect(path, writable=writable)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def connect_unchanging(path: Path) -> Iterator[Connection]:
    """A connection to a file that nobody writes to; no file is made beside it."""
    place = path.absolute().as_uri()
    connection = sqlite3.connect(f"{place}?mode=ro&immutable=1", uri=True, isolation_level=None)
    try:
        connection.execute("pragma trusted_schema = off")
        yield connection
    finally:
        connection.close()


def hold_alone(path: Path) -> None:
    """Put the log into a database file that nobody else has open; one that is damaged stays as it is.

    Raises HomeLocked where somebody has.
    """
    try:
        connection = sqlite3.connect(path, timeout=0.5, isolation_level=None)
        try:
            connection.execute("pragma journal_mode = delete")
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if _code_of(error) in _BUSY:
            raise HomeLocked("another command uses the database; wait for it, or end it") from error


class _Change:
    __slots__ = ("apply", "finish", "loop", "outcome")

    def __init__(self, apply: Callable[[Connection], Any], loop: asyncio.AbstractEventLoop | None) -> None:
        self.apply = apply
        self.loop = loop
        self.finish: asyncio.Future[Any] | Future[Any] = loop.create_future() if loop else Future()
        self.outcome: Any = None


class Database:
    """The open database of one process: one writing thread, some readers.

    Changes are functions over a connection. What is queued while a transaction commits shares the
    next one; each change is all or nothing, and its caller is answered after the commit.
    """

    def __init__(self, path: Path, *, checkpoints: bool = True, low_water_bytes: int = 0) -> None:
        prepare(path)
        self.path = path
        self.space = Space(path.parent, low_water_bytes=low_water_bytes)
        self._checkpoints = checkpoints  # False: beside a process that has the file open and does them
        self._changes: queue.SimpleQueue[_Change | str] = queue.SimpleQueue()
        self._writer = connect(path, writable=True)
        if not checkpoints:
            self._writer.execute("pragma wal_autocheckpoint = 0")
        self._here = connect(path, writable=False)
        self._idle_readers: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._limiter: CapacityLimiter | None = None
        self._closed = False
        self.failure: StorageError | None = None
        self.committed = 0
        self._heads = ""
        self._heads_due = time.monotonic() + _HEADS_SECONDS
        self.pulse = Pulse()
        self.batches = Histogram("quartermaster_writer_batch_changes", "Changes in one transaction.", SIZES)
        self.commits = Histogram("quartermaster_writer_batch_seconds", "How long a transaction took.")
        self.intake = Count(
            "quartermaster_records_total", "Records that came in, by format and result.", ("format", "result")
        )
        self._thread = threading.Thread(target=self._write_until_stopped, name="writer", daemon=True)
        self._thread.start()

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Run a change on the writing thread; returns or raises what it did, after the commit."""
        queued = _Change(change, asyncio.get_running_loop())
        self._submit(queued)
        result: T = await queued.finish  # type: ignore[misc]
        return result

    def write_blocking(self, change: Callable[[Connection], T]) -> T:
        """The same, for callers on another thread than the event loop's."""
        queued = _Change(change, None)
        self._submit(queued)
        result: T = queued.finish.result()  # type: ignore[union-attr,unused-ignore]
        return result

    async def read(self, query: Callable[[Connection], T], *, seconds: float = 10.0) -> T:
        """Run a query on a reader in a thread; StorageBusy when it takes longer than `seconds`."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(READERS)
        return await anyio.to_thread.run_sync(
            self.read_blocking, query, seconds, limiter=self._limiter, abandon_on_cancel=False
        )

    def read_blocking(self, query: Callable[[Connection], T], seconds: float = 10.0) -> T:
        """The same on the calling thread."""
        connection = self._reader()
        deadline = time.monotonic() + seconds
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
        try:
            connection.execute("begin")  # one snapshot for all statements of the query
            try:
                return query(connection)
            finally:
                connection.execute("rollback")
        except sqlite3.DatabaseError as error:
            if "interrupted" in str(error):
                raise TookTooLong("the question took too long; narrow it down") from error
            raise self._unread(error) from error
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)  # a statement left open there would keep its snapshot
            raise
        finally:
            connection.set_progress_handler(None, 0)
            self._idle_readers.put(connection)

    def look_up(self, query: Callable[[Connection], T]) -> T:
        """Run a query of one row by its key on the event loop's own reader (microseconds)."""
        try:
            return query(self._here)
        except sqlite3.DatabaseError as error:
            raise self._unread(error) from error

    def checkpoint(self) -> None:
        """Soon put the write-ahead log into the database file and empty it; call when nothing is going on."""
        self._changes.put(_CHECKPOINT)

    def is_writing(self) -> bool:
        """Whether the writing thread is alive and has met no fatal error."""
        return self._thread.is_alive() and self.failure is None

    def waiting_changes(self) -> int:
        """Changes that are queued and not yet taken."""
        return self._changes.qsize()

    def close(self) -> None:
        """Finish what is queued, put the write-ahead log into the file and close every connection."""
        if self._closed:
            return
        self._closed = True
        self._changes.put(_STOP)
        self._thread.join()
        self._tell_heads()
        self._here.close()
        while (
            not self._idle_readers.empty()
        ):  # before the checkpoint, which waits for a query that was broken off
            self._idle_readers.get().close()
        if self._checkpoints and self.failure is None:
            with suppress(sqlite3.Error):
                self._writer.execute("pragma wal_checkpoint(truncate)")
        self._writer.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reader(self) -> Connection:
        with suppress(queue.Empty):
            return self._idle_readers.get_nowait()
        return connect(self.path, writable=False)

    def _submit(self, change: _Change) -> None:
        if self._closed or self.failure is not None:
            raise self.failure or StorageError("the database is closed")
        self._changes.put(change)

    def _write_until_stopped(self) -> None:
        stopping = False
        rested_at = 0
        while not stopping:
            group: list[_Change] = []
            try:
                taken = self._changes.get(timeout=None if rested_at == self.committed else _REST_SECONDS)
            except queue.Empty:
                taken = _CHECKPOINT
            while isinstance(taken, _Change):
                group.append(taken)
                if len(group) >= GROUP_LIMIT or self._changes.empty():
                    break
                taken = self._changes.get()
            if group:
                with self.pulse:
                    self._commit(group)
                    self.commits.observe(self.pulse.seconds())
                self.batches.observe(len(group))
            if taken is _CHECKPOINT:
                with self.pulse:
                    self._rest()
                rested_at = self.committed
            stopping = taken is _STOP

    def _rest(self) -> None:
        """Put the write-ahead log into the file as far as readers allow, and give memory back."""
        self._writer.execute("pragma busy_timeout = 0")  # a long reader is not worth waiting for
        with suppress(sqlite3.Error):
            if self._checkpoints:
                self._writer.execute("pragma wal_checkpoint(truncate)")
            self._writer.execute("pragma shrink_memory")
        self._writer.execute(f"pragma busy_timeout = {_BUSY_MILLISECONDS}")
        self._tell_heads()
        _return_freed_memory()

    def _tell_heads(self) -> None:
        """Say in a file of its own how far each chain has come, so that a cut of its end shows.

        Only after a commit, so that it never says more than the database holds. A copy that cannot be
        written is written with the next one.
        """
        self._heads_due = time.monotonic() + _HEADS_SECONDS
        if self.failure is not None:
            return
        with suppress(sqlite3.Error, OSError):
            heads = json.dumps({name: [number, link] for name, number, link in self._writer.execute(_HEADS)})
            if heads == self._heads:
                return
            place = heads_beside(self.path)
            part = place.with_name(f"{place.name}.{os.getpid()}.part")
            part.touch(mode=0o600)
            part.write_text(heads)
            part.rename(place)
            self._heads = heads

    def _commit(self, group: list[_Change]) -> None:
        error: BaseException | None = None
        committing = False
        try:
            self._writer.execute("begin immediate")
            for change in group:
                _apply(self._writer, change, alone=len(group) == 1)
            committing = True
            self._writer.execute("commit")
            self.committed += 1
            if time.monotonic() > self._heads_due:
                self._tell_heads()
        except BaseException as caught:
            error = _told(caught, committing=committing)
            with suppress(sqlite3.Error):
                self._writer.execute("rollback")
            if isinstance(error, StorageFull):
                self._make_room()
            if _is_fatal(caught):
                self._fail()
        _answer(group, error)

    def _make_room(self) -> None:
        """The disk is full: throw off the ballast, so that the log can be emptied and old things deleted."""
        if self.space.drop_ballast() and self._checkpoints:
            with suppress(sqlite3.Error):
                self._writer.execute("pragma wal_checkpoint(truncate)")

    def _fail(self) -> None:
        """Write nothing more: what a failed disk holds is known only after the file is opened again."""
        self._mark_fault()
        self.failure = StorageError(
            "the disk failed under the database, or it is damaged; nothing more is written"
        )

    def _mark_fault(self) -> None:
        with suppress(OSError):
            _mark_of_fault(self.path).touch(mode=0o600)

    def _unread(self, error: sqlite3.DatabaseError) -> StorageError:
        if _is_fatal(error):
            self._mark_fault()
        return StorageError("the database could not be read; `quartermaster doctor` says more")


def give_back_pages(connection: Connection, pages: int) -> bool:
    """Cut free pages off the file, so many at the most; whether some are left. It shrinks at a checkpoint."""
    free = int(connection.execute("pragma freelist_count").fetchone()[0])
    for _ in range(min(pages, free)):
        connection.execute("pragma incremental_vacuum(1)")  # a step each, whatever one asks for
    return free > pages


def _return_freed_memory() -> None:
    """To the system, where the C library can: a daemon that took in a large recording shrinks by half."""
    import ctypes  # noqa: PLC0415 - a start need not wait for it

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _apply(writer: Connection, change: _Change, *, alone: bool) -> None:
    if alone:
        change.outcome = change.apply(writer)
        return
    writer.execute("savepoint change")
    try:
        change.outcome = change.apply(writer)
        writer.execute("release change")
    except Exception as error:
        if _is_fatal(error) or not writer.in_transaction:
            raise
        writer.execute("rollback to change")
        writer.execute("release change")
        change.outcome = _Raised(_told(error, committing=False))


def _code_of(error: BaseException) -> int:
    """The result code of SQLite, the plain one but for a missing index; 0 where the error carries none."""
    code = int(getattr(error, "sqlite_errorcode", 0))
    return code if code == _NO_ROOM_FOR_INDEX else code & 0xFF


def _is_fatal(error: BaseException) -> bool:
    return _code_of(error) in (_DISK, _CORRUPT, _NOT_A_DATABASE)


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _told(error: BaseException, *, committing: bool) -> BaseException:
    if not isinstance(error, sqlite3.Error):
        return error
    told = _storage_error(error, committing=committing)
    told.__cause__ = error
    return told


def _storage_error(error: sqlite3.Error, *, committing: bool) -> StorageError:
    code = _code_of(error)
    if isinstance(error, sqlite3.IntegrityError):
        return StorageBusy("the change contradicts what is stored; read again and retry")
    if code in _BUSY:
        return StorageBusy("another process is writing to the database; try again")
    if code in (_FULL, _NO_ROOM_FOR_INDEX):
        return StorageFull("the disk is full; free some space")
    if committing:
        return OutcomeUnknown("the disk failed at the commit; whether the change was kept is unknown")
    if code == _READ_ONLY:
        return StorageError("the disk can only be read; nothing was changed")
    return StorageError("the database could not be written; nothing was changed")


def _answer(group: list[_Change], error: BaseException | None) -> None:
    waiting: dict[asyncio.AbstractEventLoop, list[tuple[_Change, BaseException | None]]] = {}
    for change in group:
        failed = error or (change.outcome.error if isinstance(change.outcome, _Raised) else None)
        if change.loop is not None:
            waiting.setdefault(change.loop, []).append((change, failed))
        elif failed is not None:
            change.finish.set_exception(failed)
        else:
            change.finish.set_result(change.outcome)
    for loop, changes in waiting.items():
        with suppress(RuntimeError):  # the loop has ended; nobody waits any more
            loop.call_soon_threadsafe(_resolve, changes)


def _resolve(changes: list[tuple[_Change, BaseException | None]]) -> None:
    for change, failed in changes:
        if change.finish.done():
            continue
        if failed is not None:
            change.finish.set_exception(failed)
        else:
            change.finish.set_result(change.outcome)
