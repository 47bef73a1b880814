"""The inboxes of the daemon: folders whose files become missions, live, while they grow.

The scan is the mechanism: it compares every file of an inbox with what the database says of it. Events
of the file system only make it sooner, because watchers lose them without a word.
"""

import os
import stat
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec
import structlog
import watchfiles
from anyio.abc import TaskStatus

from quartermaster.core.secrets import Masker
from quartermaster.errors import StorageBusy
from quartermaster.ingest import (
    BATCH_FILES,
    BUILT_IN_MASKER,
    FAULT,
    IGNORED_ENDINGS,
    LINE_LIMIT_BYTES,
    Reading,
    files_below,
)
from quartermaster.instruments import SECONDS, Histogram
from quartermaster.pulse import Pulse
from quartermaster.recording import Recording
from quartermaster.store import access, missions, raw, sources, watched
from quartermaster.store.database import Connection, Database
from quartermaster.store.sources import Source

_REST_SECONDS: Final = 1.0
_BUSY_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 1.0
_TAIL_REST_SECONDS: Final = 10.0
_RECENT_NANOSECONDS: Final = 60 * 10**9
_SCAN_SHARE: Final = 0.05
"""Share of the time that scanning may take at the most."""
_DEBOUNCE_MILLISECONDS: Final = 30
_STEP_MILLISECONDS: Final = 5
_HINT_LIMIT: Final = 10_000
"""Paths that events may name before a scan is cheaper."""

log = structlog.get_logger("inbox")


class Inbox(msgspec.Struct, frozen=True):
    """A folder that is watched, read-only, and the workspace (id or slug) that its files belong to."""

    path: Path
    workspace: str
    mask_secrets: bool = True


