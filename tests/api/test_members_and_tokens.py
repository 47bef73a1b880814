"""Members and tokens over HTTP: who may change whom, what is told once, and what nobody can lock out."""

import json
import time
from typing import Any

import httpx
import pytest
from api_world import ADMIN, FOREIGN_OWNER, MANAGER, MEMBER, OWNER, VIEWER, World

from quartermaster.store import access
from quartermaster.store.access import Role

MEMBERS, TOKENS = "/api/v1/members", "/api/v1/tokens"
DAY = 86_400 * 10**9


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


def audited(client: Any) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = client.get("/api/v1/journal").json()["entries"]
    return [one for one in reversed(entries) if one["entry_type"].startswith("audit.")]


def create(client: Any, user_id: str, **more: str) -> dict[str, Any]:
    answer = client.post(TOKENS, json={"user_id": user_id, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def status_of(client: Any, token: str) -> int:
    status: int = client.get("/api/v1/missions", headers={"Authorization": f"Bearer {token}"}).status_code
    return status


def test_members_are_listed_added_changed_and_removed(world: World) -> None:
    with world.client() as client:
        listed = client.get(MEMBERS).json()
        assert listed["rows"][0] == {"user_id": "owner", "role": "OWNER"}
        assert listed["count"] == 5
        added = client.post(MEMBERS, json={"user_id": "team/ann", "role": "viewer"})
        assert (added.status_code, added.json()) == (201, {"user_id": "team/ann", "role": "VIEWER"})
        assert error(client.post(MEMBERS, json={"user_id": "team/ann", "role": "ADMIN"})) == (409, "conflict")
        changed = client.patch(f"{MEMBERS}/team%2Fann", json={"role": "MANAGER"})
        assert (changed.status_code, changed.json()["role"]) == (200, "MANAGER")
        assert client.delete(f"{MEMBERS}/team%2Fann").status_code == 204
        assert client.get(MEMBERS).json() == listed
        assert error(client.delete(f"{MEMBERS}/team%2Fann")) == (404, "member not found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user_id": "ann"},
        {"user_id": "ann", "role": "KING"},
        {"user_id": "ann", "role": 5},
        {"user_id": "", "role": "VIEWER"},
        {"user_id": "a\nb", "role": "VIEWER"},
        {"user_id": "x" * 600, "role": "VIEWER"},
    ],
)
def test_what_is_no_member_is_refused(world: World, body: dict[str, Any]) -> None:
    with world.client() as client:
        assert client.post(MEMBERS, json=body).status_code == 400
        assert client.get(MEMBERS).json()["count"] == 5


def test_an_admin_acts_on_nobody_above_an_admin(world: World) -> None:
    with world.client(ADMIN) as client:
        owners = create_as(world, OWNER, "owner")
        refused = [
            client.post(MEMBERS, json={"user_id": "ann", "role": "OWNER"}),
            client.patch(f"{MEMBERS}/admin", json={"role": "OWNER"}),
            client.patch(f"{MEMBERS}/owner", json={"role": "VIEWER"}),
            client.delete(f"{MEMBERS}/owner"),
            client.post(TOKENS, json={"user_id": "owner"}),
            client.post(f"{TOKENS}/{owners['token_id']}/rotate", json={}),
            client.delete(f"{TOKENS}/{owners['token_id']}"),
        ]
        assert {error(answer) for answer in refused} == {(403, "not allowed")}
        assert client.post(MEMBERS, json={"user_id": "ann", "role": "ADMIN"}).status_code == 201
        assert client.patch(f"{MEMBERS}/ann", json={"role": "MEMBER"}).status_code == 200
        assert create(client, "ann")["role"] == "MEMBER"


def create_as(world: World, principal: str, user_id: str) -> dict[str, Any]:
    with world.client(principal) as client:
        return create(client, user_id)


@pytest.mark.parametrize("principal", [VIEWER, MEMBER, MANAGER])
def test_lower_roles_change_nobody_and_see_no_tokens(world: World, principal: str) -> None:
    with world.client(principal) as client:
        answers = [
            client.get(TOKENS),
            client.post(TOKENS, json={}),
            client.post(MEMBERS, json={"user_id": "ann", "role": "VIEWER"}),
            client.patch(f"{MEMBERS}/viewer", json={"role": "ADMIN"}),
        ]
        assert {error(answer) for answer in answers} == {(403, "role too low")}


