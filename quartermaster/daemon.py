"""The daemon: everything that runs, started in one order and stopped in the reverse of it."""

import faulthandler
import gc
import os
import secrets
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, Final, NamedTuple

import anyio
import anyio.to_thread
import structlog
from anyio import CancelScope
from anyio.abc import TaskGroup, TaskStatus

from quartermaster import __version__, logs
from quartermaster.alerting.alerter import Alerter, Terms
from quartermaster.alerting.happenings import Judging
from quartermaster.api.application import make_application
from quartermaster.api.proxies import Proxies
from quartermaster.api.services import Services
from quartermaster.backups import Backups, began_at
from quartermaster.checkup import Finding
from quartermaster.config import Settings, masker_of, own_prices, profile_of, retention_of
from quartermaster.core.pricing import OwnPrices
from quartermaster.errors import QuartermasterError, StorageBusy, StorageError
from quartermaster.examiner import Examiner
from quartermaster.home import DAEMON, Home, hold, open_home, write_privately
from quartermaster.inbox import Inbox, Ingester
from quartermaster.jobs import Supervisor
from quartermaster.listeners import bind, bind_unix, is_loopback, is_unix, passed_on, tls_context, url_of
from quartermaster.lookout import Lookout
from quartermaster.server import Server
from quartermaster.service_manager import Part, ServiceManager, take_service_manager
from quartermaster.store import access, retention
from quartermaster.store.access import Workspace
from quartermaster.store.database import Connection, Database, quick_check, sqlite_fault
from quartermaster.store.retention import Policy
from quartermaster.workers import BACKGROUND_NICENESS

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_STEADY_SECONDS: Final = 60.0
_FAILURES: Final = 5
"""Ends of one part within the steady time after which the daemon ends too, for its manager to start anew."""
_HTTP_STOP_SECONDS: Final = 3.0
_STORAGE_SECONDS: Final = 1.0
_OPENING_SECONDS: Final = 3600
"""How long an upgrade of a large database may take before a service manager gives up."""
_WRITER_SECONDS: Final = 30.0
_SUPERVISOR_SECONDS: Final = 60.0
_INGESTER_SECONDS: Final = 600.0
"""For one piece of work: a transaction, a look at the queue, a turn that may decode a file of gigabytes."""
_YOUNG_OBJECTS: Final = 50_000
"""How many objects come up before garbage is looked for. A batch of entries makes tens of thousands, none of
them in a cycle: the usual 700 costs ingest a twentieth of its time."""
_TURN_SECONDS: Final = 0.0005
"""How long a thread that computes keeps others waiting who want to go on. A read of 50 rows asks to go on 50
times: with the usual 5 ms it takes a quarter of a second while a long mission is judged beside it."""
_RETENTION_PAUSE: Final = 0.02
"""Seconds between two pieces of a removal, so that others write in between."""

_log = structlog.get_logger()


def run(settings: Settings, checkup: Callable[[], list[Finding]]) -> int:
    """Serve until a signal says stop; the exit code. `checkup` looks at the installation for the API."""
    logs.configure(settings.log_format)
    sys.setswitchinterval(_TURN_SECONDS)
    faulthandler.enable()  # a watchdog ends us with SIGABRT: the log shows what every thread was at
    anyio.run(_serve, settings, take_service_manager(os.environ), checkup)
    return 0


async def _serve(settings: Settings, manager: ServiceManager, checkup: Callable[[], list[Finding]]) -> None:
    prices = own_prices(settings)
    home = Home(settings.home)
    home.create()
    async with AsyncExitStack() as stack:
        stack.enter_context(hold(home, DAEMON))
        tls = tls_context(settings.tls_cert, settings.tls_key)
        listener = stack.enter_context(_listener(settings, guarded=settings.behind_proxy or tls is not None))
        _warn_of_unknown_names(listener, settings)
        url = url_of(listener, secure=tls is not None)
        manager.tell("STATUS=opening the database", f"EXTEND_TIMEOUT_USEC={_OPENING_SECONDS * 10**6}")
        opened = open_home(home, create=True, low_water_bytes=settings.storage_low_water_bytes)
        database = stack.enter_context(opened.database)
        if (fault := sqlite_fault()) is not None:
            _log.warning(fault)
        stop = anyio.Event()
        health = Health(database, stop)
        tasks = await stack.enter_async_context(_stoppable_tasks(stop))
        tasks.start_soon(_watch_storage, database, settings.storage_ballast_bytes, stop)
        running = await stack.enter_async_context(
            _parts_at_work(tasks, health, database, home=home, settings=settings, prices=prices, url=url)
        )
        services = _services(
            settings,
            listener,
            database=database,
            ready=health.reasons,
            parts=health.parts,
            stopping=stop,
            prices=prices,
            checkup=checkup,
            **running._asdict(),
        )
        server = Server(make_application(services), tls=tls, is_proxy=services.proxies.trusts)
        await stack.enter_async_context(_http(tasks, server, listener))
        if opened.token is not None and not is_unix(listener):
            await _print_login(database, url, opened.token)
        stack.enter_context(_announced(home, url))
        tasks.start_soon(manager.feed_watchdog, _moving(database, running))
        manager.tell("READY=1", f"STATUS=listening on {url}")
        _collect_rarely()
        await stop.wait()
        manager.tell("STOPPING=1", "STATUS=stopping")
        _log.info("stopping")
    _raise_failure(database, health, home)
    _log.info("stopped")


