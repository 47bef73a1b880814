"""The supervisor: every queued run ends, exactly once, whatever happens to processes, clocks and disks."""

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from quartermaster.core.comparison import Profile
from quartermaster.core.run import Run
from quartermaster.jobs import SUBSCRIBER_LIMIT, Supervisor
from quartermaster.store import access, journal, runs
from quartermaster.store.database import Connection, Database
from quartermaster.workers import worker_command

pytestmark = pytest.mark.anyio
MISSION = "m-1"
LONG_MISSION = "m-long"
WAIT = 20


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "quartermaster.db") as database:
        database.write_blocking(prepare)
        yield database


def prepare(connection: Connection) -> None:
    access.create_workspace(connection, "local", workspace_id="local", name="local", now=1)
    commands = [
        {
            "id": f"j_{number:016x}",
            "entry_type": "exec.command",
            "mission_id": MISSION,
            "ts": f"2026-01-01T00:00:{number:02d}Z",
            "payload": {"command": f"step {number}", "exit_code": 0},
        }
        for number in range(5)
    ]
    journal.append_facts(connection, 1, commands, now=1)


def add_long_mission(connection: Connection, rows: int) -> None:
    """A mission whose trajectory takes a while; its rows are made by the database itself."""
    fact = {
        "id": "long",
        "entry_type": "mission.created",
        "ts": "2026-01-01T00:00:00Z",
        "mission_id": LONG_MISSION,
    }
    journal.append_facts(connection, 1, [fact], now=1)
    connection.execute(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)"
        " insert into entry (mission, instant, entry_id, sequence, type, severity, kind, tool, success)"
        " select (select id from mission where mission_id = ?), i, i, i, 1, 0, 5, 1, 1 from n",
        (rows, LONG_MISSION),
    )


@asynccontextmanager
async def supervised(database: Database, **settings: object) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(database, **({"profile": Profile(), "grace_seconds": 0.3} | settings))
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        try:
            yield supervisor
        finally:
            with anyio.CancelScope(shield=True), anyio.fail_after(WAIT):
                await supervisor.stop()


async def queue(database: Database, number: int = 1, **fields: object) -> str:
    asked = {"kind": "replay", "seed": 0, "mission_id": MISSION} | fields
    run_id = f"er_{number:016x}"
    now = time.time_ns()
    await database.write(lambda c: runs.queue_run(c, 1, run_id=run_id, created_by=None, now=now, **asked))
    return run_id


def find(database: Database, run_id: str) -> Run:
    run = database.read_blocking(lambda c: runs.find_run(c, 1, run_id))
    assert run is not None
    return run


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(WAIT):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await anyio.sleep(0.01)


async def ended(database: Database, run_id: str) -> Run:
    await until(lambda: find(database, run_id).ended)
    return find(database, run_id)


async def started(database: Database, run_id: str) -> None:
    await until(lambda: find(database, run_id).status == "running")


def statuses(database: Database, run_id: str) -> list[str]:
    events = database.read_blocking(lambda c: runs.events_after(c, 1, 0, limit=100_000))
    return [event.status for event in events if event.run_id == run_id]


def told(database: Database, run_id: str) -> list[dict]:
    filters = journal.JournalFilter(run_id=run_id)
    page = database.read_blocking(lambda c: journal.list_entries(c, 1, filters))
    return [msgspec.json.decode(raw) for raw in page.entries]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def frozen_worker(database: Database, supervisor: Supervisor) -> int:
    """The process of a warm worker that has just been stopped: whatever it is given next hangs."""
    await queue(database, 0xF000)
    supervisor.wake()
    await ended(database, f"er_{0xF000:016x}")
    (pid,) = supervisor.worker_pids()
    os.kill(pid, signal.SIGSTOP)
    return pid


