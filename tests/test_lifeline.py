"""Child processes of the daemon end with it, also where it is killed and can end nothing itself."""

import subprocess
import sys
from pathlib import Path

from running import PROGRAM, clean_environment

START_CHILD = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)
print("started", flush=True)
time.sleep(600)
"""


def long_command(home: Path) -> list[str]:
    """A child that would go on for ever."""
    return [*PROGRAM, "child", "serve", "--home", str(home), "--port", "0"]


def test_a_child_ends_when_the_daemon_lets_go_of_it(home: Path):
    child = subprocess.Popen(
        long_command(home), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=clean_environment()
    )
    child.communicate(timeout=30)
    assert child.returncode == 1


def test_a_child_ends_with_a_daemon_that_is_killed(home: Path):
    starting = subprocess.Popen(
        [sys.executable, "-c", START_CHILD, *long_command(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    assert starting.stdout is not None
    assert starting.stderr is not None
    assert starting.stdout.readline()
    assert any(b'"event": "started"' in line for line in starting.stderr)
    starting.kill()
    rest, _ = starting.communicate(timeout=30)  # ends when the child, who holds both streams too, is gone
    assert rest == b""
