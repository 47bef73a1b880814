"""A repeated request under one key has one effect and one answer."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from api_world import ADMIN, MISSION, OTHER_MISSION, OWNER, World

from quartermaster.store import idempotency

REPLAY = "/api/v1/eval/replay"
BODY = {"mission_id": MISSION, "seed": 4}


def told(answer: httpx.Response) -> tuple[int, bytes, str | None]:
    return answer.status_code, answer.content, answer.headers.get("location")


def runs_of(client: Any) -> int:
    count = client.get("/api/v1/eval/runs", params={"limit": 200}).json()["count"]
    assert isinstance(count, int)
    return count


def test_without_a_key_each_request_makes_a_run(world: World) -> None:
    with world.client() as client:
        assert told(client.post(REPLAY, json=BODY)) != told(client.post(REPLAY, json=BODY))
        assert runs_of(client) == 2


def test_the_same_request_under_one_key_gets_the_first_answer_again(world: World) -> None:
    with world.client() as client:
        answers = {told(client.post(REPLAY, json=BODY, headers={"Idempotency-Key": "k"})) for _ in range(3)}
        assert len(answers) == 1
        assert answers.pop()[0] == 202
        assert runs_of(client) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (REPLAY, BODY | {"seed": 5}),
        ("/api/v1/eval/regression", {"baseline_mission_id": MISSION, "candidate_mission_id": OTHER_MISSION}),
    ],
)
def test_another_request_under_a_used_key_is_a_conflict(
    world: World, path: str, body: dict[str, Any]
) -> None:
    with world.client() as client:
        client.post(REPLAY, json=BODY, headers={"Idempotency-Key": "k"})
        conflict = client.post(path, json=body, headers={"Idempotency-Key": "k"})
        assert (conflict.status_code, conflict.json()["error"]) == (409, "Idempotency-Key reused")
        assert runs_of(client) == 1


def test_a_key_belongs_to_one_user(world: World) -> None:
    with world.client(OWNER) as client:
        client.post(REPLAY, json=BODY, headers={"Idempotency-Key": "k"})
        client.post(REPLAY, json=BODY, headers=world.headers(ADMIN) | {"Idempotency-Key": "k"})
        assert runs_of(client) == 2


def test_a_refused_request_does_not_use_up_its_key(world: World) -> None:
    with world.client() as client:
        refused = client.post(REPLAY, json={"mission_id": "later"}, headers={"Idempotency-Key": "k"})
        assert refused.status_code == 404
        world.record(world.crew, "later", "j_00000000000000c1")
        queued = client.post(REPLAY, json={"mission_id": "later"}, headers={"Idempotency-Key": "k"})
        assert queued.status_code == 202


def test_a_key_is_free_again_after_a_day(world: World) -> None:
    now = time.time_ns()
    clock = [now]
    with world.client(now=lambda: clock[0]) as client:
        first = told(client.post(REPLAY, json=BODY, headers={"Idempotency-Key": "k"}))
        clock[0] = now + idempotency.KEPT_FOR - 1
        assert told(client.post(REPLAY, json=BODY, headers={"Idempotency-Key": "k"})) == first
        clock[0] = now + idempotency.KEPT_FOR
        assert told(client.post(REPLAY, json=BODY, headers={"Idempotency-Key": "k"})) != first
        kept = world.database.read_blocking(
            lambda c: c.execute("select count(*) from idempotency").fetchone()
        )
        assert kept == (1,)


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "über".encode()])
def test_a_key_that_cannot_be_one_is_refused(world: World, key: Any) -> None:
    with world.client() as client:
        refused = client.post(REPLAY, json=BODY, headers={"Idempotency-Key": key})
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid Idempotency-Key")


def test_forty_requests_at_once_under_one_key_make_one_run(world: World) -> None:
    with world.http() as client, ThreadPoolExecutor(20) as pool:

        def send(_: int) -> tuple[int, bytes, str | None]:
            return told(client.post(REPLAY, json=BODY, headers={"Idempotency-Key": "k"}))

        answers = set(pool.map(send, range(40)))
        assert len(answers) == 1
        assert answers.pop()[0] == 202
        assert runs_of(client) == 1


def test_entries_that_are_sent_twice_at_once_under_one_key_are_accepted_once(world: World) -> None:
    line = b'{"id": "j_00000000000000d1", "entry_type": "note", "ts": "2026-01-01T00:00:00Z"}'
    with world.http() as client, ThreadPoolExecutor(8) as pool:

        def send(_: int) -> bytes:
            return client.post("/api/v1/journal", content=line, headers={"Idempotency-Key": "k"}).content

        answers = set(pool.map(send, range(16)))
        again = client.post("/api/v1/journal", content=line).json()
        other = client.post("/api/v1/journal", content=line + b" ", headers={"Idempotency-Key": "k"})
    assert len(answers) == 1
    assert b'"accepted":1' in answers.pop()
    assert (again["accepted"], again["duplicate"]) == (0, 1)
    assert other.status_code == 409


def test_a_cancel_under_a_key_is_answered_again(world: World) -> None:
    with world.client() as client:
        path = client.post(REPLAY, json=BODY).headers["location"] + "/cancel"
        first = told(client.post(path, headers={"Idempotency-Key": "k"}))
        assert first == told(client.post(path, headers={"Idempotency-Key": "k"}))
        assert first[0] == 202