class _Running(NamedTuple):
    """The parts at work that the API draws on, by the names that it has for them."""

    supervisor: Supervisor
    ingester: Ingester
    backups: Backups | None
    lookout: Lookout


@asynccontextmanager
async def _parts_at_work(
    tasks: TaskGroup,
    health: "Health",
    database: Database,
    *,
    home: Home,
    settings: Settings,
    prices: OwnPrices,
    url: str,
) -> AsyncGenerator[_Running, None]:
    """Everything that works beside the answers, started in order. At the end no run is left at work."""
    supervisor = _supervisor(database, settings, prices)
    ingester = _ingester(database, home, settings)
    backups = _backups(database, home, settings)
    lookout = Lookout(database, prices, memory_bytes=settings.eval_worker_memory_bytes)
    running = _Running(supervisor, ingester, backups, lookout)
    await tasks.start(keep_running, "supervisor", supervisor.run, health)
    try:
        await tasks.start(keep_running, "ingester", ingester.run, health)
        if backups is not None:
            health.last_backup = backups.state
        for part, run_part in _upkeep(database, settings, prices, running, url=url, health=health).items():
            await tasks.start(keep_running, part, run_part, health)
        yield running
    finally:
        await supervisor.stop()


def _collect_rarely() -> None:
    """What is there by now stays; of what comes, most is gone again before garbage is looked for."""
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
    gc.enable()


def _raise_failure(database: Database, health: "Health", home: Home) -> None:
    """Why the daemon had to stop, where it was not asked to."""
    if database.failure is not None:
        raise _after_fault(home)
    if health.hopeless is not None:
        raise QuartermasterError(
            f"the {health.hopeless} failed {_FAILURES} times within a minute; the log says why"
        )


def _upkeep(
    database: Database,
    settings: Settings,
    prices: OwnPrices,
    running: _Running,
    *,
    url: str,
    health: "Health",
) -> dict[str, Callable[..., Coroutine[Any, Any, None]]]:
    """What nobody has to ask for, by name, in the order in which it is started."""
    background = Lookout(
        database, prices, memory_bytes=settings.eval_worker_memory_bytes, niceness=BACKGROUND_NICENESS
    )
    examiner = Examiner(
        database,
        prices,
        busy=lambda: running.supervisor.working or database.waiting_changes() > 0,
        lookout=background,
    )
    rounds = partial(
        _retain,
        database,
        retention_of(settings),
        settings.retention_interval_seconds,
        lambda: health.stopping,
    )
    backup = {} if running.backups is None else {"backup": running.backups.run}
    return {
        "lookout": running.lookout.run,
        "background lookout": background.run,
        "examiner": examiner.run,
        "alerts": _alerter(database, settings, prices, url).run,
        "retention": rounds,
        **backup,
    }


def _moving(database: Database, running: _Running) -> tuple[Part, ...]:
    """What has to move for the daemon to be alive, and how long one piece of its work may last."""
    return (
        Part("writer", database.pulse, _WRITER_SECONDS),
        Part("supervisor", running.supervisor.pulse, _SUPERVISOR_SECONDS),
        Part("ingester", running.ingester.pulse, _INGESTER_SECONDS),
    )


def _listener(settings: Settings, *, guarded: bool) -> AbstractContextManager[socket.socket]:
    passed = passed_on(os.environ, guarded=guarded)
    if passed is not None:
        return passed
    if settings.socket is not None:
        return bind_unix(settings.socket, settings.socket_mode)
    return bind(settings.host, settings.port, guarded=guarded)


def _warn_of_unknown_names(listener: socket.socket, settings: Settings) -> None:
    if is_unix(listener) or settings.http_allowed_hosts or is_loopback(str(listener.getsockname()[0])):
        return
    _log.warning(
        "requests that call this server by a name of its own will be refused",
        advice="list its names, with their port, in http.allowed_hosts",
    )


async def _watch_storage(database: Database, ballast_bytes: int, stop: anyio.Event) -> None:
    """Keep the ballast, and stop the daemon when its database can no longer be trusted."""
    while database.failure is None:
        database.space.take_ballast(ballast_bytes)
        await anyio.sleep(_STORAGE_SECONDS)
    _log.error("the disk failed under the database")
    stop.set()


