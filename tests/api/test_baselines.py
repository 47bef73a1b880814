"""Baselines over HTTP: frozen, listed, compared with, accepted; each change once."""

from api_world import MISSION, OTHER_MISSION, World

from quartermaster.store import baselines

FREEZE = {"name": "main", "missions": [MISSION], "reason": "first"}
ACCEPT = {"missions": [OTHER_MISSION], "reason": "known"}


def test_a_baseline_is_frozen_read_and_accepted_with_its_history(world: World):
    with world.client() as client:
        frozen = client.post("/api/v1/baselines", json=FREEZE)
        assert frozen.status_code == 201
        assert frozen.headers["location"] == "/api/v1/baselines/main"
        assert client.get("/api/v1/baselines").json() == {"rows": [frozen.json()], "count": 1}
        accepted = client.post("/api/v1/baselines/main/accept", json=ACCEPT).json()
        assert (accepted["version"], accepted["created_by"], accepted["reason"]) == (2, "owner", "known")
        shown = client.get("/api/v1/baselines/main").json()
        assert shown["history"] == [accepted, frozen.json()]
        assert [row["mission_id"] for row in shown["rows"]] == [OTHER_MISSION]
        told = client.get("/api/v1/journal", params={"entry_type": "baseline.accepted"}).json()["entries"]
        assert [(one["actor_id"], one["payload"]["former"]) for one in told] == [
            ("owner", frozen.json()["digest"])
        ]


def test_a_repeated_request_accepts_once(world: World):
    with world.client() as client:
        client.post("/api/v1/baselines", json=FREEZE)
        key = {"Idempotency-Key": "one"}
        answers = [client.post("/api/v1/baselines/main/accept", json=ACCEPT, headers=key) for _ in range(2)]
        assert answers[0].content == answers[1].content
        assert answers[0].json()["version"] == 2
        assert len(world.database.read_blocking(lambda c: baselines.history(c, world.crew, "main"))) == 2


def test_what_is_no_baseline_is_refused(world: World):
    def error(path: str, body: dict[str, object]) -> tuple[int, str]:
        answer = client.post(f"/api/v1/baselines{path}", json=body)
        return answer.status_code, answer.json()["error"]

    with world.client() as client:
        assert error("", FREEZE | {"name": "a/b"}) == (400, "invalid baseline")
        assert error("", FREEZE | {"missions": {}}) == (400, "invalid baseline")
        assert error("", FREEZE | {"missions": {"task": "none"}}) == (400, "invalid missions")
        assert error("/main/accept", ACCEPT) == (404, "baseline not found")
        client.post("/api/v1/baselines", json=FREEZE)
        assert error("", FREEZE) == (409, "baseline exists")
        assert error("/main/accept", ACCEPT | {"reason": " "}) == (400, "reason required")


def test_a_baseline_is_a_side_of_a_comparison_and_of_a_regression(world: World):
    with world.client() as client:
        client.post("/api/v1/baselines", json=FREEZE)
        comparison = {"baseline": {"baseline": "main"}, "candidate": [OTHER_MISSION]}
        assert client.post("/api/v1/eval/comparisons", json=comparison).status_code == 202
        regression = {"baseline": "main", "candidate_mission_id": OTHER_MISSION}
        assert client.post("/api/v1/eval/regression", json=regression).status_code == 202
        both = regression | {"baseline_mission_id": MISSION}
        assert client.post("/api/v1/eval/regression", json=both).json()["error"] == "one baseline only"
