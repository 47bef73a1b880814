"""From a recording dropped into a folder to an explained answer, through a daemon as a user runs it."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from running import Daemon, deliver, run_command

SAMPLES = Path(__file__).resolve().parents[1] / "data/samples"
TRACES = Path(os.environ.get("QUARTERMASTER_TRACES") or Path(__file__).resolve().parents[2] / "shared/traces")

METRICS = {
    "tool_call_count",
    "tool_success_rate",
    "steps_to_goal",
    "convergence_ratio",
    "total_tokens",
    "total_cost_usd",
    "hallucinations",
    "failure_modes",
}
GATED = {"tool_success_rate", "steps_to_goal", "total_cost_usd", "hallucinations"}
ALWAYS = {
    "id",
    "workspace_id",
    "kind",
    "status",
    "seed",
    "total_tokens",
    "total_cost_usd",
    "regressed",
    "created_at",
}
OLDER_ROW = {
    "id",
    "workspace_id",
    "kind",
    "status",
    "seed",
    "seed_signature",
    "tokens",
    "cost_usd",
    "regressed",
    "mission_id",
    "baseline_mission_id",
    "candidate_mission_id",
    "result",
    "reason",
    "created_by",
    "created_at",
    "started_at",
    "completed_at",
    "updated_at",
}
IDLE_STOP_SECONDS = 2.0


class Story(NamedTuple):
    """Which recordings are dropped, how many missions that makes (`children` of them were started by
    others), and which two of them are compared."""

    recordings: tuple[Path, ...]
    missions: dict[str, int]
    children: int
    task: str
    baseline_trial: int
    candidate_trial: int
    breaches: tuple[str, ...]


OWN_SAMPLES = Story(
    recordings=(
        SAMPLES / "claude_code/ferry_backup_json.jsonl",
        SAMPLES / "native/login_fix.ndjson",
        SAMPLES / "tau_bench/bookshop_retail.json",
    ),
    missions={"claude_code": 1, "native": 2, "tau_bench": 4},
    children=0,
    task="tau_bench/retail/0",
    baseline_trial=0,
    candidate_trial=1,
    breaches=("tool success dropped 50.0% (> 5% threshold)", "steps to goal rose 40.0% (> 20% threshold)"),
)
REAL_RECORDINGS = Story(
    recordings=(
        TRACES / "claude_code/growing_a__71_69f9710768_0.jsonl",
        TRACES / "claude_code/many_errors__1a_8a83a35a9b_0.jsonl",
        TRACES / "tau_bench/gpt-4o-airline__tasks00-24.json",
    ),
    missions={"claude_code": 3, "tau_bench": 100},  # two sessions, one of which sent out a sub-agent
    children=1,
    task="tau_bench/airline/0",
    baseline_trial=2,
    candidate_trial=3,
    breaches=("tool success dropped 14.1% (> 5% threshold)", "steps to goal rose 100.0% (> 20% threshold)"),
)


@pytest.fixture(params=[OWN_SAMPLES, REAL_RECORDINGS], ids=["own samples", "real recordings"])
def story(request: pytest.FixtureRequest) -> Story:
    told: Story = request.param
    missing = [path for path in told.recordings if not path.exists()]
    if missing and told is REAL_RECORDINGS:
        pytest.skip(f"no shared recordings in {TRACES}; QUARTERMASTER_TRACES may name their folder")
    return told


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    with Daemon.start(home) as running:
        yield running


def test_recordings_in_a_folder_become_explained_answers(story: Story, daemon: Daemon) -> None:
    """The main job: drop, replay, compare; then read it again after a restart and on the command line."""
    for recording in story.recordings:
        deliver(recording, daemon.home / "inbox/local")
    wait_until_read(daemon, {recording.name for recording in story.recordings})
    missions = missions_of(daemon)
    assert by_format(missions) == story.missions
    assert len([mission for mission in missions if mission["parent_mission_id"]]) == story.children
    replays = [check_replay(daemon, mission) for mission in chosen_for_replay(missions)]
    regression = check_regression(daemon, *trials_to_compare(story, missions), story.breaches)
    runs = [*replays, regression]
    check_the_list_of_runs(daemon, runs)
    check_that_evaluations_are_no_steps(daemon, replays[0])
    seen = {run["id"]: daemon.get(f"/api/v1/eval/runs/{run['id']}") for run in runs}

    assert daemon.stop() < IDLE_STOP_SECONDS
    check_the_command_line(daemon.home, story, seen)

    with Daemon.start(daemon.home) as restarted:
        for run_id, row in seen.items():
            assert restarted.get(f"/api/v1/eval/runs/{run_id}") == row
        assert by_format(missions_of(restarted)) == story.missions
        assert restarted.get("/api/v1/journal/count") == {"count": len(all_entries(restarted))}
        check_the_command_line(restarted.home, story, seen)


def test_a_recording_that_is_delivered_again_changes_nothing(story: Story, daemon: Daemon) -> None:
    """The same file under another name brings no entry twice."""
    inbox = daemon.home / "inbox/local"
    for recording in story.recordings:
        deliver(recording, inbox)
    wait_until_read(daemon, {recording.name for recording in story.recordings})
    before = {entry["id"]: entry for entry in all_entries(daemon)}
    missions = missions_of(daemon)

    again = {deliver(recording, inbox, f"again-{recording.name}").name for recording in story.recordings}
    wait_until_read(daemon, again)
    assert {entry["id"]: entry for entry in all_entries(daemon)} == before
    assert by_format(missions) == story.missions
    assert missions_of(daemon) == missions


def missions_of(daemon: Daemon) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = daemon.get("/api/v1/missions?limit=200")["rows"]
    return rows


def path_of(mission_id: str) -> str:
    """Where a mission is; the id of a sub-agent's mission has a slash in it."""
    return f"/api/v1/missions/{quote(mission_id, safe='')}"