def test_the_last_owner_stays(world: World) -> None:
    with world.client() as client:
        assert error(client.delete(f"{MEMBERS}/owner")) == (409, "conflict")
        assert error(client.patch(f"{MEMBERS}/owner", json={"role": "ADMIN"})) == (409, "conflict")
        assert client.post(MEMBERS, json={"user_id": "second", "role": "OWNER"}).status_code == 201
        still_alone = client.patch(f"{MEMBERS}/owner", json={"role": "ADMIN"})
        assert error(still_alone) == (409, "conflict")
        assert "valid token" in still_alone.json()["detail"]
        create(client, "second")
        assert client.patch(f"{MEMBERS}/owner", json={"role": "ADMIN"}).status_code == 200


def test_the_last_token_of_an_owner_stays(world: World) -> None:
    bound = world.token("owner", workspace=world.crew)
    unbound = access.token_id_of(world.tokens[OWNER])
    world.database.write_blocking(lambda c: access.revoke_token(c, str(unbound), 1))
    with world.client() as client:
        client.headers["Authorization"] = f"Bearer {bound}"
        token_id = access.token_id_of(bound)
        assert error(client.delete(f"{TOKENS}/{token_id}")) == (409, "conflict")
        assert status_of(client, bound) == 200
        another = create(client, "owner")
        assert client.delete(f"{TOKENS}/{token_id}").status_code == 204
        assert [status_of(client, text) for text in (bound, another["token"])] == [401, 200]


def test_a_token_is_told_once_and_works_at_once(world: World) -> None:
    with world.client() as client:
        answer = client.post(TOKENS, json={"user_id": "member", "expires": "90d"})
        made = answer.json()
        assert answer.headers["cache-control"] == "no-store"
        assert (made["role"], made["workspace_id"], made["state"]) == (
            "MEMBER",
            made["workspace_id"],
            "valid",
        )
        assert made["expires_at"] > made["created_at"]
        assert status_of(client, made["token"]) == 200
        listed = client.get(TOKENS)
        row = next(one for one in listed.json()["rows"] if one["token_id"] == made["token_id"])
        assert row == {name: value for name, value in made.items() if name != "token"} | {
            "last_used_on": time.strftime("%Y-%m-%d", time.gmtime())
        }
        secret = made["token"].split("_")[2]
        assert secret not in listed.text
        assert secret not in json.dumps(audited(client))


def test_without_a_user_a_token_is_ones_own(world: World) -> None:
    with world.client(ADMIN) as client:
        own = client.post(TOKENS, content=b"")
        assert (own.status_code, own.json()["user_id"], own.json()["expires_at"]) == (201, "admin", None)


def test_a_token_acts_in_its_workspace_alone(world: World) -> None:
    world.member("both", Role.VIEWER, world.crew)
    world.member("both", Role.OWNER, world.foreign)
    with world.client() as client:
        text = create(client, "both")["token"]
        headers = {"Authorization": f"Bearer {text}", "X-Workspace-ID": "foreign"}
        assert client.get("/api/v1/missions", headers=headers).status_code == 403


def test_tokens_of_other_workspaces_are_not_seen_and_those_of_all_are_not_touched(world: World) -> None:
    world.token("eve", workspace=world.foreign)
    of_all = access.token_id_of(world.tokens[VIEWER])
    with world.client() as client:
        rows = client.get(TOKENS).json()["rows"]
        assert {row["user_id"] for row in rows} == {"viewer", "member", "manager", "admin", "owner"}
        assert {(row["workspace_id"], row["last_used_on"]) for row in rows} == {(None, None)}
        assert error(client.delete(f"{TOKENS}/{of_all}")) == (409, "conflict")
        assert error(client.post(f"{TOKENS}/{of_all}/rotate")) == (409, "conflict")
        assert status_of(client, world.tokens[VIEWER]) == 200


def test_a_rotated_token_ends_after_the_overlap(world: World) -> None:
    instant = [time.time_ns()]
    with world.client(now=lambda: instant[0]) as client:
        old = create(client, "member")
        new = client.post(f"{TOKENS}/{old['token_id']}/rotate", json={"overlap": "1h"}).json()
        assert new["user_id"] == "member"
        assert [status_of(client, one["token"]) for one in (old, new)] == [200, 200]
        instant[0] += 2 * 3600 * 10**9
        client.post(TOKENS, json={})  # whoever is changed is looked up again
        assert [status_of(client, one["token"]) for one in (old, new)] == [401, 200]
        states = {row["token_id"]: row["state"] for row in client.get(TOKENS).json()["rows"]}
        assert (states[old["token_id"]], states[new["token_id"]]) == ("expired", "valid")
        assert client.post(f"{TOKENS}/{old['token_id']}/rotate", json={}).status_code == 400


