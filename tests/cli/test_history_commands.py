"""`plan`, `gate tune` and `watch-batch` on the missions of a home."""

import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from quartermaster.core.journal import minted_id


def mission(name, task, variant, *, outcome="succeeded", commands=3):
    """A mission that ended: a model call and so many commands."""
    told = [("mission.created", {"task": task, "variant": variant})]
    told.append(("llm.call", {"model": "m", "total_tokens": 10 * commands, "cost_usd": 0.01 * commands}))
    told += [("exec.command", {"command": f"make {n}", "exit_code": 0}) for n in range(commands)]
    told.append(("mission.status_change", {"to_status": "completed"}))
    told.append(("mission.outcome", {"outcome": outcome, "origin": "verifier"}))
    return [
        json.dumps(
            {
                "id": minted_id(name, str(number)),
                "mission_id": name,
                "ts": f"2027-01-01T00:00:{number:02d}Z",
                "entry_type": entry_type,
                "payload": payload,
            }
        )
        for number, (entry_type, payload) in enumerate(told)
    ]


def ingest(quartermaster, path: Path, *missions):
    path.write_text("".join(line + "\n" for one in missions for line in one))
    done = quartermaster("ingest", path)
    assert done.returncode == 0, done.stderr


def repeated(runs=3, tasks=8):
    """Every task with runs of 3, 4 and 6 commands; each third run fails."""
    return [
        mission(
            f"m{task}.{run}",
            f"t{task}",
            "v1",
            outcome="failed" if (task + run) % 3 == 0 else "succeeded",
            commands=(3, 4, 6)[run % 3],
        )
        for task in range(tasks)
        for run in range(runs)
    ]


@pytest.fixture
def history(quartermaster, tmp_path: Path):
    ingest(quartermaster, tmp_path / "history.ndjson", *repeated())


