"""Missions at a glance: columns of a timeline, lines of entries, strips of a list."""

import json
from typing import Any

from api_world import MISSION, World

BEGAN = "2026-01-01T00:00:00Z"


def entry(number: int, entry_type: str, second: int, **payload: Any) -> bytes:
    told = {
        "id": f"j_00000000000009{number:02x}",
        "mission_id": "seen",
        "ts": f"2026-01-01T00:00:{second:02}Z",
        "entry_type": entry_type,
        "summary": f"entry {number}",
        "payload": payload,
    }
    return json.dumps(told).encode() + b"\n"


def seen(world: World) -> None:
    lines = (
        entry(0, "mission.created", 0, title="Seen"),
        entry(1, "message.user", 1, text="Please\n\n build it", agent="human"),
        entry(2, "llm.call", 2, model="m", input_tokens=10, cached_input_tokens=90, output_tokens=5),
        entry(3, "exec.command", 3, command="make", call_id="c1", phase="start", arguments={"jobs": 2}),
        entry(4, "exec.command", 4, command="ls", call_id="c2", phase="start"),
        entry(5, "cost.incurred", 5, cost_usd=0.5),
        entry(6, "exec.command", 6, command="ls", call_id="c2", phase="end", exit_code=0),
        entry(7, "exec.command", 9, command="make", call_id="c1", phase="end", exit_code=2, output="boom"),
        entry(8, "eval.metric", 10, metric="steps", value=1),
    )
    with world.client() as client:
        assert client.post("/api/v1/journal", content=b"".join(lines)).json()["accepted"] == len(lines)


def test_an_outline_has_a_row_for_each_entry_and_one_for_a_command_with_its_end(world: World) -> None:
    seen(world)
    with world.client() as client:
        shown = client.get("/api/v1/missions/seen/outline").json()
        trajectory = client.get("/api/v1/missions/seen/trajectory").json()
    rows = shown["rows"]
    assert shown["count"] == 5
    assert [shown["entry_types"][one] for one in rows["entry_type"]] == [
        "mission.created",
        "message.user",
        "llm.call",
        "exec.command",
        "exec.command",
    ]
    assert rows["step"] == [None, None, 0, 1, 2]
    assert [rows["entry_id"][2 + step["index"]] for step in trajectory["steps"]] == [
        step["entry_id"] for step in trajectory["steps"]
    ]
    assert rows["success"] == [None, None, True, False, True]
    assert rows["ended_by"][3:] == ["j_0000000000000907", "j_0000000000000906"]
    assert rows["at_ms"] == [0, 1000, 2000, 3000, 4000]
    assert rows["duration_ms"][3:] == [6000, 2000]
    assert rows["context_tokens"][2] == 100
    assert (shown["clock"], shown["started_at"]) == ("time", BEGAN)


def test_an_outline_is_read_in_windows(world: World) -> None:
    world.record(world.crew, "wide", *(f"j_00000000000008{number:02}" for number in range(30)))
    with world.client() as client:
        whole = client.get("/api/v1/missions/wide/outline").json()["rows"]
        parts = [
            client.get("/api/v1/missions/wide/outline", params={"from": start, "limit": 7}).json()["rows"]
            for start in range(0, 30, 7)
        ]
        for query in ("from=-1", "limit=0", "limit=200001"):
            assert client.get(f"/api/v1/missions/wide/outline?{query}").status_code == 400
    for column, values in whole.items():
        assert [value for part in parts for value in part[column]] == values, column


def test_snippets_say_in_a_line_what_entries_say(world: World) -> None:
    seen(world)
    with world.client() as client:
        path = "/api/v1/missions/seen/snippets"
        told = client.get(path, params={"from": 1, "limit": 3}).json()["entries"]
        last = client.get(path, params={"from": 7, "limit": 1}).json()["entries"]
    assert [one["place"] for one in told] == [1, 2, 3]
    assert (told[0]["summary"], told[0]["agent"]) == ("Please build it", "human")
    assert told[2]["arguments"] == '{"jobs":2}'
    assert last[0]["output"] == "boom"


def test_a_strip_says_of_what_kind_steps_are_and_how_many_failed(world: World) -> None:
    seen(world)
    with world.client() as client:
        query = [("mission_id", "seen"), ("mission_id", MISSION), ("mission_id", "none")]
        strips = client.get("/api/v1/missions/strips", params=query).json()["strips"]
        many = client.get("/api/v1/missions/strips", params=[("mission_id", "seen")] * 65)
    assert strips == {
        "seen": {"steps": 3, "kinds": "mtt", "failed": [0, 1, 0]},
        MISSION: {"steps": 1, "kinds": "t", "failed": [0]},
    }
    assert many.status_code == 400
