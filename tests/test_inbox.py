"""Inboxes of a running daemon: whatever happens to files in them, each record arrives, once."""

import json
import os
import random
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from quartermaster.inbox import Inbox, Ingester
from quartermaster.recording import HEAD_BYTES
from quartermaster.store import access, journal, missions, sources
from quartermaster.store.database import Database, closing_connection
from quartermaster.store.journal import JournalFilter
from quartermaster.store.sources import SourceLedger

pytestmark = pytest.mark.anyio

SAMPLES = Path(__file__).resolve().parents[1] / "data/samples"


class Deaf(Ingester):
    """An ingester that no event ever reaches, as it happens when a watcher loses them."""

    async def _watch(self) -> None:
        await anyio.sleep_forever()


class HeldUp(Deaf):
    """One whose third scan takes three seconds, as on a machine that does something else."""

    scans = 0

    def _scan(self) -> None:
        super()._scan()
        self.scans += 1
        if self.scans == 3:
            self._took[-1] = 3.0


class Ship:
    """A database with a workspace `crew`, and its inbox."""

    def __init__(self, home: Path, database: Database) -> None:
        self.home = home
        self.root = home / "inbox"
        self.inbox = self.root / "crew"
        self.database = database
        self.workspace = self.add_workspace("crew")

    def add_workspace(self, slug: str) -> int:
        return self.database.write_blocking(lambda c: access.create_workspace(c, slug, now=1)).key

    def count(self, workspace: int | None = None) -> int:
        number = workspace or self.workspace
        return self.database.read_blocking(lambda c: journal.count_entries(c, number, JournalFilter()))

    def has(self, number: int) -> bool:
        found = self.database.read_blocking(lambda c: journal.find_entry(c, self.workspace, entry_id(number)))
        return found is not None

    def ledgers(self) -> list[SourceLedger]:
        return self.database.read_blocking(lambda c: sources.list_sources(c, self.workspace))

    def states(self) -> list[str]:
        return [ledger.state for ledger in self.ledgers()]


@pytest.fixture
def ship(tmp_path: Path) -> Iterator[Ship]:
    with Database(tmp_path / "quartermaster.db") as database:
        yield Ship(tmp_path, database)


@asynccontextmanager
async def running(ingester: Ingester) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(10):
            await tasks.start(ingester.run)
        yield
        tasks.cancel_scope.cancel()


async def until(claim: Callable[[], bool], seconds: float = 60) -> None:
    with anyio.fail_after(seconds):
        while not claim():  # noqa: ASYNC110 - the database tells nobody that it has changed
            await anyio.sleep(0.005)


def entry_id(number: int) -> str:
    return f"j_{number:016x}"


def entry(number: int, **fields: object) -> bytes:
    body = {
        "id": entry_id(number),
        "mission_id": f"m{number % 7}",
        "ts": f"2026-01-01T00:{number // 60 % 60:02d}:{number % 60:02d}Z",
        "entry_type": "llm.call",
        "payload": {"total_tokens": 1},
    }
    return json.dumps(body | fields).encode()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def test_a_dropped_file_becomes_missions(ship: Ship) -> None:
    async with running(Ingester(ship.database, ship.root)):
        append(ship.inbox / "a.ndjson", entry(1) + b"\n" + entry(2) + b"\n")
        await until(lambda: ship.count() == 2)
    assert ship.has(1) and ship.has(2)
    assert ship.states() == ["complete"]


async def test_an_append_is_queryable_at_once(ship: Ship) -> None:
    path = ship.root / "crew" / "a.ndjson"
    taken = []
    async with running(Ingester(ship.database, ship.root)):
        append(path, entry(0) + b"\n")
        await until(lambda: ship.has(0))
        for number in range(1, 21):
            await anyio.sleep(0.05)
            began = time.perf_counter()
            append(path, entry(number) + b"\n")
            await until(lambda number=number: ship.has(number))
            taken.append(time.perf_counter() - began)
    median = statistics.median(taken)
    print(f"append until queryable: median {median * 1000:.0f} ms, worst {max(taken) * 1000:.0f} ms")
    assert median < 2


async def test_a_scan_that_was_held_up_once_makes_the_next_ones_no_rarer(ship: Ship) -> None:
    ingester = HeldUp(ship.database, ship.root, scan_seconds=0.1)
    async with running(ingester):
        await until(lambda: ingester.scans == 3)
        append(ship.inbox / "a.ndjson", entry(1) + b"\n")
        await until(lambda: ship.has(1), 20)
    assert ship.count() == 1


