"""Long missions are examined in a process of its own: in a thread they would keep every answer waiting."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import msgspec
import structlog
from anyio.abc import TaskGroup, TaskStatus

from quartermaster.core.pricing import OwnPrices
from quartermaster.errors import StorageError, TookTooLong
from quartermaster.store import examinations
from quartermaster.store.database import Database
from quartermaster.worker import Look
from quartermaster.workers import WORKER_MEMORY, WorkerDied, Workers, worker_command

if TYPE_CHECKING:
    from quartermaster.looking import Looked

LONG_ENTRIES: Final = 2_000
"""Shorter missions are examined where they are asked for: that takes less time than to ask elsewhere."""
LOOK_SECONDS: Final = 300.0
"""An examination that takes longer is given up."""
_IDLE_SECONDS: Final = 20.0
_RETIRING_SECONDS: Final = 5.0
_NOT_EXAMINED: Final = "the mission was not examined; ask again"
_GIVEN_UP: Final = "the mission takes too long to be examined; try again when the machine has less to do"
_DIED: Final = "the mission could not be examined; the machine may be short of memory"
_GOES_ON: Final = "the mission is still being examined; ask again in some seconds"

_log = structlog.get_logger()


class _Looking:
    """An examination that is asked for, and who waits for it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.ended = anyio.Event()
        self.looked: Looked | None = None
        self.failure: str | None = _NOT_EXAMINED


class Lookout:
    """Has one mission after the other examined by a child process, which ends when it was idle for a while.

    An examination that began goes on when nobody waits for it any more, and what it finds is remembered. All
    methods belong to the event loop.
    """

    def __init__(
        self,
        database: Database,
        prices: OwnPrices,
        *,
        memory_bytes: int = WORKER_MEMORY,
        niceness: int = 0,
        idle_seconds: float = _IDLE_SECONDS,
        look_seconds: float = LOOK_SECONDS,
        command: Sequence[str] | None = None,
    ) -> None:
        self._database = database
        self._prices = prices
        self._look_seconds = look_seconds
        self._workers = Workers(
            command or worker_command(database.path, memory_bytes, niceness=niceness), idle_seconds
        )
        self._turn = anyio.Lock()
        self._tasks: TaskGroup | None = None
        self._asked: dict[tuple[int, str, int], _Looking] = {}

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Have missions examined, and give back the memory of a process that is idle, until cancelled."""
        try:
            async with anyio.create_task_group() as self._tasks:
                task_status.started()
                while True:
                    await anyio.sleep(_RETIRING_SECONDS)
                    await self._workers.retire()
        finally:
            self._tasks = None
            self._let_go()
            with anyio.CancelScope(shield=True):
                await self._workers.close()

    async def look(
        self, workspace: int, mission_id: str, *, seconds: float, limit: int | None = None
    ) -> "Looked | None":
        """What is known of a mission; None when there is none of this id. One of more entries than the limit,
        else than `ENTRIES_LIMIT`, is not examined.

        Raises TookTooLong when that takes longer than these seconds: what has begun goes on, and is soon
        answered to who asks again. Raises it too when the process ended early.
        """
        from quartermaster.core.examination import ENTRIES_LIMIT  # noqa: PLC0415 - detectors are slow to load

        looking = self._looking_at(workspace, mission_id, ENTRIES_LIMIT if limit is None else limit)
        looking.waiting += 1
        try:
            with anyio.fail_after(seconds):
                await looking.ended.wait()
        except TimeoutError:
            raise TookTooLong(_GOES_ON) from None
        finally:
            looking.waiting -= 1
        if looking.failure is not None:
            raise TookTooLong(looking.failure)
        return looking.looked

    def _looking_at(self, workspace: int, mission_id: str, limit: int) -> _Looking:
        """The one examination of this mission that is waiting or at work."""
        if self._tasks is None:
            raise TookTooLong(_NOT_EXAMINED)
        asked = workspace, mission_id, limit
        looking = self._asked.get(asked)
        if looking is None:
            looking = self._asked[asked] = _Looking()
            self._tasks.start_soon(self._examine, asked, looking)
        return looking

    async def _examine(self, asked: tuple[int, str, int], looking: _Looking) -> None:
        try:
            async with self._turn:
                if looking.waiting:
                    await self._find_out(asked, looking)
        except Exception:
            _log.exception("mission not examined", mission_id=asked[1])
        finally:
            self._asked.pop(asked, None)
            looking.ended.set()

    def _let_go(self) -> None:
        """Whoever still waits is told so at once."""
        while self._asked:
            _, looking = self._asked.popitem()
            looking.ended.set()

    async def _find_out(self, asked: tuple[int, str, int], looking: _Looking) -> None:
        from quartermaster.looking import Looked  # noqa: PLC0415 - detectors are slow to load

        workspace, mission_id, limit = asked
        request = msgspec.json.encode(Look(workspace, mission_id, limit, self._prices))
        answers = msgspec.json.Decoder(Looked | None)
        try:
            with anyio.fail_after(self._look_seconds):
                looking.looked = await self._workers.ask(request, answers, mission_id=mission_id)
        except TimeoutError:
            looking.failure = _GIVEN_UP
        except WorkerDied:
            looking.failure = _DIED
        else:
            looking.failure = None
            await self._remember(looking.looked)

    async def _remember(self, looked: "Looked | None") -> None:
        fresh = None if looked is None else looked.fresh
        if fresh is not None:
            with suppress(StorageError):  # a disk that is full is no reason not to tell what was found
                await self._database.write(partial(examinations.keep, examined=[fresh]))
