"""Recorded missions for comparisons: one of a few commands, or a suite of twelve tasks."""

import json
from pathlib import Path

from quartermaster.core.journal import minted_id


def entry(mission, number, entry_type, payload):
    return json.dumps(
        {
            "id": minted_id(mission, str(number)),
            "mission_id": mission,
            "ts": f"2027-01-01T00:00:{number:02d}Z",
            "entry_type": entry_type,
            "payload": payload,
        }
    )


def mission(name, *, task=None, variant=None, outcome="succeeded", commands=3, failed=0, cost=0.01):
    """A recorded mission: a model call and so many commands, the last of which failed."""
    told = [entry(name, 0, "mission.created", {"task": task, "variant": variant})]
    told.append(entry(name, 1, "llm.call", {"model": "m", "total_tokens": 10, "cost_usd": cost}))
    for index in range(commands):
        code = int(index >= commands - failed)
        told.append(entry(name, 2 + index, "exec.command", {"command": f"make {index}", "exit_code": code}))
    told.append(entry(name, 58, "mission.status_change", {"to_status": "completed"}))
    told.append(entry(name, 59, "mission.outcome", {"outcome": outcome, "origin": "verifier"}))
    return told


def write(path: Path, *missions) -> Path:
    path.write_text("".join(line + "\n" for one in missions for line in one))
    return path


def suite(variant, failing=(), **more):
    return [
        mission(
            f"{variant}-{task}",
            task=f"t{task}",
            variant=variant,
            outcome="failed" if task in failing else "succeeded",
            **more,
        )
        for task in range(12)
    ]
