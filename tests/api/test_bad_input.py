"""Whatever is sent, the answer is a clear 4xx in the one shape of an error."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_world import ADMIN, MISSION, OTHER_MISSION, World
from litestar import Litestar
from litestar.testing import TestClient

REPLAY = "/api/v1/eval/replay"
REGRESSION = "/api/v1/eval/regression"
INVALID = (400, "invalid JSON body")
MISSING = (400, "mission_id required")
UNKNOWN = (404, "mission not found")

BODIES: dict[str, tuple[bytes, tuple[int, str]]] = {
    "nothing": (b"", INVALID),
    "null": (b"null", MISSING),
    "an empty object": (b"{}", MISSING),
    "a list": (b"[]", INVALID),
    "a text": (b'"m-1"', INVALID),
    "a number": (b"1", INVALID),
    "half an object": (b'{"mission_id": "m-1"', INVALID),
    "two values": (b'{"mission_id": "m-1"} {}', INVALID),
    "no JSON": (b"mission_id=m-1", INVALID),
    "a byte order mark": (b'\xef\xbb\xbf{"mission_id": "m-1"}', INVALID),
    "UTF-16": ('{"mission_id": "m-1"}'.encode("utf-16"), INVALID),
    "invalid UTF-8": (b'{"mission_id": "\xff"}', INVALID),
    "a lone surrogate": (b'{"mission_id": "\\ud800"}', INVALID),
    "NaN": (b'{"mission_id": "m-1", "seed": NaN}', INVALID),
    "Infinity": (b'{"mission_id": "m-1", "x": -Infinity}', INVALID),
    "a number beyond all numbers": (b'{"mission_id": "m-1", "seed": 1e400}', INVALID),
    "deep nesting": (b"[" * 100_000, INVALID),
    "deep nesting in a field": (b'{"mission_id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", INVALID),
    "deep nesting in an unknown field": (b'{"x": ' + b'{"x": ' * 100_000, INVALID),
    "a null id": (b'{"mission_id": null}', MISSING),
    "an empty id": (b'{"mission_id": ""}', MISSING),
    "a number as id": (b'{"mission_id": 5}', INVALID),
    "a boolean as id": (b'{"mission_id": true}', INVALID),
    "a list as id": (b'{"mission_id": ["m-1"]}', INVALID),
    "a blank id": (b'{"mission_id": "   "}', UNKNOWN),
    "NUL as id": (b'{"mission_id": "\\u0000"}', UNKNOWN),
    "an id of 10,000 characters": (json.dumps({"mission_id": "m" * 10_000}).encode(), UNKNOWN),
    "an unknown id": (b'{"mission_id": "m-x"}', UNKNOWN),
    "an id that is given twice": (b'{"mission_id": "m-1", "mission_id": "m-x"}', UNKNOWN),
}
WRONG_SEEDS = (
    *("1.5", "42.0", "1e3", '"7"', "true", "[]", "{}"),
    *(str(2**63), str(-(2**63) - 1), "1" * 5_000),
)
FINE_SEEDS = ("null", "0", "-5", str(2**63 - 1), str(-(2**63)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    created = World(Path(tmp_path_factory.mktemp("bad_input")))
    created.stopping.set()
    yield created
    created.database.close()


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[TestClient[Litestar]]:
    with world.client(ADMIN) as opened:
        yield opened


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """The status and the short sentence; the shape is checked on the way."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "error"}
    assert problem["status"] == answer.status_code
    assert problem["detail"]
    return answer.status_code, problem["error"]


@pytest.mark.parametrize("what", BODIES)
def test_a_replay_with_such_a_body_is_refused(client: TestClient[Litestar], what: str) -> None:
    body, expected = BODIES[what]
    assert error_of(client.post(REPLAY, content=body)) == expected


@pytest.mark.parametrize("seed", WRONG_SEEDS)
def test_a_seed_that_is_no_integer_of_64_bits_is_refused(client: TestClient[Litestar], seed: str) -> None:
    body = f'{{"mission_id": "{MISSION}", "seed": {seed}}}'
    assert error_of(client.post(REPLAY, content=body)) == INVALID


