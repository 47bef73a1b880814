"""`quartermaster doctor`: what is wrong with this installation, and what to do about it."""

import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote
from typing import Final

import click
import msgspec

from quartermaster.checkup import Finding
from quartermaster.cli import machine, output
from quartermaster.cli.client import Client
from quartermaster.cli.options import home_option, settings_for
from quartermaster.config import Settings, find_home
from quartermaster.errors import ConfigurationError, QuartermasterError, StorageError
from quartermaster.home import DAEMON, Home, holder
from quartermaster.store import database, watched
from quartermaster.store.database import sqlite3

FAILED: Final = 10

RECORDINGS: Final = ("~/.claude/projects", "~/.codex/sessions")
_WATCHES: Final = Path("/proc/sys/fs/inotify/max_user_watches")
_ENOUGH_WATCHES: Final = 8_192
_MEBIBYTE: Final = 2**20
_LITTLE_SPACE: Final = 1024 * _MEBIBYTE
_NO_SPACE: Final = 100 * _MEBIBYTE


@click.command("doctor")
@home_option
@output.format_option
def command(home: Path | None, form: str) -> int:
    """Check home, database, inboxes, disk and port. Exits with 10 when something is broken."""
    findings = _findings(home)
    output.print_rows(form, [msgspec.to_builtins(finding) for finding in findings], _COLUMNS)
    return FAILED if any(finding.state == "fail" for finding in findings) else 0


def _findings(home: Path | None) -> list[Finding]:
    try:
        settings = settings_for(home)
    except ConfigurationError as error:  # nothing else can be looked at before that
        return [Finding("settings", "fail", str(error))]
    return [finding for check in CHECKS for finding in check(settings, Home(settings.home))]


def look_inside(settings: Settings) -> list[Finding]:
    """What the daemon can find out about the installation that it runs in, without reading its database."""
    home = Home(settings.home)
    return [finding for check in CHECKS if check not in _FROM_OUTSIDE for finding in check(settings, home)]


_COLUMNS = (output.field("STATE", "state"), output.field("CHECK", "check"), output.field("", "message"))


def check_home(settings: Settings, home: Home) -> Iterator[Finding]:
    if not home.path.exists():
        yield Finding("home", "warn", f"{home.path} does not exist yet; `quartermaster serve` makes it")
        return
    mode = stat.S_IMODE(home.path.stat().st_mode)
    if mode & 0o077:
        yield Finding("home", "warn", f"others may look into {home.path}; run: chmod 700 {home.path}")
    else:
        yield Finding("home", "ok", str(home.path))


def check_database(settings: Settings, home: Home) -> Iterator[Finding]:
    if not home.database.exists():
        yield Finding("database", "warn", "there is none yet; `quartermaster serve` makes it")
        return
    try:
        database.prepare(home.database)
        with database.closing_connection(home.database, writable=False) as connection:
            said = str(connection.execute("pragma quick_check(1)").fetchone()[0])
    except (sqlite3.Error, StorageError) as error:
        said = str(error)
    if said == "ok":
        size = home.database.stat().st_size / _MEBIBYTE
        yield Finding("database", "ok", f"{size:,.1f} MiB, quick check passed")
    else:
        yield Finding("database", "fail", f"{said}; stop the daemon and restore a backup")


def check_sqlite(settings: Settings, home: Home) -> Iterator[Finding]:
    fault = database.sqlite_fault()
    if fault is None:
        yield Finding("sqlite", "ok", f"SQLite {database.sqlite_version()}")
    else:
        yield Finding("sqlite", "warn", fault)


def check_token(settings: Settings, home: Home) -> Iterator[Finding]:
    if not home.token.exists():
        if home.database.exists():
            yield Finding("token", "warn", "no token file; make one: quartermaster token create --user local")
        return
    if stat.S_IMODE(home.token.stat().st_mode) & 0o077:
        yield Finding("token", "fail", f"others may read {home.token}; run: chmod 600 {home.token}")
    else:
        yield Finding("token", "ok", f"{home.token} is for its owner alone")


