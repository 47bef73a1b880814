"""Backups that the daemon makes by itself: each is made and looked through, then the oldest go.

Names tell what is known: `quartermaster.<time>.db` was found sound, a copy that was not looked through
yet ends in `.unproven`. Both are the work of child processes that end with the daemon, however it ends.
"""

import os
import re
import subprocess
import time
from calendar import timegm
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import msgspec
import structlog
from anyio.abc import TaskStatus

from quartermaster.errors import StorageError, StorageFull
from quartermaster.home import Home
from quartermaster.instruments import Count
from quartermaster.store import access
from quartermaster.store.database import Connection, log_beside, sync
from quartermaster.store.space import MEBIBYTE, Space
from quartermaster.workers import PACKAGE_HOME, own_program

_LOOK_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 3600.0
_NICENESS: Final = 10
_INTERVALS: Final = 2
"""After so many intervals without a sound backup the last one is too old."""
_SECOND: Final = 10**9
_DAY: Final = 86_400.0
_TIME: Final = "%Y%m%dT%H%M%SZ"
_SOUND: Final = re.compile(r"quartermaster\.(\d{8}T\d{6}Z)\.db", re.ASCII)
_UNPROVEN: Final = ".unproven"

_log = structlog.get_logger()


class _Verified(msgspec.Struct, frozen=True):
    problems: tuple[str, ...]


def sound_ones(folder: Path) -> list[tuple[int, Path]]:
    """The backups that were found sound, with their instants (nanoseconds since 1970), the newest first."""
    found = []
    for path in folder.glob("quartermaster.*.db"):
        match = _SOUND.fullmatch(path.name)
        if match is not None:
            with suppress(ValueError):
                found.append((timegm(time.strptime(match[1], _TIME)) * _SECOND, path))
    return sorted(found, reverse=True)


def began_at(connection: Connection) -> int | None:
    """When a home has begun to hold anything; None for one that holds nothing."""
    return min((one.created_at for one in access.list_workspaces(connection)), default=None)


def unprotected_seconds(folder: Path, began: int | None, now: int) -> float:
    """Since when nothing was backed up: since the last sound backup, or since the home began.

    A backup of the future, which a wrong clock has made, counts for nothing.
    """
    since = next((made_at for made_at, _ in sound_ones(folder) if made_at <= now), began)
    return 0.0 if since is None else max(0.0, (now - since) / _SECOND)


def lateness(folder: Path, began: int | None, *, interval_seconds: float, now: int) -> str | None:
    """What is wrong with the age of the last sound backup; None while it is young enough."""
    seconds = unprotected_seconds(folder, began, now)
    if not interval_seconds or seconds <= _INTERVALS * interval_seconds:
        return None
    age = f"{seconds / _DAY:,.1f} days old"
    return f"the last sound one is {age}" if sound_ones(folder) else f"there is none, and the home is {age}"


class Backups:
    """Makes a backup whenever the last sound one is `interval_seconds` old, and keeps the newest ones."""

    def __init__(
        self,
        home: Home,
        space: Space,
        began: int | None,
        *,
        interval_seconds: float,
        keep: int,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._home = home
        self._space = space
        self._began = began
        self._interval_seconds = interval_seconds
        self._keep = keep
        self._now = now
        self._failed = False
        self.made = Count(
            "quartermaster_backups_total", "Backups that the daemon has made by itself.", ("result",)
        )

    def state(self) -> str:
        """`ok`, or why the last backup cannot be relied on."""
        late = lateness(
            self._home.backups, self._began, interval_seconds=self._interval_seconds, now=self._now()
        )
        failed = "the last attempt failed, and the log says why" if self._failed else None
        return "; ".join(said for said in (late, failed) if said) or "ok"

    def unprotected_seconds(self) -> float:
        """Since when nothing was backed up."""
        return unprotected_seconds(self._home.backups, self._began, self._now())

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Make a backup whenever one is due, until cancelled. One that fails is tried again later."""
        task_status.started()
        while True:
            pause = _LOOK_SECONDS
            if self.unprotected_seconds() >= self._interval_seconds and self._space.shortage() is None:
                pause = _LOOK_SECONDS if await self._try() else _RETRY_SECONDS
            await anyio.sleep(min(pause, self._interval_seconds))

    async def _try(self) -> bool:
        began = anyio.current_time()
        try:
            made = await self.make()
        except (StorageError, OSError) as error:
            self._failed = True
            self.made.add(1, "failed")
            _log.error("no backup", reason=str(error))
            return False
        self._failed = False
        self.made.add(1, "sound")
        seconds = round(anyio.current_time() - began, 3)
        _log.info("backup made", file=made.name, bytes=made.stat().st_size, seconds=seconds)
        return True

    async def make(self) -> Path:
        """One more backup, found sound and on disk; older ones than those to keep are gone then.

        Raises StorageError, with every older one still there.
        """
        folder = self._home.backups
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in (*folder.glob(f"*{_UNPROVEN}"), *folder.glob(f".*{_UNPROVEN}.*.part")):
            left.unlink(missing_ok=True)  # of a process that was ended in the middle
        self._require_room()
        sound = folder / f"quartermaster.{time.strftime(_TIME, time.gmtime(self._now() // _SECOND))}.db"
        unproven = sound.with_name(sound.name + _UNPROVEN)
        try:
            await _make(self._home, unproven)
            await _verify(unproven)
            unproven.rename(sound)
            sync(folder)
        finally:
            unproven.unlink(missing_ok=True)
        others = [path for _, path in sound_ones(folder) if path != sound]
        for old in others[self._keep - 1 :]:
            old.unlink(missing_ok=True)
        return sound

    def _require_room(self) -> None:
        database = self._home.database
        log = log_beside(database)
        wanted = database.stat().st_size + (log.stat().st_size if log.exists() else 0)
        free = self._space.free() - self._space.low_water_bytes
        if free < wanted:
            raise StorageFull(
                f"the disk has {max(0, free) / MEBIBYTE:,.1f} MiB for a backup that may take"
                f" {wanted / MEBIBYTE:,.1f} MiB"
            )


async def _make(home: Home, target: Path) -> None:
    code, _, said = await _child("backup", str(target), "--home", str(home.path))
    if code:
        raise StorageError(_last_line(said) or f"the backup ended with code {code}")


async def _verify(file: Path) -> None:
    code, told, said = await _child("backup", "verify", str(file), "--format", "json")
    if code:
        raise StorageError(_problem_in(told) or _last_line(said) or f"the check ended with code {code}")


def _problem_in(told: bytes) -> str | None:
    with suppress(msgspec.DecodeError):
        for row in msgspec.json.decode(told, type=list[_Verified]):
            if row.problems:
                return f"the copy is damaged ({row.problems[0]}); look at the database: quartermaster verify"
    return None


def _last_line(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("quartermaster: ") if lines else ""


async def _child(*arguments: str) -> tuple[int, bytes, bytes]:
    """The exit code, stdout and stderr of this program with other arguments, run behind everything else."""
    async with await anyio.open_process(
        [*own_program(), "child", *arguments], stdin=subprocess.PIPE, cwd=PACKAGE_HOME, start_new_session=True
    ) as process:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
        outputs: list[bytes] = [b"", b""]

        async def drain(stream: int) -> None:
            receive = (process.stdout, process.stderr)[stream]
            assert receive is not None
            async for part in receive:
                outputs[stream] += part

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain, 0)
            tasks.start_soon(drain, 1)
            code = await process.wait()
    return code, outputs[0], outputs[1]
