"""Workspaces, members and tokens from the command line, on the home folder itself."""

import json
import stat
import time
from pathlib import Path

import pytest

from quartermaster.administration import parse_expiry
from quartermaster.errors import UsageError

DAY = 86_400 * 10**9


def test_a_fresh_home_has_one_workspace_one_owner_and_one_token(quartermaster, home: Path):
    (workspace,) = json.loads(quartermaster("workspace", "list", "--format", "json").stdout)
    assert (workspace["id"], workspace["slug"]) == ("local", "local")
    (member,) = json.loads(quartermaster("member", "list", "--format", "json").stdout)
    assert member == {"user": "local", "role": "OWNER"}
    (token,) = json.loads(quartermaster("token", "list", "--format", "json").stdout)
    assert (home / "token").read_text().startswith(f"qm_{token['id']}_")
    assert stat.S_IMODE((home / "token").stat().st_mode) == 0o600


def test_a_new_workspace_gets_an_id_and_an_inbox(quartermaster, home: Path):
    done = quartermaster("workspace", "create", "team", "--name", "The team", "--format", "json")
    (made,) = json.loads(done.stdout)
    assert made["id"].startswith("ws_")
    assert made["name"] == "The team"
    assert (home / "inbox" / "team").is_dir()
    assert str(home / "inbox" / "team") in done.stderr


def test_a_workspace_may_be_given_its_id(quartermaster):
    quartermaster("workspace", "create", "team", "--id", "ws_mine")
    rows = json.loads(quartermaster("workspace", "list", "--format", "json").stdout)
    assert [row["id"] for row in rows] == ["local", "ws_mine"]
    assert quartermaster("workspace", "create", "other", "--id", "ws_mine").returncode == 2


@pytest.mark.parametrize("slug", ["Team", "a b", "", "-a", "ü", "a" * 64])
def test_a_slug_that_is_none_is_refused_in_words(quartermaster, slug: str):
    done = quartermaster("workspace", "create", "--", slug)
    assert done.returncode == 2
    assert "slug" in done.stderr


def test_a_second_add_changes_the_role(quartermaster):
    assert quartermaster("member", "add", "ann", "--workspace", "local", "--role", "viewer").returncode == 0
    assert quartermaster("member", "add", "ann", "--workspace", "local", "--role", "ADMIN").returncode == 0
    rows = json.loads(quartermaster("member", "list", "--format", "json").stdout)
    assert {row["user"]: row["role"] for row in rows} == {"local": "OWNER", "ann": "ADMIN"}


def test_the_last_owner_cannot_be_removed(quartermaster):
    done = quartermaster("member", "remove", "local")
    assert done.returncode == 2
    assert "last OWNER" in done.stderr


def test_an_unknown_workspace_role_or_member_is_named(quartermaster):
    assert (
        "no workspace 'x'; there are local"
        in quartermaster("member", "add", "ann", "--workspace", "x", "--role", "VIEWER").stderr
    )
    assert "OWNER, ADMIN" in quartermaster("member", "add", "ann", "--role", "king").stderr
    assert quartermaster("member", "remove", "nobody").returncode == 2


def test_a_token_is_printed_once_and_alone(quartermaster, home: Path):
    done = quartermaster("token", "create", "--user", "local", "--expires", "90d")
    assert done.stdout.count("\n") == 1
    text = done.stdout.strip()
    token_id = text.split("_")[1]
    assert token_id in done.stderr
    assert text not in done.stderr
    listed = quartermaster("token", "list", "--format", "json").stdout
    assert text not in listed
    row = next(row for row in json.loads(listed) if row["id"] == token_id)
    assert row["state"] == "valid"
    assert row["expires_at"] > row["created_at"]
    secret = text.split("_")[2]
    assert secret.encode() not in (home / "quartermaster.db").read_bytes()


def test_a_revoked_token_is_listed_as_such(quartermaster):
    token_id = quartermaster("token", "create", "--user", "local").stdout.split("_")[1]
    assert quartermaster("token", "revoke", token_id).returncode == 0
    rows = json.loads(quartermaster("token", "list", "--format", "json").stdout)
    assert next(row["state"] for row in rows if row["id"] == token_id) == "revoked"
    assert quartermaster("token", "revoke", "unknown").returncode == 2


def test_an_expiry_is_a_span_or_a_time():
    assert parse_expiry("90d", 5) == 90 * DAY + 5
    assert parse_expiry("2w", 0) == 14 * DAY
    assert parse_expiry("12h", 0) == DAY // 2
    assert parse_expiry("2100-01-01T00:00:00Z", 0) > time.time_ns()
    for nonsense in ("", "90", "d", "0d", "-1d", "1y", "tomorrow", "9999999d", "٣d"):
        with pytest.raises(UsageError, match="is no time"):
            parse_expiry(nonsense, 0)
