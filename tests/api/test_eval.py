"""Runs over HTTP: what is queued, how it is listed, what is read."""

import re
from typing import Any

import pytest
from api_world import MISSION, OTHER_MISSION, World

RUNS = "/api/v1/eval/runs"
REPLAY = "/api/v1/eval/replay"
REGRESSION = "/api/v1/eval/regression"

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


def queue(client: Any, count: int) -> list[str]:
    return [client.post(REPLAY, json={"mission_id": MISSION}).json()["run_id"] for _ in range(count)]


def ended(client: Any, run_id: str) -> dict[str, Any]:
    for _ in range(2_000):
        row: dict[str, Any] = client.get(f"{RUNS}/{run_id}").json()
        if row["status"] in ("completed", "failed"):
            return row
    raise AssertionError("the run did not end")


def test_a_queued_run_is_where_the_answer_says_and_shows_no_empty_fields(world: World) -> None:
    with world.client() as client:
        queued = client.post(REPLAY, json={"mission_id": MISSION, "seed": 3})
        assert queued.status_code == 202
        assert queued.json()["status"] == "queued"
        assert re.fullmatch(r"er_[0-9a-f]{16}", queued.json()["run_id"])
        assert queued.headers["location"] == f"{RUNS}/{queued.json()['run_id']}"
        row = client.get(queued.headers["location"]).json()
    assert set(row) == ALWAYS | {"mission_id", "created_by"}
    assert (row["kind"], row["seed"], row["created_by"]) == ("replay", 3, "owner")


def test_a_replay_and_a_regression_come_to_an_end_with_their_reports(world: World) -> None:
    with world.http(working=True) as client:
        replay, again = (ended(client, run_id) for run_id in queue(client, 2))
        pair = {"baseline_mission_id": MISSION, "candidate_mission_id": OTHER_MISSION}
        regression = ended(client, client.post(REGRESSION, json=pair).json()["run_id"])
        told = client.get("/api/v1/journal", params={"run_id": replay["id"]}).json()["entries"]
    assert replay["result"] == "ok"
    assert replay["signature"] == again["signature"]
    assert replay["report"]["mission"]["mission_id"] == MISSION
    assert regression["result"] == "no_regression"
    assert regression["report"]["candidate"]["mission_id"] == OTHER_MISSION
    assert "signature" not in regression
    assert {entry["payload"]["run_id"] for entry in told} == {replay["id"]}
    assert {entry["entry_type"] for entry in told} == {
        "eval.run_started",
        "eval.metric",
        "eval.run_completed",
    }


def test_the_older_shape_keeps_empty_texts(world: World) -> None:
    with world.client() as client:
        queue(client, 1)
        row = client.get(RUNS, params={"fields": "v1"}).json()["rows"][0]
        alone = client.get(f"{RUNS}/{row['id']}", params={"fields": "v1"}).json()
    assert row == alone
    assert {"seed_signature", "tokens", "cost_usd", "updated_at"} <= set(row)
    assert (row["result"], row["candidate_mission_id"], row["seed_signature"]) == ("", "", "")


def test_a_cancelled_run_has_failed_and_stays_so(world: World) -> None:
    with world.client() as client:
        run_id = queue(client, 1)[0]
        for _ in range(2):
            assert client.post(f"{RUNS}/{run_id}/cancel").status_code == 202
        row = client.get(f"{RUNS}/{run_id}").json()
    assert (row["status"], row["reason"]) == ("failed", "cancelled")


def test_pages_hold_every_run_once_newest_first_while_others_are_queued(world: World) -> None:
    with world.client() as client:
        before = queue(client, 25)
        seen: list[str] = []
        cursor: str | None = None
        while True:
            page = client.get(RUNS, params={"limit": 4} | ({"cursor": cursor} if cursor else {})).json()
            assert page["count"] == len(page["rows"])
            seen += [row["id"] for row in page["rows"]]
            cursor = page.get("next_cursor")
            if cursor is None:
                break
            queue(client, 1)
    assert seen == before[::-1]


def test_a_cursor_serves_the_question_that_made_it(world: World) -> None:
    with world.client() as client:
        queue(client, 3)
        cursor = client.get(RUNS, params={"limit": 1}).json()["next_cursor"]
        assert client.get(RUNS, params={"limit": 1, "cursor": cursor}).status_code == 200
        for wrong in (cursor[:-1], cursor + "A", cursor.swapcase(), cursor[::-1]):
            assert client.get(RUNS, params={"cursor": wrong}).status_code == 400
        assert client.get(RUNS, params={"cursor": cursor, "kind": "regression"}).status_code == 400


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 3),
        ({"kind": "replay"}, 2),
        ({"kind": "regression"}, 1),
        ({"kind": "other"}, 0),
        ({"status": "queued"}, 2),
        ({"status": "failed"}, 1),
        ({"mission_id": MISSION}, 3),
        ({"mission_id": OTHER_MISSION}, 1),
        ({"regressed": "false"}, 3),
        ({"regressed": "true"}, 0),
        ({"since": "2100-01-01T00:00:00Z"}, 0),
        ({"since": "2000-01-01T00:00:00Z"}, 3),
    ],
)
def test_runs_are_filtered(world: World, filters: dict[str, str], count: int) -> None:
    with world.client() as client:
        run_id = queue(client, 2)[0]
        pair = {"baseline_mission_id": MISSION, "candidate_mission_id": OTHER_MISSION}
        client.post(REGRESSION, json=pair)
        client.post(f"{RUNS}/{run_id}/cancel")
        assert client.get(RUNS, params=filters).json()["count"] == count
