"""Members and tokens of workspaces: every change with the entry that tells of it, and who may make which.

Whoever works on the home folder may do everything. A member of a workspace acts within the own role:
nobody gives, takes or carries on one above it, and the last OWNER who can sign in stays.
"""

import re
from typing import Final

import msgspec

from quartermaster.core.journal import parse_instant
from quartermaster.errors import Conflict, NotAllowed, NotFound, Rejected, UsageError
from quartermaster.store import access, audit
from quartermaster.store.access import Member, Role, Token
from quartermaster.store.audit import Actor
from quartermaster.store.database import Connection

_SECONDS: Final = {"m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_NANOSECONDS: Final = 1_000_000_000


class Acting(msgspec.Struct, frozen=True):
    """Who changes something. `role` is None for whoever works on the home folder; `token_id` is that of
    the token by which somebody came over the API."""

    actor: Actor
    role: Role | None = None
    token_id: str | None = None


class Minted(msgspec.Struct, frozen=True, kw_only=True):
    """A new token. `text` is the secret, which is kept nowhere."""

    text: str
    token: Token


def put_member(
    connection: Connection, workspace: int, user_id: str, role: Role, acting: Acting, *, now: int
) -> Member:
    """Make a user a member, or change the role of one."""
    held = access.role_of(connection, workspace, user_id)
    _require_rank(acting, role, held)
    member = access.put_member(connection, workspace, user_id, role, now)
    if held is Role.OWNER:
        _keep_one_who_signs_in(connection, workspace, acting, now)
    _note(connection, workspace, "member.put", acting, now=now, user=user_id, role=role.name)
    return member


def add_member(
    connection: Connection, workspace: int, user_id: str, role: Role, acting: Acting, *, now: int
) -> Member:
    """Make a user a member; Conflict for one who is."""
    if access.role_of(connection, workspace, user_id) is not None:
        raise Conflict(f"{user_id!r} is a member already; change the role instead")
    return put_member(connection, workspace, user_id, role, acting, now=now)


def change_role(
    connection: Connection, workspace: int, user_id: str, role: Role, acting: Acting, *, now: int
) -> Member:
    """Change the role of a member; NotFound for one who is none."""
    if access.role_of(connection, workspace, user_id) is None:
        raise NotFound(f"{user_id!r} is no member of this workspace")
    return put_member(connection, workspace, user_id, role, acting, now=now)


def remove_member(connection: Connection, workspace: int, user_id: str, acting: Acting, *, now: int) -> None:
    """Take a user out of a workspace; their tokens cannot act there from then on."""
    held = access.role_of(connection, workspace, user_id)
    _require_rank(acting, held)
    access.remove_member(connection, workspace, user_id)
    if held is Role.OWNER:
        _keep_one_who_signs_in(connection, workspace, acting, now)
    _note(connection, workspace, "member.removed", acting, now=now, user=user_id)


def create_token(
    connection: Connection,
    user_id: str,
    acting: Acting,
    *,
    workspace: int | None,
    expires: str | None,
    now: int,
    secret_bytes: bytes,
) -> Minted:
    """A new token of a user, for one workspace or (None) for every one of theirs."""
    if workspace is not None:
        role = access.role_of(connection, workspace, user_id)
        if role is None:
            raise NotFound(f"{user_id!r} is no member of that workspace; `member add` makes them one")
        _require_rank(acting, role)
    expires_at = None if expires is None else parse_expiry(expires, now)
    text, token_id = access.create_token(
        connection, user_id, workspace=workspace, expires_at=expires_at, now=now, secret_bytes=secret_bytes
    )
    token = access.find_token(connection, token_id)
    _note_token(connection, token, "token.created", acting, now=now, expires=expires)
    return Minted(text=text, token=token)


def rotate_token(
    connection: Connection,
    token_id: str,
    acting: Acting,
    *,
    workspace: int | None = None,
    overlap: str,
    expires: str | None,
    now: int,
    secret_bytes: bytes,
) -> Minted:
    """A token in the place of another one, which ends after the overlap. With a workspace the old one
    has to be bound to it."""
    old = _token(connection, token_id, workspace, acting)
    text, new_id = access.rotate_token(
        connection,
        token_id,
        overlap=max(0, parse_expiry(overlap, now) - now),
        expires_at=None if expires is None else parse_expiry(expires, now),
        now=now,
        secret_bytes=secret_bytes,
    )
    _note_token(connection, old, "token.rotated", acting, now=now, successor=new_id)
    return Minted(text=text, token=access.find_token(connection, new_id))


def revoke_token(
    connection: Connection, token_id: str, acting: Acting, *, workspace: int | None = None, now: int
) -> None:
    """End a token and every browser session that came from it. With a workspace it has to be bound to it."""
    token = _token(connection, token_id, workspace, acting)
    access.revoke_token(connection, token_id, now)
    if workspace is not None and access.role_of(connection, workspace, token.user_id) is Role.OWNER:
        _keep_one_who_signs_in(connection, workspace, acting, now)
    _note_token(connection, token, "token.revoked", acting, now=now)


def parse_expiry(text: str, now: int) -> int:
    """The instant that `90d`, `12h` or an RFC 3339 time means."""
    match = re.fullmatch(r"([1-9]\d{0,5})([mhdw])", text, re.ASCII)
    if match is not None:
        return now + int(match[1]) * _SECONDS[match[2]] * _NANOSECONDS
    try:
        return parse_instant(text)
    except Rejected as error:
        raise UsageError(f"{text!r} is no time; use one like 90d, 12h or 2027-01-31T00:00:00Z") from error


def state_of(token: Token, now: int) -> str:
    """`valid`, `expired` or `revoked`."""
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "valid"


def _token(connection: Connection, token_id: str, workspace: int | None, acting: Acting) -> Token:
    if workspace is None:
        return access.find_token(connection, token_id)
    for token in access.list_tokens(connection, workspace):
        if token.token_id == token_id:
            _require_rank(acting, access.role_of(connection, workspace, token.user_id))
            if token.workspace_id is None:
                raise Conflict(
                    "this token is for every workspace of its user; take the user out of this one, or let"
                    " whoever owns the home end it with `quartermaster token revoke`"
                )
            return token
    raise NotFound(f"no token {token_id!r} is bound to this workspace")


def _require_rank(acting: Acting, *roles: Role | None) -> None:
    """NotAllowed where one of the roles is above that of whoever acts."""
    if acting.role is None:
        return
    highest = max((role for role in roles if role is not None), default=None)
    if highest is not None and highest > acting.role:
        raise NotAllowed(
            f"the role {acting.role.name} cannot give, take or stand for the role {highest.name};"
            f" ask a member with the role {highest.name}"
        )


def _keep_one_who_signs_in(connection: Connection, workspace: int, acting: Acting, now: int) -> None:
    if acting.role is not None and not access.an_owner_signs_in(connection, workspace, now):
        raise Conflict("no OWNER would have a valid token any more; make one for another OWNER first")


def _note(
    connection: Connection, workspace: int, action: str, acting: Acting, *, now: int, **facts: object
) -> None:
    audit.note(connection, workspace, action, acting.actor, now=now, **facts, with_token=acting.token_id)


def _note_token(
    connection: Connection, token: Token, action: str, acting: Acting, *, now: int, **facts: object
) -> None:
    """In the workspace that a token is bound to, else in every one of its user."""
    told = {"token": token.token_id, **facts, "with_token": acting.token_id}
    bound = None if token.workspace_id is None else access.find_workspace(connection, token.workspace_id)
    if bound is None:
        audit.note_for_user(connection, token.user_id, None, action, acting.actor, now=now, **told)
    else:
        audit.note(connection, bound.key, action, acting.actor, now=now, user=token.user_id, **told)
