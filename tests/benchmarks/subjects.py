"""Every benchmark: a function that measures ours and its floor in turns and gives rows of the table.

Rates are per second of processor time of the server's process and of its children.
"""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import daemon
import entries
import processes
from workshop import BIG, MIB, MIDDLE, SIZES, SMALL, Row, Workshop, interleaved, percentile

INGESTED = 200_000
CONNECTIONS = 16
LOAD_SECONDS = 5
PACE = 0.02
PACED_SECONDS = 20
PROBE_PAUSE = 0.005
OUTSTANDING = 8
APPENDS = 50
REPLAYS = 5

_HERE = Path(__file__).parent
_ROOMY = {"QUARTERMASTER_EVAL_QUEUE_LIMIT": "1000000"}
"""Nothing that is queued is worked on, and a daemon refuses more than 20,000 that wait."""

Benchmark = Callable[[Workshop], list[Row]]
BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(measure: Benchmark) -> Benchmark:
    """Register a benchmark under its function's name."""
    BENCHMARKS[measure.__name__] = measure
    return measure


def _floor_seconds(*arguments: str) -> float:
    command = [sys.executable, str(_HERE / "floors.py"), *arguments]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@benchmark
def ingest(workshop: Workshop) -> list[Row]:
    """A file of 200,000 entries dropped into the inbox, until all of them can be asked for."""
    recording = workshop.recording("ingested", INGESTED)

    def ours() -> float:
        folder = workshop.new_folder("ingest")
        with daemon.running(folder / "home") as running:
            time.sleep(1)
            before = processes.tree_cpu(running.pid)
            running.ingest(recording, "ingested", INGESTED)
            seconds = processes.tree_cpu(running.pid) - before
        shutil.rmtree(folder)
        return INGESTED / seconds

    def floor() -> float:
        folder = workshop.new_folder("insert")
        seconds = _floor_seconds("insert", str(recording), str(folder))
        shutil.rmtree(folder)
        return INGESTED / seconds

    rate, bare = interleaved(workshop.repeat, ours, floor)
    what = "durable ingest from a dropped file until queryable, entries"
    return [Row(what, "25,000; 0.35", "50,000", f"{rate:,.0f}", f"{bare:,.0f}", f"{rate / bare:.2f}")]


@benchmark
def replay(workshop: Workshop) -> list[Row]:
    """Claim to terminal row with a warm worker; the first replay, which starts one, beside it."""
    database = workshop.grown.home / "quartermaster.db"
    with daemon.running(workshop.grown.home) as running:
        time.sleep(1)
        first = SIZES[MIDDLE] / _replay_seconds(running, MIDDLE, 1)

        def of_size(mission: str, times: int) -> float:
            return SIZES[mission] / _replay_seconds(running, mission, times)

        def floor() -> float:
            return SIZES[MIDDLE] / _floor_seconds("walk", str(database), MIDDLE)

        with processes.peak_rss(running.pid) as peak:
            middle, big, bare = interleaved(
                workshop.repeat, lambda: of_size(MIDDLE, REPLAYS), lambda: of_size(BIG, 1), floor
            )
    return [
        Row(
            f"replay of 100,000 entries, claim to terminal row (the very first: {first:,.0f})",
            "300,000", "700,000", f"{middle:,.0f}", f"{bare:,.0f}", f"{middle / bare:.2f}",
        ),
        Row("growth: 1,000,000 entries over ten times 100,000", "≤ 1.3", "1.0", f"{middle / big:.2f}"),
        Row("RSS of the process tree during it", "300 MiB", "150 MiB", f"{peak[0] / MIB:.0f} MiB"),
    ]  # fmt: skip


def _replay_seconds(running: daemon.Daemon, mission: str, times: int) -> float:
    before = processes.tree_cpu(running.pid)
    for _ in range(times):
        running.wait_for_run(running.queue_replay(mission))
    return (processes.tree_cpu(running.pid) - before) / times


@contextmanager
def _bare_server(database: Path) -> Iterator[tuple[int, int]]:
    """Process id and port of a handler that does nothing but insert one row."""
    port = daemon.free_port()
    with _listening(["floors.py", "asgi", str(port), str(database)], port, "/") as pid:
        yield pid, port


@contextmanager
def _listening(command: list[str], port: int, path: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, str(_HERE / command[0]), *command[1:]])
    try:
        daemon.wait_ready(process, port, path)
        yield process.pid
    finally:
        daemon.stop(process)


