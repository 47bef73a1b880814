from collections.abc import Iterator
from pathlib import Path

import pytest

from quartermaster.errors import NotFound, UsageError
from quartermaster.store import access
from quartermaster.store.access import Role
from quartermaster.store.database import Connection, closing_connection, prepare

SECOND = 10**9
DAY = 86_400 * SECOND
NOW = 20_000 * DAY


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    path = tmp_path / "quartermaster.db"
    prepare(path)
    with closing_connection(path) as opened:
        yield opened


def secret(number: int) -> bytes:
    return number.to_bytes(access.SECRET_BYTES, "big")


def workspace_with_owner(connection: Connection, slug: str = "crew", owner: str = "ada") -> access.Workspace:
    workspace = access.create_workspace(connection, slug, now=NOW)
    access.put_member(connection, workspace.key, owner, Role.OWNER, NOW)
    return workspace


def token_of(
    connection: Connection,
    user_id: str = "ada",
    *,
    workspace: int | None = None,
    expires_at: int | None = None,
    number: int = 1,
) -> str:
    text, _ = access.create_token(
        connection,
        user_id,
        workspace=workspace,
        expires_at=expires_at,
        now=NOW,
        secret_bytes=secret(number),
    )
    return text


def test_the_first_start_makes_an_owner_of_local_and_the_second_makes_nothing(connection: Connection) -> None:
    text = access.first_start(connection, now=NOW, secret_bytes=secret(7))
    assert text is not None
    principal = access.authenticate(connection, text, NOW)
    assert principal is not None
    assert principal.user_id == "local"
    assert [(m.workspace_id, m.slug, m.role) for m in principal.memberships] == [
        ("local", "local", Role.OWNER)
    ]
    assert access.first_start(connection, now=NOW, secret_bytes=secret(8)) is None


def test_a_token_has_the_promised_form_and_its_secret_is_nowhere_in_the_database(
    connection: Connection, tmp_path: Path
) -> None:
    workspace_with_owner(connection)
    text = token_of(connection)
    prefix, token_id, rest = text.split("_")
    assert (prefix, len(token_id), len(rest)) == ("qm", 12, 43 + 6)
    assert text.isascii()
    assert access.token_id_of(text) == token_id
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token_id.encode() in kept
    assert rest[:43].encode() not in kept


def test_a_wrong_character_anywhere_makes_another_token(connection: Connection) -> None:
    workspace_with_owner(connection)
    text = token_of(connection)
    assert access.authenticate(connection, text, NOW) is not None
    for position in range(len(text)):
        changed = "1" if text[position] == "0" else "0"
        wrong = text[:position] + changed + text[position + 1 :]
        assert access.authenticate(connection, wrong, NOW) is None
    for wrong in ("", text + "0", text + "\n", "qm_", "é" * len(text), "\ud800"):
        assert access.authenticate(connection, wrong, NOW) is None


def test_a_right_checksum_with_another_secret_is_refused(connection: Connection) -> None:
    workspace_with_owner(connection)
    text = token_of(connection)
    stranger = access.token_id_of(text)
    assert stranger is not None
    connection.execute("update token set digest = ?", (b"\0" * 32,))
    assert access.authenticate(connection, text, NOW) is None


def test_an_expired_or_revoked_token_and_one_of_a_removed_member_end_at_once(connection: Connection) -> None:
    workspace = workspace_with_owner(connection)
    access.put_member(connection, workspace.key, "bob", Role.VIEWER, NOW)
    expiring = token_of(connection, "bob", expires_at=NOW + SECOND, number=1)
    revoked = token_of(connection, "bob", number=2)
    remaining = token_of(connection, "bob", number=3)
    assert all(access.authenticate(connection, text, NOW) for text in (expiring, revoked, remaining))

    assert access.authenticate(connection, expiring, NOW + SECOND) is None
    access.revoke_token(connection, access.token_id_of(revoked) or "", NOW)
    assert access.authenticate(connection, revoked, NOW) is None
    access.remove_member(connection, workspace.key, "bob")
    assert access.authenticate(connection, remaining, NOW) is None


def test_a_bound_token_knows_its_workspace_only(connection: Connection) -> None:
    first = workspace_with_owner(connection, "first")
    workspace_with_owner(connection, "second")
    bound = access.authenticate(connection, token_of(connection, workspace=first.key, number=1), NOW)
    free = access.authenticate(connection, token_of(connection, number=2), NOW)
    assert bound is not None
    assert free is not None
    assert [m.slug for m in bound.memberships] == ["first"]
    assert bound.membership("second") is None
    assert sorted(m.slug for m in free.memberships) == ["first", "second"]


def test_a_use_is_worth_noting_once_a_day(connection: Connection) -> None:
    workspace_with_owner(connection)
    text = token_of(connection)
    first = access.authenticate(connection, text, NOW)
    assert first is not None
    assert first.worth_noting
    access.note_use(connection, first, NOW)
    again = access.authenticate(connection, text, NOW + SECOND)
    tomorrow = access.authenticate(connection, text, NOW + DAY)
    assert again is not None
    assert tomorrow is not None
    assert (again.worth_noting, tomorrow.worth_noting) == (False, True)
    assert access.list_tokens(connection)[0].last_used_day == NOW // DAY


