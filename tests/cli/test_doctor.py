"""`quartermaster doctor`: what it finds, and what it says to do."""

import json
import os
import socket
from pathlib import Path

import pytest


def found(done) -> dict[str, dict]:
    return {row["check"]: row for row in json.loads(done.stdout)}


def test_a_healthy_home_passes(quartermaster):
    quartermaster("workspace", "list")
    done = quartermaster("doctor", "--format", "json")
    assert done.returncode == 0, done.stdout
    states = {name: row["state"] for name, row in found(done).items()}
    assert {states[name] for name in ("home", "database", "token", "daemon", "disk")} == {"ok"}


def test_a_home_that_is_not_there_yet_is_no_failure_and_is_not_made(quartermaster, home: Path):
    done = quartermaster("doctor", "--format", "json")
    assert done.returncode == 0
    assert found(done)["home"]["state"] == "warn"
    assert not home.exists()


def test_a_damaged_database_fails(quartermaster, samples: Path, home: Path):
    quartermaster("ingest", samples)
    database = home / "quartermaster.db"
    data = bytearray(database.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 50_000] = b"\xff" * 50_000
    database.write_bytes(data)
    done = quartermaster("doctor", "--format", "json")
    assert done.returncode == 10
    row = found(done)["database"]
    assert row["state"] == "fail"
    assert "restore a backup" in row["message"]
    assert "Traceback" not in done.stderr


def test_a_token_that_others_may_read_fails_and_says_what_to_run(quartermaster, home: Path):
    quartermaster("workspace", "list")
    (home / "token").chmod(0o644)
    done = quartermaster("doctor", "--format", "json")
    assert done.returncode == 10
    assert f"chmod 600 {home / 'token'}" in found(done)["token"]["message"]


def test_a_home_that_others_may_look_into_is_a_warning(quartermaster, home: Path):
    quartermaster("workspace", "list")
    home.chmod(0o755)
    assert "chmod 700" in found(quartermaster("doctor", "--format", "json"))["home"]["message"]


def test_a_running_daemon_is_found_at_its_address(quartermaster, start_daemon):
    daemon = start_daemon()
    row = found(quartermaster("doctor", "--format", "json"))["daemon"]
    assert row["state"] == "ok"
    assert daemon.url in row["message"]
    assert str(daemon.process.pid) in row["message"]


def test_a_port_that_another_program_has_is_a_warning(quartermaster, home: Path):
    quartermaster("workspace", "list")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (home / "config.toml").write_text(f"port = {taken.getsockname()[1]}")
        row = found(quartermaster("doctor", "--format", "json"))["port"]
    assert row["state"] == "warn"
    assert "--port" in row["message"]


def test_inboxes_that_are_missing_or_closed_are_told(quartermaster, home: Path, tmp_path: Path):
    quartermaster("workspace", "list")
    (home / "config.toml").write_text(f"[[inbox]]\npath = '{tmp_path / 'missing'}'")
    assert found(quartermaster("doctor", "--format", "json"))["inbox"]["state"] == "warn"
    if os.geteuid() == 0:
        pytest.skip("nothing is closed to root")
    (tmp_path / "missing").mkdir(mode=0)
    assert found(quartermaster("doctor", "--format", "json"))["inbox"]["state"] == "fail"


def test_folders_of_recordings_that_are_not_watched_are_offered_with_the_command(
    quartermaster, tmp_path: Path
):
    user = tmp_path / "user"
    (user / ".claude" / "projects").mkdir(parents=True)
    (user / ".codex").mkdir()

    def offered() -> list[str]:
        rows = json.loads(quartermaster("doctor", "--format", "json", HOME=str(user)).stdout)
        return [row["message"] for row in rows if row["check"] == "recordings"]

    (message,) = offered()
    command = message.partition("run: quartermaster ")[2].split()
    assert command[:3] == ["watch", "add", "~/.claude/projects"]
    (user / ".codex" / "sessions").mkdir()
    assert len(offered()) == 2
    assert quartermaster(*command, HOME=str(user)).returncode == 0
    (message,) = offered()
    assert "~/.codex/sessions" in message
    rows = json.loads(quartermaster("doctor", "--format", "json", HOME=str(user)).stdout)
    assert [row["state"] for row in rows if row["check"] == "inbox"] == ["ok"]
