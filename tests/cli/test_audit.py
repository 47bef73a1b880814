"""What administers a workspace leaves an entry in its journal, and nobody else can write one."""

import getpass
import json

import pytest


def audited(quartermaster, workspace: str = "local") -> list[dict]:
    told = quartermaster("journal", "--workspace", workspace, "--format", "json").stdout
    entries = [entry for entry in json.loads(told) if entry["entry_type"].startswith("audit.")]
    return sorted(entries, key=lambda entry: entry["ts"])


def test_every_act_on_members_and_tokens_says_who_did_what_to_whom(quartermaster):
    quartermaster("workspace", "create", "team")
    quartermaster("member", "add", "ann", "--workspace", "team", "--role", "ADMIN")
    created = quartermaster("token", "create", "--user", "ann", "--expires", "90d")
    text = created.stdout.strip()
    token_id = text.split("_")[1]
    rotated = quartermaster("token", "rotate", token_id, "--overlap", "1h").stdout.strip()
    quartermaster("token", "revoke", token_id)
    quartermaster("member", "add", "bob", "--workspace", "team", "--role", "OWNER")
    quartermaster("member", "remove", "ann", "--workspace", "team")
    entries = audited(quartermaster, "team")
    assert [entry["entry_type"] for entry in entries] == [
        "audit.workspace.created",
        "audit.member.put",
        "audit.token.created",
        "audit.token.rotated",
        "audit.token.revoked",
        "audit.member.put",
        "audit.member.removed",
    ]
    assert {(entry["actor_type"], entry["actor_id"]) for entry in entries} == {
        ("operator", getpass.getuser())
    }
    assert entries[1]["payload"] == {"user": "ann", "role": "ADMIN"}
    assert entries[3]["payload"] == {"user": "ann", "token": token_id, "successor": rotated.split("_")[1]}
    everything = json.dumps(entries)
    assert text.split("_")[2] not in everything
    assert rotated.split("_")[2] not in everything


def test_what_is_kept_and_what_leaves_is_told_too(quartermaster, tmp_path):
    quartermaster("retention", "set", "--days", "30")
    quartermaster("retention", "run")
    quartermaster("workspace", "export", tmp_path / "local.export")
    told = [(entry["entry_type"], entry["payload"]) for entry in audited(quartermaster)]
    assert [entry_type for entry_type, _ in told] == [
        "audit.retention.set",
        "audit.retention.run",
        "audit.workspace.exported",
    ]
    assert told[0][1]["days"] == 30


def test_an_audit_entry_of_somebody_else_is_rejected(quartermaster, tmp_path):
    forged = {"entry_type": "audit.member.put", "ts": "2026-01-01T00:00:00Z", "payload": {"user": "eve"}}
    file = tmp_path / "forged.ndjson"
    file.write_text(json.dumps(forged) + "\n" + json.dumps(forged | {"entry_type": "note"}) + "\n")
    quartermaster("ingest", file)
    assert audited(quartermaster) == []


def test_a_secret_that_was_typed_into_a_reason_is_masked(quartermaster, tmp_path):
    file = tmp_path / "m.ndjson"
    file.write_text('{"entry_type": "note", "ts": "2026-01-01T00:00:00Z", "mission_id": "m-1"}\n')
    quartermaster("ingest", file)
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    assert quartermaster("retention", "keep", "m-1", "--reason", secret).returncode == 0
    (entry,) = audited(quartermaster)
    assert entry["entry_type"] == "audit.retention.kept"
    assert secret not in json.dumps(entry)


@pytest.mark.parametrize("overlap", ["0", "soon"])
def test_an_overlap_that_is_no_time_is_refused(quartermaster, home, overlap: str):
    (token,) = json.loads(quartermaster("token", "list", "--format", "json").stdout)
    assert quartermaster("token", "rotate", token["id"], "--overlap", overlap).returncode == 2


def test_a_rotated_token_ends_after_the_overlap_and_its_successor_stands_for_the_same(quartermaster):
    quartermaster("member", "add", "ann", "--role", "VIEWER")
    old = quartermaster("token", "create", "--user", "ann", "--workspace", "local").stdout.split("_")[1]
    new = quartermaster("token", "rotate", old, "--overlap", "1h").stdout.split("_")[1]
    tokens = {one["id"]: one for one in json.loads(quartermaster("token", "list", "--format", "json").stdout)}
    assert tokens[old]["expires_at"] is not None
    assert tokens[new]["expires_at"] is None
    assert {tokens[one]["workspace_id"] for one in (old, new)} == {"local"}
    assert quartermaster("token", "revoke", old).returncode == 0
    assert quartermaster("token", "rotate", old).returncode == 2


def test_a_typing_mistake_in_a_token_is_told_before_anything_is_sent(quartermaster, home):
    quartermaster("workspace", "list")
    token = (home / "token").read_text().strip()
    wrong = token[:-8] + ("A" if token[-8] != "A" else "B") + token[-7:]
    done = quartermaster(
        "missions", QUARTERMASTER_URL="http://127.0.0.1:1", QUARTERMASTER_TOKEN=wrong, QUARTERMASTER_HOME=""
    )
    assert done.returncode == 2
    assert "typing mistake" in done.stderr
    assert wrong not in done.stderr
