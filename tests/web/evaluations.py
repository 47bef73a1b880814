"""Missions whose differences, runs and trends are worth a look."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trend_world
from running import Daemon, run_command
from web.long_mission import long_mission

STEPS = 5_000


def baker(mission_id: str, commands: list[tuple[str, str, int]]) -> Iterator[str]:
    """A mission that calls one model and then these commands: what, with which path, with which exit code."""
    told: list[tuple[str, dict[str, Any]]] = [
        ("mission.created", {"title": f"Bread, {mission_id}", "task": "bread", "agent": "baker"}),
        ("llm.call", {"model": "oven", "input_tokens": 500, "output_tokens": 50, "cost_usd": 0.01}),
    ]
    for command, path, code in commands:
        told.append(
            (
                "exec.command",
                {"command": command, "arguments": {"path": path, "mode": "r"}, "exit_code": code},
            )
        )
    told.append(("llm.call", {"model": "oven", "input_tokens": 700, "output_tokens": 60, "cost_usd": 0.02}))
    told.append(("mission.outcome", {"outcome": "succeeded", "origin": "verifier"}))
    for second, (entry_type, payload) in enumerate(told):
        ts = f"2026-03-01T08:00:{second:02}Z"
        yield json.dumps({"mission_id": mission_id, "ts": ts, "entry_type": entry_type, "payload": payload})


def bakers(name: str) -> str:
    """NDJSON of two missions, NAME-1 and NAME-2: the second one bakes other bread, and burns it."""
    same = [(f"knead {number}", "dough", 0) for number in range(12)]
    first = [("weigh flour", "flour", 0), *same, ("bake", "rye.txt", 0), ("taste", "loaf", 0)]
    second = [("weigh flour", "flour", 0), *same, ("bake", "spelt.txt", 0), ("taste", "loaf", 1)]
    second += [("bake", "again", 1), ("bake", "again", 1)]
    return "".join(f"{line}\n" for line in (*baker(f"{name}-1", first), *baker(f"{name}-2", second)))


def hire_bakers(daemon: Daemon, name: str) -> str:
    """The same for a test of its own, sent to a daemon; the address at which the two are compared."""
    lines = {"Content-Type": "application/x-ndjson"}
    sent = daemon.request("POST", "/api/v1/journal", bakers(name).encode(), lines)
    assert sent.status == 200 and not sent.json["rejected"], sent.json
    return f"#/compare?baseline={name}-1&candidate={name}-2"


def furnish_evaluations(home: Path) -> None:
    """Two bakers of whom one burns the bread, sixty nights, two long walks and a file that is torn."""
    folder = home.with_name(home.name + "-evaluations")
    folder.mkdir()
    (folder / "bakers.ndjson").write_text(bakers("baker"))
    (folder / "nights.ndjson").write_text("\n".join(trend_world.lines()) + "\n")
    (folder / "torn.ndjson").write_text('{"entry_type": "llm.call", "ts": "yesterday"}\n{"torn\n')
    long = list(long_mission("walk-1", STEPS))
    other = [line.replace(b'"walk-1"', b'"walk-2"') for line in long_mission("walk-2", STEPS)]
    (folder / "walks.ndjson").write_bytes(
        b"".join(long) + b"".join(line for number, line in enumerate(other) if number % 50)
    )
    ended = run_command(home, "ingest", folder, seconds=120)
    assert "torn.ndjson" in ended.stdout, ended.stderr


def queue(daemon: Daemon, kind: str, body: object) -> str:
    """Queue a run; its id."""
    answer = daemon.request("POST", f"/api/v1/eval/{kind}", body)
    assert answer.status == 202, answer.json
    run_id: str = answer.json["run_id"]
    return run_id


def judge(daemon: Daemon) -> dict[str, str]:
    """Runs of every kind to their end and a baseline; addresses at which they show."""
    frozen = {"name": "nights", "missions": {"q": "night-1"}, "reason": "before the new model"}
    assert daemon.request("POST", "/api/v1/baselines", frozen).status == 201
    both = {"baseline": {"q": "night-1"}, "candidate": {"q": "night-4"}}
    comparison = queue(daemon, "comparisons", both)
    pair = {"baseline_mission_id": "baker-1", "candidate_mission_id": "baker-2"}
    runs = [comparison, queue(daemon, "regression", pair), queue(daemon, "replay", {"mission_id": "baker-2"})]
    for run_id in runs:
        daemon.wait_for_run(run_id, seconds=60)
    return {
        "compare": "#/compare?baseline=baker-1&candidate=baker-2",
        "compare-sets": f"#/compare?run={comparison}",
        "run": f"#/runs/{runs[1]}",
        "baseline": "#/baselines/nights",
    }
