"""Trends over HTTP."""

import pytest
import trend_world
from api_world import World


@pytest.fixture
def nights(world: World) -> World:
    world.ingest(world.crew, "nights.ndjson", "\n".join(trend_world.lines()).encode() + b"\n")
    return world


def test_the_change_its_explanation_and_the_first_bad_mission_are_named(nights: World) -> None:
    with nights.client() as client:
        told = client.get("/api/v1/eval/trends", params={"metric": "success_rate,total_cost_usd"}).json()
    states = {one["metric"]: one["state"] for one in told["series"] if one["agent"] == "fixer"}
    assert states == {"success_rate": "alert", "total_cost_usd": "alert"}
    (event,) = told["events"]
    assert (event["at"], event["worse"], event["agent"]) == (trend_world.CHANGED_AT, True, "fixer")
    assert {shift["metric"] for shift in event["shifts"]} == {"success_rate", "total_cost_usd"}
    (offered,) = event["explanations"]
    assert (offered["fact"], offered["before"], offered["after"], offered["at"]) == (
        "model",
        [trend_world.OLD_MODEL],
        [trend_world.NEW_MODEL],
        trend_world.CHANGED_AT,
    )
    with nights.client() as client:
        bad = client.get(f"/api/v1/missions/{event['first_bad_mission']['mission_id']}").json()
    assert (bad["outcome"], bad["started_at"][:10]) == ("failed", trend_world.CHANGED_AT)


def test_all_metrics_are_told_by_day_where_nothing_is_asked_for(nights: World) -> None:
    with nights.client() as client:
        told = client.get("/api/v1/eval/trends").json()
    assert told["by"] == "day"
    assert {one["metric"] for one in told["series"] if one["agent"] == "fixer"} == {
        "success_rate",
        "tool_success_rate",
        "total_cost_usd",
        "work_steps",
        "total_tokens",
        "wall_time",
    }


def test_series_are_narrowed_and_cut_as_asked(nights: World) -> None:
    def points(**query: str) -> list[str]:
        asked = {"metric": "success_rate", "variant": f"fixer {trend_world.OLD_MODEL} 4", **query}
        (told,) = client.get("/api/v1/eval/trends", params=asked).json()["series"]
        return [point["at"] for point in told["points"]]

    with nights.client() as client:
        assert len(points()) == trend_world.CHANGE
        assert points(by="commit") == ["c0", "c1"]
        assert points(task="task-03", by="mission")[:2] == ["night-00-task-03", "night-01-task-03"]
        assert points(since="2027-01-30T00:00:00Z", until="2027-02-01T00:00:00Z") == [
            "2027-01-30",
            "2027-01-31",
        ]


@pytest.mark.parametrize("query", ["metric=speed", "by=week", "since=yesterday", "by=day&by=day"])
def test_what_nobody_can_mean_is_refused(world: World, query: str) -> None:
    with world.client() as client:
        assert client.get(f"/api/v1/eval/trends?{query}").status_code == 400


def test_another_workspace_sees_nothing_of_it(nights: World) -> None:
    with nights.client("foreign owner") as client:
        told = client.get("/api/v1/eval/trends", headers={"X-Workspace-ID": "foreign"}).json()
    assert "fixer" not in {one["agent"] for one in told["series"]}
