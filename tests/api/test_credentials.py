"""Tokens, sessions and login links, as a client meets them."""

import time
from typing import Any

import pytest
from api_world import BAD_TOKEN, OWNER, VIEWER, World

from quartermaster.store import access

RUNS = "/api/v1/eval/runs"


@pytest.mark.parametrize(
    "authorization",
    [
        *("", "Bearer", "Bearer ", "Basic eDp5", "Bearer x", b"Bearer \xff\xfe", "Bearer " + "x" * 30_000),
        *("bearer {bad}", "Bearer {good}x", "{good}", "Bearer {good} {good}"),
    ],
)
def test_what_is_no_valid_token_gets_one_and_the_same_answer(world: World, authorization: Any) -> None:
    if isinstance(authorization, str):
        authorization = authorization.format(good=world.tokens[OWNER], bad=world.tokens[BAD_TOKEN])
    with world.client() as client:
        client.headers.pop("Authorization")
        without = client.get(RUNS)
        given = client.get(RUNS, headers={"Authorization": authorization})
    assert given.status_code == without.status_code == 401
    assert given.headers["www-authenticate"] == "Bearer"
    assert given.content == without.content


def test_a_token_in_the_query_is_ignored(world: World) -> None:
    with world.client() as client:
        client.headers.pop("Authorization")
        assert client.get(RUNS, params={"token": world.tokens[OWNER]}).status_code == 401


def test_a_revoked_token_is_refused_within_a_second(world: World) -> None:
    with world.client(VIEWER) as client:
        assert client.get(RUNS).status_code == 200
        token_id = access.token_id_of(world.tokens[VIEWER]) or ""
        world.database.write_blocking(lambda c: access.revoke_token(c, token_id, time.time_ns()))
        time.sleep(1.0)
        assert client.get(RUNS).status_code == 401


def test_a_lower_role_and_a_lost_membership_count_within_a_second(world: World) -> None:
    body = {"mission_id": "m-1"}
    with world.client("ADMIN") as client:
        assert client.post("/api/v1/eval/replay", json=body).status_code == 202
        world.database.write_blocking(
            lambda c: access.put_member(c, world.crew, "admin", access.Role.VIEWER, time.time_ns())
        )
        time.sleep(1.0)
        assert client.post("/api/v1/eval/replay", json=body).status_code == 403
        world.database.write_blocking(lambda c: access.remove_member(c, world.crew, "admin"))
        time.sleep(1.0)
        assert client.get(RUNS).status_code == 401


def test_a_use_is_noted_after_the_answer(world: World) -> None:
    with world.client(VIEWER) as client:
        client.get(RUNS)
    tokens = {token.user_id: token for token in world.database.read_blocking(access.list_tokens)}
    assert tokens["viewer"].last_used_day == time.time_ns() // (86_400 * 10**9)
    assert tokens["member"].last_used_day is None


def test_a_token_is_exchanged_for_a_session_that_ends_when_asked(world: World) -> None:
    with world.client() as client:
        opened = client.post("/api/v1/session")
        assert opened.status_code == 201
        assert opened.json()["user_id"] == "owner"
        cookie = opened.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert world.tokens[OWNER] not in cookie

        client.headers.pop("Authorization")
        assert client.get(RUNS).status_code == 200
        name, value = next(iter(client.cookies.items()))
        assert client.delete("/api/v1/session").status_code == 204
        client.cookies[name] = value
        assert client.get(RUNS).status_code == 401


def test_a_wrong_token_is_not_saved_by_a_good_session(world: World) -> None:
    with world.client() as client:
        client.post("/api/v1/session")
        assert client.get(RUNS, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_login_link_works_once(world: World) -> None:
    token_id = access.token_id_of(world.tokens[OWNER]) or ""
    code = world.database.write_blocking(
        lambda c: access.create_login_code(c, token_id, now=time.time_ns(), secret_bytes=b"s" * 32)
    )
    with world.client() as client:
        client.headers.clear()
        first = client.get("/login", params={"code": code}, follow_redirects=False)
        assert (first.status_code, first.headers["location"]) == (303, "/")
        assert client.get("/api/v1/session").json()["user_id"] == "owner"
        client.cookies.clear()
        assert client.get("/login", params={"code": code}, follow_redirects=False).status_code == 401
        assert client.get("/login", follow_redirects=False).status_code == 401


def test_the_cookie_of_another_instance_means_nothing_here(world: World) -> None:
    with world.client() as client:
        name = client.post("/api/v1/session").headers["set-cookie"].split("=")[0]
        client.headers.pop("Authorization")
        value = client.cookies[name]
        client.cookies.clear()
        client.cookies["quartermaster_000000000000"] = value
        assert client.get(RUNS).status_code == 401
