"""`quartermaster trend`: sixty nights of missions, on a home and through the API."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trend_world
from running import Daemon, run_command

from quartermaster.cli.trend import _BY, _METRICS
from quartermaster.core.series import METRICS
from quartermaster.core.trends import BY

Trend = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that has read sixty nights of missions."""
    folder = tmp_path_factory.mktemp("nights")
    (folder / "nights.ndjson").write_text("\n".join(trend_world.lines()) + "\n")
    done = run_command(folder / "home", "ingest", folder / "nights.ndjson")
    assert done.returncode == 0, done.stderr
    return folder / "home"


@pytest.fixture
def trend(nights: Path) -> Trend:
    """Runs `trend` on that home."""
    return lambda *arguments: run_command(nights, "trend", *arguments)


def test_the_choices_of_the_options_are_those_of_the_core():
    assert tuple(METRICS) == _METRICS
    assert BY == _BY


def test_the_change_is_told_with_what_changed_there_and_the_first_bad_mission(trend: Trend):
    done = trend("--metric", "success_rate", "--metric", "total_cost_usd")
    assert done.returncode == 0, done.stderr
    assert f"Change of fixer at {trend_world.CHANGED_AT}: worse" in done.stdout
    change = f"{trend_world.OLD_MODEL} -> {trend_world.NEW_MODEL} at {trend_world.CHANGED_AT}"
    assert f"model {change}" in done.stdout
    assert f"First bad mission: night-{trend_world.CHANGE}-task-" in done.stdout


def test_points_are_printed_where_they_are_asked_for(trend: Trend):
    assert "2027-01-01" not in trend("--metric", "success_rate").stdout
    assert "2027-01-01" in trend("--metric", "success_rate", "--points").stdout


def test_a_home_and_its_daemon_tell_the_same(trend: Trend, nights: Path, quartermaster):
    here = json.loads(trend("--by", "commit", "--metric", "work_steps", "--format", "json").stdout)
    with Daemon.start(nights) as daemon:
        there = quartermaster(
            *("trend", "--by", "commit", "--metric", "work_steps", "--format", "json"),
            *("--url", daemon.url, "--token", daemon.token),
        )
    assert json.loads(there.stdout) == here
    assert [point["at"] for point in here["series"][0]["points"]] == ["c0", "c1", "c2"]


def test_markdown_is_for_a_report_and_ndjson_one_line(trend: Trend):
    report = trend("--metric", "success_rate", "--format", "markdown").stdout
    assert f"### Change of fixer at {trend_world.CHANGED_AT}: worse" in report
    assert "| success_rate |" in report
    line = trend("--format", "ndjson").stdout
    assert line.count("\n") == 1
    assert json.loads(line)["missions"] == trend_world.NIGHTS * trend_world.TASKS


def test_nothing_is_said_of_nothing(trend: Trend):
    assert trend("--task", "unheard-of").stdout == "no mission matches\n"
    assert trend("--metric", "speed").returncode == 2
    assert trend("--since", "yesterday").returncode == 2


def test_missions_without_a_commit_are_not_put_in_an_order_of_commits(quartermaster, tmp_path: Path):
    entry = {"entry_type": "note", "ts": "2027-01-01T00:00:00Z", "mission_id": "m"}
    (tmp_path / "m.ndjson").write_text(json.dumps(entry) + "\n")
    quartermaster("ingest", tmp_path / "m.ndjson")
    shown = quartermaster("trend", "--by", "commit").stdout
    assert shown == "none of 1 missions has a commit; try another --by\n"
