"""Every route for every kind of caller, cell by cell; and no answer that tells foreign from missing."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from api_world import (
    ADMIN,
    ENTRY,
    FOREIGN_ENTRY,
    FOREIGN_MISSION,
    FOREIGN_OWNER,
    MISSION,
    OTHER_MISSION,
    OWNER,
    PRINCIPALS,
    World,
)
from litestar import Litestar, get
from litestar.testing import TestClient

from quartermaster.api.application import ROUTES, make_application
from quartermaster.api.page import page
from quartermaster.core.alerts import OnRegression, Webhook
from quartermaster.store import access
from quartermaster.store.access import Role
from quartermaster.store.alerts import Composed, NewRule, add_rule, advance
from quartermaster.store.database import Connection

READ = (401, 401, 403, 200, 200, 200)
EVERYBODY = (200,) * 6
REPLAY = {"mission_id": MISSION}
REGRESSION = {"baseline_mission_id": MISSION, "candidate_mission_id": OTHER_MISSION}
COMPARISON = {"baseline": [MISSION], "candidate": [OTHER_MISSION]}
BASELINE, FOREIGN_BASELINE = "crew-main", "foreign-main"
ACCEPTED = {"missions": [MISSION], "reason": "known"}
NATIVE = {"entry_type": "note", "ts": "2026-01-01T00:00:00Z"}
RULE, SPARE_RULE, FOREIGN_RULE = (f"al_{number:016x}" for number in (1, 2, 3))
NEW_RULE = {"name": "worse", "trigger": {"on": "regression"}, "url": "https://hooks.example.com/"}
ADMINS = (401, 401, 403, 403, 403, 200)

# route: (path, body, answer to: nobody, bad token, foreign owner, VIEWER, MEMBER, ADMIN)
MATRIX: dict[str, tuple[str, Any, tuple[int, ...]]] = {
    "GET /": ("/", None, EVERYBODY),
    "GET /static/{version:str}/{name:path}": (f"/static/{page().version}/app.js", None, EVERYBODY),
    "GET /healthz": ("/healthz", None, EVERYBODY),
    "GET /readyz": ("/readyz", None, EVERYBODY),
    "GET /metrics": ("/metrics", None, (401, 401, 403, 403, 403, 200)),
    "GET /schema": ("/schema", None, EVERYBODY),
    "GET /api/v1/doctor": ("/api/v1/doctor", None, ADMINS),
    "GET /api/v1/settings": ("/api/v1/settings", None, READ),
    "GET /login": ("/login?code=unknown", None, (401,) * 6),
    "GET /api/v1/session": ("/api/v1/session", None, (401, 401, 200, 200, 200, 200)),
    "POST /api/v1/session": ("/api/v1/session", {}, (401, 401, 201, 201, 201, 201)),
    "DELETE /api/v1/session": ("/api/v1/session", None, (401, 401, 204, 204, 204, 204)),
    "GET /api/v1/members": ("/api/v1/members", None, READ),
    "POST /api/v1/members": (
        "/api/v1/members",
        {"user_id": "somebody", "role": "VIEWER"},
        (401, 401, 403, 403, 403, 201),
    ),
    "PATCH /api/v1/members/{user_id:str}": (
        "/api/v1/members/{member}",
        {"role": "MEMBER"},
        (401, 401, 403, 403, 403, 200),
    ),
    "DELETE /api/v1/members/{user_id:str}": (
        "/api/v1/members/{member}",
        None,
        (401, 401, 403, 403, 403, 204),
    ),
    "GET /api/v1/tokens": ("/api/v1/tokens", None, (401, 401, 403, 403, 403, 200)),
    "POST /api/v1/tokens": ("/api/v1/tokens", {"expires": "1h"}, (401, 401, 403, 403, 403, 201)),
    "POST /api/v1/tokens/{token_id:str}/rotate": (
        "/api/v1/tokens/{token}/rotate",
        {},
        (401, 401, 403, 403, 403, 201),
    ),
    "DELETE /api/v1/tokens/{token_id:str}": (
        "/api/v1/tokens/{token}",
        None,
        (401, 401, 403, 403, 403, 204),
    ),
    "POST /api/v1/eval/replay": ("/api/v1/eval/replay", REPLAY, (401, 401, 403, 403, 403, 202)),
    "POST /api/v1/eval/regression": ("/api/v1/eval/regression", REGRESSION, (401, 401, 403, 403, 403, 202)),
    "POST /api/v1/eval/comparisons": ("/api/v1/eval/comparisons", COMPARISON, (401, 401, 403, 403, 403, 202)),
    "GET /api/v1/eval/runs": ("/api/v1/eval/runs", None, READ),
    "GET /api/v1/eval/runs/stream": ("/api/v1/eval/runs/stream", None, READ),
    "GET /api/v1/eval/runs/{run_id:str}": ("/api/v1/eval/runs/{run}", None, READ),
    "POST /api/v1/eval/runs/{run_id:str}/cancel": (
        "/api/v1/eval/runs/{run}/cancel",
        {},
        (401, 401, 403, 403, 403, 202),
    ),
    "GET /api/v1/baselines": ("/api/v1/baselines", None, READ),
    "GET /api/v1/baselines/{name:str}": (f"/api/v1/baselines/{BASELINE}", None, READ),
    "POST /api/v1/baselines": (
        "/api/v1/baselines",
        {"name": "another", "missions": [MISSION]},
        (401, 401, 403, 403, 403, 201),
    ),
    "POST /api/v1/baselines/{name:str}/accept": (
        f"/api/v1/baselines/{BASELINE}/accept",
        ACCEPTED,
        (401, 401, 403, 403, 403, 201),
    ),
    "GET /api/v1/eval/trends": ("/api/v1/eval/trends", None, READ),
    "GET /api/v1/alerts/rules": ("/api/v1/alerts/rules", None, ADMINS),
    "POST /api/v1/alerts/rules": ("/api/v1/alerts/rules", NEW_RULE, (401, 401, 403, 403, 403, 201)),
    "DELETE /api/v1/alerts/rules/{rule_id:str}": (
        f"/api/v1/alerts/rules/{SPARE_RULE}",
        None,
        (401, 401, 403, 403, 403, 204),
    ),
    "POST /api/v1/alerts/rules/{rule_id:str}/retry": (
        f"/api/v1/alerts/rules/{RULE}/retry",
        {},
        (401, 401, 403, 403, 403, 202),
    ),
    "GET /api/v1/alerts/deliveries": ("/api/v1/alerts/deliveries", None, ADMINS),
    "GET /api/v1/missions": ("/api/v1/missions", None, READ),
    "GET /api/v1/missions/{mission_id:str}": (f"/api/v1/missions/{MISSION}", None, READ),
    "GET /api/v1/missions/{mission_id:str}/trajectory": (
        f"/api/v1/missions/{MISSION}/trajectory",
        None,
        READ,
    ),
    "GET /api/v1/missions/{mission_id:str}/outline": (f"/api/v1/missions/{MISSION}/outline", None, READ),
    "GET /api/v1/missions/{mission_id:str}/snippets": (f"/api/v1/missions/{MISSION}/snippets", None, READ),
    "GET /api/v1/missions/strips": ("/api/v1/missions/strips", None, READ),
    "GET /api/v1/missions/{mission_id:str}/diff/{other:str}": (
        f"/api/v1/missions/{MISSION}/diff/{OTHER_MISSION}",
        None,
        READ,
    ),
    "GET /api/v1/missions/{mission_id:str}/similar": (f"/api/v1/missions/{MISSION}/similar", None, READ),
    "GET /api/v1/sources": ("/api/v1/sources", None, READ),
    "GET /api/v1/sources/{source_id:str}": ("/api/v1/sources/{source}", None, READ),
    "GET /api/v1/journal": ("/api/v1/journal", None, READ),
    "GET /api/v1/journal/count": ("/api/v1/journal/count", None, READ),
    "GET /api/v1/journal/{entry_id:str}": (f"/api/v1/journal/{ENTRY}", None, READ),
    "POST /api/v1/journal": ("/api/v1/journal", NATIVE, (401, 401, 403, 403, 200, 200)),
    "POST /v1/traces": ("/v1/traces", {"resourceSpans": []}, (401, 401, 403, 403, 200, 200)),
    "POST /v1/logs": ("/v1/logs", {"resourceLogs": []}, (401, 401, 403, 403, 200, 200)),
}

# route: (path, body) with {id} where an id stands; then an own, a foreign and an unknown id
MISSIONS = (MISSION, FOREIGN_MISSION, "m-unknown")
ENTRIES = (ENTRY, FOREIGN_ENTRY, "j_00000000000000ff")
BASELINES = (BASELINE, FOREIGN_BASELINE, "nothing")
RULES = (RULE, FOREIGN_RULE, "al_" + "f" * 16)
NAMED: tuple[tuple[str, str, Any, tuple[str, str, str] | None], ...] = (
    ("GET", "/api/v1/missions/{id}", None, MISSIONS),
    ("GET", "/api/v1/missions/{id}/trajectory", None, MISSIONS),
    ("GET", "/api/v1/missions/{id}/outline", None, MISSIONS),
    ("GET", "/api/v1/missions/{id}/snippets", None, MISSIONS),
    ("GET", "/api/v1/missions/strips?mission_id={id}", None, MISSIONS),
    ("GET", f"/api/v1/missions/{{id}}/diff/{MISSION}", None, MISSIONS),
    ("GET", f"/api/v1/missions/{MISSION}/diff/{{id}}", None, MISSIONS),
    ("GET", "/api/v1/missions/{id}/similar", None, MISSIONS),
    ("GET", "/api/v1/journal/{id}", None, ENTRIES),
    ("GET", "/api/v1/sources/{id}", None, None),
    ("GET", "/api/v1/eval/runs/{id}", None, None),
    ("POST", "/api/v1/eval/runs/{id}/cancel", {}, None),
    ("POST", "/api/v1/eval/replay", {"mission_id": "{id}"}, MISSIONS),
    (
        "POST",
        "/api/v1/eval/regression",
        {"baseline_mission_id": "{id}", "candidate_mission_id": MISSION},
        MISSIONS,
    ),
    (
        "POST",
        "/api/v1/eval/regression",
        {"baseline_mission_id": MISSION, "candidate_mission_id": "{id}"},
        MISSIONS,
    ),
    ("POST", "/api/v1/eval/comparisons", {"baseline": ["{id}"], "candidate": [MISSION]}, MISSIONS),
    (
        "POST",
        "/api/v1/eval/comparisons",
        {"baseline": [MISSION], "candidate": {"mission_ids": ["{id}"]}},
        MISSIONS,
    ),
    ("GET", "/api/v1/baselines/{id}", None, BASELINES),
    ("POST", "/api/v1/baselines/{id}/accept", ACCEPTED, BASELINES),
    ("POST", f"/api/v1/baselines/{BASELINE}/accept", {"missions": ["{id}"], "reason": "known"}, MISSIONS),
    ("POST", "/api/v1/baselines", {"name": BASELINE, "missions": ["{id}"]}, MISSIONS),
    (
        "POST",
        "/api/v1/eval/comparisons",
        {"baseline": {"baseline": "{id}"}, "candidate": [MISSION]},
        BASELINES,
    ),
    ("POST", "/api/v1/eval/regression", {"baseline": "{id}", "candidate_mission_id": MISSION}, BASELINES),
    ("PATCH", "/api/v1/members/{id}", {"role": "VIEWER"}, None),
    ("DELETE", "/api/v1/members/{id}", None, None),
    ("POST", "/api/v1/tokens", {"user_id": "{id}"}, None),
    ("POST", "/api/v1/tokens/{id}/rotate", {}, None),
    ("DELETE", "/api/v1/tokens/{id}", None, None),
    ("GET", "/api/v1/alerts/deliveries?rule_id={id}", None, RULES),
    ("POST", "/api/v1/alerts/rules/{id}/retry", {}, RULES),
    ("DELETE", "/api/v1/alerts/rules/{id}", None, RULES),
    ("GET", "/api/v1/sources?q={id}", None, None),
    ("GET", "/api/v1/eval/runs?mission_id={id}", None, MISSIONS),
    ("GET", "/api/v1/missions?q={id}", None, MISSIONS),
    ("GET", "/api/v1/journal?mission_id={id}", None, MISSIONS),
    ("GET", "/api/v1/journal/count?mission_id={id}", None, MISSIONS),
)


class TenancyWorld(World):
    """With one file in each workspace."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.guests: list[str] = []
        line = msgspec.json.encode(NATIVE) + b"\n"
        self.source = self.ingest(self.crew, "crew.ndjson", line)
        self.foreign_source = self.ingest(self.foreign, "foreign.ndjson", line)
        for workspace, rule_id in ((self.crew, RULE), (self.crew, SPARE_RULE), (self.foreign, FOREIGN_RULE)):
            self.alert(workspace, rule_id)
        for principal, name, mission_id in (
            (OWNER, BASELINE, MISSION),
            (FOREIGN_OWNER, FOREIGN_BASELINE, FOREIGN_MISSION),
        ):
            headers = self.headers(principal)
            if principal == FOREIGN_OWNER:
                headers["X-Workspace-ID"] = "foreign"
            with self.client() as client:
                body = {"name": name, "missions": [mission_id]}
                assert client.post("/api/v1/baselines", json=body, headers=headers).status_code == 201

    def alert(self, workspace: int, rule_id: str) -> None:
        """A rule that has told of something."""
        new = NewRule(
            rule_id=rule_id,
            name="worse",
            trigger=OnRegression(),
            destination=Webhook(url="https://hooks.example.com/", local=False),
            secret="whsec_c2VjcmV0",
            created_by="owner",
        )
        told = [Composed(f"msg_{rule_id}", "regression", b"{}")]

        def keep(connection: Connection) -> None:
            rule = add_rule(connection, workspace, new, now=time.time_ns())
            advance(connection, rule, 1, told, series={}, now=time.time_ns())

        self.database.write_blocking(keep)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TenancyWorld]:
    world = TenancyWorld(Path(tmp_path_factory.mktemp("tenancy")))
    world.stopping.set()  # so that a stream ends after its first bytes
    yield world
    world.database.close()


