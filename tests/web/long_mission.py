"""Generated missions: one of as many steps as asked for, and one with a hostile text in every field."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

BEGAN = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
TOOLS = ("Read", "Edit", "Grep", "Bash", "pytest -q tests", "git status", "WebFetch")


def long_mission(mission_id: str, steps: int) -> Iterator[bytes]:
    """NDJSON lines: model calls of a growing context, commands of three agents, every 37th of them failed."""
    yield _line(
        f"{mission_id}-created",
        mission_id,
        0,
        "mission.created",
        {
            "title": f"Generated, {steps:,} steps",
            "task": "generated/long",
            "variant": "walker 1.0",
            "agent": "walker",
        },
    )
    for index in range(steps):
        agent = ("planner", "coder", "tester")[index // 50 % 3]
        tool = TOOLS[index // 3 % len(TOOLS)]
        if index % 3 == 0:
            tokens = {"input_tokens": 900 + index % 4000, "output_tokens": 40 + index % 60}
            payload = {
                "model": "walker-large",
                "provider": "example",
                **tokens,
                "cost_usd": 0.0004,
                "duration_ms": 900,
            }
            yield _line(f"{mission_id}-{index}", mission_id, index + 1, "llm.call", payload, agent)
        else:
            failed = index % 37 == 0
            payload = {
                "command": tool if index % 11 else f"make build-{index}",
                "arguments": {"path": f"src/module_{index % 900}.py"},
                "output": f"line of output {index}",
                "exit_code": int(failed),
                "duration_ms": 50 + index % 700,
            }
            yield _line(f"{mission_id}-{index}", mission_id, index + 1, "exec.command", payload, agent)
    yield _line(
        f"{mission_id}-outcome",
        mission_id,
        steps + 2,
        "mission.outcome",
        {"outcome": "succeeded", "origin": "verifier"},
    )


def _line(
    name: str,
    mission_id: str,
    second: int,
    entry_type: str,
    payload: dict[str, object],
    agent: str | None = None,
) -> bytes:
    entry = {
        "id": "j_" + f"{_digest(name):016x}",
        "mission_id": mission_id,
        "ts": (BEGAN + timedelta(seconds=second)).isoformat().replace("+00:00", "Z"),
        "entry_type": entry_type,
        "actor_type": "agent",
        "summary": str(payload.get("command") or payload.get("model") or entry_type),
        "payload": payload,
    }
    if agent:
        entry["actor_id"] = agent
    return json.dumps(entry).encode() + b"\n"


def _digest(name: str) -> int:
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value
