"""The daemon where little is as usual: no home, no terminal, few files, odd names, a full log."""

import json
import logging
import os
import re
import stat
import sys
import time
from pathlib import Path

import pytest
from running import PROGRAM, Daemon, deliver

from quartermaster import logs


def test_a_daemon_starts_without_home_locale_or_stdin_under_any_mask_and_keeps_its_files_private(home: Path):
    bare = ("env", "-u", "HOME", "TZ=Pacific/Chatham", "LC_ALL=C", "LANG=C", "sh", "-c")
    with Daemon.start(home, program=(*bare, 'umask 000; exec "$@" <&-', "sh", *PROGRAM)) as daemon:
        assert daemon.get("/api/v1/missions")["rows"] == []
        for name in ("token", "quartermaster.db", "quartermaster.db-wal", "lock", "address"):
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        logged = [json.loads(line) for line in daemon.log.read_text().splitlines() if line.startswith("{")]
        assert all(line["timestamp"].endswith("Z") for line in logged)


@pytest.mark.skipif(sys.platform != "linux", reason="limits are set the way of Linux")
def test_a_daemon_that_may_open_64_files_starts_and_answers(home: Path, samples: Path):
    with Daemon.start(home, program=("sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *PROGRAM)) as daemon:
        deliver(samples / "native/login_fix.ndjson", home / "inbox/local")
        daemon.wait_for(lambda: daemon.get("/api/v1/missions")["count"] == 2)
        limits = Path(f"/proc/{daemon.process.pid}/limits").read_text()
        assert re.search(r"^Max open files +64 +64 ", limits, re.MULTILINE)
        assert daemon.request("GET", "/readyz").status == 200
        missions = [row["mission_id"] for row in daemon.get("/api/v1/missions")["rows"]]
        assert len(set(missions)) == 2


def test_a_daemon_without_a_folder_for_temporary_files_works(home: Path, tmp_path: Path):
    with Daemon.start(home, environment={"TMPDIR": str(tmp_path / "gone")}) as daemon:
        assert daemon.get("/api/v1/missions")["rows"] == []


def test_a_name_with_control_characters_forges_no_line_of_the_log(start_daemon):
    daemon = start_daemon()
    forged = 'x\n{"event": "forged", "level": "error"}\r\x1b[31m.ndjson'
    (daemon.home / "inbox/local" / forged).write_text(
        '{"mission_id": "m", "entry_type": "note", "ts": "2026-01-01T00:00:00Z"}\n'
    )
    daemon.wait_for(lambda: daemon.get("/api/v1/missions")["count"] == 1)
    daemon.wait_for(lambda: '"ingested"' in daemon.log.read_text())
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines() if line.startswith("{")]
    assert "forged" not in [line["event"] for line in lines]
    assert "\x1b" not in daemon.log.read_text()


def test_a_file_of_bad_lines_does_not_flood_the_log(start_daemon):
    daemon = start_daemon()
    (daemon.home / "inbox/local/bad.ndjson").write_text(
        '{"mission_id": "m", "entry_type": "note", "ts": "2026-01-01T00:00:00Z"}\n' + '{"x": 1}\n' * 20_000
    )

    def rejected() -> int:
        rows = daemon.get("/api/v1/sources")["rows"]
        return sum(row["rejected"] for row in rows)

    daemon.wait_for(lambda: rejected() == 20_000, 20)
    assert len(daemon.log.read_text().splitlines()) < 100


def test_a_log_that_cannot_be_written_costs_the_log_alone(home: Path):
    if not os.access("/dev/full", os.W_OK):
        pytest.skip("this system has no device that is always full")
    with Daemon.start(home, program=("sh", "-c", 'exec "$@" 2>/dev/full', "sh", *PROGRAM)) as daemon:
        assert daemon.request("GET", "/readyz").status == 200
        time.sleep(0.2)
        assert daemon.request("GET", "/api/v1/missions").status == 200


def test_libraries_do_not_log_addresses_of_requests():
    logs.configure("json")
    for name in ("httpx", "httpcore", "watchfiles"):
        assert logging.getLogger(name).getEffectiveLevel() >= logging.WARNING, name