@pytest.fixture(scope="module")
def client(shared: TenancyWorld) -> Iterator[TestClient[Litestar]]:
    with shared.client() as opened:
        opened.headers.clear()
        yield opened


def routes_of(application: Litestar) -> set[str]:
    return {
        f"{method} {route.path}"
        for route in application.routes
        for method in route.methods  # type: ignore[union-attr]
        if method != "OPTIONS"
    }


def run_of(shared: TenancyWorld, client: TestClient[Litestar], principal: str, mission_id: str) -> str:
    headers = shared.headers(principal)
    if principal == FOREIGN_OWNER:
        headers["X-Workspace-ID"] = "foreign"
    queued = client.post("/api/v1/eval/replay", json={"mission_id": mission_id}, headers=headers)
    return str(queued.json()["run_id"])


def member_of(shared: TenancyWorld, workspace: int) -> tuple[str, str]:
    """A new VIEWER and the id of their token, which is bound to the workspace."""
    user_id = f"guest-{len(shared.guests)}"
    shared.guests.append(user_id)
    shared.member(user_id, Role.VIEWER, workspace)
    token_id = access.token_id_of(shared.token(user_id, workspace=workspace))
    assert token_id is not None
    return user_id, token_id


def ids_of(shared: TenancyWorld, client: TestClient[Litestar], path: str, body: Any) -> tuple[str, str, str]:
    """An own, a foreign and an unknown id of what the path is about."""
    if "sources" in path:
        names = ("crew.ndjson", "foreign.ndjson", "nowhere.ndjson")
        return names if "?q=" in path else (shared.source, shared.foreign_source, "src_" + "0" * 16)
    if "members" in path or "tokens" in path:
        (user, token), (foreign_user, foreign_token) = (
            member_of(shared, workspace) for workspace in (shared.crew, shared.foreign)
        )
        by_user = "members" in path or (body and "user_id" in body)
        return (user, foreign_user, "nobody") if by_user else (token, foreign_token, "0" * 12)
    own = run_of(shared, client, OWNER, MISSION)
    return own, run_of(shared, client, FOREIGN_OWNER, FOREIGN_MISSION), "er_" + "0" * 16