async def test_a_replay_ends_with_row_report_and_journal_entries(database):
    async with supervised(database) as supervisor:
        run_id = await queue(database, seed=7)
        supervisor.wake()
        run = await ended(database, run_id)
    assert (run.status, run.result, run.reason) == ("completed", "ok", None)
    assert run.signature and len(run.signature) == 64
    report = msgspec.json.decode(database.read_blocking(lambda c: runs.find_report(c, 1, run_id)))
    assert (report["run_id"], report["seed"], report["mission"]["steps"]) == (run_id, 7, 5)
    entries = told(database, run_id)
    assert {entry["payload"]["run_id"] for entry in entries} == {run_id}
    types = sorted(entry["entry_type"] for entry in entries)
    assert types == ["eval.metric"] * 8 + ["eval.run_completed", "eval.run_started"]


async def test_evaluating_a_mission_does_not_change_its_signature(database):
    async with supervised(database) as supervisor:
        signatures = set()
        for number in range(3):
            run_id = await queue(database, number)
            supervisor.wake()
            signatures.add((await ended(database, run_id)).signature)
    assert len(signatures) == 1


async def test_two_hundred_queued_runs_all_end_exactly_once(database):
    run_ids = [await queue(database, number) for number in range(200)]
    async with supervised(database, concurrency=3):
        for run_id in run_ids:
            await ended(database, run_id)
    for run_id in run_ids:
        assert statuses(database, run_id) == ["queued", "running", "completed"]
        assert len(told(database, run_id)) == 10


async def test_no_more_runs_than_allowed_run_at_a_time(database):
    for number in range(12):
        await queue(database, number)
    async with supervised(database, concurrency=2):
        for number in range(12):
            await ended(database, f"er_{number:016x}")
    running = most = 0
    for event in database.read_blocking(lambda c: runs.events_after(c, 1, 0)):
        running += {"queued": 0, "running": 1}.get(event.status, -1)
        most = max(most, running)
    assert most == 2


async def test_a_run_that_another_process_queued_is_found_without_being_woken(database):
    async with supervised(database):
        await anyio.sleep(0.05)
        assert (await ended(database, await queue(database))).status == "completed"


async def test_the_deadline_ends_a_run_that_hangs_and_the_process_it_hangs_in(database):
    async with supervised(database, concurrency=1, deadline_seconds=3) as supervisor:
        pid = await frozen_worker(database, supervisor)
        run_id = await queue(database)
        supervisor.wake()
        begun = time.monotonic()
        run = await ended(database, run_id)
        assert time.monotonic() - begun < 8
        assert (run.status, run.reason) == ("failed", "deadline_exceeded")
        assert "3 seconds" in (run.result or "")
        assert not is_alive(pid)
        again = await queue(database, 2)
        supervisor.wake()
        assert (await ended(database, again)).status == "completed"
    assert [entry["entry_type"] for entry in told(database, run_id)] == [
        "eval.run_failed",
        "eval.run_started",
    ]


async def test_the_deadline_counts_the_time_that_the_machine_slept(database):
    slept = [0.0]
    settings = {"concurrency": 1, "since_boot": lambda: time.monotonic() + slept[0]}
    async with supervised(database, deadline_seconds=600, **settings) as supervisor:
        await frozen_worker(database, supervisor)
        run_id = await queue(database)
        supervisor.wake()
        await started(database, run_id)
        slept[0] = 3600.0
        assert (await ended(database, run_id)).reason == "deadline_exceeded"


async def test_a_run_whose_process_is_killed_is_tried_again(database):
    async with supervised(database, concurrency=1) as supervisor:
        pid = await frozen_worker(database, supervisor)
        run_id = await queue(database)
        supervisor.wake()
        await started(database, run_id)
        os.kill(pid, signal.SIGKILL)
        assert (await ended(database, run_id)).status == "completed"
    assert statuses(database, run_id) == ["queued", "running", "completed"]


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"], "signal 9"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "exit code 3"),
        ([sys.executable, "-c", "input(); print('nonsense'); input()"], "an answer that cannot be read"),
        (["/nonexistent/program"], "it could not be started"),
    ],
)
async def test_a_process_that_fails_every_time_fails_the_run_with_a_sentence(database, program, how):
    async with supervised(database, command=program) as supervisor:
        run_id = await queue(database)
        supervisor.wake()
        run = await ended(database, run_id)
    assert (run.status, run.reason) == ("failed", "evaluation_error")
    assert how in (run.result or "")
    assert str(database.path) not in (run.result or "")


