"""Workspaces, the people in them, and what proves who is asking: tokens, browser sessions, login codes.

Of every secret only a SHA-256 is stored: 256 random bits need no slow hash.
"""

import hmac
import re
import secrets
from enum import IntEnum
from hashlib import sha256
from typing import Any, Final

import msgspec

from quartermaster.core import tokens
from quartermaster.core.tokens import new_token, parse_token, secret_text
from quartermaster.errors import Conflict, NotFound, UsageError
from quartermaster.store.database import Connection

SECRET_BYTES: Final = tokens.SECRET_BYTES
"""Random bytes that a new token, session or login code is made of."""

SESSION_LIFETIME: Final = 12 * 3600 * 10**9
"""Nanoseconds without a request after which a browser has to log in again."""

LOGIN_CODE_LIFETIME: Final = 15 * 60 * 10**9
"""Nanoseconds for which the printed link of a start logs a browser in."""

FIRST_WORKSPACE: Final = "local"
FIRST_USER: Final = "local"

_DAY: Final = 86_400 * 10**9
_SESSION_RENEWAL: Final = SESSION_LIFETIME // 12
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ID_LIMIT: Final = 512
_NO_DIGEST: Final = sha256(b"no such token").digest()


class Role(IntEnum):
    """What a member may do; a higher one may do all that a lower one may."""

    VIEWER = 1
    MEMBER = 2
    MANAGER = 3
    ADMIN = 4
    OWNER = 5


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant. `key` is the database's own; `workspace_id` and `slug` are what people use."""

    key: int
    workspace_id: str
    slug: str
    name: str
    created_at: int


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One user of a workspace."""

    user_id: str
    role: Role


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a token beside its secret. `last_used_day` counts days since 1970."""

    token_id: str
    user_id: str
    workspace_id: str | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_day: int | None


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A workspace that a principal may act in."""

    workspace: int
    workspace_id: str
    slug: str
    role: Role


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking. `memberships` holds the one workspace of a bound token, else all of the user's.

    `worth_noting` says that the last use should be written down (see `note_use`): a token's once a
    day, a session's once an hour.
    """

    user: int
    user_id: str
    token_id: str
    bound: bool
    memberships: tuple[Membership, ...]
    worth_noting: bool
    session: bytes | None = None

    def membership(self, id_or_slug: str) -> Membership | None:
        """The membership in the workspace of that id or slug; None for a foreign or unknown one alike."""
        for membership in self.memberships:
            if id_or_slug in (membership.workspace_id, membership.slug):
                return membership
        return None


def parse_role(text: str) -> Role:
    """The role of that name, in any case."""
    try:
        return Role[text.strip().upper()]
    except KeyError:
        names = ", ".join(role.name for role in reversed(Role))
        raise UsageError(f"{text!r} is no role; use one of {names}") from None


def create_workspace(
    connection: Connection, slug: str, *, workspace_id: str | None = None, name: str | None = None, now: int
) -> Workspace:
    """A new workspace; its id is `ws_` and 16 random hex digits unless one is given."""
    if not _SLUG.fullmatch(slug):
        raise UsageError(
            f"{slug!r} is no slug; use 1 to 63 of a-z, 0-9 and '-', beginning with a letter or a digit"
        )
    public_id = _checked_id(workspace_id or "ws_" + secrets.token_hex(8), "workspace id")
    # An id and a slug name a workspace alike, so neither may be another one's either.
    for word in (slug, public_id):
        if find_workspace(connection, word) is not None:
            raise UsageError(f"a workspace {word!r} exists already; choose another slug or id")
    key = connection.execute(
        "insert into workspace (workspace_id, slug, name, created_at) values (?, ?, ?, ?) returning id",
        (public_id, slug, name or slug, now),
    ).fetchone()[0]
    return Workspace(key=key, workspace_id=public_id, slug=slug, name=name or slug, created_at=now)


def list_workspaces(connection: Connection) -> list[Workspace]:
    """Every workspace by slug."""
    rows = connection.execute("select id, workspace_id, slug, name, created_at from workspace order by slug")
    return [_workspace(row) for row in rows]


def find_workspace(connection: Connection, id_or_slug: str) -> Workspace | None:
    """The workspace of that id or slug."""
    row = connection.execute(
        "select id, workspace_id, slug, name, created_at from workspace where workspace_id = ? or slug = ?",
        (id_or_slug, id_or_slug),
    ).fetchone()
    return None if row is None else _workspace(row)


