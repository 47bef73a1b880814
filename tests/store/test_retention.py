"""Retention: what goes, what stays, that room is freed, and that what went does not come back."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from quartermaster.ingest import accept_entries, ingest_paths
from quartermaster.store import access, journal, missions, retention, sources
from quartermaster.store.database import Connection, Database
from quartermaster.store.missions import MissionFilter
from quartermaster.store.retention import NANOSECONDS_PER_DAY, Policy

DAY = NANOSECONDS_PER_DAY
NOW = time.time_ns()


@pytest.fixture
def database(tmp_path: Path):
    with Database(tmp_path / "quartermaster.db") as database:
        database.write_blocking(lambda connection: access.create_workspace(connection, "w", now=0))
        yield database


def lines(mission: str, count: int, *, first: int = 0, entry_type: str = "note", size: int = 100) -> bytes:
    entries = (
        {
            "entry_type": entry_type,
            "ts": f"2027-01-01T00:00:{number % 60:02}Z",
            "mission_id": mission,
            "summary": f"{mission} {number} " + os.urandom(size // 2).hex(),
        }
        for number in range(first, first + count)
    )
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def put(database: Database, mission: str, count: int = 3, *, age: int = 0, **how) -> None:
    assert accept_entries(database, 1, lines(mission, count, **how), None).accepted == count
    database.write_blocking(
        lambda connection: connection.execute(
            "update mission set changed_at = ? where mission_id = ?", (NOW - age, mission)
        ).close()
    )


def names(database: Database) -> set[str]:
    page = database.read_blocking(lambda c: missions.list_missions(c, 1, MissionFilter()))
    return {one.mission_id for one in page.rows}


def retain(database: Database, **policy) -> retention.Removed:
    return retention.run(database, 1, Policy(**policy), now=NOW)


def left_of(connection: Connection) -> dict[str, int]:
    tables = ("entry", "entry_key", "block", "tail", "remains")
    return {table: connection.execute(f"select count(*) from {table}").fetchone()[0] for table in tables}


def test_missions_that_did_not_change_for_long_go_and_the_others_stay(database: Database):
    put(database, "old", age=31 * DAY)
    put(database, "young", age=29 * DAY)
    assert retain(database, days=30).missions == 1
    assert names(database) == {"young"}


def test_of_too_many_missions_those_longest_unchanged_go(database: Database):
    for number in range(5):
        put(database, f"m{number}", age=number * DAY)
    retain(database, missions=2)
    assert names(database) == {"m0", "m1"}


def test_over_the_size_the_oldest_go_and_the_file_shrinks(database: Database):
    for number in range(4):
        put(database, f"m{number}", 600, age=number * DAY, size=2000)
    database.checkpoint()
    database.write_blocking(lambda connection: None)
    before = database.path.stat().st_size
    removed = retain(database, size=2_000_000)
    assert removed.missions == 2
    assert removed.freed > before / 3
    assert database.path.stat().st_size == before - removed.freed
    assert names(database) == {"m0", "m1"}


def test_of_a_removed_mission_no_row_is_left(database: Database):
    put(database, "large", 1200, age=2 * DAY)
    put(database, "small", age=2 * DAY)
    retain(database, days=1)
    assert set(database.read_blocking(left_of).values()) == {0}


def test_a_mission_is_gone_for_every_reader_before_its_rows_are(database: Database):
    put(database, "m", 1200, age=2 * DAY)
    entry_id = database.read_blocking(
        lambda c: journal.entry_id_of(c.execute("select entry_id from entry limit 1").fetchone()[0])
    )
    assert database.read_blocking(lambda c: journal.find_entry(c, 1, entry_id)) is not None
    (due,) = database.read_blocking(lambda c: retention.due(c, 1, Policy(days=1), NOW))
    assert database.write_blocking(lambda c: retention.remove(c, 1, due, NOW))
    assert database.read_blocking(left_of)["entry"] == 1200
    assert database.read_blocking(lambda c: journal.find_entry(c, 1, entry_id)) is None
    assert database.read_blocking(lambda c: missions.find_mission(c, 1, "m")) is None
    everything = journal.JournalFilter()
    assert database.read_blocking(lambda c: journal.count_entries(c, 1, everything)) == 0
    put(database, "next")  # whose number is not that of the one that is being removed
    retain(database, days=1)
    assert database.read_blocking(left_of)["entry"] == 3


def test_a_mission_that_changed_after_it_was_found_due_stays(database: Database):
    put(database, "m", age=2 * DAY)
    (due,) = database.read_blocking(lambda c: retention.due(c, 1, Policy(days=1), NOW))
    put(database, "m", 1, first=3, age=2 * DAY)
    assert not database.write_blocking(lambda c: retention.remove(c, 1, due, NOW))
    assert names(database) == {"m"}


def test_kept_missions_entry_types_and_missions_of_waiting_runs_stay(database: Database, quartermaster):
    for name in ("baseline", "incident", "queued", "other"):
        put(database, name, age=9 * DAY, entry_type=f"{name}.note")
    database.write_blocking(lambda c: retention.keep(c, 1, "baseline", "baseline nightly"))
    database.write_blocking(
        lambda c: c.execute(
            "insert into eval_run (run_id, workspace, kind, status, seed, mission_id, created_at)"
            " values ('er_1', 1, 'replay', 'queued', 0, 'queued', 0)"
        ).close()
    )
    retain(database, days=1, kept_types=("incident.note", "never.seen"))
    assert names(database) == {"baseline", "incident", "queued"}
    database.write_blocking(lambda c: retention.release(c, 1, "baseline", "another reason"))
    retain(database, days=1, kept_types=("incident.note",))
    assert "baseline" in names(database)
    database.write_blocking(lambda c: retention.release(c, 1, "baseline"))
    retain(database, days=1, kept_types=("incident.note",))
    assert "baseline" not in names(database)


def test_what_a_file_holds_of_a_removed_mission_does_not_come_back_and_its_growth_is_told(
    database: Database, tmp_path: Path
):
    file = tmp_path / "inbox" / "m.jsonl"
    file.parent.mkdir()
    file.write_bytes(lines("m", 5) + lines("other", 5))
    ingest_paths(database, 1, [file], masker=None)
    database.write_blocking(
        lambda c: c.execute("update mission set changed_at = 0 where mission_id = 'm'").close()
    )
    retain(database, days=1)
    assert names(database) == {"other"}

    (ledger,) = ingest_paths(database, 1, [file.parent], masker=None)
    assert ledger.state == "complete"
    assert ledger.reason is None
    shutil.copy(file, file.with_name("copy.jsonl"))  # read from its start, as another file
    ingest_paths(database, 1, [file.parent], masker=None)
    assert names(database) == {"other"}

    with file.open("ab") as growing:
        growing.write(lines("m", 2, first=5) + lines("other", 1, first=5))
    ingest_paths(database, 1, [file.parent], masker=None)
    assert names(database) == {"other"}
    told = {one.name: one for one in database.read_blocking(lambda c: sources.list_sources(c, 1))}
    assert "2 of its last entries" in (told["m.jsonl"].reason or "")
    assert told["m.jsonl"].accepted == 11
    handed_in = accept_entries(database, 1, lines("m", 1) + lines("new", 1), None)
    assert handed_in.accepted == 1
    assert [(one.line, one.reason) for one in handed_in.rejected] == [
        (1, "retention has removed its mission")
    ]


def test_a_removed_mission_of_one_workspace_may_be_in_another(database: Database):
    database.write_blocking(lambda connection: access.create_workspace(connection, "w2", now=0))
    put(database, "m", age=2 * DAY)
    retain(database, days=1)
    assert accept_entries(database, 2, lines("m", 1), None).accepted == 1


def test_a_dry_run_prints_what_would_go_and_a_run_prints_what_went(quartermaster, samples: Path):
    quartermaster("ingest", samples)
    before = json.loads(quartermaster("missions", "--limit", "1000", "--format", "json").stdout)
    assert quartermaster("retention", "set", "--missions", "2").returncode == 0
    dry = json.loads(quartermaster("retention", "run", "--dry-run", "--format", "json").stdout)
    assert len(dry) == len(before) - 2
    told = quartermaster("missions", "--limit", "1000", "--format", "json").stdout
    assert len(json.loads(told)) == len(before)
    kept = dry[0]["mission_id"]
    quartermaster("retention", "keep", kept)
    done = quartermaster("retention", "run", "--format", "json")
    assert kept not in [row["mission_id"] for row in json.loads(done.stdout)]
    left = [row["mission_id"] for row in json.loads(quartermaster("missions", "--format", "json").stdout)]
    assert kept in left
    (row,) = json.loads(quartermaster("retention", "show", "--format", "json").stdout)
    assert (row["missions"], row["due"]) == (2, 0)
    gone = next(row["mission_id"] for row in dry if row["mission_id"] not in left)
    refused = quartermaster("eval", "replay", gone)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_the_daemon_removes_what_is_due_by_itself(start_daemon):
    daemon = start_daemon(QUARTERMASTER_RETENTION_MISSIONS="1", QUARTERMASTER_RETENTION_INTERVAL_SECONDS="1")
    for name in ("first", "second"):
        body = lines(name, 2)
        assert daemon.request("POST", "/api/v1/journal", body).status == 200
    daemon.wait_for(lambda: len(daemon.get("/api/v1/missions")["rows"]) == 1)
    assert daemon.get("/api/v1/missions")["rows"][0]["mission_id"] == "second"
    daemon.wait_for(lambda: "missions removed" in daemon.log.read_text())
