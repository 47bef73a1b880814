"""Long missions are examined by a process of its own, with what an examination here finds."""

import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from quartermaster.core.pricing import OwnPrices
from quartermaster.errors import TookTooLong
from quartermaster.examiner import Examiner
from quartermaster.looking import Looked, looked_at
from quartermaster.lookout import LONG_ENTRIES, Lookout
from quartermaster.store import access, journal
from quartermaster.store.database import Database

pytestmark = pytest.mark.anyio

PRICES = OwnPrices()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "quartermaster.db") as database:
        yield database


@pytest.fixture
def workspace(database: Database) -> int:
    """With a long and a short mission that go round in circles."""
    workspace = database.write_blocking(lambda c: access.create_workspace(c, "crew", now=1)).key
    for mission, entries in (("long", LONG_ENTRIES), ("short", 10)):
        raws = [
            msgspec.json.encode(
                {
                    "id": f"{mission}-{number}",
                    "mission_id": mission,
                    "ts": f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z",
                    "entry_type": "exec.command",
                    "payload": {"tool": "look", "arguments": {"at": "x"}, "output": "same", "exit_code": 0},
                }
            )
            for number in range(entries)
        ]
        database.write_blocking(lambda c, raws=raws: journal.append(c, workspace, raws, now=time.time_ns()))
    return workspace


@asynccontextmanager
async def at_work(lookout: Lookout) -> AsyncIterator[Lookout]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(lookout.run)
        yield lookout
        tasks.cancel_scope.cancel()


def children() -> set[int]:
    """The processes that this one has started to examine, and that have not ended."""
    pid = os.getpid()
    started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(one) for one in started if b"--database" in _command_line(one)}


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not true():  # noqa: ASYNC110 - what is waited for happens elsewhere
            await anyio.sleep(0.05)


async def test_it_finds_what_is_found_here(database: Database, workspace: int) -> None:
    here = database.read_blocking(lambda c: looked_at(c, workspace, "long", PRICES))
    assert here is not None
    assert here.examination.counts
    async with at_work(Lookout(database, PRICES)) as lookout:
        small = await lookout.look(workspace, "long", limit=100, seconds=60)
        assert await lookout.look(workspace, "long", seconds=60) == here
        assert await lookout.look(workspace, "nowhere", seconds=60) is None
    assert small is not None
    assert small.examination.unexamined
    assert not children()


async def test_what_is_remembered_is_not_found_out_again(database: Database, workspace: int) -> None:
    async with at_work(Lookout(database, PRICES)) as lookout:
        first = await lookout.look(workspace, "long", seconds=60)
        assert first is not None
        assert first.is_fresh
        again = await lookout.look(workspace, "long", seconds=60)
    assert again is not None
    assert not again.is_fresh
    assert again.examination == first.examination


async def test_a_process_that_is_idle_ends(database: Database, workspace: int, monkeypatch) -> None:
    monkeypatch.setattr("quartermaster.lookout._RETIRING_SECONDS", 0.1)
    async with at_work(Lookout(database, PRICES, idle_seconds=0.2)) as lookout:
        await lookout.look(workspace, "short", seconds=60)
        assert len(children()) == 1
        await until(lambda: not children())


async def test_a_process_that_is_killed_is_followed_by_another(database: Database, workspace: int) -> None:
    async with at_work(Lookout(database, PRICES)) as lookout:
        first = await lookout.look(workspace, "short", seconds=60)
        [process] = children()
        os.kill(process, signal.SIGSTOP)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_killed_after, 0.3, process)
            again = await lookout.look(workspace, "short", seconds=60)
        assert first is not None
        assert again is not None
        assert again.examination == first.examination
        assert children() not in (set(), {process})


async def _killed_after(seconds: float, process: int) -> None:
    await anyio.sleep(seconds)
    os.kill(process, signal.SIGKILL)


async def test_a_process_that_ends_each_time_is_said_in_words(database: Database, workspace: int) -> None:
    async with at_work(Lookout(database, PRICES, command=[sys.executable, "-c", ""])) as lookout:
        with pytest.raises(TookTooLong, match="could not be examined"):
            await lookout.look(workspace, "short", seconds=60)


