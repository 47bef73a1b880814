"""What can be wrong with the machine under an installation: its disks, clock, limits and service manager."""

import os
import resource
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Final

from quartermaster import backups
from quartermaster.checkup import Finding
from quartermaster.cli.service import Place, place_of
from quartermaster.config import Settings
from quartermaster.errors import StorageError
from quartermaster.home import Home, holder
from quartermaster.store.database import closing_connection, log_beside, sqlite3
from quartermaster.store.filesystem import foreign_filesystem

_ENOUGH_FILES: Final = 1024
_HUGE_LOG: Final = 512 * 2**20
_SKEW_SECONDS: Final = 300
_LINKS_LOOKED_FOR: Final = 10_000


def check_owner(settings: Settings, home: Home) -> Iterator[Finding]:
    """Everything in the home belongs to whoever asks, and can be written."""
    us = os.geteuid()
    for path in (home.path, home.database, home.token):
        if path.exists() and path.stat().st_uid != us:
            message = f"{path} belongs to user {path.stat().st_uid}, and you are {us}; run as that user"
            yield Finding("owner", "fail", f"{message}, or: chown -R {us} {home.path}")
            return
    if home.path.exists() and not os.access(home.path, os.W_OK | os.X_OK):
        message = f"{home.path} cannot be written; change its permissions, or how its disk is mounted"
        yield Finding("owner", "fail", message)


def check_filesystem(settings: Settings, home: Home) -> Iterator[Finding]:
    """The locks of a database do not work over a network."""
    kind = foreign_filesystem(home.path)
    if kind is not None:
        message = f"{home.path} lies on a network file system ({kind}), where a database can be damaged"
        yield Finding("filesystem", "fail", f"{message}; choose a local --home")


def check_links(settings: Settings, home: Home) -> Iterator[Finding]:
    """Symbolic links in the inbox are not followed: a link that was dropped brings nothing."""
    links = [path for path in islice(home.inbox.rglob("*"), _LINKS_LOOKED_FOR) if path.is_symlink()]
    if links:
        message = f"{len(links)} symbolic links in {home.inbox} are not followed"
        yield Finding("links", "warn", f"{message}; run: quartermaster watch add FOLDER, or move the files")


def check_clock(settings: Settings, home: Home) -> Iterator[Finding]:
    """What was written in the future says that the clock was turned back."""
    places = (home.database, log_beside(home.database), home.token)
    latest = max((path.stat().st_mtime for path in places if path.exists()), default=0.0)
    ahead = latest - time.time()
    if ahead > _SKEW_SECONDS:
        message = (
            f"the home was last written {ahead / 60:,.0f} minutes from now; set the clock of this machine"
        )
        yield Finding("clock", "warn", message)


def check_log(settings: Settings, home: Home) -> Iterator[Finding]:
    """A log that grows and grows is one that somebody reads, or that nobody empties."""
    path = log_beside(home.database)
    size = path.stat().st_size if path.exists() else 0
    if size > _HUGE_LOG:
        message = f"{path} has {size / 2**20:,.0f} MiB; end other programs that read the database"
        yield Finding("log", "warn", f"{message}, then restart the daemon")


def check_leftovers(settings: Settings, home: Home) -> Iterator[Finding]:
    """An address without a daemon: it was killed, or the machine went down."""
    if home.address.exists() and holder(home) is None:
        message = "the last daemon did not stop in order; its log says why, the next start tidies up"
        yield Finding("leftovers", "warn", message)


def check_files(settings: Settings, home: Home) -> Iterator[Finding]:
    """Connections, recordings and the database take one open file each."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= limit < _ENOUGH_FILES:
        message = f"{limit} files may be open at once; run: ulimit -n 8192 (LimitNOFILE=8192 in a unit)"
        yield Finding("files", "warn", message)


def check_tls(settings: Settings, home: Home) -> Iterator[Finding]:
    """Certificate and key can be read, and belong together."""
    if settings.tls_cert is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key, "")
    except OSError as error:  # what is no certificate comes as one too
        reason = error.strerror or "they are no PEM, or do not belong together"
        message = f"tls_cert and tls_key cannot be used ({reason}); check {settings.tls_cert}"
        yield Finding("tls", "fail", message)
    else:
        yield Finding("tls", "ok", f"{settings.tls_cert} can be used")


def check_backups(settings: Settings, home: Home) -> Iterator[Finding]:
    """The daemon makes backups by itself, and the last sound one is young enough."""
    if not settings.backup_interval_seconds:
        message = "the daemon makes none by itself; run from time to time: quartermaster backup FILE"
        yield Finding("backup", "ok", message)
        return
    if not home.database.exists():
        return
    with suppress(sqlite3.Error, StorageError):  # the check of the database says why
        with closing_connection(home.database, writable=False) as connection:
            began = backups.began_at(connection)
        yield _of_backups(settings.backup_interval_seconds, home, began)


def _of_backups(interval_seconds: float, home: Home, began: int | None) -> Finding:
    now = time.time_ns()
    late = backups.lateness(home.backups, began, interval_seconds=interval_seconds, now=now)
    if late is not None:
        message = f"{late}; the log of the daemon says why, or run: quartermaster backup FILE"
        return Finding("backup", "warn", message)
    sound = backups.sound_ones(home.backups)
    message = f"{sound[0][1]} was found sound" if sound else "the first one is made when it is due"
    return Finding("backup", "ok", message)


def check_service(settings: Settings, home: Home) -> Iterator[Finding]:
    """A unit that is there is enabled, and starts a program that is there."""
    for place in (place_of(of_user=True), place_of(of_user=False)):
        if place.path.is_file():
            yield _of_unit(place)


def _of_unit(place: Place) -> Finding:
    program = place.started_program()
    if program is not None and not program.exists():
        again = "quartermaster service install" + (" --user" if place.of_user else "")
        return Finding("service", "fail", f"the unit starts {program}, which is gone; run: {again}")
    if not place.is_enabled:
        message = f"the unit is there and not enabled; run: {place.systemctl} enable --now quartermaster"
        return Finding("service", "warn", message)
    return Finding("service", "ok", f"{place.path} is enabled")