async def test_what_events_do_not_tell_the_scan_finds(ship: Ship) -> None:
    path = ship.inbox / "a.ndjson"
    async with running(Deaf(ship.database, ship.root, scan_seconds=0.2)):
        append(path, entry(1) + b"\n")
        await until(lambda: ship.count() == 1, seconds=5)
        append(path, entry(2) + b"\n")
        await until(lambda: ship.count() == 2, seconds=5)
    assert ship.has(1) and ship.has(2)


async def test_a_file_whose_beginning_does_not_say_what_it_is_is_read_once_it_is_at_rest(ship: Ship) -> None:
    junk = b"\0\n" + b'{"x":"' + b"y" * 2 * HEAD_BYTES + b'"}\n'
    async with running(Ingester(ship.database, ship.root, scan_seconds=0.2)):
        append(ship.inbox / "a.ndjson", junk + entry(1) + b"\n")
        await until(lambda: ship.states() == ["waiting"])
        await until(lambda: ship.has(1))
    assert ship.count() == 1


async def test_trees_that_appear_at_once_are_found_whole(ship: Ship) -> None:
    async with running(Ingester(ship.database, ship.root, scan_seconds=1)):
        for number in range(50):
            folder = ship.inbox / str(number) / "deep" / "er"
            folder.mkdir(parents=True)
            append(folder / "a.ndjson", entry(number) + b"\n")
        outside = ship.home / "moved"
        (outside / "in").mkdir(parents=True)
        append(outside / "in" / "a.ndjson", entry(50) + b"\n")
        outside.rename(ship.inbox / "moved")
        await until(lambda: ship.count() == 51)
    assert all(ship.has(number) for number in range(51))


async def test_the_inbox_of_a_new_workspace_appears_and_works(ship: Ship) -> None:
    async with running(Ingester(ship.database, ship.root, scan_seconds=0.2)):
        workspace = await anyio.to_thread.run_sync(ship.add_workspace, "deck")
        await until((ship.root / "deck").is_dir)
        append(ship.root / "deck" / "a.ndjson", entry(1) + b"\n")
        await until(lambda: ship.count(workspace) == 1)
        assert ship.count() == 0


async def test_an_inbox_that_is_removed_and_made_again_works_on(ship: Ship) -> None:
    async with running(Ingester(ship.database, ship.root, scan_seconds=0.2)):
        append(ship.inbox / "a.ndjson", entry(1) + b"\n")
        await until(lambda: ship.count() == 1)
        shutil.rmtree(ship.inbox)
        await until(ship.inbox.is_dir)
        append(ship.inbox / "a.ndjson", entry(2) + b"\n")
        await until(lambda: ship.count() == 2)
    assert ship.has(1) and ship.has(2)


async def test_an_inbox_whose_place_is_taken_does_not_stop_the_others(ship: Ship) -> None:
    ship.add_workspace("blocked")
    ship.root.mkdir()
    (ship.root / "blocked").write_text("a file")
    async with running(Ingester(ship.database, ship.root, scan_seconds=0.2)):
        append(ship.inbox / "a.ndjson", entry(1) + b"\n")
        await until(lambda: ship.count() == 1)
    assert ship.has(1)
    assert (ship.root / "blocked").read_text() == "a file"


async def test_a_folder_that_is_the_inbox_of_two_workspaces_goes_to_both_at_once(ship: Ship) -> None:
    folder = ship.home / "common"
    folder.mkdir()
    other = ship.add_workspace("deck")
    inboxes = [Inbox(folder, "crew"), Inbox(folder, "deck")]
    async with running(Ingester(ship.database, None, inboxes, scan_seconds=60)):
        await anyio.sleep(0.5)
        append(folder / "a.ndjson", entry(1) + b"\n")
        await until(lambda: ship.count() == 1)
        await until(lambda: ship.count(other) == 1)
    assert ship.states() == ["complete"]


async def test_files_that_are_still_being_written_elsewhere_are_left_alone(ship: Ship) -> None:
    async with running(Ingester(ship.database, ship.root, scan_seconds=0.2)):
        for number, name in enumerate([".a.ndjson", "a.ndjson.tmp", "a.ndjson~", "a.part", ".git/a.ndjson"]):
            (ship.inbox / name).parent.mkdir(exist_ok=True)
            append(ship.inbox / name, entry(number) + b"\n")
        append(ship.inbox / "last.ndjson", entry(9) + b"\n")
        await until(lambda: ship.count() == 1)
        (ship.inbox / "a.ndjson.tmp").rename(ship.inbox / "a.ndjson")
        await until(lambda: ship.count() == 2)
    assert len(ship.ledgers()) == 2