@benchmark
def post(workshop: Workshop) -> list[Row]:
    """POST of a replay over 16 connections. The worker is stopped: runs are queued and none is executed."""
    if shutil.which("wrk") is None:
        return [Row("`POST /api/v1/eval/replay`, requests", "0.3", "0.5", "needs wrk")]
    folder = workshop.new_folder("post")
    recording = workshop.recording(SMALL, SIZES[SMALL])
    with (
        daemon.running(folder / "home", QUARTERMASTER_EVAL_CONCURRENCY="1", **_ROOMY) as running,
        _bare_server(folder / "floor.db") as (floor_pid, floor_port),
    ):
        running.ingest(recording, SMALL, SIZES[SMALL])
        with _worker_stopped(running):
            script = _load_script(folder, running.token)
            rate, bare = interleaved(
                workshop.repeat,
                lambda: _requests_per_cpu_second(running.pid, running.port, script),
                lambda: _requests_per_cpu_second(floor_pid, floor_port, script),
            )
    what = "`POST /api/v1/eval/replay`, requests"
    return [Row(what, "0.3", "0.5", f"{rate:,.0f}", f"{bare:,.0f}", f"{rate / bare:.2f}")]


@contextmanager
def _worker_stopped(running: daemon.Daemon) -> Iterator[None]:
    """The only worker has a run that it does not work on, so every other one stays queued."""
    running.wait_for_run(running.queue_replay(SMALL))
    (worker,) = processes.descendants(running.pid)
    os.kill(worker, signal.SIGSTOP)
    try:
        running.queue_replay(SMALL)
        time.sleep(0.5)
        yield
    finally:
        os.kill(worker, signal.SIGKILL)


def _load_script(folder: Path, token: str) -> Path:
    script = folder / "post.lua"
    script.write_text(
        'wrk.method, wrk.path = "POST", "/api/v1/eval/replay"\n'
        f"wrk.body = '{json.dumps({'mission_id': SMALL})}'\n"
        f'wrk.headers["Authorization"] = "Bearer {token}"\n'
        'wrk.headers["Content-Type"] = "application/json"\n'
    )
    return script


def _requests_per_cpu_second(pid: int, port: int, script: Path) -> float:
    before = processes.own_cpu(pid)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{LOAD_SECONDS}s", "-s", str(script)]
    told = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/api/v1/eval/replay"], capture_output=True, text=True, check=True
    ).stdout
    seconds = processes.own_cpu(pid) - before
    if "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(told)
    found = re.search(r"(\d+) requests in", told)
    assert found is not None, told
    return int(found[1]) / seconds


@benchmark
def latency(workshop: Workshop) -> list[Row]:
    """50 POSTs a second alone, and while at least 8 replays of 100,000 entries run or wait to run."""
    folder = workshop.new_folder("latency")
    with (
        daemon.running(workshop.grown.home) as running,
        _bare_server(folder / "floor.db") as (_, floor_port),
    ):
        time.sleep(1)
        _posted(running, 2)
        idle, busy, longest, bare = [], [], [], []
        for _ in range(workshop.repeat):
            idle.append(percentile(_posted(running, PACED_SECONDS), 0.99))
            with _replays_outstanding(running), ThreadPoolExecutor() as pool:
                posts = pool.submit(_posted, running, PACED_SECONDS)
                probe = pool.submit(_probed, running.port, "/healthz")
                floor = pool.submit(_probed, floor_port, "/")
                busy.append(percentile(posts.result(), 0.99))
                longest.append(max(probe.result()))
                bare.append(max(floor.result()))
            _wait_until_queue_is_empty(running)
    before, during = statistics.median(idle), statistics.median(busy)
    blocked, noise = statistics.median(longest), statistics.median(bare)
    return [
        Row(
            "p99 of that POST while 8 replays of 100,000 run (floor: the same daemon idle)", "3 x", "1.5 x",
            f"{during * 1000:.1f} ms", f"{before * 1000:.1f} ms", f"{during / before:.2f}",
        ),
        Row(
            "longest wait of a probe every 5 ms meanwhile (floor: a bare server beside it)", "50 ms", "",
            f"{blocked * 1000:.1f} ms", f"{noise * 1000:.1f} ms",
        ),
    ]  # fmt: skip


def _latencies(port: int, seconds: float, pause: float, *request: str) -> list[float]:
    command = [sys.executable, str(_HERE / "client.py"), str(port), str(seconds), str(pause), *request]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return list(json.loads(found))


def _posted(running: daemon.Daemon, seconds: float) -> list[float]:
    body = json.dumps({"mission_id": SMALL})
    return _latencies(running.port, seconds, PACE, "POST", "/api/v1/eval/replay", running.token, body)


def _probed(port: int, path: str) -> list[float]:
    return _latencies(port, PACED_SECONDS, PROBE_PAUSE, "GET", path)


