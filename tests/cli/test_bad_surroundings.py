"""Ctrl-C, full disks, closed pipes, baselines of another time: one line, the right code, no half a file."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from running import PROGRAM

from quartermaster.core.capsule import FORMAT

ENTRIES = 8000


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Large enough that every command on it can be interrupted while it works."""
    path = tmp_path / "big.ndjson"
    payload = {"exit_code": 0, "output": "some words that take room " * 40}
    with path.open("w") as file:
        for number in range(ENTRIES):
            ts = f"2027-01-31T09:{number // 60 % 60:02}:{number % 60:02}Z"
            entry = {"mission_id": f"m{number // 400:03}", "ts": ts, "entry_type": "exec.command"}
            file.write(json.dumps(entry | {"payload": payload | {"command": f"ls {number}"}}) + "\n")
    return path


@pytest.fixture
def start(home: Path, tmp_path: Path):
    """Starts a command as a shell does, in a group of its own; what is left at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: object) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "QUARTERMASTER_HOME": str(home)},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def interrupt(process: "subprocess.Popen[str]", when: Callable[[], object]) -> None:
    """Presses Ctrl-C: the whole group of the terminal gets the signal."""
    deadline = time.monotonic() + 60
    while not when():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    pressed = time.monotonic()
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr.strip()) == (130, "", "")
    assert time.monotonic() - pressed < 20


def children(process: "subprocess.Popen[str]") -> list[str]:
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_interrupted_ingest_is_gone_on_with(start, quartermaster, home: Path, recording: Path):
    interrupt(start("ingest", recording), (home / "quartermaster.db").exists)
    again = quartermaster("ingest", recording, "--format", "json")
    assert again.returncode == 0, again.stderr
    whole = quartermaster("export", "--format", "csv", "--table", "missions").stdout
    assert sum(int(line.split(",")[whole_column(whole)]) for line in whole.splitlines()[1:]) == ENTRIES


def whole_column(table: str) -> int:
    return table.splitlines()[0].split(",").index("entries")


@pytest.mark.parametrize(
    "command",
    [
        ("export", "--output", "out.ndjson"),
        ("export", "--format", "xes", "--output", "out.xes"),
        ("backup", "copy.db"),
        ("workspace", "export", "local.zst"),
    ],
    ids=lambda command: " ".join(command[:-1]),
)
def test_an_interrupt_leaves_no_file(start, quartermaster, tmp_path: Path, recording: Path, command):
    assert quartermaster("ingest", recording).returncode == 0
    before = names(tmp_path)
    interrupt(start(*command), lambda: names(tmp_path) - before)
    assert names(tmp_path) == before


def test_an_interrupted_self_test_and_its_processes_end_in_silence(start, tmp_path: Path):
    process = start("selftest", "stats", "--workers", "2")
    seen: list[str] = []

    def works() -> bool:
        seen[:] = children(process)
        return len(seen) >= 3  # two workers beside the one that Python itself keeps

    interrupt(process, works)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{one}").exists() for one in seen) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [one for one in seen if Path(f"/proc/{one}").exists()] == []


def with_little_room(limit: int, *arguments: object, home: Path, folder: Path):
    """Runs a command that may write files of so many bytes; more fails as on a full disk."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={**os.environ, "QUARTERMASTER_HOME": str(home)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