async def test_names_that_are_no_text_do_not_end_the_watching(ship: Ship) -> None:
    async with running(Ingester(ship.database, ship.root, scan_seconds=0.2)):
        for number, name in enumerate([b"caf\xe9.ndjson", b"two\nlines.ndjson", b"\x1b[31mred.ndjson"]):
            append(ship.inbox / os.fsdecode(name), entry(number) + b"\n")
        await until(lambda: ship.count() == 3)
        append(ship.inbox / "plain.ndjson", entry(3) + b"\n")
        await until(lambda: ship.count() == 4)
    assert all(ship.has(number) for number in range(4))


async def test_a_session_at_rest_has_its_outcome(ship: Ship) -> None:
    sample = next((SAMPLES / "claude_code").glob("*.jsonl"))
    async with running(Ingester(ship.database, ship.root, scan_seconds=0.2)):
        shutil.copyfile(sample, ship.inbox / "session.jsonl")
        await until(lambda: ship.states() == ["complete"])
    page = ship.database.read_blocking(
        lambda c: missions.list_missions(c, ship.workspace, missions.MissionFilter())
    )
    assert {one.outcome for one in page.rows} >= {"succeeded"}


async def test_a_document_that_came_to_rest_while_nobody_ran_is_read_after_the_start(ship: Ship) -> None:
    document = b"[" + entry(1) + b"," + entry(2) + b"," + entry(3)[:30]
    async with running(Ingester(ship.database, ship.root, scan_seconds=0.2)):
        append(ship.inbox / "a.json", document)
        await until(lambda: ship.states() == ["waiting"])
    await anyio.sleep(2.1)
    async with running(Ingester(ship.database, ship.root, scan_seconds=0.2)):
        await until(lambda: ship.count() == 2)
    [ledger] = ship.ledgers()
    assert (ledger.state, ledger.rejected, ledger.unread) == ("complete", 1, 0)


async def test_a_stop_in_the_middle_of_a_large_file_loses_nothing(ship: Ship) -> None:
    ship.inbox.mkdir(parents=True)
    lines = 50_000
    with (ship.inbox / "a.ndjson").open("wb") as file:
        for number in range(lines):
            file.write(entry(number, summary="s" * 1_900) + b"\n")
    async with running(Ingester(ship.database, ship.root)):
        await until(lambda: ship.count() > 0)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    kept = ship.count()
    [ledger] = ship.ledgers()
    assert 0 < kept < lines
    assert (ledger.accepted, ledger.state, ledger.unread > 0) == (kept, "reading", True)
    async with running(Ingester(ship.database, ship.root)):
        await until(lambda: ship.states() == ["complete"], seconds=60)
    assert ship.count() == ship.ledgers()[0].accepted == lines


async def test_a_database_that_another_process_keeps_busy_is_waited_for(ship: Ship) -> None:
    async with running(Ingester(ship.database, ship.root, scan_seconds=0.2)):
        with closing_connection(ship.database.path) as other:
            other.execute("begin immediate")
            append(ship.inbox / "a.ndjson", entry(1) + b"\n")
            await anyio.sleep(6)
            other.execute("rollback")
        await until(lambda: ship.count() == 1)
    assert ship.has(1)
    assert ship.states() == ["complete"]


async def test_a_large_file_keeps_no_small_one_waiting(ship: Ship) -> None:
    ship.inbox.mkdir(parents=True)
    with (ship.inbox / "large.ndjson").open("wb") as file:
        for number in range(100_000):
            file.write(entry(1_000 + number) + b"\n")
    async with running(Ingester(ship.database, ship.root)):
        await until(lambda: ship.count() > 0)
        append(ship.inbox / "small.ndjson", entry(1) + b"\n")
        await until(lambda: ship.has(1))
        assert ship.count() < 100_001