async def test_a_process_that_died_while_idle_costs_nobody_a_try(database):
    async with supervised(database, concurrency=1) as supervisor:
        pid = await frozen_worker(database, supervisor)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_alive(pid))
        run_id = await queue(database)
        supervisor.wake()
        assert (await ended(database, run_id)).status == "completed"


async def test_a_mission_that_vanished_fails_the_run_with_a_sentence_and_is_not_made_by_it(database):
    async with supervised(database) as supervisor:
        run_id = await queue(database, mission_id="m-gone")
        supervisor.wake()
        run = await ended(database, run_id)
    assert (run.status, run.reason) == ("failed", "evaluation_error")
    assert "no mission 'm-gone'" in (run.result or "")
    assert told(database, run_id) == []


async def test_a_regression_of_a_mission_with_itself_is_none(database):
    sides = {"mission_id": None, "baseline_mission_id": MISSION, "candidate_mission_id": MISSION}
    async with supervised(database) as supervisor:
        run_id = await queue(database, kind="regression", **sides)
        supervisor.wake()
        run = await ended(database, run_id)
    assert (run.status, run.result, run.regressed, run.signature) == (
        "completed",
        "no_regression",
        False,
        None,
    )
    metrics = [entry["payload"] for entry in told(database, run_id) if entry["entry_type"] == "eval.metric"]
    assert sorted(metric["side"] for metric in metrics) == ["baseline"] * 8 + ["candidate"] * 8


async def test_cancelling_ends_a_running_run_and_its_process(database):
    async with supervised(database, concurrency=1) as supervisor:
        pid = await frozen_worker(database, supervisor)
        run_id = await queue(database)
        supervisor.wake()
        await started(database, run_id)
        for _ in range(2):
            assert await supervisor.cancel(1, run_id) is not None
        run = await ended(database, run_id)
        assert (run.status, run.reason) == ("failed", "cancelled")
        await until(lambda: not is_alive(pid))
    assert statuses(database, run_id) == ["queued", "running", "failed"]


async def test_cancelling_ends_a_queued_run_and_leaves_an_ended_one_as_it_is(database):
    async with supervised(database, concurrency=1) as supervisor:
        await frozen_worker(database, supervisor)
        await queue(database, 1)
        waiting = await queue(database, 2)
        supervisor.wake()
        await started(database, f"er_{1:016x}")
        run = await supervisor.cancel(1, waiting)
        assert (run.status, run.reason) == ("failed", "cancelled")
        assert await supervisor.cancel(1, waiting) == run
        assert await supervisor.cancel(1, "er_unknown") is None
        done = await supervisor.cancel(1, f"er_{0xF000:016x}")
        assert done.status == "completed"
        await supervisor.cancel(1, f"er_{1:016x}")
    assert statuses(database, waiting) == ["queued", "failed"]


async def test_a_run_that_another_process_cancelled_ends(database):
    async with supervised(database, concurrency=1) as supervisor:
        await frozen_worker(database, supervisor)
        run_id = await queue(database)
        supervisor.wake()
        await started(database, run_id)
        await database.write(lambda c: runs.cancel_run(c, 1, run_id, now=time.time_ns()))
        assert (await ended(database, run_id)).reason == "cancelled"


async def test_an_orderly_stop_puts_what_runs_back_and_leaves_no_process(database):
    async with supervised(database, concurrency=1) as supervisor:
        pid = await frozen_worker(database, supervisor)
        running, waiting = await queue(database, 1), await queue(database, 2)
        supervisor.wake()
        await started(database, running)
        begun = time.monotonic()
        await supervisor.stop()
        assert time.monotonic() - begun < 8
        assert not is_alive(pid)
        assert supervisor.worker_pids() == ()
    assert [find(database, run_id).status for run_id in (running, waiting)] == ["queued", "queued"]
    assert find(database, running).attempt == 0
    async with supervised(database):
        for run_id in (running, waiting):
            assert (await ended(database, run_id)).status == "completed"
    assert len(told(database, running)) == 10


