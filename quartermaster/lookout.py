"""Long missions are examined in a process of its own: in a thread they would keep every answer waiting."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import anyio
import msgspec
from anyio.abc import TaskStatus

from quartermaster.core.pricing import OwnPrices
from quartermaster.errors import StorageBusy
from quartermaster.store.database import Database
from quartermaster.worker import Look
from quartermaster.workers import WORKER_MEMORY, WorkerDied, Workers, worker_command

if TYPE_CHECKING:
    from quartermaster.looking import Looked

LONG_ENTRIES: Final = 2_000
"""Shorter missions are examined where they are asked for: that takes less time than to ask elsewhere."""
_IDLE_SECONDS: Final = 20.0
_RETIRING_SECONDS: Final = 5.0


class Lookout:
    """Has one mission after the other examined by a child process, which ends when it was idle for a while.

    All methods belong to the event loop.
    """

    def __init__(
        self,
        database: Database,
        prices: OwnPrices,
        *,
        memory_bytes: int = WORKER_MEMORY,
        idle_seconds: float = _IDLE_SECONDS,
        command: Sequence[str] | None = None,
    ) -> None:
        self._prices = prices
        self._workers = Workers(command or worker_command(database.path, memory_bytes), idle_seconds)
        self._turn = anyio.Lock()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Give back the memory of a process that is idle, until cancelled; then end it."""
        task_status.started()
        try:
            while True:
                await anyio.sleep(_RETIRING_SECONDS)
                await self._workers.retire()
        finally:
            with anyio.CancelScope(shield=True):
                await self._workers.close()

    async def look(
        self, workspace: int, mission_id: str, *, seconds: float, limit: int | None = None
    ) -> "Looked | None":
        """What is known of a mission; None when there is none of this id. One of more entries than the limit,
        else than `ENTRIES_LIMIT`, is not examined.

        Raises StorageBusy when that takes longer than these seconds, or when the process ended early.
        """
        from quartermaster.core.examination import ENTRIES_LIMIT  # noqa: PLC0415 - detectors are slow to load
        from quartermaster.looking import Looked  # noqa: PLC0415 - as above

        asked = Look(workspace, mission_id, ENTRIES_LIMIT if limit is None else limit, self._prices)
        request, answers = msgspec.json.encode(asked), msgspec.json.Decoder(Looked | None)
        try:
            with anyio.fail_after(seconds):
                async with self._turn:
                    return await self._workers.ask(request, answers, mission_id=mission_id)
        except TimeoutError:
            raise StorageBusy("the mission takes too long to be examined; try again later") from None
        except WorkerDied:
            raise StorageBusy(
                "the mission could not be examined; the machine may be short of memory"
            ) from None
