"""The supervisor: takes queued runs, has child processes evaluate them, and sees to it that each one ends.

The rows are the truth; what is in memory is only what runs right now. A run computes in a child
process, because a thread cannot be ended. Nothing that ends a run depends on the scope that expired.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import anyio
import msgspec
import structlog
from anyio import CancelScope, create_memory_object_stream
from anyio.abc import TaskGroup, TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from quartermaster.core.comparison import Profile
from quartermaster.core.pricing import OwnPrices
from quartermaster.core.run import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    EVALUATION_ERROR,
    Failed,
    Outcome,
    Run,
)
from quartermaster.errors import StorageError
from quartermaster.evaluate import deadline_message
from quartermaster.instruments import LONG_SECONDS, Histogram
from quartermaster.pulse import Pulse
from quartermaster.store import runs
from quartermaster.store.database import Connection, Database
from quartermaster.store.runs import RunEvent
from quartermaster.worker import Evaluation
from quartermaster.workers import TRIES, WORKER_MEMORY, WorkerDied, Workers, worker_command

T = TypeVar("T")

POLL_SECONDS: Final = 1.0
"""How soon a run that another process queued or cancelled is noticed."""
_HELD_SECONDS: Final = 0.05
"""How long a look at what is claimed holds, because everything that is queued asks for another turn."""
SUBSCRIBER_LIMIT: Final = 1000
"""Events that a subscriber may be behind before it is let go."""

_EVENTS_AT_A_TIME: Final = 500
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0

_log = structlog.get_logger()
_outcomes: Final = msgspec.json.Decoder(Outcome)


def seconds_since_boot() -> float:
    """A clock that also counts while the machine sleeps, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class _Hub:
    """Changes of status, for whoever listens; who listens too slowly is let go."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: dict[int, list[MemoryObjectSendStream[RunEvent]]] = {}
        self._told: dict[int, int] = {}

    def subscribe(self, workspace: int) -> MemoryObjectReceiveStream[RunEvent]:
        sender, receiver = create_memory_object_stream[RunEvent](SUBSCRIBER_LIMIT)
        if workspace not in self._listeners:
            newest = partial(runs.newest_event, workspace=workspace)
            self._told[workspace] = self._database.read_blocking(newest)
        self._listeners.setdefault(workspace, []).append(sender)
        return receiver

    def publish(self) -> bool:
        """Tell what is new; True when there is more than fits at a time."""
        more = False
        for workspace in list(self._listeners):
            query = partial(
                runs.events_after,
                workspace=workspace,
                event_id=self._told[workspace],
                limit=_EVENTS_AT_A_TIME,
            )
            events = self._database.read_blocking(query)
            more = more or len(events) == _EVENTS_AT_A_TIME
            for event in events:
                self._tell(workspace, event)
        return more

    def close(self) -> None:
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.close()
        self._listeners.clear()

    def _tell(self, workspace: int, event: RunEvent) -> None:
        if workspace in self._told:
            self._told[workspace] = event.id
        for listener in list(self._listeners.get(workspace, ())):
            try:
                listener.send_nowait(event)
            except (anyio.WouldBlock, anyio.BrokenResourceError):
                self._drop(workspace, listener)

    def _drop(self, workspace: int, listener: MemoryObjectSendStream[RunEvent]) -> None:
        listener.close()
        self._listeners[workspace].remove(listener)
        if not self._listeners[workspace]:
            del self._listeners[workspace], self._told[workspace]


class _Job:
    """A claimed run and the scope it is worked on in. `ending` is what becomes of it when that ends early."""

    def __init__(self, run: Run, *, deadline_seconds: float, started: float) -> None:
        self.run = run
        self.scope = CancelScope(deadline=anyio.current_time() + deadline_seconds)
        self.started = started
        self.ending: Failed | None = Failed(
            reason=DEADLINE_EXCEEDED,
            message=deadline_message(deadline_seconds),
        )

    def end(self, ending: Failed | None) -> None:
        """Stop the work; None puts the run back into the queue."""
        if not self.scope.cancel_called:
            self.ending = ending
            self.scope.cancel()


_CANCELLED: Final = Failed(reason=CANCELLED, message="the run was cancelled")


class Supervisor:
    """Runs what is queued, some at a time, until it is stopped. All methods belong to the event loop."""

    def __init__(
        self,
        database: Database,
        *,
        profile: Profile,
        prices: OwnPrices | None = None,
        concurrency: int = 2,
        deadline_seconds: float = 600.0,
        grace_seconds: float = 1.5,
        idle_seconds: float = 20.0,
        memory_bytes: int = WORKER_MEMORY,
        boot_id: str | None = None,
        command: Sequence[str] | None = None,
        now: Callable[[], int] = time.time_ns,
        since_boot: Callable[[], float] = seconds_since_boot,
    ) -> None:
        self.boot_id = boot_id or secrets.token_hex(8)
        self._database = database
        self.profile = profile
        self._prices = prices or OwnPrices()
        self._concurrency = concurrency
        self._deadline_seconds = deadline_seconds
        self._grace_seconds = grace_seconds
        self._now = now
        self._since_boot = since_boot
        self._workers = Workers(command or worker_command(database.path, memory_bytes), idle_seconds)
        self._hub = _Hub(database)
        self._jobs: dict[int, _Job] = {}
        self._refused = 0
        self._last_served = 0
        self._held_again_at = 0.0
        self.pulse = Pulse()
        self.durations = Histogram(
            "quartermaster_run_seconds",
            "How long an evaluation took from its claim to its end.",
            LONG_SECONDS,
            ("kind", "result"),
        )
        self._news = anyio.Event()
        self._stop_asked = self._stopping = False
        self._stopped = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Rescue what an earlier process left, then work until `stop` or until cancelled.

        May be called again after it has failed.
        """
        self._stopping, self._stopped = self._stop_asked, anyio.Event()
        try:
            rescued = await self._persist(partial(runs.rescue, boot_id=self.boot_id))
            if rescued.requeued or rescued.ended:
                _log.warning("runs rescued", requeued=rescued.requeued, ended=rescued.ended)
            async with anyio.create_task_group() as tasks:
                task_status.started()
                try:
                    await self._work(tasks)
                    await self._drain()
                finally:
                    self._stopping = True
        finally:
            self._stopping = True
            self._hub.close()
            await self._workers.close()
            self._stopped.set()

    @property
    def working(self) -> bool:
        """Whether a run is being evaluated."""
        return bool(self._jobs)

    def wake(self) -> None:
        """Something was queued or changed: look now instead of at the next poll."""
        self._news.set()

    async def cancel(self, workspace: int, run_id: str) -> Run | None:
        """End a run; None when this workspace has no such run. One that has ended stays as it is."""
        cancel = partial(runs.cancel_run, workspace=workspace, run_id=run_id, now=self._now())
        run = await self._database.write(cancel)
        if run is not None and run.key in self._jobs:
            self._jobs[run.key].end(_CANCELLED)
        self.wake()
        return run

    async def stop(self) -> None:
        """Claim nothing more, let what runs finish for a moment, put the rest back into the queue."""
        self._stop_asked = self._stopping = True
        self.wake()
        await self._stopped.wait()

    def subscribe(self, workspace: int) -> MemoryObjectReceiveStream[RunEvent]:
        """Changes of status from now on; close it when done. It ends when the reader is too slow.

        To miss nothing: subscribe first, read the events behind the last one seen after that, and
        skip what comes twice.
        """
        return self._hub.subscribe(workspace)

    def status(self) -> dict[str, object]:
        """For readiness and metrics; counts are over all workspaces."""
        state = self._database.read_blocking(runs.queue_state)
        oldest = state.oldest_started_at
        return {
            "queued": state.queued,
            "running": state.running,
            "concurrency": self._concurrency,
            "workers": len(self._workers.pids),
            "oldest_running_seconds": None if oldest is None else max(0.0, (self._now() - oldest) / 1e9),
            "refused_results": self._refused,
            "stopping": self._stopping,
        }

    def worker_pids(self) -> tuple[int, ...]:
        """The child processes of this moment."""
        return self._workers.pids

    async def _work(self, tasks: TaskGroup) -> None:
        while not self._stopping:
            self._news = anyio.Event()
            with self.pulse:
                await self._take_turn(tasks)
            with anyio.move_on_after(POLL_SECONDS):
                await self._news.wait()

    async def _take_turn(self, tasks: TaskGroup) -> None:
        try:
            if self._hub.publish():
                self.wake()
            await self._look_after_running()
            await self._claim_what_fits(tasks)
        except StorageError as error:
            if self._database.failure is not None:
                raise
            _log.warning("the queue cannot be read for the moment", error=str(error))
        except Exception:  # one run that cannot be claimed must not take the daemon down
            _log.exception("the queue cannot be worked on")
        await self._workers.retire()

    async def _drain(self) -> None:
        with anyio.move_on_after(self._grace_seconds):
            while self._jobs:
                self._news = anyio.Event()
                await self._news.wait()
        for job in self._jobs.values():
            job.end(None)

    async def _look_after_running(self) -> None:
        """End what took too long by the clock that counts sleep, what was cancelled from elsewhere, and
        give back what is claimed in this process's name but not worked on (a claim that was reported
        as failed may have been kept)."""
        for job in list(self._jobs.values()):
            if self._since_boot() - job.started > self._deadline_seconds:
                job.end(job.ending)
        if anyio.current_time() < self._held_again_at:
            return
        self._held_again_at = anyio.current_time() + _HELD_SECONDS
        held = self._database.read_blocking(partial(runs.held_by, boot_id=self.boot_id))
        for run in held:
            job_of_run = self._jobs.get(run.key)
            if job_of_run is None:
                await self._persist(partial(runs.return_to_queue, run=run))
            elif run.cancelled:
                job_of_run.end(_CANCELLED)

    async def _claim_what_fits(self, tasks: TaskGroup) -> None:
        while len(self._jobs) < self._concurrency and not self._stopping:
            if not self._database.read_blocking(runs.has_queued):
                return
            with CancelScope(shield=True):  # a claim that is made must reach somebody who settles it
                after = self._last_served
                claim = partial(runs.claim_next, boot_id=self.boot_id, now=self._now(), after=after)
                run = await self._database.write(claim)
            if run is None:
                continue
            self._last_served = run.workspace
            job = _Job(run, deadline_seconds=self._deadline_seconds, started=self._since_boot())
            self._jobs[run.key] = job
            tasks.start_soon(self._execute, job)
            self._hub.publish()

    async def _execute(self, job: _Job) -> None:
        ending: Outcome | None = None
        try:
            with job.scope:
                ending = await self._evaluate(job.run)
            ending = ending or job.ending
        finally:
            try:
                with CancelScope(shield=True):
                    await self._settle(job, ending)
            finally:
                del self._jobs[job.run.key]
                self.wake()

    async def _evaluate(self, run: Run) -> Outcome:
        request = msgspec.json.encode(Evaluation(run, self.profile, self._prices))
        try:
            return await self._workers.ask(request, _outcomes, run_id=run.run_id)
        except WorkerDied as error:
            return Failed(
                reason=EVALUATION_ERROR,
                message=f"the evaluating process ended early {TRIES} times ({error}); "
                "the machine may be short of memory",
            )

    async def _settle(self, job: _Job, ending: Outcome | None) -> None:
        """The terminal row, or the way back into the queue when there is no ending."""
        run = job.run
        if ending is None:
            settled = await self._persist(partial(runs.return_to_queue, run=run))
        else:
            settled = await self._persist(partial(runs.finish, run=run, outcome=ending))
        self._refused += not settled
        seconds = self._since_boot() - job.started
        if settled and ending is not None:
            self.durations.observe(seconds, run.kind, _ending_word(ending))
        _log.info(
            "run settled" if settled else "late result refused",
            run_id=run.run_id,
            kind=run.kind,
            attempt=run.attempt,
            ending=_ending_word(ending),
            seconds=round(seconds, 3),
        )

    async def _persist(self, change: Callable[..., T]) -> T:
        """Write until it is written: a terminal row outlives a database that is busy for a moment.

        Every change that comes here may be made twice. While stopping, one that fails for longer than
        the grace is left to the rescue of the next start.
        """
        pause, given_up = _FIRST_PAUSE, anyio.current_time() + self._grace_seconds
        while True:
            try:
                return await self._database.write(_at(change, self._now()))
            except StorageError as error:
                late = self._stopping and anyio.current_time() > given_up
                if late or self._database.failure is not None:
                    raise
                _log.warning("a change waits for the database", error=str(error), seconds=pause)
            await anyio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _at(change: Callable[..., T], now: int) -> Callable[[Connection], T]:
    return lambda connection: change(connection, now=now)


def _ending_word(ending: Outcome | None) -> str:
    if ending is None:
        return "queued again"
    return ending.reason if isinstance(ending, Failed) else "completed"