async def test_a_run_that_needs_less_than_the_grace_is_finished_by_an_orderly_stop(database):
    await database.write(lambda c: add_long_mission(c, 20_000))
    async with supervised(database, grace_seconds=WAIT) as supervisor:
        run_id = await queue(database, mission_id=LONG_MISSION)
        supervisor.wake()
        await started(database, run_id)
        await supervisor.stop()
        assert find(database, run_id).status == "completed"


async def test_an_idle_supervisor_stops_at_once(database):
    async with supervised(database) as supervisor:
        begun = time.monotonic()
        await supervisor.stop()
        assert time.monotonic() - begun < 0.5


async def test_being_cancelled_from_outside_also_puts_what_runs_back(database):
    supervisor = Supervisor(database, profile=Profile(), concurrency=1)
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        pid = await frozen_worker(database, supervisor)
        run_id = await queue(database)
        supervisor.wake()
        await started(database, run_id)
        tasks.cancel_scope.cancel()
    assert find(database, run_id).status == "queued"
    assert not is_alive(pid)


async def test_a_supervisor_that_was_interrupted_can_be_run_again(database):
    supervisor = Supervisor(database, profile=Profile())
    for number in range(2):
        async with anyio.create_task_group() as tasks:
            await tasks.start(supervisor.run)
            run_id = await queue(database, number)
            supervisor.wake()
            assert (await ended(database, run_id)).status == "completed"
            tasks.cancel_scope.cancel()


async def test_what_an_earlier_process_left_running_is_run_again(database):
    run_id = await queue(database)
    await database.write(lambda c: runs.claim_next(c, boot_id="earlier", now=1))
    async with supervised(database):
        run = await ended(database, run_id)
    assert (run.status, run.attempt) == ("completed", 2)
    assert len(told(database, run_id)) == 10


async def test_a_claim_whose_answer_was_lost_is_given_back_and_run(database):
    async with supervised(database) as supervisor:
        run_id = await queue(database)
        await database.write(lambda c: runs.claim_run(c, 1, run_id, boot_id=supervisor.boot_id, now=1))
        assert (await ended(database, run_id)).status == "completed"


async def test_a_worker_with_nothing_to_do_gives_its_memory_back(database):
    async with supervised(database, idle_seconds=0.2) as supervisor:
        run_id = await queue(database)
        supervisor.wake()
        await ended(database, run_id)
        (pid,) = supervisor.worker_pids()
        await until(lambda: not is_alive(pid))
        assert supervisor.worker_pids() == ()


async def test_a_warm_worker_is_used_again(database):
    async with supervised(database, concurrency=1) as supervisor:
        pids = set()
        for number in range(5):
            run_id = await queue(database, number)
            supervisor.wake()
            await ended(database, run_id)
            await until(supervisor.worker_pids)
            pids.update(supervisor.worker_pids())
    assert len(pids) == 1


async def test_a_database_that_is_busy_for_a_while_loses_no_terminal_row(database):
    released = threading.Event()

    def hold_the_lock(taken: threading.Event) -> None:
        connection = sqlite3.connect(database.path, isolation_level=None)
        connection.execute("begin immediate")
        taken.set()
        released.wait(WAIT)
        connection.execute("rollback")
        connection.close()

    async with supervised(database, concurrency=1) as supervisor:
        pid = await frozen_worker(database, supervisor)
        run_id = await queue(database)
        supervisor.wake()
        await started(database, run_id)
        taken = threading.Event()
        holder = threading.Thread(target=hold_the_lock, args=(taken,))
        holder.start()
        await until(taken.is_set)
        os.kill(pid, signal.SIGCONT)
        await anyio.sleep(6)  # longer than the writer waits for the lock
        assert find(database, run_id).status == "running"
        released.set()
        assert (await ended(database, run_id)).status == "completed"
        holder.join()
    assert statuses(database, run_id) == ["queued", "running", "completed"]


