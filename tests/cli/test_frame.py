"""The frame of the command line: what a start loads, exit codes, errors, pipes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quartermaster import __version__
from quartermaster.cli import COMMANDS

HEAVY = (
    "litestar", "uvicorn", "sqlite3", "sqlite_utils", "anyio", "asyncio", "msgspec", "rich", "structlog",
    "http.client", "numpy", "watchfiles", "quartermaster.store", "quartermaster.core", "quartermaster.api",
)  # fmt: skip


def loaded_after(*arguments: str) -> set[str]:
    """Which heavy modules a command has loaded at its end."""
    code = (
        "import sys, atexit\n"
        f"sys.argv = ['quartermaster', *{list(arguments)!r}]\n"
        f"atexit.register(lambda: sys.stderr.write('loaded: ' + ' '.join({HEAVY!r} & sys.modules.keys())))\n"
        "from quartermaster.__main__ import main\n"
        "main()"
    ).replace(f"{HEAVY!r} &", f"set({HEAVY!r}) &")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stderr.rpartition("loaded: ")[2].split())


def test_the_version_is_told_without_loading_anything():
    assert loaded_after("--version") == set()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "quartermaster", "--version"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"quartermaster {__version__}\n"
    assert "click" not in done.stderr


def test_the_help_of_the_program_loads_no_room():
    assert loaded_after("--help") == set()


def test_the_help_lists_every_command_with_its_line(quartermaster):
    shown = quartermaster("--help").stdout
    for name, line in COMMANDS.items():
        assert name in shown
        assert line in " ".join(shown.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_of_its_own(quartermaster, name: str):
    done = quartermaster(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: quartermaster {name}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("eval", "nonsense"),
        ("missions", "--nonsense"),
        ("missions", "--format", "xml"),
        ("missions", "--limit", "0"),
        ("eval", "replay", "x", "--seed", str(2**63)),
        ("ingest",),
        ("show",),
        ("missions", "--home", "x", "--url", "http://127.0.0.1:1"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_nothing_on_stdout(quartermaster, arguments: tuple[str, ...]):
    done = quartermaster(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_without_a_database_is_told_and_not_made_by_looking(quartermaster, home: Path):
    done = quartermaster("missions")
    assert done.returncode == 2
    assert "no database" in done.stderr
    assert not home.exists()


def test_a_fault_of_the_program_is_one_line_and_a_hint(quartermaster, home: Path):
    quartermaster("workspace", "list")
    (home / "inbox" / "team").touch()  # a file where a folder has to be
    done = quartermaster("workspace", "create", "team")
    assert done.returncode == 10
    assert done.stderr.count("\n") == 1
    assert "internal error" in done.stderr
    assert "QUARTERMASTER_DEBUG=1" in done.stderr
    debugged = quartermaster("workspace", "create", "team2", QUARTERMASTER_DEBUG="1")
    assert debugged.returncode == 0
    (home / "inbox" / "team3").touch()
    debugged = quartermaster("workspace", "create", "team3", QUARTERMASTER_DEBUG="1")
    assert "Traceback" in debugged.stderr


def test_a_file_that_is_no_database_is_told_in_words(quartermaster, home: Path):
    home.mkdir()
    database = home / "quartermaster.db"
    database.write_bytes(b"something else entirely, and long enough to be looked at" * 99)
    database.chmod(0o600)
    done = quartermaster("missions")
    assert done.returncode == 10
    assert "database" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error_to_talk_about(quartermaster, samples: Path, home: Path):
    quartermaster("ingest", samples)
    command = f"{sys.executable} -m quartermaster journal --limit 200 --format ndjson | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        check=False,
        capture_output=True,
        text=True,
        cwd=home.parent,
        env={**os.environ, "QUARTERMASTER_HOME": str(home)},
    )
    assert done.returncode in (0, 141)  # never 1: that would mean regressed
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


def test_an_interrupt_ends_quietly_with_130(quartermaster, samples: Path, home: Path, tmp_path: Path):
    quartermaster("ingest", samples)
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(home / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert held.stdout is not None
    assert held.stdout.readline() == "held\n"
    waiting = subprocess.Popen(
        [sys.executable, "-m", "quartermaster", "eval", "replay", "latest", "--wait", "--home", home],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    time.sleep(1.5)  # it waits for the daemon that is none
    waiting.send_signal(signal.SIGINT)
    stdout, stderr = waiting.communicate(timeout=10)
    held.kill()
    held.communicate()
    assert (waiting.returncode, stdout, stderr.strip()) == (130, "", "")


HOLD_LOCK = """
import fcntl, json, os, sys, time
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.write(json.dumps({"role": "daemon", "pid": os.getpid()}))
lock.flush()
print("held", flush=True)
time.sleep(60)
"""
