"""Nothing that was promised is lost by a kill; and the harness that says so can tell when it is not true."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import kill
from faults.check import check_api, check_database, check_processes
from faults.kill import Ordeal
from faults.sabotage import MODES, sabotage
from running import Daemon

IN_DATABASE = {
    "lost_entry": "entry lost",
    "doubled_entry": "entry doubled",
    "lost_raw": "raw lost",
    "lost_key": "key astray",
    "wrong_total": "total wrong",
    "file_read_twice": "file misread",
    "lost_run": "run lost",
    "unfinished_run": "run unfinished",
    "doubled_end": "run ended twice",
    "lost_start": "start not told once",
    "doubled_start": "start not told once",
    "doubled_announcement": "end not told once",
    "damaged_file": "database damaged",
}
IN_API = {
    "lost_entry": "entry lost",
    "doubled_entry": "entry doubled",
    "lost_raw": "entry lost",
    "lost_run": "run lost",
    "lost_start": "start not told once",
    "doubled_start": "start not told once",
    "doubled_announcement": "end not told once",
    "doubled_metric": "metric told twice",
}


def test_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """The short version of `python tests/faults/kill.py --rounds 60`."""
    figures = kill.run(tmp_path / "home", rounds=6, seed=4, large_entries=20_000)
    assert figures["violations"] == 0, figures
    assert figures["kills"] >= 6
    assert figures["acknowledged_entries"] > 100
    assert figures["runs"]["completed"] > 0
    assert figures["runs"]["second_attempts"] > 0, "no kill has hit a run"


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Ordeal:
    """A world that has been through one kill and is at rest, with a copy of its database beside it."""
    ordeal = Ordeal(tmp_path_factory.mktemp("settled") / "home", seed=1, large_entries=2_000)
    ordeal.endure(1).stop()
    assert ordeal.promises.broken == []
    shutil.copy(ordeal.database, copy_of(ordeal))
    return ordeal


@pytest.fixture
def world(settled: Ordeal) -> Iterator[Ordeal]:
    """The settled world, put right again after each test."""
    yield settled
    for leftover in settled.home.glob("quartermaster.db*"):
        leftover.unlink()
    shutil.copy(copy_of(settled), settled.database)


def copy_of(ordeal: Ordeal) -> Path:
    return ordeal.home.with_name("copy.db")


def test_an_undamaged_world_passes_both_checks(world: Ordeal) -> None:
    assert check_database(world.database, world.promises) == []
    with Daemon.start(world.home) as daemon:
        assert check_api(daemon, world.promises) == []


def test_every_sabotage_has_somebody_who_notices() -> None:
    assert IN_DATABASE.keys() | IN_API.keys() == MODES.keys()


@pytest.mark.parametrize("mode", IN_DATABASE)
def test_sabotage_is_seen_in_the_database(mode: str, world: Ordeal) -> None:
    sabotage(mode, world.database)
    assert IN_DATABASE[mode] in {one.kind for one in check_database(world.database, world.promises)}


@pytest.mark.parametrize("mode", IN_API)
def test_sabotage_is_seen_through_the_api(mode: str, world: Ordeal) -> None:
    sabotage(mode, world.database)
    with Daemon.start(world.home) as daemon:
        assert IN_API[mode] in {one.kind for one in check_api(daemon, world.promises)}


def test_a_process_that_outlives_its_daemon_is_seen(world: Ordeal) -> None:
    assert check_processes(world.database) == []
    waits = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", str(world.database)]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # a process has no command line yet while it is being started
        assert {one.kind for one in check_processes(world.database)} == {"process left behind"}
        process.communicate()


@pytest.mark.parametrize("seconds", (0.05, 0.15, 0.25, 0.35, 0.5))
def test_a_first_start_that_was_killed_is_made_up_for(seconds: float, home: Path) -> None:
    launched = Daemon.launch(home)
    time.sleep(seconds)
    launched.daemon.kill()
    with Daemon.start(home) as daemon:
        assert daemon.get("/api/v1/missions")["rows"] == []


def test_the_command_exits_with_1_when_a_promise_was_broken() -> None:
    command = [sys.executable, kill.__file__, "--rounds", "0", "--large-entries", "500"]
    ended = subprocess.run(
        [*command, "--sabotage", "lost_entry"], check=False, capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 1, ended.stderr
    figures = json.loads(ended.stdout)
    assert figures["violations"] > 0
    assert any(example.startswith("entry lost") for example in figures["examples"])