async def test_subscribers_hear_every_change_of_their_workspace_and_no_other(database):
    other = await database.write(
        lambda c: access.create_workspace(c, "other", workspace_id=None, name=None, now=1)
    )
    async with (
        supervised(database) as supervisor,
        supervisor.subscribe(1) as mine,
        supervisor.subscribe(other.key) as foreign,
    ):
        run_id = await queue(database)
        supervisor.wake()
        with anyio.fail_after(WAIT):
            heard = [await mine.receive() for _ in range(3)]
        assert [event.status for event in heard] == ["queued", "running", "completed"]
        assert {event.run_id for event in heard} == {run_id}
        assert foreign.statistics().current_buffer_used == 0


async def test_a_subscriber_that_does_not_read_is_let_go_and_the_others_hear_on(database):
    async with supervised(database) as supervisor:
        slow, quick = supervisor.subscribe(1), supervisor.subscribe(1)
        heard = 0

        async def listen() -> None:
            nonlocal heard
            while heard < 1500:
                await quick.receive()
                heard += 1

        key = await database.write(add_run_without_event)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            for batch in range(1, 16):
                await database.write(lambda c: c.executemany(_EVENT, [(key,)] * 100))
                supervisor.wake()
                await until(lambda: heard == 100 * batch)  # noqa: B023
        quick.close()
        received = 0
        async for _ in slow:
            received += 1
        assert received == SUBSCRIBER_LIMIT
        slow.close()


_EVENT = "insert into eval_event (workspace, run, status, at) values (1, ?, 'queued', 1)"


def add_run_without_event(connection: Connection) -> int:
    run = runs.queue_run(
        connection, 1, run_id="er_many", kind="replay", seed=0, mission_id=MISSION, created_by=None, now=1
    )
    runs.cancel_run(connection, 1, run.run_id, now=1)
    connection.execute("delete from eval_event")
    return run.key


async def test_stopping_ends_the_streams_of_all_subscribers(database):
    async with supervised(database) as supervisor:
        stream = supervisor.subscribe(1)
        await supervisor.stop()
        with anyio.fail_after(WAIT):
            assert [event async for event in stream] == []
        stream.close()


async def test_the_status_tells_how_long_the_queue_is_and_how_long_the_oldest_runs(database):
    async with supervised(database, concurrency=1) as supervisor:
        assert supervisor.status()["oldest_running_seconds"] is None
        await frozen_worker(database, supervisor)
        running, _ = await queue(database, 1), await queue(database, 2)
        supervisor.wake()
        await started(database, running)
        await anyio.sleep(0.05)
        status = supervisor.status()
        assert (status["queued"], status["running"], status["workers"]) == (1, 1, 1)
        assert 0.04 < status["oldest_running_seconds"] < WAIT


_DAEMON = """
import sys, anyio, structlog
from pathlib import Path
from quartermaster.core.comparison import Profile
from quartermaster.jobs import Supervisor
from quartermaster.store.database import Database

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main():
    supervisor = Supervisor(Database(Path(sys.argv[1])), profile=Profile(), concurrency=2)
    async with anyio.create_task_group() as tasks:
        await tasks.start(supervisor.run)
        while True:
            print(*supervisor.worker_pids(), flush=True)
            await anyio.sleep(0.02)

anyio.run(main)
"""


def kill_in_the_middle(database: Database, run_id: str) -> list[int]:
    """Start a supervising process, kill it as soon as workers run for it; their process ids."""
    daemon = subprocess.Popen(
        [sys.executable, "-c", _DAEMON, str(database.path)], stdout=subprocess.PIPE, text=True
    )
    assert daemon.stdout is not None
    pids: list[int] = []
    begun = time.monotonic()
    while not (pids and find(database, run_id).status == "running") and time.monotonic() - begun < WAIT:
        pids = [int(word) for word in daemon.stdout.readline().split()]
    time.sleep(0.3)  # let the worker get into the middle of its work
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    return pids