async def test_a_look_that_takes_too_long_goes_on_and_is_there_for_who_asks_again(
    database: Database, workspace: int
) -> None:
    async with at_work(Lookout(database, PRICES)) as lookout:
        assert await lookout.look(workspace, "nowhere", seconds=60) is None
        [process] = children()
        os.kill(process, signal.SIGSTOP)
        with pytest.raises(TookTooLong, match="ask again"):
            await lookout.look(workspace, "short", seconds=0.3)
        assert not _examined(database)
        os.kill(process, signal.SIGCONT)
        await until(lambda: _examined(database) == {"short"})
        again = await lookout.look(workspace, "short", seconds=60)
        assert again is not None
        assert not again.is_fresh
        assert children() == {process}


async def test_an_examination_without_end_is_given_up_and_its_process_ended(
    database: Database, workspace: int
) -> None:
    endless = [sys.executable, "-c", "import time; time.sleep(600)", "--database"]
    async with at_work(Lookout(database, PRICES, look_seconds=0.5, command=endless)) as lookout:
        with pytest.raises(TookTooLong, match="takes too long"):
            await lookout.look(workspace, "short", seconds=60)
        await until(lambda: not children())
    assert not _examined(database)


async def test_who_asks_for_the_same_mission_meanwhile_is_answered_by_the_same_examination(
    database: Database, workspace: int
) -> None:
    found: list[Looked | None] = []

    async def look() -> None:
        found.append(await lookout.look(workspace, "long", seconds=60))

    async with at_work(Lookout(database, PRICES)) as lookout, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(look)
    assert found[0] is not None
    assert [one is found[0] for one in found] == [True, True, True]


async def test_what_nobody_waits_for_any_more_is_not_begun(database: Database, workspace: int) -> None:
    async with at_work(Lookout(database, PRICES)) as lookout:
        assert await lookout.look(workspace, "nowhere", seconds=60) is None
        [process] = children()
        os.kill(process, signal.SIGSTOP)
        for mission in ("short", "long"):
            with pytest.raises(TookTooLong, match="ask again"):
                await lookout.look(workspace, mission, seconds=0.3)
        os.kill(process, signal.SIGCONT)
        assert await lookout.look(workspace, "nowhere", seconds=60) is None
    assert _examined(database) == {"short"}


async def test_who_waits_when_it_stops_is_told_so_at_once(database: Database, workspace: int) -> None:
    lookout = Lookout(database, PRICES)
    with pytest.raises(TookTooLong, match="was not examined"):
        await lookout.look(workspace, "short", seconds=60)
    told: list[str] = []

    async def wait() -> None:
        with pytest.raises(TookTooLong) as refused:
            await lookout.look(workspace, "short", seconds=60)
        told.append(str(refused.value))

    async with anyio.create_task_group() as waiters, at_work(lookout):
        assert await lookout.look(workspace, "nowhere", seconds=60) is None
        [process] = children()
        os.kill(process, signal.SIGSTOP)
        waiters.start_soon(wait)
        await anyio.sleep(0.3)
        assert not told
    assert "was not examined" in told[0]
    assert not children()


@pytest.mark.parametrize("niceness", [0, 10])
async def test_an_answer_that_somebody_waits_for_is_as_urgent_as_the_daemon_itself(
    database: Database, workspace: int, niceness: int
) -> None:
    async with at_work(Lookout(database, PRICES, niceness=niceness)) as lookout:
        assert await lookout.look(workspace, "nowhere", seconds=60) is None
        [process] = children()
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, process) == min(19, own + niceness)


async def test_long_missions_that_went_quiet_are_examined_by_it(database: Database, workspace: int) -> None:
    later = time.time_ns() + 10**12
    async with at_work(Lookout(database, PRICES)) as lookout:
        examiner = Examiner(database, PRICES, busy=lambda: False, lookout=lookout, now=lambda: later)
        async with anyio.create_task_group() as tasks:
            await tasks.start(examiner.run)
            await until(lambda: _examined(database) == {"long", "short"})
            tasks.cancel_scope.cancel()
    assert _examined(database) == {"long", "short"}


def _examined(database: Database) -> set[str]:
    rows = database.read_blocking(
        lambda c: c.execute(
            "select mission_id from mission join examination on examination.mission = mission.id"
        ).fetchall()
    )
    return {mission_id for (mission_id,) in rows}