@pytest.mark.parametrize(
    "command",
    [
        ("export", "--output", "out.ndjson"),
        ("export", "--format", "csv", "--table", "steps", "--output", "out.csv"),
        ("backup", "copy.db"),
        ("workspace", "export", "local.zst"),
    ],
    ids=lambda command: " ".join(command[:-1]),
)
@pytest.mark.parametrize("limit", [4096, 65536])  # too little to open the database, and for what is written
def test_what_does_not_fit_is_told_and_leaves_no_file(
    quartermaster, home: Path, tmp_path: Path, recording: Path, command, limit: int
):
    quartermaster("ingest", recording)
    home_before, before = names(home), names(tmp_path)
    done = with_little_room(limit, *command, home=home, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (10, "", 1), done.stderr
    assert "room" in done.stderr or "free some space" in done.stderr
    assert "internal error" not in done.stderr
    assert names(tmp_path) == before
    assert names(home) >= home_before


@pytest.mark.parametrize("command", ["missions", "export", "metrics", "--help"])
def test_an_output_on_a_full_disk_is_told(quartermaster, home: Path, samples: Path, command: str):
    quartermaster("ingest", samples / "native")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, command],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env={**os.environ, "QUARTERMASTER_HOME": str(home)},
        )
    said = "quartermaster: the output could not be written: No space left on device; make room for it\n"
    assert (done.returncode, done.stderr) == (10, said)


def test_an_export_writes_into_a_device_and_does_not_replace_it(quartermaster, samples: Path):
    quartermaster("ingest", samples / "native")
    assert quartermaster("export", "--output", "/dev/null").returncode == 0
    assert Path("/dev/null").is_char_device()
    full = quartermaster("export", "--output", "/dev/full")
    assert (full.returncode, full.stderr.count("\n")) == (10, 1)
    assert "/dev/full could not be written: No space left on device; make room" in full.stderr
    assert Path("/dev/full").is_char_device()


def test_an_export_through_a_link_leaves_the_link(quartermaster, samples: Path, tmp_path: Path):
    quartermaster("ingest", samples / "native")
    (tmp_path / "latest.ndjson").symlink_to(tmp_path / "real.ndjson")
    assert quartermaster("export", "--output", "latest.ndjson").returncode == 0
    assert (tmp_path / "latest.ndjson").is_symlink()
    assert (tmp_path / "real.ndjson").stat().st_size > 1000


@pytest.mark.parametrize("command", ["missions --format ndjson", "export", "metrics", "help api"])
def test_a_reader_that_went_away_is_nothing_to_talk_about(home: Path, samples: Path, command, quartermaster):
    quartermaster("ingest", samples / "native")
    program = " ".join(f"'{part}'" for part in PROGRAM)
    done = subprocess.run(
        ["bash", "-c", f"{program} {command} | true; echo ${{PIPESTATUS[0]}}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "QUARTERMASTER_HOME": str(home)},
    )
    assert done.stdout.strip() in ("141", "0")  # 0: it was done before the reader went
    assert done.stderr == ""


def test_a_baseline_of_a_newer_version_asks_for_a_newer_program(quartermaster, samples: Path, tmp_path: Path):
    frozen = quartermaster("baseline", "freeze", "main", samples / "native", "--output", "main.qmb")
    assert frozen.returncode == 0, frozen.stderr
    capsule = tmp_path / "main.qmb"
    head, _, rest = capsule.read_bytes().partition(b"\n")
    written = head.replace(b"capsule %d " % FORMAT, b"capsule %d " % (FORMAT + 1))
    assert written != head
    capsule.write_bytes(written + b"\n" + rest)
    for arguments in (
        ("compare", "main.qmb", samples / "native"),
        ("baseline", "diff", "main.qmb", samples / "native"),
    ):
        done = quartermaster(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert "install a newer one" in done.stderr


@pytest.mark.parametrize("side", ["none.qmb", "baseline:none", "none/recordings"])
def test_a_baseline_that_is_not_there_is_said_in_one_line(quartermaster, samples: Path, side: str):
    quartermaster("ingest", samples / "native")
    done = quartermaster("compare", side, samples / "native")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "none" in done.stderr


def test_an_interrupt_before_the_command_begins_is_quiet_too(home: Path):
    code = (
        "import signal, sys, os\n"
        "from quartermaster import __main__\n"
        "class Early:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'quartermaster.cli':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Early())\n"
        "sys.argv = ['quartermaster', 'missions']\n"
        "__main__.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