async def _retain(
    database: Database,
    otherwise: Policy,
    interval_seconds: float,
    stopping: Callable[[], bool],
    *,
    task_status: TaskStatus[None],
) -> None:
    """Remove what no workspace keeps any more, again and again."""
    task_status.started()
    while True:
        for workspace in database.read_blocking(access.list_workspaces):
            try:
                await anyio.to_thread.run_sync(_retain_in, database, workspace, otherwise, stopping)
            except StorageBusy as busy:
                _log.warning("retention waits for its next round", reason=str(busy))
        await anyio.sleep(interval_seconds)


def _retain_in(
    database: Database, workspace: Workspace, otherwise: Policy, stopping: Callable[[], bool]
) -> None:
    policy = database.read_blocking(
        lambda connection: retention.policy_of(connection, workspace.key, otherwise)
    )
    if not policy.has_limits:
        return
    removed = retention.run(
        database,
        workspace.key,
        policy,
        now=time.time_ns(),
        pause_seconds=_RETENTION_PAUSE,
        stopping=stopping,
    )
    if removed.missions:
        _log.info(
            "missions removed",
            workspace=workspace.slug,
            missions=removed.missions,
            entries=removed.entries,
            bytes_freed=removed.freed,
        )


def _after_fault(home: Home) -> StorageError:
    complaint = quick_check(home.database)
    if complaint is not None:
        return StorageError(
            f"the database is damaged ({complaint}); put back a backup: quartermaster restore FILE"
        )
    return StorageError(
        "the disk failed under the database, which is whole as far as it can be read;"
        " look after the disk, then start again"
    )


def _services(settings: Settings, listener: socket.socket, **running: Any) -> Services:
    """What the API works with: what is running, and what the settings say of requests."""
    host, port = ("localhost", 80) if is_unix(listener) else listener.getsockname()[:2]
    return Services(
        now=time.time_ns,
        host=host,
        port=port,
        allowed_hosts=settings.http_allowed_hosts,
        proxies=Proxies(settings.http_trusted_proxies),
        body_limit_bytes=settings.http_body_limit_bytes,
        queue_limit=settings.eval_queue_limit,
        masker=masker_of(settings),
        retention=retention_of(settings),
        **running,
    )


def _supervisor(database: Database, settings: Settings, prices: OwnPrices) -> Supervisor:
    return Supervisor(
        database,
        profile=profile_of(settings),
        prices=prices,
        concurrency=settings.eval_concurrency,
        memory_bytes=settings.eval_worker_memory_bytes,
        deadline_seconds=settings.eval_deadline_seconds,
    )


def _backups(database: Database, home: Home, settings: Settings) -> Backups | None:
    if not settings.backup_interval_seconds:
        return None
    return Backups(
        home,
        database.space,
        database.read_blocking(began_at),
        interval_seconds=settings.backup_interval_seconds,
        keep=settings.backup_keep,
    )


def _alerter(database: Database, settings: Settings, prices: OwnPrices, url: str) -> Alerter:
    listening = (
        url if url.startswith("http") else "http://localhost"
    )  # a Unix socket has no address for links
    terms = Terms(
        base=(settings.alert_page_url or listening).rstrip("/"),
        timeout_seconds=settings.alert_timeout_seconds,
        attempts=settings.alert_attempts,
        pause_seconds=settings.alert_pause_seconds,
        trend_seconds=settings.alert_trend_seconds,
    )
    return Alerter(database, Judging(profile_of(settings), prices), terms)


def _ingester(database: Database, home: Home, settings: Settings) -> Ingester:
    return Ingester(
        database,
        home.inbox,
        [Inbox(inbox.path, inbox.workspace, inbox.mask_secrets) for inbox in settings.inbox],
        scan_seconds=settings.ingest_scan_seconds,
        line_limit_bytes=settings.ingest_line_limit_bytes,
        masker=masker_of(settings),
    )


