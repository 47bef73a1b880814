"""Recorded missions by the thousand, of our own making: native journals that differ from one another."""

import json
from pathlib import Path
from random import Random
from typing import Any

_TOOLS = ("rg", "pytest", "sed", "git", "ls", "python", "curl")
_MODELS = ("gpt-5", "claude-sonnet-4-5", "gemini-2.5-pro")


def mission(number: int, turns: int = 20) -> bytes:
    """One mission: it is asked, thinks, calls tools that sometimes fail, may loop, answers and ends."""
    random = Random(number)
    name, task, model = f"mission-{number:06d}", f"task-{number % 97}", _MODELS[number % 3]
    told: list[dict[str, Any]] = []

    def tell(entry_type: str, **payload: Any) -> None:
        moment = f"2027-01-{1 + number % 28:02d}T{len(told) // 3600 % 24:02d}:{len(told) // 60 % 60:02d}"
        told.append(
            {
                "id": f"{name}-{len(told):04d}",
                "mission_id": name,
                "ts": f"{moment}:{len(told) % 60:02d}Z",
                "entry_type": entry_type,
                "actor_type": "agent",
                "payload": payload,
            }
        )

    tell("mission.created", title=f"Do {task}", task=task, variant=f"v{number % 2}", trial=number // 97)
    tell("message.user", text=f"Please do {task} in the repository and say when the tests pass.")
    loops = number % 11 == 0
    for turn in range(turns):
        tokens = random.randint(200, 4_000)
        tell(
            "llm.call",
            model=model,
            input_tokens=tokens,
            output_tokens=tokens // 9,
            text=f"Now I look at part {turn} of {task}.",
        )
        tool = "pytest" if loops else random.choice(_TOOLS)
        failed = random.random() < (0.9 if loops else 0.15)
        target = f"src/part_{0 if loops else turn}.py"
        tell(
            "exec.command",
            command=f"{tool} {target}",
            tool="bash",
            arguments={"path": target, "limit": turn},
            exit_code=int(failed),
            output=f"error: {task} failed in line {turn}" if failed else f"{turn} lines of {target}",
        )
    tell("message.assistant", text=f"All tests pass now, {task} is done.")
    tell("mission.status_change", to_status="completed" if number % 5 else "failed")
    tell(
        "mission.outcome",
        outcome="succeeded" if number % 5 else "failed",
        origin="verifier",
        reward=number % 2,
    )
    return "".join(json.dumps(entry) + "\n" for entry in told).encode()


def write_missions(folder: Path, count: int, turns: int = 20) -> Path:
    """A folder of so many recordings, a mission a file, a hundred files a folder."""
    for number in range(count):
        file = folder / f"{number // 100:04d}" / f"mission-{number:06d}.ndjson"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(mission(number, turns))
    return folder