def test_a_revoked_token_ends_at_once_and_revoking_twice_is_fine(world: World) -> None:
    with world.client() as client:
        made = create(client, "member")
        assert status_of(client, made["token"]) == 200
        path = f"{TOKENS}/{made['token_id']}"
        assert [client.delete(path).status_code for _ in range(2)] == [204, 204]
        assert status_of(client, made["token"]) == 401


def test_a_token_of_a_removed_member_is_still_seen_and_can_be_ended(world: World) -> None:
    with world.client() as client:
        made = create(client, "member")
        client.delete(f"{MEMBERS}/member")
        assert status_of(client, made["token"]) == 401
        row = next(one for one in client.get(TOKENS).json()["rows"] if one["token_id"] == made["token_id"])
        assert row["role"] is None
        assert client.delete(f"{TOKENS}/{made['token_id']}").status_code == 204


def test_a_secret_is_kept_for_no_second_answer(world: World) -> None:
    with world.client() as client:
        key = {"Idempotency-Key": "k"}
        assert error(client.post(TOKENS, json={}, headers=key)) == (400, "no Idempotency-Key here")
        made = create(client, "member")
        assert client.post(f"{TOKENS}/{made['token_id']}/rotate", headers=key).status_code == 400


@pytest.mark.parametrize("body", [{"expires": "soon"}, {"expires": "2001-01-01T00:00:00Z"}, {"expires": 5}])
def test_a_time_that_is_none_is_refused(world: World, body: dict[str, Any]) -> None:
    with world.client() as client:
        assert client.post(TOKENS, json=body).status_code == 400


def test_every_act_is_in_the_journal_with_who_did_it_by_which_token(world: World) -> None:
    with world.client() as client:
        client.post(MEMBERS, json={"user_id": "ann", "role": "VIEWER"})
        client.patch(f"{MEMBERS}/ann", json={"role": "MEMBER"})
        made = create(client, "ann", expires="90d")
        new = client.post(f"{TOKENS}/{made['token_id']}/rotate").json()
        client.delete(f"{TOKENS}/{new['token_id']}")
        client.delete(f"{MEMBERS}/ann")
        told = audited(client)
        by = {"with_token": access.token_id_of(world.tokens[OWNER])}
        assert {(one["actor_type"], one["actor_id"]) for one in told} == {("user", "owner")}
        assert [(one["entry_type"], one["payload"]) for one in told] == [
            ("audit.member.put", {"user": "ann", "role": "VIEWER"} | by),
            ("audit.member.put", {"user": "ann", "role": "MEMBER"} | by),
            ("audit.token.created", {"user": "ann", "token": made["token_id"], "expires": "90d"} | by),
            (
                "audit.token.rotated",
                {"user": "ann", "token": made["token_id"], "successor": new["token_id"]} | by,
            ),
            ("audit.token.revoked", {"user": "ann", "token": new["token_id"]} | by),
            ("audit.member.removed", {"user": "ann"} | by),
        ]


def test_what_was_refused_leaves_no_entry(world: World) -> None:
    with world.client(ADMIN) as client:
        client.patch(f"{MEMBERS}/owner", json={"role": "VIEWER"})
        client.post(MEMBERS, json={"user_id": "ann", "role": "OWNER"})
        assert audited(client) == []


def test_a_repeated_request_under_one_key_adds_a_member_once(world: World) -> None:
    with world.client() as client:
        body, key = {"user_id": "ann", "role": "VIEWER"}, {"Idempotency-Key": "k"}
        answers = [client.post(MEMBERS, json=body, headers=key) for _ in range(2)]
        assert [(one.status_code, one.json()) for one in answers] == [(201, body)] * 2


def test_a_user_of_another_workspace_is_added_like_any_other(world: World) -> None:
    with world.client() as client:
        for user_id in ("eve", "never-seen"):
            answer = client.post(MEMBERS, json={"user_id": user_id, "role": "VIEWER"})
            assert (answer.status_code, answer.json()) == (201, {"user_id": user_id, "role": "VIEWER"})
        text = create(client, "eve")["token"]
        assert status_of(client, text) == 200
        foreign = {"Authorization": f"Bearer {text}", "X-Workspace-ID": "foreign"}
        assert client.get("/api/v1/missions", headers=foreign).status_code == 403
        eve = world.headers(FOREIGN_OWNER) | {"X-Workspace-ID": "foreign"}
        assert client.get(MEMBERS, headers=eve).json()["count"] == 1