class Health:
    """What readiness is made of: the database, the parts that run beside it, and whether we are stopping."""

    def __init__(self, database: Database, stop: anyio.Event) -> None:
        self._database = database
        self._stop = stop
        self._up: set[str] = set()
        self._down: set[str] = set()
        self._failures: dict[str, deque[float]] = {}
        self.hopeless: str | None = None
        self.last_backup: Callable[[], str] | None = None
        """Says `ok`, or what is wrong with it: worth knowing, and no reason for not being ready."""

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def up(self, part: str) -> None:
        self._up.add(part)
        self._down.discard(part)

    def down(self, part: str, now: float) -> None:
        """A part has ended. One that does so again and again takes the daemon with it."""
        self._down.add(part)
        failures = self._failures.setdefault(part, deque(maxlen=_FAILURES))
        failures.append(now)
        if len(failures) == _FAILURES and now - failures[0] < _STEADY_SECONDS:
            self.hopeless = part
            self._stop.set()

    def parts(self) -> dict[str, str]:
        """`ok`, or what is wrong, of everything that has to work, of SQLite itself and of the last backup."""
        last_backup = {} if self.last_backup is None else {"last_backup": self.last_backup()}
        sqlite = "ok" if sqlite_fault() is None else "has a known fault; see: quartermaster doctor"
        return {**self._working(), "sqlite": sqlite, **last_backup}

    def _working(self) -> dict[str, str]:
        database = "ok" if self._database.is_writing() else "cannot be written"
        if self._database.pulse.seconds() > _WRITER_SECONDS:
            database = "is stuck in one transaction"
        beside = {part: "is being restarted" if part in self._down else "ok" for part in sorted(self._up)}
        return {"database": database, "disk": self._database.space.shortage() or "ok", **beside}

    def reasons(self) -> list[str]:
        """Why this process is not ready; empty when it is."""
        states = self._working()
        disk = states.pop("disk")
        database = states.pop("database")
        reasons = [f"the {part} {state}" for part, state in states.items() if state != "ok"]
        if self.stopping:
            reasons.append("the daemon is stopping")
        if database != "ok":
            reasons.append(f"the database {database}")
        if disk != "ok":
            reasons.append(disk)
        return reasons


class _Started(TaskStatus[None]):
    """Tells health, and whoever waits for the first start, that a part runs."""

    def __init__(self, part: str, health: Health, first: TaskStatus[None]) -> None:
        self._part, self._health, self._first = part, health, first
        self.once = False

    def started(self, value: None = None) -> None:
        self._health.up(self._part)
        if not self.once:
            self.once = True
            self._first.started()


async def keep_running(
    part: str,
    work: Callable[..., Coroutine[Any, Any, None]],
    health: Health,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Run a part until the daemon stops; when it ends before that start it again, later each time.

    A failure before the first start is the caller's: a daemon that cannot begin should say so.
    """
    status = _Started(part, health, task_status)
    pause = _FIRST_PAUSE
    while True:
        began = anyio.current_time()
        try:
            await work(task_status=status)
        except Exception:
            if not status.once:
                raise
            _log.exception("part failed", part=part)
        if health.stopping:
            return
        health.down(part, anyio.current_time())
        if health.hopeless is not None:
            _log.error("part given up", part=part)
            return
        pause = _FIRST_PAUSE if anyio.current_time() - began > _STEADY_SECONDS else pause
        _log.warning("part starts again", part=part, seconds=pause)
        await anyio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


@asynccontextmanager
async def _stoppable_tasks(stop: anyio.Event) -> AsyncGenerator[TaskGroup, None]:
    """Tasks that end when this does. A signal sets `stop`; a second one cancels everything at once."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_listen_for_signals, stop, tasks.cancel_scope)
        try:
            yield tasks
        finally:
            tasks.cancel_scope.cancel()


async def _listen_for_signals(stop: anyio.Event, everything: CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if stop.is_set():
                _log.warning("stopping at once")
                logs.hush_server()
                everything.cancel()
            stop.set()


@asynccontextmanager
async def _http(tasks: TaskGroup, server: Server, listener: socket.socket) -> AsyncGenerator[None, None]:
    ended = anyio.Event()

    async def serve(*, task_status: TaskStatus[None]) -> None:
        try:
            await server.run_on([listener], task_status=task_status)
        finally:
            ended.set()

    await tasks.start(serve)
    try:
        yield
    finally:
        server.should_exit = True  # cancelling instead would skip the server's own way of stopping
        with anyio.move_on_after(_HTTP_STOP_SECONDS):
            await ended.wait()


@contextmanager
def _announced(home: Home, url: str) -> Iterator[None]:
    """Say where we listen, in the log and in a file for the command line: the last word of a start."""
    write_privately(home.address, url + "\n")
    _log.info("started", url=url, home=str(home.path), version=__version__)
    try:
        yield
    finally:
        home.address.unlink(missing_ok=True)


async def _print_login(database: Database, url: str, token: str) -> None:
    """One link for people that logs one browser in, once."""
    token_id = access.token_id_of(token)
    assert token_id is not None

    def create(connection: Connection) -> str:
        secret = secrets.token_bytes(access.SECRET_BYTES)
        return access.create_login_code(connection, token_id, now=time.time_ns(), secret_bytes=secret)

    code = await database.write(create)
    with suppress(OSError):  # a log that is full costs the link; `quartermaster token create` is another way
        sys.stderr.write(f"open this link once, within 15 minutes, to log in: {url}/login?code={code}\n")
        sys.stderr.flush()
