"""The home folder: what lies where in it, who may use it at the moment, and how its database is opened."""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from quartermaster.errors import HomeLocked, NotFound, StorageError
from quartermaster.store import access
from quartermaster.store.access import Workspace
from quartermaster.store.database import Connection, Database
from quartermaster.store.filesystem import foreign_filesystem

DAEMON: Final = "daemon"
EVALUATION: Final = "evaluation"
RESTORE: Final = "restore"
"""Who may hold a home: the daemon, a command that evaluates because there is none, or a restore."""

_PATIENCE_SECONDS: Final = 0.3


class Home(msgspec.Struct, frozen=True):
    """One home folder and the names in it."""

    path: Path

    @property
    def database(self) -> Path:
        return self.path / "quartermaster.db"

    @property
    def token(self) -> Path:
        return self.path / "token"

    @property
    def inbox(self) -> Path:
        return self.path / "inbox"

    @property
    def backups(self) -> Path:
        """Where the daemon keeps the backups that it makes by itself."""
        return self.path / "backups"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def address(self) -> Path:
        """Where a running daemon says at which URL it listens."""
        return self.path / "address"

    def create(self) -> None:
        """Make the folder for its owner alone, unless it is there."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            message = f"the home folder {self.path} cannot be made: {error.strerror}"
            raise StorageError(message) from error

    def create_inbox(self, slug: str) -> Path:
        """The folder whose recordings belong to the workspace of that slug."""
        folder = self.inbox / slug
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


class Holder(msgspec.Struct, frozen=True):
    """Who holds a home at the moment."""

    role: str
    pid: int


@contextmanager
def hold(home: Home, role: str, *, patience: float = _PATIENCE_SECONDS) -> Iterator[None]:
    """Be the only one of `role`'s kind on this home; HomeLocked when somebody else is.

    The lock belongs to the process: the system frees it however the process ends.
    """
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(home, descriptor, time.monotonic() + patience)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(Holder(role, os.getpid())), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(home: Home) -> Holder | None:
    """Who holds the home; None when nobody does."""
    try:
        descriptor = os.open(home.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_holder(descriptor)
    finally:
        os.close(descriptor)
    return None


def _lock(home: Home, descriptor: int, deadline: float) -> None:
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if time.monotonic() > deadline:
            held = _read_holder(descriptor)
            raise HomeLocked(
                f"another Quartermaster ({held.role}, process {held.pid}) uses {home.path};"
                " stop it, or choose another folder with --home"
            )
        time.sleep(0.02)


def _read_holder(descriptor: int) -> Holder:
    with suppress(msgspec.MsgspecError):
        return msgspec.json.decode(os.pread(descriptor, 200, 0), type=Holder)
    return Holder(DAEMON, 0)


class Opened(msgspec.Struct, frozen=True):
    """An open database; `token` is the text of the first OWNER token where this was the first start."""

    database: Database
    token: str | None


def open_home(home: Home, *, create: bool, beside_daemon: bool = False, low_water_bytes: int = 0) -> Opened:
    """The database of a home. A first start makes workspace, user and token `local`.

    `beside_daemon` leaves checkpoints to the daemon, which has the database open already. With less than
    `low_water_bytes` free nothing is taken in. Raises StorageError where a database should be and is not.
    """
    if not create and not home.database.exists():
        raise NotFound(f"there is no database in {home.path}; `serve`, `ingest` or `demo` make one")
    home.create()
    _require_own_disk(home)
    if home.token.exists() and not (home.database.exists() and home.database.stat().st_size):
        raise StorageError(
            f"the database of {home.path} is missing or empty; restore a backup of it,"
            f" or remove {home.token} to begin anew"
        )
    database = Database(home.database, checkpoints=not beside_daemon, low_water_bytes=low_water_bytes)
    try:
        if database.look_up(access.list_workspaces):
            return Opened(database, None)
        return Opened(database, database.write_blocking(lambda connection: _start_first(connection, home)))
    except BaseException:
        database.close()
        raise


def _require_own_disk(home: Home) -> None:
    kind = foreign_filesystem(home.path)
    if kind is not None:
        raise StorageError(
            f"the home folder {home.path} lies on a network file system ({kind}), where a database gets"
            " damaged; choose a local folder with --home"
        )


def choose_workspace(connection: Connection, id_or_slug: str | None) -> Workspace:
    """The workspace of that id or slug; where none is named the only one, else `local`."""
    known = access.list_workspaces(connection)
    if id_or_slug is None and len(known) == 1:
        return known[0]
    found = access.find_workspace(connection, id_or_slug or access.FIRST_WORKSPACE)
    if found is None:
        slugs = ", ".join(workspace.slug for workspace in known)
        raise NotFound(f"no workspace {id_or_slug or access.FIRST_WORKSPACE!r}; there are {slugs}")
    return found


def _start_first(connection: Connection, home: Home) -> str | None:
    token = access.first_start(
        connection, now=time.time_ns(), secret_bytes=secrets.token_bytes(access.SECRET_BYTES)
    )
    if token is not None:
        write_privately(home.token, token + "\n")  # before the commit: nobody could make up for a lost token
        home.create_inbox(access.FIRST_WORKSPACE)
    return token


def write_privately(path: Path, text: str) -> None:
    """A new file that its owner alone may read, there as a whole and on disk when this returns."""
    unfinished = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        unfinished.unlink()
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