def check_daemon(settings: Settings, home: Home) -> Iterator[Finding]:
    held = holder(home)
    if held is None:
        yield Finding("daemon", "ok", "none runs; commands work on the home directly")
        yield _check_port(settings)
        return
    if held.role != DAEMON:
        yield Finding("daemon", "ok", f"none runs; process {held.pid} evaluates")
        return
    url = home.address.read_text("utf-8").strip() if home.address.exists() else ""
    try:
        client = Client(url or f"http://{settings.host}:{settings.port}", None, None)
        client.get("/readyz")
    except QuartermasterError as error:
        yield Finding("daemon", "warn", f"process {held.pid} is not ready: {error}")
        return
    yield Finding("daemon", "ok", f"process {held.pid} answers at {url}")


def _check_port(settings: Settings) -> Finding:
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            message = f"{settings.host}:{settings.port} is taken ({error.strerror}); choose another --port"
            return Finding("port", "warn", message)
    return Finding("port", "ok", f"{settings.host}:{settings.port} is free")


def check_inboxes(settings: Settings, home: Home) -> Iterator[Finding]:
    for path, workspace in _watched(settings, home):
        if not path.is_dir():
            message = f"{path} is no folder; it is watched once it is there"
            yield Finding("inbox", "warn", message, workspace)
            continue
        try:
            next(path.iterdir(), None)
        except OSError as error:
            yield Finding("inbox", "fail", f"{path} cannot be read: {error.strerror}", workspace)
            continue
        yield Finding("inbox", "ok", f"{path} goes to workspace {workspace}", workspace)


def check_recordings(settings: Settings, home: Home) -> Iterator[Finding]:
    """Offer the folders in which agents on this machine leave their recordings."""
    inboxes = [path.resolve() for path, _ in _watched(settings, home)]
    for name in RECORDINGS:
        folder = Path(name).expanduser()
        if not folder.is_dir() or any(folder.resolve().is_relative_to(path) for path in inboxes):
            continue
        kept = "" if home.path == find_home(None, os.environ) else f" --home {quote(str(home.path))}"
        command = f"quartermaster watch add {name}{kept}"
        message = f"{name} is there and not watched; run: {command}"
        yield Finding("recordings", "ok", message, command=command)


def _watched(settings: Settings, home: Home) -> list[tuple[Path, str]]:
    """Folders that are watched in place, with their workspaces."""
    folders = [(inbox.path, inbox.workspace) for inbox in settings.inbox]
    if not home.database.exists():
        return folders
    try:
        with database.closing_connection(home.database, writable=False) as connection:
            return folders + [(one.path, one.slug) for one in watched.list_watched(connection)]
    except (sqlite3.Error, StorageError):
        return folders  # the check of the database says why


def check_watches(settings: Settings, home: Home) -> Iterator[Finding]:
    if not _WATCHES.exists():
        return
    watches = int(_WATCHES.read_text())
    if watches < _ENOUGH_WATCHES:
        yield Finding("watches", "warn", f"{watches:,} folders can be watched; others wait for the next scan")
    else:
        yield Finding("watches", "ok", f"{watches:,} folders can be watched")


def check_disk(settings: Settings, home: Home) -> Iterator[Finding]:
    folder = next(path for path in (home.path, *home.path.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    said = f"{free / _MEBIBYTE:,.0f} MiB free"
    if free < max(_NO_SPACE, settings.storage_low_water_bytes):
        yield Finding("disk", "fail", f"{said}; free some, nothing is recorded before that")
    elif free < _LITTLE_SPACE:
        yield Finding("disk", "warn", f"{said}; free some soon")
    else:
        yield Finding("disk", "ok", said)


CHECKS: Final[tuple[Callable[[Settings, Home], Iterator[Finding]], ...]] = (
    check_home,
    check_database,
    check_sqlite,
    check_token,
    check_daemon,
    check_inboxes,
    check_recordings,
    check_watches,
    check_disk,
    machine.check_owner,
    machine.check_filesystem,
    machine.check_links,
    machine.check_clock,
    machine.check_log,
    machine.check_leftovers,
    machine.check_files,
    machine.check_tls,
    machine.check_backups,
    machine.check_service,
)

_FROM_OUTSIDE: Final = frozenset({check_database, check_daemon, machine.check_leftovers})
"""What is asked of a home whose daemon may be gone; readiness tells the same of one that runs."""