@pytest.mark.parametrize("seed", FINE_SEEDS)
def test_a_seed_is_kept_as_it_is_and_null_is_zero(client: TestClient[Litestar], seed: str) -> None:
    queued = client.post(REPLAY, content=f'{{"mission_id": "{MISSION}", "seed": {seed}}}')
    assert queued.status_code == 202
    assert client.get(queued.headers["location"]).json()["seed"] == (json.loads(seed) or 0)


def test_unknown_fields_are_ignored_whatever_they_hold(client: TestClient[Litestar]) -> None:
    body = f'{{"mission_id": "{MISSION}", "x": {"9" * 5_000}, "y": [1.5, {{}}]}}'
    assert client.post(REPLAY, content=body).status_code == 202


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "baseline_mission_id and candidate_mission_id required")),
        ({"baseline_mission_id": MISSION}, (400, "baseline_mission_id and candidate_mission_id required")),
        ({"candidate_mission_id": MISSION}, (400, "baseline_mission_id and candidate_mission_id required")),
        ({"baseline_mission_id": 1, "candidate_mission_id": MISSION}, INVALID),
        ({"baseline_mission_id": "m-x", "candidate_mission_id": MISSION}, UNKNOWN),
        ({"baseline_mission_id": MISSION, "candidate_mission_id": "m-x"}, UNKNOWN),
    ],
)
def test_both_missions_of_a_regression_are_checked(
    client: TestClient[Litestar], body: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert error_of(client.post(REGRESSION, json=body)) == expected


@pytest.mark.parametrize("path", [REPLAY, REGRESSION, "/api/v1/journal", "/api/v1/eval/runs/x/cancel"])
@pytest.mark.parametrize("what", BODIES)
def test_no_body_makes_any_route_fail(client: TestClient[Litestar], path: str, what: str) -> None:
    assert client.post(path, content=BODIES[what][0]).status_code < 500


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=UTF-8", "application/vnd.crew+json", None],
)
def test_json_is_taken_by_its_names_and_without_one(
    client: TestClient[Litestar], content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    body = json.dumps({"mission_id": MISSION}).encode()
    assert client.post(REPLAY, content=body, headers=headers).status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "text/plain;charset=UTF-8"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json; charset=utf-7"},
        {"Content-Type": "application/x-ndjson"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
    ],
)
def test_what_a_web_page_may_send_unasked_is_no_json(
    client: TestClient[Litestar], headers: dict[str, str]
) -> None:
    answer = client.post(REPLAY, content=json.dumps({"mission_id": MISSION}).encode(), headers=headers)
    assert error_of(answer)[0] == 415


def test_lines_of_json_are_taken_by_the_journal(client: TestClient[Litestar]) -> None:
    lines = b'{"entry_type": "note", "ts": "2026-01-01T00:00:00Z"}\nnonsense\n'
    answer = client.post("/api/v1/journal", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 200
    assert answer.json()["accepted"] == 1
    assert [line["line"] for line in answer.json()["rejected"]] == [2]


def test_a_body_over_the_limit_is_refused_however_it_comes(world: World) -> None:
    large = json.dumps({"mission_id": MISSION, "x": "y" * 5_000}).encode()
    with world.http(ADMIN, body_limit_bytes=1_000) as client:
        with_length = client.post(REPLAY, content=large)
        in_chunks = client.post(REPLAY, content=iter([large[:500], large[500:]]))
        small = client.post(REPLAY, content=iter([b'{"mission_id": ', b'"m-1"}']))
    assert error_of(with_length) == error_of(in_chunks) == (413, "body too large")
    assert small.status_code == 202


@pytest.mark.parametrize(
    "limit",
    ["", "abc", "0", "-1", "201", "1e3", "1.5", "%D9%A3", "1_0", "%2B5", "%205", "9" * 30, "5&limit=6"],
)
def test_a_limit_that_is_none_means_fifty(client: TestClient[Litestar], limit: str) -> None:
    answer = client.get(f"/api/v1/eval/runs?limit={limit}")
    assert answer.status_code == 200
    assert answer.json()["limit"] == 50


@pytest.mark.parametrize("limit", ["1", "200"])
def test_a_limit_within_bounds_is_used_and_echoed(client: TestClient[Litestar], limit: str) -> None:
    client.post(REPLAY, json={"mission_id": MISSION})
    answer = client.get(f"/api/v1/eval/runs?limit={limit}").json()
    assert answer["limit"] == int(limit)
    assert answer["count"] == len(answer["rows"]) <= int(limit)


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=501", "limit=abc", "limit=1.5", "limit=1&limit=2"),
        *("severity=loud", "since=yesterday", "until=2026-13-01T00:00:00Z", "q=" + "x" * 201, "q=%FF"),
        *("cursor=nonsense", "cursor=%00", "q=a&q=b"),
    ],
)
def test_a_bad_filter_of_the_journal_is_refused(client: TestClient[Litestar], query: str) -> None:
    assert error_of(client.get(f"/api/v1/journal?{query}"))[0] == 400


