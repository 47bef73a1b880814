"""Examines missions that went quiet, a few at a time, so that lists tell what was found in each."""

import time
from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskStatus

from quartermaster.core.pricing import OwnPrices
from quartermaster.errors import StorageError
from quartermaster.lookout import LONG_ENTRIES, Lookout
from quartermaster.store import examinations, missions
from quartermaster.store.database import Connection, Database
from quartermaster.store.examinations import Examined

BACKGROUND_ENTRIES: Final = 20_000
"""Larger missions are examined when somebody looks at them: before that they would keep others waiting."""
QUIET_SECONDS: Final = 5.0
"""A mission that changed so lately may well change again."""
QUIET_LONGER_AN_ENTRY: Final = 5_000_000
"""Nanoseconds. What takes longer to examine waits longer: else a long mission that pauses every few seconds
would be examined from its beginning each time."""
_ENDLESS: Final = 2**62
_AT_ONCE: Final = 50
_SECONDS_AT_ONCE: Final = 0.5
_WAIT_SECONDS: Final = 2.0
_READING_SECONDS: Final = 60.0

_log = structlog.get_logger()


class Examiner:
    """Examines missions that went quiet while nothing else is to be done.

    `busy` says whether there is; it is asked before every few missions. Long ones are examined by the
    `lookout`, where there is one.
    """

    def __init__(
        self,
        database: Database,
        prices: OwnPrices,
        *,
        busy: Callable[[], bool],
        lookout: Lookout | None = None,
        quiet_seconds: float = QUIET_SECONDS,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._database = database
        self._prices = prices
        self._busy = busy
        self._lookout = lookout
        self._quiet = int(quiet_seconds * 1e9)
        self._now = now
        self._stopping = False

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Work until cancelled, a little at once, with a pause twice as long after it."""
        self._stopping = False
        task_status.started()
        try:
            while True:
                began = anyio.current_time()
                done = 0 if self._busy() else await self._some()
                worked = anyio.current_time() - began
                await anyio.sleep(2 * worked if done else _WAIT_SECONDS)
        finally:
            self._stopping = True

    async def _some(self) -> int:
        try:
            done = await anyio.to_thread.run_sync(self.examine_some)
            return done + await self._examine_long()
        except StorageError as error:
            _log.warning("missions are examined later", reason=str(error))
            return 0

    def examine_some(self) -> int:
        """Examine a few missions and remember what was found; how many there were."""
        entries = range(_ENDLESS if self._lookout is None else LONG_ENTRIES)
        waiting = self._database.read_blocking(
            lambda connection: self._waiting(connection, entries, limit=_AT_ONCE)
        )
        ends_at = time.monotonic() + _SECONDS_AT_ONCE
        found: list[Examined] = []
        for workspace, mission_id in waiting:
            fresh = self._database.read_blocking(
                lambda connection: self._examined(connection, workspace, mission_id),  # noqa: B023
                _READING_SECONDS,
            )
            if fresh is not None:
                found.append(fresh)
            if self._stopping or time.monotonic() > ends_at:
                break
        if found:
            self._database.write_blocking(lambda connection: examinations.keep(connection, found))
        return len(found)

    async def _examine_long(self) -> int:
        if self._lookout is None:
            return 0
        entries = range(LONG_ENTRIES, _ENDLESS)
        waiting = await self._database.read(lambda connection: self._waiting(connection, entries, limit=1))
        for workspace, mission_id in waiting:
            await self._lookout.look(
                workspace, mission_id, limit=BACKGROUND_ENTRIES, seconds=_READING_SECONDS
            )
        return len(waiting)

    def _waiting(self, connection: Connection, entries: range, *, limit: int) -> list[tuple[int, str]]:
        from quartermaster.looking import rules_of  # noqa: PLC0415 - detectors are slow to load

        return examinations.outdated(
            connection,
            rules_of(self._prices),
            quiet_before=self._now() - self._quiet,
            longer_an_entry=QUIET_LONGER_AN_ENTRY,
            longer_at_most=QUIET_LONGER_AN_ENTRY * BACKGROUND_ENTRIES,
            entries=entries,
            limit=limit,
        )

    def _examined(self, connection: Connection, workspace: int, mission_id: str) -> Examined | None:
        from quartermaster.looking import judged  # noqa: PLC0415 - as above

        mission = missions.find_mission(connection, workspace, mission_id)
        if mission is None:
            return None
        return judged(connection, workspace, mission, self._prices, limit=BACKGROUND_ENTRIES).fresh