def test_a_session_lives_with_its_token_and_is_prolonged_by_use(connection: Connection) -> None:
    workspace_with_owner(connection)
    token_id = access.token_id_of(token_of(connection)) or ""
    text = access.create_session(connection, token_id, now=NOW, secret_bytes=secret(2))
    principal = access.authenticate_session(connection, text, NOW)
    assert principal is not None
    assert principal.user_id == "ada"

    later = NOW + access.SESSION_LIFETIME - SECOND
    used = access.authenticate_session(connection, text, later)
    assert used is not None
    assert used.worth_noting
    access.note_use(connection, used, later)
    assert access.authenticate_session(connection, text, NOW + access.SESSION_LIFETIME) is not None
    assert access.authenticate_session(connection, text, later + access.SESSION_LIFETIME) is None

    access.revoke_token(connection, token_id, NOW)
    assert access.authenticate_session(connection, text, NOW) is None


def test_a_session_that_was_ended_is_gone(connection: Connection) -> None:
    workspace_with_owner(connection)
    token_id = access.token_id_of(token_of(connection)) or ""
    text = access.create_session(connection, token_id, now=NOW, secret_bytes=secret(2))
    principal = access.authenticate_session(connection, text, NOW)
    assert principal is not None
    assert principal.session is not None
    access.end_session(connection, principal.session)
    assert access.authenticate_session(connection, text, NOW) is None


def test_a_login_code_works_once_and_not_for_long(connection: Connection) -> None:
    workspace_with_owner(connection)
    token_id = access.token_id_of(token_of(connection)) or ""
    code = access.create_login_code(connection, token_id, now=NOW, secret_bytes=secret(3))
    session = access.redeem_login_code(connection, code, now=NOW, secret_bytes=secret(4))
    assert session is not None
    assert access.authenticate_session(connection, session, NOW) is not None
    assert access.redeem_login_code(connection, code, now=NOW, secret_bytes=secret(5)) is None

    late = access.create_login_code(connection, token_id, now=NOW, secret_bytes=secret(6))
    too_late = NOW + access.LOGIN_CODE_LIFETIME
    assert access.redeem_login_code(connection, late, now=too_late, secret_bytes=secret(7)) is None


def test_the_last_owner_can_neither_go_nor_be_demoted(connection: Connection) -> None:
    workspace = workspace_with_owner(connection)
    with pytest.raises(UsageError, match="last OWNER"):
        access.remove_member(connection, workspace.key, "ada")
    with pytest.raises(UsageError, match="last OWNER"):
        access.put_member(connection, workspace.key, "ada", Role.ADMIN, NOW)

    access.put_member(connection, workspace.key, "bob", Role.OWNER, NOW)
    access.put_member(connection, workspace.key, "ada", Role.VIEWER, NOW)
    assert [(m.user_id, m.role) for m in access.list_members(connection, workspace.key)] == [
        ("bob", Role.OWNER),
        ("ada", Role.VIEWER),
    ]


@pytest.mark.parametrize("slug", ["a", "0-0", "a" * 63])
def test_such_slugs_are_fine(connection: Connection, slug: str) -> None:
    workspace = access.create_workspace(connection, slug, now=NOW)
    assert workspace.slug == slug
    assert workspace.workspace_id.startswith("ws_")
    assert len(workspace.workspace_id) == 3 + 16


@pytest.mark.parametrize("slug", ["", "-a", "A", "a" * 64, "a b", "a\n", "ä", "../x"])
def test_such_slugs_are_refused(connection: Connection, slug: str) -> None:
    with pytest.raises(UsageError, match="slug"):
        access.create_workspace(connection, slug, now=NOW)


@pytest.mark.parametrize("user_id", ["", "   ", "a\nb", "a\x00b", "\x9b", "\ud800", "u" * 513])
def test_such_user_ids_are_refused(connection: Connection, user_id: str) -> None:
    workspace = workspace_with_owner(connection)
    with pytest.raises(UsageError, match="user id"):
        access.put_member(connection, workspace.key, user_id, Role.VIEWER, NOW)


def test_an_id_or_slug_that_another_workspace_answers_to_is_taken(connection: Connection) -> None:
    access.create_workspace(connection, "crew", workspace_id="ws_crew", now=NOW)
    for slug, workspace_id in (("crew", None), ("other", "ws_crew"), ("other", "crew")):
        with pytest.raises(UsageError, match="exists already"):
            access.create_workspace(connection, slug, workspace_id=workspace_id, now=NOW)
    assert access.find_workspace(connection, "crew") == access.find_workspace(connection, "ws_crew")


@pytest.mark.parametrize("text", ["owner", "OWNER", " Owner "])
def test_roles_are_read_in_any_case(text: str) -> None:
    assert access.parse_role(text) is Role.OWNER


def test_what_is_no_role_is_refused_with_the_roles_there_are() -> None:
    with pytest.raises(UsageError, match="OWNER, ADMIN, MANAGER, MEMBER, VIEWER"):
        access.parse_role("root")


def test_a_token_needs_a_known_user_a_membership_and_a_future(connection: Connection) -> None:
    workspace = workspace_with_owner(connection)
    other = workspace_with_owner(connection, "other", "eve")
    with pytest.raises(NotFound):
        token_of(connection, "nobody")
    with pytest.raises(UsageError, match="no member"):
        token_of(connection, "ada", workspace=other.key)
    with pytest.raises(UsageError, match="expired"):
        token_of(connection, "ada", workspace=workspace.key, expires_at=NOW)
    with pytest.raises(NotFound):
        access.revoke_token(connection, "nosuchtoken0", NOW)
