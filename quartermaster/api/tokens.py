"""Tokens of a workspace over HTTP: list, make, rotate, revoke. A secret is told once and kept nowhere."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath

from quartermaster import administration
from quartermaster.administration import Minted
from quartermaster.api.access import Call, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.bodies import decode_body, read_body, text_field
from quartermaster.api.documentation import TEXT, described, json_object, operation
from quartermaster.api.edge import fields_of
from quartermaster.api.members import acting_of, changed
from quartermaster.api.problems import bad_request
from quartermaster.core.journal import format_instant
from quartermaster.store import access
from quartermaster.store.access import Role, Token
from quartermaster.store.database import Connection

_OVERLAP: Final = "24h"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TokenRequest(msgspec.Struct, frozen=True):
    """Body that makes or rotates a token. Times are such as 90d, 12h or 2027-01-31T00:00:00Z."""

    user_id: Any = None
    expires: Any = None
    overlap: Any = None


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret. `role` is what its user may do here, null for one who is no member any
    more; `workspace_id` is null for a token of every workspace of its user, which is not managed here."""

    token_id: str
    user_id: str
    role: str | None
    workspace_id: str | None
    state: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_on: str | None


class TokenList(msgspec.Struct, frozen=True, kw_only=True):
    """Every token that acts or has acted in the workspace, the newest first."""

    rows: list[TokenRow]
    count: int


class NewToken(TokenRow, frozen=True, kw_only=True):
    """A token with its text, which is told this once."""

    token: str


_body = msgspec.json.Decoder(TokenRequest | None)


@get(
    "/api/v1/tokens",
    opt={"role": Role.ADMIN},
    operation_class=operation(),
    responses=described({200: TokenList}, 400, 401, 403, 503),
    tags=["access"],
)
async def list_tokens(request: Call) -> Answer:
    """The tokens of the workspace, also those that have ended; no secrets."""
    workspace, now = request.auth.workspace, services_of(request).now()

    def find(connection: Connection) -> list[TokenRow]:
        roles = {one.user_id: one.role.name for one in access.list_members(connection, workspace)}
        return [
            _row(token, roles.get(token.user_id), now) for token in access.list_tokens(connection, workspace)
        ]

    rows = await services_of(request).database.read(find)
    return answer(TokenList(rows=rows, count=len(rows)))


@post(
    "/api/v1/tokens",
    opt={"role": Role.ADMIN},
    status_code=201,
    operation_class=operation(body=json_object({"user_id": TEXT, "expires": TEXT}, required=[])),
    responses=described({201: NewToken}, 400, 401, 403, 404, 413, 415, 503, 507),
    tags=["access"],
)
async def create_token(request: Call) -> Answer:
    """Make a token of a member, by default of oneself, for this workspace alone. Its text is told once."""
    _refuse_key(request)
    asked = decode_body(await read_body(request) or b"null", _body, TokenRequest())
    user_id = text_field(asked.user_id, "user_id") or request.auth.principal.user_id
    acting = acting_of(request)

    def make(connection: Connection, **common: Any) -> Minted:
        return administration.create_token(connection, user_id, acting, **common)

    return await _mint(request, "member", asked, make)


@post(
    "/api/v1/tokens/{token_id:str}/rotate",
    opt={"role": Role.ADMIN},
    status_code=201,
    operation_class=operation(body=json_object({"overlap": TEXT, "expires": TEXT}, required=[])),
    responses=described({201: NewToken}, 400, 401, 403, 404, 409, 413, 415, 503, 507),
    tags=["access"],
)
async def rotate_token(request: Call, token_id: FromPath[str]) -> Answer:
    """Make a token that takes the place of another one, which ends after the overlap (24h unless given)."""
    _refuse_key(request)
    asked = decode_body(await read_body(request) or b"null", _body, TokenRequest())
    overlap = text_field(asked.overlap, "overlap") or _OVERLAP
    acting = acting_of(request)

    def follow(connection: Connection, **common: Any) -> Minted:
        return administration.rotate_token(connection, token_id, acting, overlap=overlap, **common)

    return await _mint(request, "token", asked, follow)


async def _mint(request: Call, subject: str, asked: TokenRequest, make: Callable[..., Minted]) -> Answer:
    """Have a token made for this workspace and tell its text; 404 names the `subject`."""
    services, workspace, now = services_of(request), request.auth.workspace, services_of(request).now()
    expires = text_field(asked.expires, "expires") or None
    services.database.space.require()

    def change(connection: Connection) -> NewToken:
        secret = secrets.token_bytes(access.SECRET_BYTES)
        minted = make(connection, workspace=workspace, expires=expires, now=now, secret_bytes=secret)
        return _told(connection, workspace, minted, now)

    return answer(await changed(request, subject, change), status=201)


@delete(
    "/api/v1/tokens/{token_id:str}",
    opt={"role": Role.ADMIN},
    status_code=204,
    operation_class=operation(),
    responses=described({204: None}, 400, 401, 403, 404, 409, 503),
    tags=["access"],
)
async def revoke_token(request: Call, token_id: FromPath[str]) -> None:
    """End a token of the workspace and every browser session that came from it. Twice is fine."""
    workspace, acting, now = request.auth.workspace, acting_of(request), services_of(request).now()
    await changed(
        request,
        "token",
        lambda connection: administration.revoke_token(
            connection, token_id, acting, workspace=workspace, now=now
        ),
    )


def _refuse_key(request: Call) -> None:
    if b"idempotency-key" in fields_of(request.scope):
        raise bad_request(
            "no Idempotency-Key here",
            "A secret is told once and kept for no second answer; list the tokens to see what was made.",
        )


def _told(connection: Connection, workspace: int, minted: Minted, now: int) -> NewToken:
    role = access.role_of(connection, workspace, minted.token.user_id)
    row = _row(minted.token, None if role is None else role.name, now)
    return NewToken(token=minted.text, **msgspec.structs.asdict(row))


def _row(token: Token, role: str | None, now: int) -> TokenRow:
    return TokenRow(
        token_id=token.token_id,
        user_id=token.user_id,
        role=role,
        workspace_id=token.workspace_id,
        state=administration.state_of(token, now),
        created_at=format_instant(token.created_at),
        expires_at=_time(token.expires_at),
        revoked_at=_time(token.revoked_at),
        # The use of a token of several workspaces is nobody's business in one of them.
        last_used_on=None if token.workspace_id is None else _day(token.last_used_day),
    )


def _time(instant: int | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _day(number: int | None) -> str | None:
    return None if number is None else (_EPOCH + timedelta(days=number)).date().isoformat()