def test_a_plan_rests_on_the_variance_of_ones_own_repeated_tasks(quartermaster, history):
    done = quartermaster("plan", "--format", "json")
    plan = json.loads(done.stdout)
    assert done.returncode == 0
    assert [one["tasks"] for one in plan["variances"]] == [8, 8, 8]
    assert plan["variances"][0]["w"] == pytest.approx(1 / 3)
    assert plan["tasks"] == 8
    needed = {(one["metric"], one["effect"]): one for one in plan["needed"]}
    assert set(needed) == {
        ("mission_success", 0.05),
        ("mission_success", 0.1),
        ("mission_success", 0.2),
        ("work_steps", 0.2),
        ("total_cost_usd", 0.15),
    }
    success = needed["mission_success", 0.2]
    assert success["trials"] == -(-success["runs"] // 8)


def test_a_plan_for_people_names_sizes_and_runs(quartermaster, history):
    done = quartermaster("plan", "variant=v1", "--tasks", "40")
    assert "variance between runs of one task 0.333, from 8 tasks" in done.stdout
    assert "50x3" in done.stdout
    assert "EACH OF 40 TASKS, TIMES" in done.stdout


def test_without_history_success_is_planned_and_steps_are_not(quartermaster, tmp_path: Path):
    ingest(quartermaster, tmp_path / "one.ndjson", mission("m", "t", "v1"))
    plan = json.loads(quartermaster("plan", "--format", "json").stdout)
    assert [one["w"] for one in plan["variances"]] == [0.15, None, None]
    assert set(plan["resolution"]) == {"mission_success"}
    assert "planned with a variance of 0.15" in quartermaster("plan").stdout


def test_a_gate_is_held_against_history_and_written_when_asked_for(quartermaster, history, tmp_path: Path):
    file = tmp_path / "policy.toml"
    done = quartermaster("gate", "tune", "--resamples", "20", "--format", "json", "--write", file)
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert report["missions"] == 24
    pairs = {one["metric"]: one for one in report["pairs"]["metrics"]}
    assert report["pairs"]["compared"] == 48
    assert pairs["steps_to_goal"]["false_alarms"]["hits"] > 0
    written = tomllib.loads(file.read_text())
    assert written["thresholds"]["steps_to_goal"] == pairs["steps_to_goal"]["tuned"] > 0.2
    assert written["tolerances"]["work_steps"] == 0.2


def test_nothing_is_written_unless_asked_for_and_nothing_is_overwritten(
    quartermaster, history, tmp_path: Path
):
    listed = sorted(tmp_path.glob("*.toml"))
    done = quartermaster("gate", "tune", "--resamples", "20")
    assert "HOLDS 5 % ALONE" in done.stdout
    assert sorted(tmp_path.glob("*.toml")) == listed
    file = tmp_path / "mine.toml"
    file.write_text("kept")
    assert quartermaster("gate", "tune", "--resamples", "20", "--write", file).returncode == 2
    assert file.read_text() == "kept"


def test_a_home_without_repeated_tasks_is_told_what_to_do(quartermaster, tmp_path: Path):
    ingest(quartermaster, tmp_path / "one.ndjson", mission("m", "t", "v1"))
    done = quartermaster("gate", "tune")
    assert done.returncode == 2
    assert "no task was run twice by one variant" in done.stderr


def batch(variant, tasks, outcome="succeeded"):
    return [mission(f"{variant}.{task}", f"t{task:02}", variant, outcome=outcome) for task in tasks]


def test_a_batch_that_gets_worse_raises_an_alarm_while_it_runs(quartermaster, home: Path, tmp_path: Path):
    ingest(quartermaster, tmp_path / "before.ndjson", *batch("v1", range(20)))
    ingest(quartermaster, tmp_path / "begun.ndjson", *batch("v2", range(3), "failed"))
    words = ["watch-batch", "variant=v1", "variant=v2", "--every", "0.1", "--format", "ndjson"]
    watching = subprocess.Popen(
        [sys.executable, "-m", "quartermaster", *words, "--home", str(home)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    first = json.loads(watching.stdout.readline())
    assert (first["task"], first["watch"]["worse"], first["missing"]) == ("t00", 1, 19)
    ingest(quartermaster, tmp_path / "more.ndjson", *batch("v2", range(3, 12), "failed"))
    rest, _ = watching.communicate(timeout=60)
    last = json.loads(rest.splitlines()[-1])
    assert watching.returncode == 1
    assert last["watch"]["state"] == "alarm"
    assert last["missing"] > 8


def test_a_batch_that_does_not_go_on_is_given_up(quartermaster, tmp_path: Path):
    ingest(quartermaster, tmp_path / "before.ndjson", *batch("v1", range(4)))
    ingest(quartermaster, tmp_path / "begun.ndjson", *batch("v2", range(2)))
    began = time.monotonic()
    done = quartermaster(
        "watch-batch", "variant=v1", "variant=v2", "--every", "0.1", "--give-up-after", "0.3"
    )
    assert done.returncode == 3
    assert "t01: succeeded -> succeeded; 0 worse, 0 better" in done.stdout
    assert "2 runs of the batch are still missing" in done.stderr
    assert time.monotonic() - began < 30


def test_a_finished_set_is_not_watched(quartermaster, tmp_path: Path):
    ingest(quartermaster, tmp_path / "all.ndjson", *batch("v1", range(3)), *batch("v2", range(4)))
    done = quartermaster("watch-batch", "variant=v1", "variant=v2")
    assert done.returncode == 2
    assert "`quartermaster compare` judges finished sets" in done.stderr
    assert quartermaster("watch-batch", "variant=v3", "variant=v2").returncode == 2


def test_a_batch_is_watched_through_the_daemon_too(quartermaster, start_daemon, tmp_path: Path):
    ingest(quartermaster, tmp_path / "before.ndjson", *batch("v1", range(12)))
    ingest(quartermaster, tmp_path / "begun.ndjson", *batch("v2", range(9), "failed"))
    daemon = start_daemon()
    done = quartermaster(
        *("watch-batch", "variant=v1", "variant=v2", "--format", "ndjson"),
        *("--url", daemon.url, "--token", daemon.token),
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["watch"]["state"] == "alarm"


@pytest.mark.parametrize("words", [("plan",), ("gate", "tune")], ids=" ".join)
def test_what_reads_a_whole_history_works_where_it_lies_and_says_so(quartermaster, words):
    by_flag = quartermaster(*words, "--url", "http://127.0.0.1:1")
    by_variable = quartermaster(*words, QUARTERMASTER_URL="http://127.0.0.1:1", QUARTERMASTER_HOME="")
    assert (by_flag.returncode, by_variable.returncode) == (2, 2)
    said = f"`{' '.join(words)}` judges every mission of a history"
    assert said in by_flag.stderr
    assert said in by_variable.stderr