class Sailor:
    """Does to files of an inbox what programs and people do, from one seed."""

    def __init__(self, inbox: Path, seed: int) -> None:
        self.inbox = inbox
        self.random = random.Random(seed)
        self.written = 0
        self.halves: dict[Path, bytes] = {}

    def entries(self, most: int = 20) -> bytes:
        number = self.random.randint(1, most)
        first, self.written = self.written, self.written + number
        return b"".join(
            entry(one, note="x" * self.random.randint(0, 300)) + b"\n" for one in range(first, first + number)
        )

    def finish(self, path: Path) -> None:
        if path in self.halves:
            append(path, self.halves.pop(path))

    def expected(self) -> int:
        return self.written - len(self.halves)

    def append(self, path: Path) -> None:
        append(path, self.entries())

    def append_half(self, path: Path) -> None:
        line = self.entries(1)
        cut = self.random.randint(1, len(line) - 2)
        append(path, line[:cut])
        self.halves[path] = line[cut:]

    def flush_in_bits(self, path: Path) -> None:
        data = self.entries()
        with path.open("ab", buffering=0) as file:
            for begin in range(0, len(data), 97):
                file.write(data[begin : begin + 97])

    def add_noise(self, path: Path) -> None:
        append(
            path,
            self.random.choice([b"noise\n", b'{"id":\n', b"\xff\n", b"[" * 3000 + b"\n", b"\n\r\n", b"{}\n"]),
        )
        append(path, self.entries(1))

    def rotate(self, path: Path) -> None:
        path.rename(path.with_name(f"{path.name}.{self.written}"))
        append(path, self.entries())

    def copy_and_truncate(self, path: Path) -> None:
        shutil.copyfile(path, path.with_name(f"{path.name}.{self.written}"))
        os.truncate(path, 0)
        append(path, self.entries())

    def save_anew(self, path: Path) -> None:
        new = path.with_name(f"{path.name}.tmp")
        before = self.entries(2) if self.random.random() < 0.5 else b""
        new.write_bytes(before + path.read_bytes() + self.entries(2))
        new.rename(path)

    def recreate(self, path: Path) -> None:
        path.unlink()
        append(path, self.entries())

    def move_in(self, path: Path) -> None:
        folder = self.inbox.parent.parent / f"stage{self.written}" / "deep"
        folder.mkdir(parents=True)
        append(folder / "a.ndjson", self.entries())
        folder.parent.rename(self.inbox / folder.parent.name)

    def trap(self, path: Path) -> None:
        trap = path.with_name(f"trap{self.written}.{self.random.random()}")
        kind = self.random.choice(["link", "pipe", "sparse", "folder", "zero"])
        if kind == "pipe":
            os.mkfifo(trap)
        elif kind == "folder":
            trap.mkdir()
        elif kind == "sparse":
            trap.touch()
            os.truncate(trap, 1 << 38)
        else:
            trap.symlink_to(self.inbox if kind == "link" else "/dev/zero")

    DESTRUCTIVE = (copy_and_truncate, save_anew, recreate)
    HARMLESS = (
        append,
        append,
        append,
        append_half,
        append_half,
        flush_in_bits,
        add_noise,
        rotate,
        move_in,
        trap,
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_happens_to_files_each_record_is_kept_once(ship: Ship, seed: int) -> None:
    ship.inbox.mkdir(parents=True)
    sailor = Sailor(ship.inbox, seed)
    ingester = Ingester(ship.database, ship.root, scan_seconds=0.5)
    for _ in range(4):  # starts; what is open at a stop is read by the next one
        async with running(ingester):
            for _ in range(10):
                path = ship.inbox / f"{sailor.random.randint(0, 3)}.ndjson"
                destroys = path.exists() and sailor.random.random() < 0.3
                change = sailor.random.choice(sailor.DESTRUCTIVE if destroys else sailor.HARMLESS)
                sailor.finish(path)
                if not path.exists():
                    append(path, sailor.entries())
                if destroys:
                    await until(lambda: ship.count() == sailor.expected())
                await anyio.to_thread.run_sync(change, sailor, path)
                await anyio.sleep(sailor.random.random() * 0.05)
    for path in list(sailor.halves):
        sailor.finish(path)
    async with running(ingester):
        await until(lambda: ship.count() == sailor.written)
        await until(lambda: "reading" not in ship.states())
    page = ship.database.read_blocking(
        lambda c: missions.list_missions(c, ship.workspace, missions.MissionFilter())
    )
    assert (
        sum(one.entries for one in page.rows)
        == sum(one.total_tokens or 0 for one in page.rows)
        == sailor.written
    )
    assert all(ship.has(number) for number in range(sailor.written))