async def test_a_kill_of_the_whole_process_leaves_no_worker_and_the_run_is_made_once_more(database):
    await database.write(lambda c: add_long_mission(c, 600_000))
    run_id = await queue(database, mission_id=LONG_MISSION)
    pids = await anyio.to_thread.run_sync(kill_in_the_middle, database, run_id)
    assert pids
    with anyio.fail_after(2):
        await until(lambda: not any(map(is_alive, pids)))
    assert find(database, run_id).status == "running"
    async with supervised(database):
        run = await ended(database, run_id)
    assert (run.status, run.attempt) == ("completed", 2)
    assert statuses(database, run_id) == ["queued", "running", "queued", "running", "completed"]
    types = sorted(entry["entry_type"] for entry in told(database, run_id))
    assert types == ["eval.metric"] * 8 + ["eval.run_completed", "eval.run_started"]


async def test_a_run_that_took_its_process_down_twice_is_given_up(database):
    await database.write(lambda c: add_long_mission(c, 600_000))
    run_id = await queue(database, mission_id=LONG_MISSION)
    for _ in range(2):
        await anyio.to_thread.run_sync(kill_in_the_middle, database, run_id)
    async with supervised(database):
        run = await ended(database, run_id)
    assert (run.status, run.reason, run.attempt) == ("failed", "interrupted", 2)
    types = sorted(entry["entry_type"] for entry in told(database, run_id))
    assert types == ["eval.run_failed", "eval.run_started"]


async def test_a_run_that_may_not_have_the_memory_it_needs_fails_with_a_sentence(database):
    async with supervised(database, memory_bytes=1 << 20):
        run = await ended(database, await queue(database))
    assert (run.status, run.reason) == ("failed", "evaluation_error")
    assert "memory" in run.result


async def test_a_wall_clock_that_jumps_ends_no_run_and_keeps_none_from_ending(database):
    day = 86_400 * 10**9
    jumps = itertools.cycle([0, day, -day, 40 * day])
    async with supervised(database, now=lambda: time.time_ns() + next(jumps), deadline_seconds=WAIT):
        for number in range(4):
            assert (await ended(database, await queue(database, number))).status == "completed"


async def test_a_long_queue_of_one_workspace_keeps_no_other_waiting(database):
    await database.write(
        lambda c: access.create_workspace(c, "small", workspace_id="small", name="small", now=1)
    )
    for number in range(200):
        await queue(database, number)
    theirs = f"er_{0xABC:016x}"
    await database.write(
        lambda c: runs.queue_run(
            c,
            2,
            run_id=theirs,
            kind="replay",
            seed=0,
            mission_id=MISSION,
            created_by=None,
            now=time.time_ns(),
        )
    )
    async with supervised(database):
        await until(lambda: database.read_blocking(lambda c: runs.find_run(c, 2, theirs)).ended)
        assert database.read_blocking(runs.queue_state).queued > 150


def stop_worker_and_kill(database: Database, run_id: str) -> list[int]:
    """Have a supervising process evaluate once, freeze its worker and kill it; the worker's process id."""
    daemon = subprocess.Popen(
        [sys.executable, "-c", _DAEMON, str(database.path)], stdout=subprocess.PIPE, text=True
    )
    assert daemon.stdout is not None
    begun = time.monotonic()
    while not find(database, run_id).ended and time.monotonic() - begun < WAIT:
        pids = [int(word) for word in daemon.stdout.readline().split()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    return pids


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with the one that started it")
async def test_a_worker_that_cannot_listen_ends_with_its_daemon(database):
    """A worker that is stopped, or busy in a library, never sees that its requests have ended."""
    run_id = await queue(database)
    pids = await anyio.to_thread.run_sync(stop_worker_and_kill, database, run_id)
    assert pids
    with anyio.fail_after(5):
        await until(lambda: not any(map(is_alive, pids)))


def test_a_worker_loads_nothing_of_the_server_and_nothing_for_terminals():
    heavy = ["litestar", "uvicorn", "sqlite_utils", "rich", "httptools", "numpy", "genai_prices"]
    code = f"import sys, quartermaster.worker; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_a_single_file_build_starts_itself_as_the_worker(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    command = [sys.executable, "worker", "--database", "/home/q.db", "--memory", "64", "--nice", "10"]
    assert worker_command(Path("/home/q.db"), 64) == command


def test_a_worker_ends_when_its_requests_end(database):
    command = worker_command(database.path)
    worker = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT, check=True)
    assert worker.stdout == b""
