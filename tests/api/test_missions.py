"""Missions and their journal over HTTP."""

import msgspec
from api_world import ENTRY, MISSION, World


def test_missions_are_listed_last_changed_first_in_pages(world: World) -> None:
    for number in range(5):
        world.record(world.crew, f"n-{number}", f"j_000000000000020{number}")
    with world.client() as client:
        first = client.get("/api/v1/missions", params={"limit": 4}).json()
        rest = client.get("/api/v1/missions", params={"cursor": first["next_cursor"]}).json()
    ids = [row["mission_id"] for row in (*first["rows"], *rest["rows"])]
    assert ids[:5] == ["n-4", "n-3", "n-2", "n-1", "n-0"]
    assert len(ids) == len(set(ids)) == 7
    assert "next_cursor" not in rest
    assert (first["count"], first["limit"], rest["count"]) == (4, 4, 3)


def test_a_mission_is_shown_with_what_was_found_out_about_it(world: World) -> None:
    with world.client() as client:
        shown = client.get(f"/api/v1/missions/{MISSION}").json()
    metrics = {metric["name"]: metric["value"] for metric in shown["metrics"]}
    assert (metrics["tool_call_count"], metrics["tool_success_rate"]) == (1, 1.0)
    assert set(shown["signatures"]) == {"kinds", "tools", "arguments", "outcomes"}
    assert (shown["steps"], shown["failure_modes"], shown["sources"]) == (1, [], [])


def test_a_failure_mode_names_the_step_that_shows_it(world: World) -> None:
    world.record(world.crew, "looping", *(f"j_000000000000030{number}" for number in range(8)))
    with world.client() as client:
        shown = client.get("/api/v1/missions/looping").json()
        step = shown["failure_modes"][0]["step"]
        steps = client.get("/api/v1/missions/looping/trajectory", params={"from": step, "limit": 1}).json()
    assert shown["failure_modes"][0]["failure_mode"] == "tool_loop"
    assert [one["tool"] for one in steps["steps"]] == ["make test"]


def test_a_trajectory_is_read_in_windows(world: World) -> None:
    world.record(world.crew, "long", *(f"j_00000000000004{number:02}" for number in range(25)))
    indexes: list[int] = []
    start: int | None = 0
    with world.client() as client:
        while start is not None:
            window = client.get(
                "/api/v1/missions/long/trajectory", params={"from": start, "limit": 10}
            ).json()
            indexes += [step["index"] for step in window["steps"]]
            start = window.get("next_from")
        for query in ("from=-1", "from=x", "limit=0", "limit=1001"):
            assert client.get(f"/api/v1/missions/long/trajectory?{query}").status_code == 400
    assert indexes == list(range(25))


def test_an_entry_goes_out_byte_for_byte(world: World) -> None:
    raw = b'{ "ts":"2026-03-01T00:00:00.5Z" ,"entry_type": "note", "id":"j_0000000000000501", "x": 1e2}'
    with world.client() as client:
        assert client.post("/api/v1/journal", content=raw).json()["accepted"] == 1
        assert client.get("/api/v1/journal/j_0000000000000501").content == raw
        listed = client.get("/api/v1/journal", params={"limit": 1})
    assert raw in listed.content
    assert listed.json()["count"] == 1


def test_the_journal_is_paged_and_counted_by_the_same_filters(world: World) -> None:
    world.record(world.crew, "paged", *(f"j_00000000000006{number:02}" for number in range(7)))
    filters = {"mission_id": "paged", "entry_type": "exec.command,llm.call"}
    seen: list[str] = []
    cursor: str | None = ""
    with world.client() as client:
        while cursor is not None:
            page = client.get("/api/v1/journal", params={**filters, "limit": 3, "cursor": cursor}).json()
            seen += [entry["id"] for entry in page["entries"]]
            cursor = page["next_cursor"]
        count = client.get("/api/v1/journal/count", params=filters).json()
    assert seen == [f"j_00000000000006{number:02}" for number in reversed(range(7))]
    assert count == {"count": 7}


def test_an_entry_of_another_workspace_is_rejected_with_its_reason(world: World) -> None:
    entry = {"entry_type": "note", "ts": "2026-01-01T00:00:00Z", "workspace_id": "foreign", "mission_id": "x"}
    with world.client() as client:
        answer = client.post("/api/v1/journal", content=msgspec.json.encode([entry])).json()
        assert client.get("/api/v1/missions/x").status_code == 404
    assert answer["accepted"] == 0
    assert "workspace" in answer["rejected"][0]["reason"]


def test_what_is_known_already_is_a_duplicate(world: World) -> None:
    with world.client() as client:
        raw = client.get(f"/api/v1/journal/{ENTRY}").content
        answer = client.post("/api/v1/journal", content=raw).json()
    assert (answer["accepted"], answer["duplicate"], answer["rejected"]) == (0, 1, [])


def test_missions_are_sorted_as_asked_and_what_is_unknown_comes_last(world: World) -> None:
    for mission_id, cost in (("dear", 2.0), ("cheap", 0.5), ("unpriced", None)):
        entry = {
            "mission_id": mission_id,
            "ts": "2026-04-01T00:00:00Z",
            "entry_type": "llm.call",
            "payload": {"model": "m", "input_tokens": 1} | ({} if cost is None else {"cost_usd": cost}),
        }
        with world.client() as client:
            assert client.post("/api/v1/journal", content=msgspec.json.encode(entry)).status_code == 200
    with world.client() as client:
        for sort, first in (("cost", ["dear", "cheap"]), ("title", ["cheap", "dear"])):
            walked: list[str] = []
            cursor = None
            while cursor is not None or not walked:
                query = {"sort": sort, "limit": 1} | ({"cursor": cursor} if cursor else {})
                page = client.get("/api/v1/missions", params=query).json()
                walked += [row["mission_id"] for row in page["rows"]]
                cursor = page.get("next_cursor")
            assert walked[:2] == first
            assert sorted(walked) == ["cheap", "dear", "m-1", "m-2", "unpriced"]
        row = client.get("/api/v1/missions", params={"q": "unpriced"}).json()["rows"][0]
        assert (row["model_calls"], row["calls_with_cost"], row["total_cost_usd"]) == (1, 0, None)
        assert client.get("/api/v1/missions", params={"sort": "luck"}).status_code == 400
        mixed = client.get("/api/v1/missions", params={"sort": "cost", "limit": 1}).json()["next_cursor"]
        assert client.get("/api/v1/missions", params={"cursor": mixed}).status_code == 400
