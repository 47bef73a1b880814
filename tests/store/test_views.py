"""The views for people: readable by other programs while the daemon runs, and documented."""

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from quartermaster.store.views import VIEWS

README = Path(__file__).resolve().parents[2] / "README.md"
NAMES = ("missions", "steps", "runs", "findings")

READER = """
import json, sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
connection.row_factory = sqlite3.Row
print(json.dumps([dict(row) for row in connection.execute(sys.argv[2])]))
"""


def read(database: Path, query: str) -> list[dict]:
    done = subprocess.run(
        [sys.executable, "-c", READER, database, query],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return json.loads(done.stdout)


def test_other_programs_read_the_views_while_the_daemon_runs(
    home: Path, start_daemon, quartermaster, samples: Path
):
    daemon = start_daemon()
    assert quartermaster("ingest", samples / "native", samples / "claude_code").returncode == 0
    run = daemon.request("POST", "/api/v1/eval/replay", {"mission_id": "demo-login-fix-candidate"}).json
    daemon.wait_for_run(run["run_id"])
    for mission in daemon.get("/api/v1/missions")["rows"]:
        daemon.get(f"/api/v1/missions/{mission['mission_id']}")  # looking at a mission examines it
    database = home / "quartermaster.db"

    shown = {row["mission_id"]: row for row in read(database, "select * from missions")}
    served = {row["mission_id"]: row for row in daemon.get("/api/v1/missions")["rows"]}
    assert set(shown) == set(served)
    for mission_id, row in served.items():
        same = ("task", "outcome", "entries", "model_calls", "total_tokens", "total_cost_usd")
        assert {key: shown[mission_id][key] for key in same} == {key: row[key] for key in same}
        steps = daemon.get(f"/api/v1/missions/{mission_id}/trajectory?limit=500")["steps"]
        listed = read(
            database, f"select * from steps where mission_id = '{mission_id}' and phase is not 'end'"
        )
        told = [(step["entry_id"], step["entry_type"], step["tool"]) for step in steps]
        assert [(row["entry_id"], row["entry_type"], row["tool"]) for row in listed] == told
    assert [row["run_id"] for row in read(database, "select * from runs")] == [run["run_id"]]
    found = read(database, "select * from findings where mission_id = 'demo-login-fix-candidate'")
    assert "repeated_call" in {row["failure_mode"] for row in found}

    shell = shutil.which("sqlite3")
    if shell:
        uri = f"file:{database}?mode=ro"
        done = subprocess.run([shell, uri, "select count(*) from missions"], capture_output=True, check=True)
        assert int(done.stdout) == len(served)
    if find_spec("datasette"):
        page = "/quartermaster/missions.json?_shape=array"
        done = subprocess.run(
            [sys.executable, "-m", "datasette", "serve", database, "--get", page],
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert {row["mission_id"] for row in json.loads(done.stdout)} == set(served)
    assert daemon.get("/api/v1/missions")["rows"]


@pytest.mark.parametrize("name", NAMES)
def test_every_column_of_a_view_is_in_the_readme(name: str, home: Path, quartermaster, samples: Path):
    quartermaster("workspace", "list")
    (row,) = (line for line in README.read_text().splitlines() if line.startswith(f"| `{name}` |"))
    documented = re.findall(r"`([a-z_]+)`", row.split("|")[3])
    columns = [one["name"] for one in read(home / "quartermaster.db", f"pragma table_info({name})")]
    assert columns == documented


def test_there_are_no_other_views():
    assert tuple(re.findall(r"create view (\w+)", VIEWS)) == NAMES