def by_format(missions: list[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(mission["format"] for mission in missions))


def wait_until_read(daemon: Daemon, names: set[str]) -> None:
    """Until these files were read to their end and the missions they hold are listed."""
    daemon.wait_for(lambda: files_read(daemon) >= names, 20)


def files_read(daemon: Daemon) -> set[str]:
    """Names of the files that were read to their end, by the daemon's log."""
    told = [json.loads(line) for line in daemon.log.read_text().splitlines() if line.startswith("{")]
    return {Path(one["file"]).name for one in told if one.get("state") == "complete"}


def chosen_for_replay(missions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every session, and one mission of each file that holds many."""
    sessions = [mission for mission in missions if mission["format"] == "claude_code"]
    others = {mission["format"]: mission for mission in missions if mission["format"] != "claude_code"}
    return [*sessions, *others.values()]


def trials_to_compare(story: Story, missions: list[dict[str, Any]]) -> tuple[str, str]:
    trials = {
        mission["trial"]: mission["mission_id"] for mission in missions if mission["task"] == story.task
    }
    return trials[story.baseline_trial], trials[story.candidate_trial]


def queue(daemon: Daemon, kind: str, body: dict[str, object]) -> str:
    """Queue a run as a client does; its id."""
    answer = daemon.request("POST", f"/api/v1/eval/{kind}", body)
    assert answer.status == 202
    assert answer.json["status"] == "queued"
    run_id: str = answer.json["run_id"]
    assert re.fullmatch("er_[0-9a-f]{16}", run_id)
    assert answer.headers["location"] == f"/api/v1/eval/runs/{run_id}"
    return run_id


def check_replay(daemon: Daemon, mission: dict[str, Any]) -> dict[str, Any]:
    """Replay a mission twice with one seed and once with another; the first run."""
    body: dict[str, object] = {"mission_id": mission["mission_id"], "seed": 7}
    first = daemon.wait_for_run(queue(daemon, "replay", body))
    assert first["status"] == "completed" and first["result"] == "ok", first
    assert first["kind"] == "replay" and first["seed"] == 7 and first["regressed"] is False
    assert first.keys() == ALWAYS | {
        "mission_id",
        "result",
        "signature",
        "created_by",
        "started_at",
        "completed_at",
        "report",
    }
    check_replay_report(daemon, first)
    check_older_row(daemon, first)
    check_journal_of_run(daemon, first, subject=mission["mission_id"], sides=[None])

    again = daemon.wait_for_run(queue(daemon, "replay", body))
    assert again["id"] != first["id"] and again["signature"] == first["signature"]
    other = daemon.wait_for_run(queue(daemon, "replay", body | {"seed": 8}))
    assert other["signature"] != first["signature"]
    return first


def check_replay_report(daemon: Daemon, run: dict[str, Any]) -> None:
    report = run["report"]["mission"]
    detail = daemon.get(path_of(run["mission_id"]))
    assert report["mission_id"] == run["mission_id"] and report["signature"] == run["signature"]
    assert report["steps"] == detail["steps"] > 0
    assert report["model_calls"] == detail["model_calls"] > 0
    values = {metric["name"]: metric["value"] for metric in report["metrics"]}
    assert values.keys() == METRICS
    assert run["total_tokens"] == (values["total_tokens"] or 0)
    assert run["total_cost_usd"] == pytest.approx(values["total_cost_usd"] or 0)


def check_older_row(daemon: Daemon, run: dict[str, Any]) -> None:
    older = daemon.get(f"/api/v1/eval/runs/{run['id']}?fields=v1")
    assert older.keys() == OLDER_ROW | {"report"}
    signature = run.get("signature", "")
    assert older["seed_signature"] == (f"sha256:{signature}" if signature else "")
    assert (older["tokens"], older["cost_usd"]) == (run["total_tokens"], run["total_cost_usd"])
    assert older["updated_at"] == run["completed_at"]
    for name in ("mission_id", "baseline_mission_id", "candidate_mission_id", "reason", "result"):
        assert older[name] == run.get(name, "")


def check_regression(
    daemon: Daemon, baseline: str, candidate: str, breaches: tuple[str, ...]
) -> dict[str, Any]:
    """Compare two trials of one task, and the baseline with itself."""
    body: dict[str, object] = {"baseline_mission_id": baseline, "candidate_mission_id": candidate}
    run = daemon.wait_for_run(queue(daemon, "regression", body))
    assert run["status"] == "completed", run
    assert (run["baseline_mission_id"], run["candidate_mission_id"]) == (baseline, candidate)
    assert "mission_id" not in run and "signature" not in run
    report = run["report"]
    assert report["baseline"]["mission_id"] == baseline
    assert report["candidate"]["mission_id"] == candidate
    assert {delta["metric"] for delta in report["deltas"]} >= GATED
    assert report["result"] == run["result"] == "regressed: " + "; ".join(breaches)
    assert report["regressed"] is run["regressed"] is True
    assert report["drift"]["changed"] is True
    assert "total_cost_usd" in report["not_comparable"]  # these recordings know no cost: told, not passed
    check_older_row(daemon, run)
    check_journal_of_run(daemon, run, subject=candidate, sides=["baseline", "candidate"])

    same = daemon.wait_for_run(queue(daemon, "regression", body | {"candidate_mission_id": baseline}))
    assert same["regressed"] is False and same["report"]["drift"]["changed"] is False
    return run


def check_journal_of_run(
    daemon: Daemon, run: dict[str, Any], *, subject: str, sides: list[str | None]
) -> None:
    """Started, then every metric once for each side, then perhaps a regression, then the end."""
    entries = daemon.get(f"/api/v1/journal?run_id={run['id']}&limit=500")["entries"][::-1]
    expected = ["eval.run_started", *["eval.metric"] * len(METRICS) * len(sides)]
    expected += ["eval.regression_detected"] * run["regressed"] + ["eval.run_completed"]
    assert [entry["entry_type"] for entry in entries] == expected
    assert len({entry["id"] for entry in entries}) == len(entries)
    for entry in entries:
        assert entry["payload"]["run_id"] == run["id"]
        assert entry["mission_id"] == subject
        assert (entry["actor_type"], entry["actor_id"]) == ("system", "quartermaster")
    told = [entry["payload"] for entry in entries if entry["entry_type"] == "eval.metric"]
    assert {(one["metric"], one.get("side")) for one in told} == {
        (metric, side) for metric in METRICS for side in sides
    }


def check_the_list_of_runs(daemon: Daemon, runs: list[dict[str, Any]]) -> None:
    listed = daemon.get("/api/v1/eval/runs?limit=200")
    assert listed["count"] == len(listed["rows"])
    order = [(row["created_at"], row["id"]) for row in listed["rows"]]
    assert order == sorted(order, reverse=True)
    rows = {row["id"]: row for row in listed["rows"]}
    assert len(rows) == len(order)
    for run in runs:
        assert rows[run["id"]] == {name: value for name, value in run.items() if name != "report"}
    older = daemon.get("/api/v1/eval/runs?limit=1&fields=v1")["rows"]
    assert [row.keys() for row in older] == [OLDER_ROW]


def check_that_evaluations_are_no_steps(daemon: Daemon, run: dict[str, Any]) -> None:
    """A mission that was evaluated has the steps it had."""
    steps = daemon.get(path_of(run["mission_id"]) + "/trajectory?limit=1000")["steps"]
    assert len(steps) == run["report"]["mission"]["steps"]
    assert not [step for step in steps if step["entry_type"].startswith("eval.")]
    latest = daemon.wait_for_run(queue(daemon, "replay", {"mission_id": run["mission_id"], "seed": 7}))
    assert latest["report"]["mission"] == run["report"]["mission"]


def all_entries(daemon: Daemon) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = daemon.get(f"/api/v1/journal?limit=500{cursor}")
        entries += page["entries"]
        if not page["next_cursor"]:
            assert len({json.dumps(entry) for entry in entries}) == len(entries)  # a fact may be told anew
            return entries
        cursor = f"&cursor={page['next_cursor']}"


def check_the_command_line(home: Path, story: Story, seen: dict[str, dict[str, Any]]) -> None:
    """What the API said is what the command line says, whether a daemon runs or not."""
    listed = run_command(home, "missions", "--limit", 200, "--format", "ndjson")
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == sum(story.missions.values())
    for run_id, row in list(seen.items())[-2:]:
        told = run_command(home, "eval", "get", run_id)
        assert told.returncode == (1 if row["regressed"] else 0), told.stderr
        assert run_id in told.stdout and row["result"] in told.stdout
