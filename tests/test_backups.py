"""Backups that the daemon makes by itself: in time, looked through, and no more of them than wanted."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from quartermaster.backups import Backups, lateness, sound_ones
from quartermaster.errors import StorageError, StorageFull
from quartermaster.home import Home, open_home
from quartermaster.ingest import ingest_paths
from quartermaster.store import access
from quartermaster.store.database import Database

DAY = 86_400 * 10**9
MONDAY = 1_800_000_000 * 10**9


@pytest.fixture
def filled(samples: Path, home: Path) -> Iterator[Database]:
    """The database of a home that has taken in some samples."""
    with open_home(Home(home), create=True).database as database:
        key = database.read_blocking(access.list_workspaces)[0].key
        ingest_paths(database, key, [samples / "native"])
        yield database


def of_home(database: Database, home: Path, *, keep: int = 2, now: int = MONDAY) -> Backups:
    return Backups(Home(home), database.space, None, interval_seconds=7 * 86_400, keep=keep, now=lambda: now)


def put(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_a_running_daemon_makes_backups_and_keeps_the_newest(quartermaster, start_daemon, home: Path):
    daemon = start_daemon(QUARTERMASTER_BACKUP_INTERVAL_SECONDS="1", QUARTERMASTER_BACKUP_KEEP="1")
    folder = home / "backups"
    first = daemon.wait_for(lambda: sound_ones(folder), 30)[0][1]
    daemon.wait_for(lambda: not first.exists(), 30)
    told = daemon.get("/readyz")
    assert told["status"] == "ready"  # also where a copy has got old meanwhile
    assert "last_backup" in told["parts"]
    metrics = daemon.text("/metrics")
    assert 'quartermaster_backups_total{result="sound"}' in metrics
    assert "quartermaster_unprotected_seconds" in metrics
    daemon.stop()
    assert list(folder.glob("*.unproven")) == []
    ((_, last),) = sound_ones(folder)
    assert quartermaster("backup", "verify", last).returncode == 0


def test_a_daemon_that_is_told_to_makes_none(start_daemon, home: Path):
    daemon = start_daemon(QUARTERMASTER_BACKUP_INTERVAL_SECONDS="0")
    assert "last_backup" not in daemon.get("/readyz")["parts"]
    assert not (home / "backups").exists()


@pytest.mark.anyio
async def test_a_backup_is_the_home_and_leftovers_of_others_go(filled: Database, home: Path):
    folder = put(home / "backups", "quartermaster.20270101T000000Z.db.unproven", "notes.txt")
    made = await of_home(filled, home).make()
    assert sorted(path.name for path in folder.iterdir()) == sorted([made.name, "notes.txt"])
    with sqlite3.connect(f"file:{made}?mode=ro", uri=True) as copy:
        kept = copy.execute("select count(*) from entry").fetchone()[0]
    assert kept == filled.read_blocking(lambda c: c.execute("select count(*) from entry").fetchone()[0]) > 0


@pytest.mark.anyio
async def test_only_the_newest_are_kept_and_what_a_wrong_clock_made_does_not_count(
    filled: Database, home: Path
):
    future = "quartermaster.20990101T000000Z.db"
    folder = put(home / "backups", "quartermaster.20200101T000000Z.db", future)
    made = await of_home(filled, home, keep=1).make()
    assert [path for _, path in sound_ones(folder)] == [made]


@pytest.mark.anyio
async def test_a_copy_that_is_not_sound_is_not_kept_and_costs_no_older_one(filled: Database, home: Path):
    filled.write_blocking(lambda c: c.execute("update tail set raw = x'7b7d' where sequence = 3").close())
    older = "quartermaster.20200101T000000Z.db", "quartermaster.20210101T000000Z.db"
    folder = put(home / "backups", *older)
    with pytest.raises(StorageError, match=r"quartermaster verify"):
        await of_home(filled, home).make()
    assert sorted(path.name for path in folder.iterdir()) == sorted(older)


@pytest.mark.anyio
async def test_a_disk_without_room_for_it_gets_no_backup(filled: Database, home: Path):
    filled.space.low_water_bytes = filled.space.free() + 2**40
    with pytest.raises(StorageFull, match=r"MiB for a backup"):
        await of_home(filled, home).make()
    assert sound_ones(home / "backups") == []


@pytest.mark.anyio
async def test_a_failed_backup_is_told_without_details(filled: Database, home: Path):
    (home / "backups").write_text("in the way of the folder")
    backups = Backups(Home(home), filled.space, 0, interval_seconds=7 * 86_400, keep=2)
    assert backups.state().startswith("there is none, and the home is ")
    with anyio.move_on_after(0.5):
        await backups.run()
    assert backups.state().endswith("the last attempt failed, and the log says why")
    assert str(home) not in backups.state()


def test_a_backup_is_late_after_two_intervals(tmp_path: Path):
    def told(began: int | None, now: int, interval: float = 7 * 86_400) -> str | None:
        return lateness(tmp_path, began, interval_seconds=interval, now=now)

    assert told(None, MONDAY) is None
    assert told(MONDAY - 13 * DAY, MONDAY) is None
    assert told(MONDAY - 15 * DAY, MONDAY) == "there is none, and the home is 15.0 days old"
    made = time.strftime("quartermaster.%Y%m%dT%H%M%SZ.db", time.gmtime(MONDAY // 10**9))
    put(tmp_path, made, "quartermaster.20990101T000000Z.db", "quartermaster.20999999T000000Z.db")
    assert told(0, MONDAY + 13 * DAY) is None
    assert told(0, MONDAY + 20 * DAY) == "the last sound one is 20.0 days old"
    assert told(0, MONDAY + 20 * DAY, interval=0) is None