def put_member(connection: Connection, workspace: int, user_id: str, role: Role, now: int) -> Member:
    """Make a user a member, or change the role of one; creates the user if new."""
    user = _user(connection, _checked_id(user_id, "user id"), now)
    if role is not Role.OWNER:
        _keep_an_owner(connection, workspace, user, user_id)
    connection.execute(
        "insert into membership (workspace, user, role) values (?, ?, ?)"
        " on conflict (workspace, user) do update set role = excluded.role",
        (workspace, user, int(role)),
    )
    return Member(user_id=user_id, role=role)


def remove_member(connection: Connection, workspace: int, user_id: str) -> None:
    """Take a user out of a workspace; their tokens cannot act there from then on."""
    row = connection.execute(
        "select user.id from user join membership on membership.user = user.id"
        " where membership.workspace = ? and user.user_id = ?",
        (workspace, user_id),
    ).fetchone()
    if row is None:
        raise NotFound(f"{user_id!r} is no member of this workspace; `member list` shows who is")
    _keep_an_owner(connection, workspace, row[0], user_id)
    connection.execute("delete from membership where workspace = ? and user = ?", (workspace, row[0]))


def list_members(connection: Connection, workspace: int) -> list[Member]:
    """The members of a workspace, the highest role first."""
    rows = connection.execute(
        "select user.user_id, membership.role from membership join user on user.id = membership.user"
        " where membership.workspace = ? order by membership.role desc, user.user_id",
        (workspace,),
    )
    return [Member(user_id=user_id, role=Role(role)) for user_id, role in rows]


def role_of(connection: Connection, workspace: int, user_id: str) -> Role | None:
    """The role of a user in a workspace; None for one who is no member."""
    row = connection.execute(
        "select membership.role from membership join user on user.id = membership.user"
        " where membership.workspace = ? and user.user_id = ?",
        (workspace, user_id),
    ).fetchone()
    return None if row is None else Role(row[0])


def an_owner_signs_in(connection: Connection, workspace: int, now: int) -> bool:
    """Whether a token is valid by which an OWNER of a workspace acts there."""
    row = connection.execute(
        "select 1 from token join membership on membership.user = token.user"
        " where membership.workspace = ? and membership.role = ?"
        " and coalesce(token.workspace, membership.workspace) = membership.workspace"
        " and token.revoked_at is null and coalesce(token.expires_at, ?) > ? limit 1",
        (workspace, int(Role.OWNER), now + 1, now),
    ).fetchone()
    return row is not None


def _keep_an_owner(connection: Connection, workspace: int, user: int, user_id: str) -> None:
    owners = connection.execute(
        "select user from membership where workspace = ? and role = ? limit 2", (workspace, int(Role.OWNER))
    ).fetchall()
    if owners == [(user,)]:
        raise Conflict(f"{user_id!r} is the last OWNER of this workspace; make another member OWNER first")


def create_token(
    connection: Connection,
    user_id: str,
    *,
    workspace: int | None,
    expires_at: int | None,
    now: int,
    secret_bytes: bytes,
) -> tuple[str, str]:
    """The text of a new token, which is kept nowhere, and its public id."""
    row = connection.execute("select id from user where user_id = ?", (user_id,)).fetchone()
    if row is None:
        raise NotFound(f"no user {user_id!r}; `member add` creates one")
    user = row[0]
    if workspace is not None and not _is_member(connection, workspace, user):
        raise UsageError(f"{user_id!r} is no member of that workspace; `member add` makes them one")
    if expires_at is not None and expires_at <= now:
        raise UsageError("the token would have expired already; choose a later time")
    text, token_id, secret = new_token(secret_bytes)
    connection.execute(
        "insert into token (token_id, user, workspace, digest, created_at, expires_at)"
        " values (?, ?, ?, ?, ?, ?)",
        (token_id, user, workspace, sha256(secret.encode()).digest(), now, expires_at),
    )
    return text, token_id


def rotate_token(
    connection: Connection,
    token_id: str,
    *,
    overlap: int,
    expires_at: int | None,
    now: int,
    secret_bytes: bytes,
) -> tuple[str, str]:
    """The text and the id of a token that follows another one: same user, same workspace.

    The old one is valid for `overlap` more nanoseconds, and never longer than it would have been.
    """
    old = find_token(connection, token_id)
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
        raise UsageError(f"token {token_id} has ended; make a new one with `token create`")
    bound = None if old.workspace_id is None else find_workspace(connection, old.workspace_id)
    text, new_id = create_token(
        connection,
        old.user_id,
        workspace=None if bound is None else bound.key,
        expires_at=expires_at,
        now=now,
        secret_bytes=secret_bytes,
    )
    connection.execute(
        "update token set expires_at = min(coalesce(expires_at, ?), ?) where token_id = ?",
        (now + overlap, now + overlap, token_id),
    )
    return text, new_id


