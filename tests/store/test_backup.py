"""Backups: taken while others write, whole or not there, looked through, put back."""

import json
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from quartermaster.errors import StorageError, UsageError
from quartermaster.store import backup
from quartermaster.store.database import closing_connection


def entries(count: int, mission: str) -> list[dict[str, str]]:
    note = {"entry_type": "note", "ts": "2027-01-01T00:00:00Z", "mission_id": mission}
    return [{**note, "summary": f"{mission} {number}"} for number in range(count)]


@pytest.fixture
def filled(quartermaster, samples: Path, home: Path) -> Path:
    """The database of a home that has taken in the samples."""
    assert quartermaster("ingest", samples).returncode == 0
    return home / "quartermaster.db"


def row_of(done: "subprocess.CompletedProcess[str]") -> dict:
    (row,) = json.loads(done.stdout)
    return row


def test_a_backup_under_load_is_one_moment_and_works_elsewhere(
    quartermaster, start_daemon, tmp_path: Path, samples: Path
):
    daemon = start_daemon()
    for sample in sorted(samples.rglob("*.jsonl"))[:5]:
        shutil.copy(sample, daemon.home / "inbox" / "local" / f"{sample.parent.name}-{sample.name}")
    daemon.wait_for(lambda: len(daemon.get("/api/v1/missions")["rows"]) >= 5)
    posted: list[int] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            body = entries(50, f"load-{len(posted)}")
            posted.append(daemon.request("POST", "/api/v1/journal", body).status)

    writer = threading.Thread(target=load)
    writer.start()
    daemon.wait_for(lambda: len(posted) > 5)
    made = quartermaster("backup", tmp_path / "copy.db", "--format", "json")
    before_end = len(posted)
    daemon.wait_for(lambda: len(posted) > before_end)
    stop.set()
    writer.join()
    assert set(posted) == {200}
    assert made.returncode == 0, made.stderr
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    verified = quartermaster("backup", "verify", tmp_path / "copy.db", "--format", "json")
    assert verified.returncode == 0, verified.stdout
    assert row_of(verified)["rows"] == row_of(made)["rows"]
    elsewhere = tmp_path / "elsewhere"
    assert quartermaster("restore", tmp_path / "copy.db", "--home", elsewhere).returncode == 0
    with closing_connection(elsewhere / "quartermaster.db", writable=False) as connection:
        loads = connection.execute(
            "select mission_id, entries from mission where mission_id like 'load-%' order by id"
        ).fetchall()
        assert {count for _, count in loads} == {50}  # each request as a whole
        assert len(loads) <= before_end + 1
        total = connection.execute("select count(*) from entry").fetchone()[0]
    assert total == row_of(made)["rows"]["entry"]
    mission = daemon.get("/api/v1/missions?q=claude")["rows"] or daemon.get("/api/v1/missions")["rows"]
    name = mission[-1]["mission_id"]
    daemon.stop()
    replays = [
        quartermaster("eval", "replay", name, "--format", "json", "--home", place)
        for place in (daemon.home, elsewhere)
    ]
    signatures = {json.loads(one.stdout)["signature"] for one in replays}
    assert len(signatures) == 1


KILLED_WHILE_COPYING = """
import os, signal, sys
from pathlib import Path
from quartermaster.store.database import closing_connection, copy_to
with closing_connection(Path(sys.argv[1]), writable=False) as connection:
    copy_to(connection, Path(sys.argv[2]), lambda copy: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_backup_that_is_killed_leaves_no_file_of_that_name(filled: Path, tmp_path: Path):
    target = tmp_path / "copy.db"
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_COPYING, filled, target], check=False, timeout=30
    )
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    backup.make(filled, target, now=1)
    assert backup.verify(target).problems == ()


def test_a_backup_overwrites_nothing(filled: Path, tmp_path: Path, quartermaster):
    (tmp_path / "kept").write_text("something")
    done = quartermaster("backup", tmp_path / "kept")
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert (tmp_path / "kept").read_text() == "something"


def test_damage_to_a_backup_is_found_and_it_is_not_put_back(filled: Path, tmp_path: Path, quartermaster):
    target = tmp_path / "copy.db"
    backup.make(filled, target, now=1)
    data = bytearray(target.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 50_000] = b"\xff" * 50_000
    target.write_bytes(data)
    assert quartermaster("backup", "verify", target).returncode == 10
    before = filled.read_bytes()
    refused = quartermaster("restore", target)
    assert refused.returncode == 10
    assert "nothing was changed" in refused.stderr
    assert filled.read_bytes() == before


def test_an_entry_of_a_backup_that_says_something_else_is_found(filled: Path, tmp_path: Path):
    target = tmp_path / "copy.db"
    backup.make(filled, target, now=1)
    with closing_connection(target) as connection:
        connection.execute("update tail set raw = cast(replace(cast(raw as text), 'a', 'b') as blob)")
        connection.execute("pragma journal_mode = delete")
    problem, *_ = backup.verify(target).problems
    assert "the raw entry was changed" in problem


def test_what_is_no_backup_is_refused(filled: Path, tmp_path: Path, quartermaster):
    (tmp_path / "text").write_text("no backup " * 1000)
    assert backup.verify(tmp_path / "text").problems
    with pytest.raises(UsageError, match="no backup"):
        backup.verify(filled)
    with pytest.raises(StorageError):
        backup.put_back(tmp_path / "text", filled, now=1)
    assert quartermaster("restore", tmp_path / "missing").returncode == 2


def test_a_restore_waits_for_no_daemon_and_keeps_the_database_before_it(
    filled: Path, tmp_path: Path, quartermaster, start_daemon
):
    target = tmp_path / "copy.db"
    assert quartermaster("backup", target).returncode == 0
    daemon = start_daemon()
    assert daemon.request("POST", "/api/v1/journal", entries(3, "later")).status == 200
    refused = quartermaster("restore", target)
    assert refused.returncode == 2
    assert f"process {daemon.process.pid}" in refused.stderr
    daemon.stop()
    done = quartermaster("restore", target)
    assert done.returncode == 0
    (aside,) = filled.parent.glob("quartermaster.before-restore.*.db")
    assert str(aside) in done.stderr
    with closing_connection(aside, writable=False) as connection:
        kept = connection.execute("select entries from mission where mission_id = 'later'").fetchall()
    assert kept == [(3,)]
    with closing_connection(filled, writable=False) as connection:
        assert connection.execute("select 1 from mission where mission_id = 'later'").fetchone() is None
        assert connection.execute("select 1 from sqlite_schema where name = 'backup'").fetchone() is None
    again = start_daemon()
    assert again.request("POST", "/api/v1/journal", entries(3, "later")).json["accepted"] == 3