def told(response: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    headers = {
        name: value for name, value in response.headers.items() if name not in ("date", "x-request-id")
    }
    return response.status_code, response.content, headers


def test_the_matrix_has_every_route_and_no_other(shared: TenancyWorld) -> None:
    assert routes_of(make_application(shared.services())) == set(MATRIX)


@pytest.mark.parametrize("route", MATRIX)
def test_every_kind_of_caller_gets_the_answer_of_the_matrix(
    shared: TenancyWorld, client: TestClient[Litestar], route: str
) -> None:
    path, body, expected = MATRIX[route]
    member, token = member_of(shared, shared.crew)
    path = path.replace("{run}", run_of(shared, client, ADMIN, MISSION)).replace("{source}", shared.source)
    path = path.replace("{member}", member).replace("{token}", token)
    method = route.split()[0]
    given = [
        client.request(method, path, json=body, headers=shared.headers(principal)).status_code
        for principal in PRINCIPALS
    ]
    client.cookies.clear()
    assert dict(zip(PRINCIPALS, given, strict=True)) == dict(zip(PRINCIPALS, expected, strict=True))


@pytest.mark.parametrize(("method", "path", "body", "ids"), NAMED)
def test_a_foreign_id_is_answered_like_one_that_does_not_exist(
    shared: TenancyWorld,
    client: TestClient[Litestar],
    method: str,
    path: str,
    body: Any,
    ids: tuple[str, str, str] | None,
) -> None:
    if path.startswith("/api/v1/eval/runs?"):  # where there is none, own and foreign look alike
        run_of(shared, client, OWNER, MISSION)
        run_of(shared, client, FOREIGN_OWNER, FOREIGN_MISSION)
    ids = ids or ids_of(shared, client, path, body)

    def ask(wanted: str) -> tuple[int, bytes, dict[str, str]]:
        filled = json.loads(json.dumps(body).replace("{id}", wanted)) if body else None
        return told(
            client.request(method, path.replace("{id}", wanted), json=filled, headers=shared.headers(OWNER))
        )

    own_answer, foreign_answer, unknown_answer = map(ask, ids)
    assert foreign_answer == unknown_answer
    assert own_answer != unknown_answer


def test_every_route_with_an_id_in_its_path_is_among_those() -> None:
    with_id = {route.split("{")[0] for route in MATRIX if "{" in route and "/api/" in route}
    assert with_id <= {f"{method} {path.split('{')[0]}" for method, path, _, _ in NAMED if "/{id}" in path}


@pytest.mark.parametrize("route", [route for route, (_, _, cells) in MATRIX.items() if cells[2] == 403])
def test_a_foreign_workspace_is_answered_like_one_that_does_not_exist(
    shared: TenancyWorld, client: TestClient[Litestar], route: str
) -> None:
    method, path = route.split()[0], MATRIX[route][0].replace("{run}", "er_0").replace("{source}", "src_0")
    body = MATRIX[route][1]
    named_in_header: tuple[str | bytes, ...] = ("foreign", "no-such-workspace", b"\xff\xfe")
    answers = []
    for named in named_in_header:
        headers: dict[str, Any] = shared.headers(OWNER) | {"X-Workspace-ID": named}
        answers.append(told(client.request(method, path, json=body, headers=headers)))
    by_query = told(
        client.request(method, f"{path}?workspace_id=foreign", json=body, headers=shared.headers(OWNER))
    )
    assert answers[0][0] == 403
    assert answers[0] == answers[1] == answers[2] == by_query


def test_the_workspace_of_the_query_wins_over_the_one_of_the_header(
    shared: TenancyWorld, client: TestClient[Litestar]
) -> None:
    headers = shared.headers(OWNER) | {"X-Workspace-ID": "foreign"}
    assert client.get("/api/v1/missions?workspace_id=crew", headers=headers).status_code == 200
    assert client.get("/api/v1/missions?workspace_id=", headers=headers).status_code == 403
    assert (
        client.get("/api/v1/missions?workspace_id=crew&workspace_id=crew", headers=headers).status_code == 400
    )


def test_without_a_name_the_only_membership_or_the_bound_token_decides(
    shared: TenancyWorld, client: TestClient[Litestar]
) -> None:
    def missions_of(token: str, **headers: str) -> httpx.Response:
        return client.get("/api/v1/missions", headers={"Authorization": f"Bearer {token}", **headers})

    assert missions_of(shared.tokens[OWNER]).status_code == 200

    shared.member("both", Role.VIEWER, shared.crew)
    free = shared.member("both", Role.VIEWER, shared.foreign)
    assert missions_of(free).json()["error"] == "workspace required"
    assert missions_of(free).status_code == 401

    bound = shared.token("both", workspace=shared.foreign)
    assert [row["mission_id"] for row in missions_of(bound).json()["rows"]] == [FOREIGN_MISSION]
    elsewhere = missions_of(bound, **{"X-Workspace-ID": "crew"})
    unknown = missions_of(bound, **{"X-Workspace-ID": "nowhere"})
    assert elsewhere.status_code == 403
    assert told(elsewhere) == told(unknown)


def test_a_cursor_of_another_workspace_is_a_damaged_one(
    shared: TenancyWorld, client: TestClient[Litestar]
) -> None:
    for number in range(3):
        shared.record(shared.foreign, f"paged-{number}", f"j_00000000000001{number:02}")
    foreign = shared.headers(FOREIGN_OWNER) | {"X-Workspace-ID": "foreign"}
    for path in ("/api/v1/missions", "/api/v1/journal"):
        cursor = client.get(f"{path}?limit=1", headers=foreign).json()["next_cursor"]
        assert client.get(path, params={"cursor": cursor}, headers=foreign).status_code == 200
        stolen = client.get(path, params={"cursor": cursor}, headers=shared.headers(OWNER))
        tampered = client.get(path, params={"cursor": "x" + cursor[1:]}, headers=shared.headers(OWNER))
        assert stolen.status_code == 400
        assert told(stolen) == told(tampered)


@pytest.mark.parametrize(("role", "expected"), [("MANAGER", 403), ("ADMIN", 202), ("OWNER", 202)])
def test_evaluations_are_for_owners_and_admins(
    shared: TenancyWorld, client: TestClient[Litestar], role: str, expected: int
) -> None:
    for path, body in (("replay", REPLAY), ("regression", REGRESSION)):
        answer = client.post(f"/api/v1/eval/{path}", json=body, headers=shared.headers(role))
        assert answer.status_code == expected


def test_what_is_wrong_is_told_in_one_order(shared: TenancyWorld, client: TestClient[Litestar]) -> None:
    """401, workspace 403, role 403, 415, 400, 404: each hides everything behind it."""

    def status(principal: str, body: bytes, **headers: str) -> int:
        sent = shared.headers(principal) | headers
        return client.post("/api/v1/eval/replay", content=body, headers=sent).status_code

    text = {"Content-Type": "text/plain"}
    foreign = {"X-Workspace-ID": "foreign"}
    assert status("nobody", b"{", **text, **foreign) == 401
    assert status("VIEWER", b"{", **text, **foreign) == 403
    assert status("VIEWER", b"{", **text) == 403
    assert status("ADMIN", b"{", **text) == 415
    assert status("ADMIN", b"{") == 400
    assert status("ADMIN", b'{"mission_id": "m-unknown", "seed": "x"}') == 400
    assert status("ADMIN", b'{"mission_id": "m-unknown"}') == 404


def test_asking_for_the_methods_of_a_route_gives_no_permission_to_other_sites(
    client: TestClient[Litestar],
) -> None:
    answer = client.options("/api/v1/eval/replay", headers={"Origin": "http://evil.example"})
    assert "POST" in answer.headers["allow"]
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_route_that_declares_no_role_stops_the_start(shared: TenancyWorld) -> None:
    @get("/forgotten")
    async def forgotten() -> str:
        return ""

    with pytest.raises(ValueError, match="/forgotten"):
        make_application(shared.services(), (*ROUTES, forgotten))
