"""What operators watch: counts and measurements of this process, as Prometheus reads them."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import get
from litestar.types import ASGIApp, Message, Receive, Send

from quartermaster import __version__
from quartermaster.api.access import Call, services_of
from quartermaster.api.answers import Answer
from quartermaster.api.documentation import described
from quartermaster.api.services import Services
from quartermaster.instruments import MEDIA_TYPE, Count, Gauge, Histogram, Instrument, Total, exposition
from quartermaster.store import runs
from quartermaster.store.access import Role
from quartermaster.store.database import log_beside, sqlite_version
from quartermaster.store.runs import QueueState

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNMATCHED: Final = "unmatched"
"""Stands for every path that is no route, so that nobody can make labels at will."""
_PROCESS: Final = Path("/proc/self")


class Requests:
    """How many requests there were and how long their answers took to begin, by route."""

    def __init__(self) -> None:
        self.count = Count(
            "quartermaster_http_requests_total", "Requests answered.", ("method", "route", "status")
        )
        self.seconds = Histogram(
            "quartermaster_http_request_seconds", "Time until the answer began.", labels=("route",)
        )

    def observe(self, scope: Any, status: int, seconds: float) -> None:
        """One answer has begun."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = scope.get("path_template") or _UNMATCHED
        self.count.add(1, method, route, str(status))
        self.seconds.observe(seconds, route)


class Measured:
    """Wraps the whole application and notes every answer."""

    def __init__(self, application: ASGIApp, requests: Requests) -> None:
        self._application = application
        self._requests = requests

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        began = time.perf_counter()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._requests.observe(scope, message["status"], time.perf_counter() - began)
            await send(message)

        await self._application(scope, receive, noted)


@get(
    "/metrics",
    opt={"role": Role.ADMIN},
    responses=described({200: str}, 401, 403, 503),
    tags=["health"],
)
async def show_metrics(request: Call) -> Answer:
    """Counts and measurements of the whole process, of all workspaces together (Prometheus text)."""
    services, state = services_of(request), request.app.state
    queue = await services.database.read(runs.queue_state)
    text = exposition(_instruments(services, queue, state["requests"], state["streams"].count()))
    return Answer(200, text, media_type=MEDIA_TYPE)


def _instruments(
    services: Services, queue: QueueState, requests: Requests, streams: int
) -> Iterator[Instrument]:
    yield from _of_build(services)
    yield from _of_runs(services, queue)
    yield from _of_ingest(services)
    yield from _of_storage(services)
    yield requests.count
    yield requests.seconds
    yield _now("quartermaster_open_streams", "Event streams that are open.", streams)
    yield from _of_process()


def _now(name: str, about: str, value: float) -> Gauge:
    return Gauge(name, about, [({}, value)])


def _of_build(services: Services) -> Iterator[Instrument]:
    build = {"version": __version__, "python": platform.python_version(), "sqlite": sqlite_version()}
    yield Gauge("quartermaster_build_info", "What runs; the value is always 1.", [(build, 1)])
    yield _now("quartermaster_ready", "1 while requests can be worked on.", not services.ready())


def _of_runs(services: Services, queue: QueueState) -> Iterator[Instrument]:
    yield _now("quartermaster_runs_queued", "Evaluations that wait.", queue.queued)
    yield _now("quartermaster_runs_running", "Evaluations that are worked on.", queue.running)
    workers = len(services.supervisor.worker_pids())
    yield _now("quartermaster_workers", "Child processes that evaluate.", workers)
    yield services.supervisor.durations


def _of_ingest(services: Services) -> Iterator[Instrument]:
    yield services.database.intake
    if services.ingester is None:
        return
    status = services.ingester.status()
    yield services.ingester.lag
    yield _now("quartermaster_watched_files", "Files in the watched folders.", status["files"])
    yield _now("quartermaster_files_due", "Files that wait to be read.", status["due"])
    yield _now("quartermaster_watching", "1 while the system tells of changed files.", status["watching"])
    yield _now("quartermaster_scan_seconds", "How long the last scan took.", status["scan_seconds"])


def _of_storage(services: Services) -> Iterator[Instrument]:
    database = services.database
    yield database.batches
    yield database.commits
    yield _now(
        "quartermaster_writer_waiting", "Changes that wait for the writer.", database.waiting_changes()
    )
    yield _now(
        "quartermaster_writer_busy_seconds", "Since when it is at one thing.", database.pulse.seconds()
    )
    yield _now("quartermaster_database_bytes", "Size of the database file.", _size(database.path))
    yield _now("quartermaster_wal_bytes", "Size of its write-ahead log.", _size(log_beside(database.path)))
    yield _now("quartermaster_disk_free_bytes", "Room on the disk under it.", database.space.free())
    if services.backups is None:
        return
    yield services.backups.made
    seconds = services.backups.unprotected_seconds()
    yield _now("quartermaster_unprotected_seconds", "Since the last backup that was found sound.", seconds)


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


class _ProcessFacts(msgspec.Struct, frozen=True):
    """What the system says of this process, in bytes, seconds and numbers of files."""

    resident: int
    files: int
    file_limit: int
    started: float


def _of_process() -> Iterator[Instrument]:
    used = os.times()
    about = "Processor time, without child processes."
    yield Total("process_cpu_seconds_total", about, [({}, used.user + used.system)])
    facts = _process_facts()
    if facts is None:
        return
    yield _now("process_resident_memory_bytes", "Memory in use.", facts.resident)
    yield _now("process_open_fds", "Open files and sockets.", facts.files)
    yield _now("process_max_fds", "How many there may be.", facts.file_limit)
    yield _now("process_start_time_seconds", "When it was started, since 1970.", facts.started)


def _process_facts() -> _ProcessFacts | None:
    """None where the system does not say."""
    import resource  # noqa: PLC0415 - a system without /proc may not have it either

    try:
        pages = int((_PROCESS / "statm").read_text().split()[1])
        ticks = int((_PROCESS / "stat").read_text().rpartition(")")[2].split()[19])
        files = len(os.listdir(_PROCESS / "fd"))
    except OSError:
        return None
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return _ProcessFacts(
        resident=pages * os.sysconf("SC_PAGE_SIZE"),
        files=files,
        file_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        started=round(time.time() - since_boot, 2),
    )
