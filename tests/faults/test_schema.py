"""Requests that are made from the schema which the daemon serves: none of them is answered with 5xx.

The long run, with 100 examples of each operation: python tests/faults/test_schema.py 100
"""

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest
from running import Daemon

EXAMPLES = 20
ENDLESS = "/api/v1/eval/runs/stream"


@pytest.mark.timeout(400)
@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="schemathesis is not installed")
def test_what_the_schema_allows_or_forbids_never_fails_inside(tmp_path: Path) -> None:
    with Daemon.start(tmp_path / "home") as daemon:
        done = examined(daemon, tmp_path, EXAMPLES)
        assert done.returncode == 0, done.stdout[-4000:]
        assert re.search(r"\d{3,} generated", done.stdout), done.stdout[-4000:]
        assert daemon.request("GET", "/readyz").status == 200


def examined(daemon: Daemon, folder: Path, examples: int) -> "subprocess.CompletedProcess[str]":
    """What schemathesis says about a daemon."""
    asked = f"run {daemon.url}/schema --exclude-path {ENDLESS} --checks not_a_server_error --no-color"
    limits = f"--max-examples {examples} --seed 1 --request-timeout 20"
    token = ("--header", f"Authorization: Bearer {daemon.token}")
    return subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *asked.split(), *limits.split(), *token],
        check=False,
        capture_output=True,
        text=True,
        timeout=3600,
        cwd=folder,
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place, Daemon.start(Path(place) / "home") as running:
        told = examined(running, Path(place), int(sys.argv[1]) if len(sys.argv) > 1 else 100)
    print(told.stdout[-2500:])
    sys.exit(told.returncode)
