"""A disk that is full, fails or lies: what is told, what is kept, and what works again by itself."""

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Daemon

from quartermaster.errors import StorageError, StorageFull
from quartermaster.home import Home, open_home
from quartermaster.store import migrations
from quartermaster.store.database import (
    Connection,
    Database,
    closing_connection,
    connect,
    give_back_pages,
    prepare,
)
from quartermaster.store.space import Space

MEBIBYTE = 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB, for as long as the test runs."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "none", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(folder: Path, *, leave: int = 0) -> Path:
    """A file that takes all but `leave` bytes of what the disk has left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        room = shutil.disk_usage(folder).free - leave
        file.write(b"\1" * max(room, 0))
    return filler


def put(connection: Connection, size: int) -> None:
    connection.execute(
        "insert into watched (path, workspace, created_at) values (randomblob(?), 1, 0)", (size,)
    )


def make_workspace(connection: Connection) -> None:
    connection.execute(
        "insert into workspace (workspace_id, slug, name, created_at) values ('w', 'w', 'w', 0)"
    )


def test_a_write_on_a_full_disk_is_refused_and_works_again_once_there_is_room(small_disk: Path):
    with Database(small_disk / "quartermaster.db") as database:
        database.write_blocking(make_workspace)
        filler = fill(small_disk)
        with pytest.raises(StorageFull):
            database.write_blocking(lambda connection: put(connection, 2 * MEBIBYTE))
        assert database.read_blocking(lambda c: c.execute("select count(*) from watched").fetchone()) == (0,)
        assert database.failure is None
        filler.unlink()
        database.write_blocking(lambda connection: put(connection, 2 * MEBIBYTE))
    with closing_connection(small_disk / "quartermaster.db") as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def test_the_ballast_makes_room_to_delete_on_a_full_disk(small_disk: Path):
    path = small_disk / "quartermaster.db"
    with Database(path) as database:
        database.write_blocking(make_workspace)
        database.space.take_ballast(4 * MEBIBYTE)
        for _ in range(8):
            database.write_blocking(lambda connection: put(connection, MEBIBYTE // 2))
        fill(small_disk)
        with pytest.raises(StorageFull):
            database.write_blocking(lambda connection: put(connection, MEBIBYTE))
        assert database.space.free() > 0  # the ballast is gone, and the log was emptied
        database.write_blocking(lambda connection: connection.execute("delete from watched").close())
        assert not database.write_blocking(lambda connection: give_back_pages(connection, 10_000))
        database.checkpoint()
        database.write_blocking(make_nothing)
        assert path.stat().st_size < MEBIBYTE


def make_nothing(connection: Connection) -> None:
    """A change that is answered after all that was queued before it."""


def test_a_database_on_a_disk_without_room_opens_at_the_cost_of_the_ballast_or_says_that_it_is_full(
    small_disk: Path,
):
    path = small_disk / "quartermaster.db"
    with Database(path) as database:
        database.space.take_ballast(2 * MEBIBYTE)
    fill(small_disk)
    with Database(path) as database:
        assert database.is_writing()
    fill(small_disk)
    with pytest.raises(StorageFull, match="free some space"):
        prepare(path)


def test_below_the_low_water_mark_nothing_is_taken_in(tmp_path: Path):
    space = Space(tmp_path, low_water_bytes=2**60)
    with pytest.raises(StorageFull, match="nearly full"):
        space.require()
    space.take_ballast(MEBIBYTE)
    assert list(tmp_path.iterdir()) == []  # no room for it either


def test_a_daemon_without_room_says_so_refuses_and_goes_on_by_itself(small_disk: Path, samples: Path):
    settings = {
        "QUARTERMASTER_STORAGE_LOW_WATER_BYTES": str(4 * MEBIBYTE),
        "QUARTERMASTER_STORAGE_BALLAST_BYTES": str(MEBIBYTE),
        "QUARTERMASTER_INGEST_SCAN_SECONDS": "0.2",
    }
    with Daemon.start(small_disk / "home", environment=settings) as daemon:
        starve(daemon, small_disk, samples)
        assert daemon.get("/api/v1/journal/count?entry_type=note") == {"count": 2}


def starve(daemon: Daemon, small_disk: Path, samples: Path) -> None:
    """Take the disk away under a daemon and give it back."""
    entry = {"entry_type": "note", "ts": "2027-01-01T00:00:00Z", "mission_id": "m"}
    assert daemon.request("POST", "/api/v1/journal", [entry]).status == 200
    filler = fill(small_disk, leave=2 * MEBIBYTE)
    refused = daemon.request("POST", "/api/v1/journal", [{**entry, "summary": "later"}])
    assert refused.status == 507
    assert refused.json["error"] == "storage full"
    assert daemon.request("POST", "/api/v1/eval/replay", {"mission_id": "m"}).status == 507
    assert daemon.get("/api/v1/missions")["rows"][0]["mission_id"] == "m"
    ready = daemon.request("GET", "/readyz")
    assert ready.status == 503
    assert "nearly full" in " ".join(ready.json["reasons"])
    sample = next(samples.rglob("*.jsonl"))
    shutil.copy(sample, daemon.home / "inbox" / "local" / "late.jsonl")
    daemon.wait_for(lambda: "ingest pauses" in daemon.log.read_text())
    assert len(daemon.get("/api/v1/missions")["rows"]) == 1
    filler.unlink()
    daemon.wait_for(lambda: len(daemon.get("/api/v1/missions")["rows"]) > 1)
    assert daemon.request("GET", "/readyz").status == 200
    assert daemon.request("POST", "/api/v1/journal", [{**entry, "summary": "later"}]).status == 200


FAILS_AT_COMMIT = """
import resource, sys
from pathlib import Path
from quartermaster.errors import OutcomeUnknown, StorageError
from quartermaster.store.database import Database

