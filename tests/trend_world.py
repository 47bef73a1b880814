"""Missions of sixty nights as native entries: an agent that gets worse on the night its model changes."""

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

FIRST_NIGHT = datetime(2027, 1, 1, 2, tzinfo=UTC)
NIGHTS = 60
CHANGE = 35
"""The night from which the new model works; its date is CHANGED_AT."""
CHANGED_AT = "2027-02-05"
TASKS = 12
OLD_MODEL, NEW_MODEL = "model-a-1", "model-a-2"


def lines(seed: int = 7) -> list[str]:
    """Native entries, one a line. From the change on half of the tasks fail, and a call costs 1.5 times."""
    random = Random(seed)
    return [
        json.dumps(entry)
        for night in range(NIGHTS)
        for task in range(TASKS)
        for entry in _mission(night, task, random)
    ]


def mission_id(night: int, task: int) -> str:
    return f"night-{night:02}-task-{task:02}"


def _mission(night: int, task: int, random: Random) -> list[dict[str, Any]]:
    late = night >= CHANGE
    model = NEW_MODEL if late else OLD_MODEL
    succeeds = random.random() < (0.5 if late else 0.95)
    began = FIRST_NIGHT + timedelta(days=night, minutes=task)
    cost = 0.02 * random.lognormvariate(0, 0.25) * (1.5 if late else 1)
    facts = {
        "task": f"task-{task:02}",
        "agent": "fixer",
        "model": model,
        "version": "4",
        "commit": f"c{night // 20}",
    }
    call = {"model": model, "input_tokens": 900, "output_tokens": 80, "cost_usd": round(cost, 6)}
    told: list[tuple[str, dict[str, Any]]] = [
        ("mission.created", facts),
        ("llm.call", call),
        ("exec.command", {"command": "make test", "exit_code": 0 if random.random() < 0.9 else 1}),
        ("exec.command", {"command": "git diff", "exit_code": 0}),
        ("mission.outcome", {"outcome": "succeeded" if succeeds else "failed", "origin": "verifier"}),
    ]
    return [
        {
            "id": f"j_{((night * TASKS + task) * 8 + number):016x}",
            "mission_id": mission_id(night, task),
            "ts": (began + timedelta(seconds=number)).isoformat().replace("+00:00", "Z"),
            "entry_type": entry_type,
            "payload": payload,
        }
        for number, (entry_type, payload) in enumerate(told)
    ]