def find_token(connection: Connection, token_id: str) -> Token:
    """One token by its public id."""
    for token in list_tokens(connection):
        if token.token_id == token_id:
            return token
    raise NotFound(f"no token {token_id!r}; `token list` shows the ids of all tokens")


def list_tokens(connection: Connection, workspace: int | None = None) -> list[Token]:
    """Every token, also revoked and expired ones, the newest first. With a workspace: those that are bound
    to it, and those of its members that are bound to none."""
    rows = connection.execute(
        "select token_id, user_id, workspace_id, token.created_at, expires_at, revoked_at, last_used_day"
        " from token join user on user.id = token.user left join workspace on workspace.id = token.workspace"
        " where ?1 is null or token.workspace = ?1 or (token.workspace is null"
        " and token.user in (select membership.user from membership where membership.workspace = ?1))"
        " order by token.created_at desc, token_id",
        (workspace,),
    )
    fields = Token.__struct_fields__
    return [Token(**dict(zip(fields, row, strict=True))) for row in rows]


def revoke_token(connection: Connection, token_id: str, now: int) -> None:
    """End a token and every browser session that came from it. Revoking twice is fine."""
    changed = connection.execute(
        "update token set revoked_at = coalesce(revoked_at, ?) where token_id = ?", (now, token_id)
    ).rowcount
    if not changed:
        raise NotFound(f"no token {token_id!r}; `token list` shows the ids of all tokens")
    connection.execute("delete from session where token_id = ?", (token_id,))
    connection.execute("delete from login_code where token_id = ?", (token_id,))


def first_start(connection: Connection, *, now: int, secret_bytes: bytes) -> str | None:
    """On an empty database: the workspace and the user `local`, and the text of an OWNER token."""
    if connection.execute("select 1 from workspace limit 1").fetchone():
        return None
    workspace = create_workspace(connection, FIRST_WORKSPACE, workspace_id=FIRST_WORKSPACE, now=now)
    put_member(connection, workspace.key, FIRST_USER, Role.OWNER, now)
    text, _ = create_token(
        connection, FIRST_USER, workspace=workspace.key, expires_at=None, now=now, secret_bytes=secret_bytes
    )
    return text


def token_id_of(token_text: str) -> str | None:
    """The public id inside of a well-formed token; says nothing about whether it is valid."""
    parsed = parse_token(token_text)
    return None if parsed is None else parsed[0]


def authenticate(connection: Connection, token_text: str, now: int) -> Principal | None:
    """Who the token speaks for; None when it is unknown, wrong, expired, revoked or its user no member."""
    parsed = parse_token(token_text)
    if parsed is None:
        return None
    token_id, secret = parsed
    rows = connection.execute(_PRINCIPAL_BY_TOKEN, (token_id,)).fetchall()
    stored = rows[0][_DIGEST] if rows else _NO_DIGEST
    if not hmac.compare_digest(sha256(secret.encode()).digest(), stored) or not rows:
        return None
    return _principal(rows, now)


def create_session(connection: Connection, token_id: str, *, now: int, secret_bytes: bytes) -> str:
    """The text of a new browser session that may do what the token may, for as long as the token may."""
    text = secret_text(secret_bytes)
    connection.execute("delete from session where expires_at <= ?", (now,))
    connection.execute(
        "insert into session (digest, token_id, created_at, expires_at) values (?, ?, ?, ?)",
        (sha256(text.encode()).digest(), token_id, now, now + SESSION_LIFETIME),
    )
    return text


def authenticate_session(connection: Connection, session_text: str, now: int) -> Principal | None:
    """Who a browser session speaks for; None when it or its token has ended."""
    digest = session_digest(session_text)
    rows = connection.execute(_PRINCIPAL_BY_SESSION, (digest, now)).fetchall()
    return _principal(rows, now, session=digest) if rows else None


def end_session(connection: Connection, session: bytes) -> None:
    """Log a browser out; `session` is the digest that its principal carries."""
    connection.execute("delete from session where digest = ?", (session,))


def end_sessions(connection: Connection, user: int) -> None:
    """Log a user out everywhere; the tokens stay valid."""
    connection.execute(
        "delete from session where token_id in (select token_id from token where user = ?)", (user,)
    )


def session_digest(session_text: str) -> bytes:
    """How a session is kept."""
    return sha256(session_text.encode("utf-8", "surrogateescape")).digest()


