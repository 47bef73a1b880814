"""A workspace may have a number of runs waiting; what comes on top is told to come back later."""

from typing import Any

import httpx
import pytest
from api_world import FOREIGN_MISSION, FOREIGN_OWNER, MISSION, OTHER_MISSION, World

from quartermaster.store import runs

LIMIT = 3
REQUESTS: dict[str, Any] = {
    "replay": {"mission_id": MISSION},
    "regression": {"baseline_mission_id": MISSION, "candidate_mission_id": OTHER_MISSION},
    "comparisons": {"baseline": [MISSION], "candidate": [OTHER_MISSION]},
}


def ask(client: Any, kind: str = "replay", **headers: str) -> httpx.Response:
    answer: httpx.Response = client.post(f"/api/v1/eval/{kind}", json=REQUESTS[kind], headers=headers)
    return answer


@pytest.mark.parametrize("kind", REQUESTS)
def test_one_run_too_many_is_refused_until_one_has_left_the_queue(world: World, kind: str) -> None:
    with world.client(queue_limit=LIMIT) as client:
        queued = [ask(client, kind) for _ in range(LIMIT)]
        refused = ask(client, kind)
        assert [answer.status_code for answer in (*queued, refused)] == [202, 202, 202, 429]
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["error"] == "too many queued runs"
        assert int(refused.headers["retry-after"]) > 0
        assert client.post(f"/api/v1/eval/runs/{queued[0].json()['run_id']}/cancel").status_code == 202
        assert ask(client, kind).status_code == 202
        assert ask(client, kind).status_code == 429


def test_a_full_queue_still_tells_the_first_answer_of_a_key(world: World) -> None:
    with world.client(queue_limit=1) as client:
        first = ask(client, **{"Idempotency-Key": "mine"})
        assert ask(client, **{"Idempotency-Key": "another"}).status_code == 429
        again = ask(client, **{"Idempotency-Key": "mine"})
        assert (again.status_code, again.content) == (202, first.content)


def test_a_key_that_was_refused_is_not_used_up(world: World) -> None:
    with world.client(queue_limit=1) as client:
        first = ask(client).json()["run_id"]
        assert ask(client, **{"Idempotency-Key": "later"}).status_code == 429
        client.post(f"/api/v1/eval/runs/{first}/cancel")
        assert ask(client, **{"Idempotency-Key": "later"}).status_code == 202


def test_a_full_queue_is_that_of_one_workspace(world: World) -> None:
    with world.client(queue_limit=1) as client:
        assert ask(client).status_code == 202
        foreign = world.headers(FOREIGN_OWNER) | {"X-Workspace-ID": "foreign"}
        answer = client.post("/api/v1/eval/replay", json={"mission_id": FOREIGN_MISSION}, headers=foreign)
        assert answer.status_code == 202


def test_runs_of_others_between_them_are_not_counted(world: World) -> None:
    def queue(workspace: int, mission_id: str, number: int) -> None:
        world.database.write_blocking(
            lambda c: runs.queue_run(
                c,
                workspace,
                run_id=f"er_{workspace:08x}{number:08x}",
                kind="replay",
                seed=0,
                mission_id=mission_id,
                created_by=None,
                now=1,
            )
        )

    for number in range(4):
        queue(world.crew, MISSION, number)
        queue(world.foreign, FOREIGN_MISSION, number)

    def has_room(limit: int) -> bool:
        return world.database.read_blocking(lambda c: runs.has_room(c, world.crew, limit))

    assert [has_room(limit) for limit in (3, 4, 5, 6, 9)] == [False, False, True, True, True]