@contextmanager
def _replays_outstanding(running: daemon.Daemon) -> Iterator[None]:
    """At least eight runs of the middle mission that have not ended, for as long as the block runs."""
    with ThreadPoolExecutor() as pool:
        ended = False

        def keep_up() -> None:
            asking = daemon.Daemon(running.pid, running.home, running.port)
            waiting: list[str] = []
            while not ended:
                while len(waiting) < 2 * OUTSTANDING:
                    waiting.append(asking.queue_replay(MIDDLE))
                for run_id in waiting[:-OUTSTANDING]:
                    asking.wait_for_run(run_id)
                waiting = waiting[-OUTSTANDING:]

        kept = pool.submit(keep_up)
        time.sleep(1)
        try:
            yield
        finally:
            ended = True
            kept.result()


def _wait_until_queue_is_empty(running: daemon.Daemon) -> None:
    def is_empty() -> bool:
        return not running.ask("GET", "/api/v1/eval/runs?status=queued&limit=1")[1]["rows"]

    processes.wait_until(is_empty, 300, 0.5)


@benchmark
def freshness(workshop: Workshop) -> list[Row]:
    """A line appended to an open file, until its entry can be asked for over HTTP."""
    folder = workshop.new_folder("freshness")
    lines = list(entries.native_lines(APPENDS + 10, "fresh", seed=7))
    waits = []
    with daemon.running(folder / "home") as running:
        time.sleep(1)
        with (running.inbox / "fresh.ndjson").open("ab", buffering=0) as file:
            for line in lines:
                path = f"/api/v1/journal/{json.loads(line)['id']}"
                began = time.perf_counter()
                file.write(line + b"\n")
                while running.ask("GET", path)[0] != 200:
                    time.sleep(0.001)
                waits.append((time.perf_counter() - began) * 1000)
                time.sleep(0.1)
    counted = waits[-APPENDS:]
    ours = f"{statistics.median(counted):.0f} ms (p95 {percentile(counted, 0.95):.0f} ms)"
    return [Row("append to an open file until queryable, median", "300 ms", "50 ms", ours)]


@benchmark
def start(workshop: Workshop) -> list[Row]:
    """Spawn to the first 200 on /readyz, in a home that exists and in one that does not."""
    folder = workshop.new_folder("start")
    home = folder / "home"
    with daemon.running(home):
        pass

    def ours_again() -> float:
        return _start_seconds(home)

    def ours_first() -> float:
        return _start_seconds(folder / f"first-{time.monotonic_ns()}")

    def floor() -> float:
        port = daemon.free_port()
        with _listening(["bare_litestar.py", str(port)], port, "/readyz") as pid:
            return processes.tree_cpu(pid)

    again, first, bare = interleaved(2 * workshop.repeat + 1, ours_again, ours_first, floor)
    return [
        Row(
            f"spawn to first 200 on `/readyz`, {where}", "1.5 x", "1.2 x",
            f"{seconds:.2f} s", f"{bare:.2f} s", f"{seconds / bare:.2f}",
        )
        for where, seconds in (("existing home", again), ("first start", first))
    ]  # fmt: skip


def _start_seconds(home: Path) -> float:
    with daemon.running(home) as running:
        return processes.tree_cpu(running.pid)


@benchmark
def memory(workshop: Workshop) -> list[Row]:
    """Resident size before and after a million entries, and what they take on disk."""
    grown = workshop.grown
    return [
        Row("RSS idle", "75 MiB", "55 MiB", f"{grown.idle_rss / MIB:.0f} MiB"),
        Row(
            f"RSS after a million entries (peak {grown.peak_rss / MIB:.0f} MiB)", "150 MiB", "100 MiB",
            f"{grown.ingested_rss / MIB:.0f} MiB; {grown.rested_rss / MIB:.0f} MiB after 30 s",
        ),
        Row("ingest of that million, entries", "", "", f"{grown.entries_per_cpu_second:,.0f}"),
        Row("bytes on disk per entry, quiet mission", "400", "290", f"{grown.bytes_per_entry:.0f}"),
    ]  # fmt: skip


@benchmark
def version(workshop: Workshop) -> list[Row]:
    """The smallest command against a bare interpreter."""
    script = Path(sys.executable).with_name("quartermaster")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "quartermaster"]
    ours, bare = interleaved(
        10 * workshop.repeat + 1,
        lambda: processes.cpu_of([*command, "--version"]),
        lambda: processes.cpu_of([sys.executable, "-c", "pass"]),
    )
    how = "console script" if script.exists() else "`python -m`"
    return [
        Row(
            f"`quartermaster --version` ({how})", "0.1 s", "0.05 s",
            f"{ours:.3f} s", f"{bare:.3f} s", f"{ours / bare:.2f}",
        )
    ]  # fmt: skip