class Ingester:
    """Watches inboxes for as long as the daemon runs.

    `inbox_root` holds one folder for each workspace, by slug, which this makes; `inboxes` are further
    folders. `run` restarts cleanly: what it knows, it knows from the database.
    """

    def __init__(
        self,
        database: Database,
        inbox_root: Path | None,
        inboxes: Sequence[Inbox] = (),
        *,
        scan_seconds: float = 5.0,
        line_limit_bytes: int = LINE_LIMIT_BYTES,
        masker: Masker | None = BUILT_IN_MASKER,
    ) -> None:
        self._database = database
        self._masker = masker
        self._inbox_root = inbox_root
        self._inboxes = tuple(inboxes)
        self._scan_seconds = scan_seconds
        self._line_limit = line_limit_bytes
        self.pulse = Pulse()
        self._began = time.time_ns()
        self.lag = Histogram(
            "quartermaster_ingest_lag_seconds",
            "From the change of a file to its entries in the database; older changes do not count.",
            (*SECONDS, 60.0),
        )
        self._forget_everything()

    def _forget_everything(self) -> None:
        self._forget_files()
        self._hinted: set[str] = set()
        self._wake = anyio.Event()
        self._watching = False
        self._paused = False
        self._took: deque[float] = deque([0.0], maxlen=2)
        self._scanned = anyio.Event()

    def _forget_files(self) -> None:
        """What is known of files is in the database: the next scan starts from there."""
        self._reading = Reading(self._database, line_limit_bytes=self._line_limit)
        self._seen: dict[tuple[int, Path], tuple[int | None, int, int]] = {}
        self._due: OrderedDict[tuple[int, Path], _Place] = OrderedDict()
        self._places: tuple[_Place, ...] = ()
        self._scan_asked = True

    def status(self) -> dict[str, Any]:
        """For readiness and operators: files that wait, whether events arrive, how long a scan takes."""
        return {
            "due": len(self._due),
            "watching": self._watching,
            "scan_seconds": round(self._took[-1], 3),
            "inboxes": len(self._places),
            "files": len(self._seen),
        }

    def scan_pause(self) -> float:
        """Seconds until the next scan. One scan that was held up must not leave files unseen for a minute: it
        takes two slow ones after each other to make scans rarer."""
        return max(self._scan_seconds, min(self._took) / _SCAN_SHARE)

    def scan_now(self) -> None:
        """Compare every inbox with the database as soon as may be."""
        self._scan_asked = True
        self._wake.set()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Ingest until cancelled. Ready once the first scan has been made."""
        self._forget_everything()
        limiter = anyio.CapacityLimiter(1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            next_scan = next_tails = 0.0
            while True:
                now = anyio.current_time()
                if self._is_paused():
                    task_status.started()
                    task_status = anyio.TASK_STATUS_IGNORED
                    await anyio.sleep(_PAUSE_SECONDS)
                    continue
                try:
                    if self._scan_asked or now >= next_scan:
                        self._scan_asked = False
                        with self.pulse:
                            await anyio.to_thread.run_sync(self._scan, limiter=limiter)
                        self._scanned.set()
                        self._scanned = anyio.Event()
                        next_scan = anyio.current_time() + self.scan_pause()
                        task_status.started()
                        task_status = anyio.TASK_STATUS_IGNORED
                    hinted, self._hinted = self._hinted, set()
                    with self.pulse:
                        await anyio.to_thread.run_sync(self._take_turn, hinted, limiter=limiter)
                    if now >= next_tails:
                        next_tails = now + _TAIL_REST_SECONDS / 2
                        with self.pulse:
                            await anyio.to_thread.run_sync(self._close_tails, limiter=limiter)
                except StorageBusy as busy:
                    log.warning("ingest starts over", reason=str(busy))
                    self._forget_files()
                    await anyio.sleep(_BUSY_SECONDS)
                if not self._due and not self._hinted:
                    await self._rest(next_scan)

    def _is_paused(self) -> bool:
        """Whether nothing is read, because the disk has too little room; a line tells of each change."""
        shortage = self._database.space.shortage()
        if shortage is not None and not self._paused:
            log.warning("ingest pauses", reason=shortage)
        elif shortage is None and self._paused:
            log.info("ingest goes on")
            self._forget_files()
        self._paused = shortage is not None
        return self._paused

    async def _rest(self, until: float) -> None:
        awaited = any(True for _ in self._reading.awaiting_finish())
        pause = min(until - anyio.current_time(), _REST_SECONDS if awaited else self._scan_seconds)
        with anyio.move_on_after(max(pause, 0)):
            await self._wake.wait()
        self._wake = anyio.Event()

    def _take_turn(self, hinted: Iterable[str]) -> None:
        self._take_hints(hinted)
        if self._due:
            workspace = next(iter(self._due))[0]
            self._read_some(workspace)
        self._finish_rested()
        self._reading.close_oldest()

    def _take_hints(self, hinted: Iterable[str]) -> None:
        for text in hinted:
            path = Path(text)
            for place in self._places:
                if path != place.root and path.is_relative_to(place.root):
                    self._take_hint(place, path)

    def _take_hint(self, place: "_Place", path: Path) -> None:
        if not _may_be_recording(path, place.root):
            return
        with suppress(OSError):
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode):
                self._notice(place, path, status)
                return
            for file, file_status in files_below(path):
                self._notice(place, file, file_status)

    def _notice(self, place: "_Place", path: Path, status: os.stat_result) -> None:
        key = place.workspace, path
        looks = status.st_ino, status.st_size, status.st_ctime_ns
        if self._seen.get(key) != looks:
            self._seen[key] = looks
            self._due[key] = place

    def _read_some(self, workspace: int) -> None:
        chosen: list[tuple[Path, _Place]] = []
        for (owner, path), place in self._due.items():
            if owner == workspace:
                chosen.append((path, place))
            if len(chosen) >= BATCH_FILES:
                break
        recordings = [
            self._reading.open(
                workspace, place.names, place.root, path, self._masker if place.masks else None
            )
            for path, place in chosen
        ]
        looked_at = self._reading.read_some(workspace, recordings)
        for (recording, more), (path, place) in zip(looked_at, chosen, strict=False):
            del self._due[workspace, path]
            self._note_lag(recording, more=more)
            if more:
                self._due[workspace, path] = place
            elif _deserves_another_look(recording.source):
                self._seen.pop((workspace, path), None)  # so that the next scan looks again

    def _note_lag(self, recording: Recording, *, more: bool) -> None:
        changed = recording.source.modified
        if not more and recording.source.id and changed > self._began:
            self.lag.observe(max(0, time.time_ns() - changed) / 1e9)

    def _finish_rested(self) -> None:
        rested: dict[int, list[Recording]] = {}
        latest = time.time_ns() - int(_REST_SECONDS * 10**9)
        for workspace, recording in self._reading.awaiting_finish():
            if recording.source.modified < latest and (workspace, recording.path) not in self._due:
                rested.setdefault(workspace, []).append(recording)
        for workspace, recordings in rested.items():
            for recording in self._reading.finish(workspace, recordings):
                self._seen.pop((workspace, recording.path), None)
                self._scan_asked = True

    def _close_tails(self) -> None:
        before = time.time_ns() - int(_TAIL_REST_SECONDS * 10**9)
        while True:
            quiet = self._database.read_blocking(lambda connection: missions.quiet_tails(connection, before))
            if not quiet:
                return
            self._database.write_blocking(lambda connection: _close_tails(connection, before))

    def _scan(self) -> None:
        began = time.monotonic()
        places = self._current_places()
        self._places = places
        here: set[tuple[int, Path]] = set()
        for place in places:
            for path, status in files_below(place.root):
                self._notice(place, path, status)
                here.add((place.workspace, path))
                self.pulse.again()
        for key in self._seen.keys() - here:
            del self._seen[key]
        self._took.append(time.monotonic() - began)

    def _current_places(self) -> tuple["_Place", ...]:
        """The folders to look into now; the inbox of a workspace that is new is made."""
        workspaces = self._database.read_blocking(access.list_workspaces)
        asked_for = self._database.read_blocking(watched.list_watched)
        places: list[_Place] = []
        for workspace in workspaces:
            names = frozenset((workspace.workspace_id, workspace.slug))
            inboxes = [one for one in self._inboxes if one.workspace in names]
            if self._inbox_root is not None:
                inboxes.insert(0, Inbox(_made(self._inbox_root / workspace.slug), workspace.slug))
            inboxes += [Inbox(one.path, one.slug) for one in asked_for if one.workspace == workspace.key]
            for inbox in inboxes:
                with suppress(OSError):
                    root = inbox.path.resolve(strict=True)
                    device, inode = root.stat().st_dev, root.stat().st_ino
                    places.append(_Place(workspace.key, names, root, device, inode, inbox.mask_secrets))
        for place in places:
            if place not in self._places:
                self._remember(place)
        return tuple(places)

    def _remember(self, place: "_Place") -> None:
        known = self._database.read_blocking(
            lambda connection: sources.known_files(connection, place.workspace)
        )
        self._seen.update(
            ((place.workspace, Path(os.fsdecode(path))), looks) for path, looks in known.items()
        )

    async def _watch(self) -> None:
        """Pass on events as hints. When they fail, the scan goes on alone and this tries again."""
        pause = 1.0
        while True:
            places = self._places
            if not places:
                await self._scanned.wait()
                continue
            try:
                await self._pass_on_events(places)
                pause = 1.0
            except Exception as error:  # it ends on names that are not UTF-8, on limits, on lost roots
                log.warning("file events lost, scanning only", reason=str(error)[:200], retry_seconds=pause)
                self._watching = False
                await anyio.sleep(pause)
                pause = min(pause * 2, 60.0)
            self.scan_now()

    async def _pass_on_events(self, places: tuple["_Place", ...]) -> None:
        changed = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._notice_new_places, places, changed)
            events = watchfiles.awatch(
                *{place.root for place in places},
                watch_filter=None,
                debounce=_DEBOUNCE_MILLISECONDS,
                step=_STEP_MILLISECONDS,
                rust_timeout=1_000,
                stop_event=changed,
                ignore_permission_denied=True,
            )
            self._watching = True
            async for batch in events:
                if len(self._hinted) + len(batch) > _HINT_LIMIT:
                    self._scan_asked = True
                else:
                    self._hinted.update(path for _, path in batch)
                self._wake.set()
            tasks.cancel_scope.cancel()

    async def _notice_new_places(self, places: tuple["_Place", ...], changed: anyio.Event) -> None:
        try:
            while self._places == places:
                await self._scanned.wait()
        finally:
            changed.set()  # a cancelled watcher ends at this event, and without it a second later


class _Place(msgspec.Struct, frozen=True):
    """A watched folder of a workspace; device and inode tell when it was replaced by another."""

    workspace: int
    names: frozenset[str]
    root: Path
    device: int
    inode: int
    masks: bool


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        log.warning("an inbox cannot be made", folder=str(folder), reason=error.strerror)
    return folder


def _may_be_recording(path: Path, root: Path) -> bool:
    inner = [os.fsencode(part) for part in path.relative_to(root).parts]
    return not any(part.startswith(b".") for part in inner) and not inner[-1].endswith(IGNORED_ENDINGS)


def _deserves_another_look(source: Source) -> bool:
    """Whether it may be read by and by, although nothing is written to it."""
    if source.state == "failed":
        return source.reason != FAULT
    recent = time.time_ns() - source.modified < _RECENT_NANOSECONDS
    return source.state == "waiting" and source.size > 0 and recent


def _close_tails(connection: Connection, before: int) -> None:
    for mission, next_sequence, tail_entries in missions.quiet_tails(connection, before):
        raw.close_tail(connection, mission, next_sequence, tail_entries)