database = Database(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
big = lambda connection: connection.execute(
    "insert into workspace (workspace_id, slug, name, created_at)"
    " values ('x', 'x', hex(randomblob(900000)), 0)"
).close()
try:
    database.write_blocking(big)
except OutcomeUnknown:
    print("unknown")
try:
    database.write_blocking(big)
except StorageError as error:
    print(error)
"""


def test_a_commit_that_the_disk_fails_is_told_as_unknown_and_ends_all_writing(tmp_path: Path):
    path = tmp_path / "quartermaster.db"
    done = subprocess.run(
        [sys.executable, "-c", FAILS_AT_COMMIT, path], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[0] == "unknown"
    assert "nothing more is written" in done.stdout
    assert path.with_name("quartermaster.db.needs-check").exists()
    with Database(path) as database:  # looked through, found whole, and used again
        assert database.is_writing()
    assert not path.with_name("quartermaster.db.needs-check").exists()


def test_a_daemon_whose_disk_fails_answers_unknown_and_ends_with_a_clear_line(start_daemon):
    daemon = start_daemon()
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    note = {"entry_type": "note", "ts": "2027-01-01T00:00:00Z", "mission_id": "m"}
    entries = [{**note, "summary": os.urandom(5000).hex()} for _ in range(400)]
    answer = daemon.request("POST", "/api/v1/journal", entries, {"Idempotency-Key": "once"})
    assert answer.status == 503
    assert answer.json["outcome"] == "unknown"
    assert daemon.process.wait(10) == 10
    last = daemon.log.read_text().splitlines()[-1]
    assert last.startswith("quartermaster: the disk failed under the database")
    assert "Traceback" not in daemon.log.read_text()
    again = start_daemon()
    answer = again.request("POST", "/api/v1/journal", entries, {"Idempotency-Key": "once"})
    assert answer.status == 200
    assert answer.json["accepted"] + answer.json["duplicate"] == 400
    assert again.get("/api/v1/journal/count?mission_id=m")["count"] == 400


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 50_000] = b"\xff" * 50_000
    path.write_bytes(data)


def test_a_database_that_was_damaged_when_its_disk_failed_is_not_opened_again(tmp_path: Path):
    path = tmp_path / "quartermaster.db"
    Database(path).close()
    path.with_name("quartermaster.db.needs-check").touch()
    damage(path)
    with pytest.raises(StorageError, match="quartermaster restore"):
        Database(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"this is no database at all, but a text " * 100, "cannot be opened"),
        (b"SQLite format 3\0" + b"\xff" * 4096, "cannot be opened"),
    ],
    ids=["text", "broken header"],
)
def test_a_file_that_is_no_database_is_refused_in_one_line_and_left_as_it_is(
    quartermaster, home: Path, content: bytes, said: str
):
    home.mkdir(mode=0o700)
    database = home / "quartermaster.db"
    database.write_bytes(content)
    database.chmod(0o600)
    done = quartermaster("serve", "--port", "0")
    assert done.returncode == 10
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert database.read_bytes() == content


def test_a_truncated_database_is_refused(quartermaster, home: Path, samples: Path):
    quartermaster("ingest", samples)
    database = home / "quartermaster.db"
    os.truncate(database, database.stat().st_size // 2 // 8192 * 8192)
    done = quartermaster("serve", "--port", "0")
    assert done.returncode == 10
    assert "restore" in done.stderr


def test_a_database_of_a_newer_version_or_another_program_is_refused(tmp_path: Path):
    path = tmp_path / "quartermaster.db"
    Database(path).close()
    with closing_connection(path) as connection:
        connection.execute(f"pragma user_version = {migrations.SCHEMA_VERSION + 1}")
    with pytest.raises(StorageError, match="newer Quartermaster"):
        Database(path)
    with closing_connection(path) as connection:
        connection.execute("pragma application_id = 7")
    with pytest.raises(StorageError, match="another program"):
        Database(path)


def test_a_home_whose_database_is_gone_is_not_started_afresh(tmp_path: Path):
    home = Home(tmp_path / "home")
    open_home(home, create=True).database.close()
    home.database.unlink()
    with pytest.raises(StorageError, match="restore a backup"):
        open_home(home, create=True)
    assert not home.database.exists()
    home.token.unlink()
    opened = open_home(home, create=True)
    assert opened.token is not None
    opened.database.close()


def test_a_log_without_its_database_is_not_taken_for_a_new_one(tmp_path: Path):
    path = tmp_path / "quartermaster.db"
    path.with_name("quartermaster.db-wal").write_bytes(b"left over")
    with pytest.raises(StorageError, match="its log is there"):
        Database(path)
    assert not path.exists()


def test_a_database_that_everybody_may_read_is_refused_with_the_command_that_helps(tmp_path: Path):
    path = tmp_path / "quartermaster.db"
    Database(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(StorageError, match="chmod 600"):
        Database(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_database_of_another_user_is_refused(tmp_path: Path):
    path = tmp_path / "quartermaster.db"
    Database(path).close()
    os.chown(path, 4711, -1)
    with pytest.raises(StorageError, match="user 4711"):
        Database(path)


def test_a_database_on_a_disk_that_can_only_be_read_is_refused(small_disk: Path):
    path = small_disk / "quartermaster.db"
    Database(path).close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StorageError, match="mounted"):
        Database(path)


def test_a_schema_of_an_earlier_version_is_kept_as_a_copy_before_it_is_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "quartermaster.db"
    with Database(path) as database:
        database.write_blocking(make_workspace)
    earlier = migrations.SCHEMA_VERSION
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", earlier + 1)
    Database(path).close()
    (copy,) = tmp_path.glob(f"quartermaster.before-schema-{earlier + 1}.*.db")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    kept = connect(copy, writable=False)
    assert kept.execute("pragma user_version").fetchone() == (earlier,)
    assert kept.execute("select slug from workspace").fetchall() == [("w",)]
    kept.close()
    Database(path).close()
    assert len(list(tmp_path.glob("*.before-schema-*.db"))) == 1


def test_json_of_the_doctor_says_which_sqlite_is_used(quartermaster):
    rows = json.loads(quartermaster("doctor", "--format", "json").stdout)
    (row,) = [row for row in rows if row["check"] == "sqlite"]
    assert "SQLite 3." in row["message"]
    assert row["state"] == "ok" or "quartermaster[sqlite]" in row["message"]