def create_login_code(connection: Connection, token_id: str, *, now: int, secret_bytes: bytes) -> str:
    """The text of a code that logs one browser in, once, within LOGIN_CODE_LIFETIME."""
    text = secret_text(secret_bytes)
    connection.execute("delete from login_code where expires_at <= ?", (now,))
    connection.execute(
        "insert into login_code (digest, token_id, expires_at) values (?, ?, ?)",
        (sha256(text.encode()).digest(), token_id, now + LOGIN_CODE_LIFETIME),
    )
    return text


def redeem_login_code(connection: Connection, code: str, *, now: int, secret_bytes: bytes) -> str | None:
    """The text of a new browser session for a code; None when it is unknown, used or too old."""
    digest = sha256(code.encode("utf-8", "surrogateescape")).digest()
    row = connection.execute(
        "delete from login_code where digest = ? and expires_at > ?"
        " and token_id in (select token_id from token where revoked_at is null)"
        " returning token_id",
        (digest, now),
    ).fetchone()
    if row is None:
        return None
    return create_session(connection, row[0], now=now, secret_bytes=secret_bytes)


def note_use(connection: Connection, principal: Principal, now: int) -> None:
    """Write down that a principal was here: the day for its token, a later end for its session."""
    connection.execute(
        "update token set last_used_day = ? where token_id = ?", (now // _DAY, principal.token_id)
    )
    if principal.session is not None:
        connection.execute(
            "update session set expires_at = ? where digest = ?", (now + SESSION_LIFETIME, principal.session)
        )


_PRINCIPAL_COLUMNS: Final = (
    "token.digest, token.expires_at, token.revoked_at, token.last_used_day, token.workspace,"
    " token.token_id, user.id, user.user_id, workspace.id, workspace.workspace_id, workspace.slug,"
    " membership.role"
)
_MEMBERSHIPS: Final = (
    " join user on user.id = token.user"
    " join membership on membership.user = token.user"
    " and (token.workspace is null or token.workspace = membership.workspace)"
    " join workspace on workspace.id = membership.workspace"
)
_PRINCIPAL_BY_TOKEN: Final = (
    f"select {_PRINCIPAL_COLUMNS}, null from token {_MEMBERSHIPS} where token.token_id = ?"  # noqa: S608
)
_PRINCIPAL_BY_SESSION: Final = (
    f"select {_PRINCIPAL_COLUMNS}, session.expires_at from session"  # noqa: S608
    f" join token on token.token_id = session.token_id {_MEMBERSHIPS}"
    " where session.digest = ? and session.expires_at > ?"
)
_DIGEST: Final = 0


def _principal(rows: list[Any], now: int, *, session: bytes | None = None) -> Principal | None:
    _, expires_at, revoked_at, last_used_day, bound_to, token_id, user, user_id, *_ = rows[0]
    session_ends = rows[0][-1]
    if revoked_at is not None or (expires_at is not None and expires_at <= now):
        return None
    renew = session_ends is not None and session_ends - now < SESSION_LIFETIME - _SESSION_RENEWAL
    return Principal(
        user=user,
        user_id=user_id,
        token_id=token_id,
        bound=bound_to is not None,
        memberships=tuple(
            Membership(workspace=row[8], workspace_id=row[9], slug=row[10], role=Role(row[11]))
            for row in rows
        ),
        worth_noting=last_used_day != now // _DAY or renew,
        session=session,
    )


def _workspace(row: tuple[int, str, str, str, int]) -> Workspace:
    key, workspace_id, slug, name, created_at = row
    return Workspace(key=key, workspace_id=workspace_id, slug=slug, name=name, created_at=created_at)


def _user(connection: Connection, user_id: str, now: int) -> int:
    connection.execute(
        "insert into user (user_id, created_at) values (?, ?) on conflict (user_id) do nothing",
        (user_id, now),
    )
    return int(connection.execute("select id from user where user_id = ?", (user_id,)).fetchone()[0])


def _is_member(connection: Connection, workspace: int, user: int) -> bool:
    row = connection.execute(
        "select 1 from membership where workspace = ? and user = ?", (workspace, user)
    ).fetchone()
    return row is not None


def _checked_id(value: str, what: str) -> str:
    if not 0 < len(value) <= _ID_LIMIT or value.isspace():
        raise UsageError(f"a {what} has 1 to {_ID_LIMIT} characters and is not blank")
    if _CONTROL.search(value):
        raise UsageError(f"a {what} holds no control characters")
    return value