@pytest.mark.parametrize("query", ["status=done", "regressed=yes", "since=1", "cursor=x", "fields=v2"])
def test_a_bad_filter_of_the_runs_is_refused(client: TestClient[Litestar], query: str) -> None:
    assert error_of(client.get(f"/api/v1/eval/runs?{query}"))[0] == 400


@pytest.mark.parametrize(
    "query",
    [
        "q=%00",
        'q="',
        "q=NEAR(",
        "q=%25",
        "q=\\",
        "since=2026-01-01T00:00:00+02:00",
        "entry_type=,,",
        "mission_id=%00",
    ],
)
def test_a_strange_filter_is_answered(client: TestClient[Litestar], query: str) -> None:
    assert client.get(f"/api/v1/journal?{query}").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/api/v1/missions/%FF", "/api/v1/missions/%00", "/api/v1/missions/..%2F..%2Fetc%2Fpasswd"),
        *("/api/v1/missions/" + "m" * 10_000, "/api/v1/eval/runs/%20", "/api/v1/journal/j_" + "f" * 17),
        *("//evil.example/", "/api/v1/missions;x", "/API/V1/missions", "/nowhere"),
    ],
)
def test_a_strange_path_leads_nowhere(client: TestClient[Litestar], path: str) -> None:
    assert error_of(client.get("http://127.0.0.1" + path, follow_redirects=False))[0] == 404


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "BREW"])
def test_another_method_is_answered_with_those_there_are(client: TestClient[Litestar], method: str) -> None:
    answer = client.request(method, REPLAY)
    assert error_of(answer) == (405, "method not allowed")
    assert "POST" in answer.headers["allow"]


def test_an_id_may_hold_a_slash(world: World, client: TestClient[Litestar]) -> None:
    world.record(world.crew, "task/3/trial 1", "j_00000000000000b1")
    shown = client.get("/api/v1/missions/task%2F3%2Ftrial%201")
    steps = client.get("/api/v1/missions/task%2F3%2Ftrial%201/trajectory")
    assert (shown.status_code, steps.status_code) == (200, 200)
    assert shown.json()["mission_id"] == steps.json()["mission_id"] == "task/3/trial 1"


def test_a_failure_of_ours_tells_a_number_and_nothing_else(
    world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = World(tmp_path)
    with broken.client(ADMIN) as client:
        assert client.get("/api/v1/missions").status_code == 200
        broken.database.write_blocking(lambda c: c.execute("drop table mission_outcome"))
        answer = client.get(f"/api/v1/missions/{MISSION}")
        queued = client.post(
            REGRESSION, json={"baseline_mission_id": MISSION, "candidate_mission_id": OTHER_MISSION}
        )
    broken.database.close()
    assert answer.status_code in (500, 503)
    assert queued.status_code == 202
    for secret in ("mission_outcome", "select", "Traceback", str(tmp_path), ".py"):
        assert secret not in answer.text
    if answer.status_code == 500:
        error_id = answer.json()["detail"].split("error ")[1].split()[0]
        assert error_id in "".join(capfd.readouterr())
