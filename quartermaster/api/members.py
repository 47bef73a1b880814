"""Members of a workspace over HTTP: list, add, change, remove."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from litestar import delete, get, patch, post
from litestar.params import FromPath

from quartermaster import administration
from quartermaster.administration import Acting
from quartermaster.api.access import Call, doorkeeper_of, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.bodies import decode_body, read_body, text_field
from quartermaster.api.documentation import TEXT, described, json_object, one_of, operation
from quartermaster.api.edge import ENCODED_SLASH
from quartermaster.api.idempotency import Reply, change_once
from quartermaster.api.problems import bad_request, not_found
from quartermaster.errors import NotFound, UsageError
from quartermaster.store import access
from quartermaster.store.access import Member, Role
from quartermaster.store.audit import USER, Actor
from quartermaster.store.database import Connection

T = TypeVar("T")

_ROLE: Final = one_of([role.name for role in reversed(Role)])


class MemberRequest(msgspec.Struct, frozen=True):
    """Body that adds or changes a member."""

    user_id: Any = None
    role: Any = None


class MemberRow(msgspec.Struct, frozen=True, kw_only=True):
    """A user of the workspace and what they may do there."""

    user_id: str
    role: str


class MemberList(msgspec.Struct, frozen=True, kw_only=True):
    """Every member, the highest role first."""

    rows: list[MemberRow]
    count: int


_body = msgspec.json.Decoder(MemberRequest | None)


@get(
    "/api/v1/members",
    opt={"role": Role.VIEWER},
    operation_class=operation(),
    responses=described({200: MemberList}, 400, 401, 403, 503),
    tags=["access"],
)
async def list_members(request: Call) -> Answer:
    """The members of the workspace, the highest role first."""
    workspace = request.auth.workspace
    members = await services_of(request).database.read(
        lambda connection: access.list_members(connection, workspace)
    )
    return answer(MemberList(rows=[_row(member) for member in members], count=len(members)))


@post(
    "/api/v1/members",
    opt={"role": Role.ADMIN},
    status_code=201,
    operation_class=operation(
        body=json_object({"user_id": TEXT, "role": _ROLE}, required=["user_id", "role"]), repeatable=True
    ),
    responses=described({201: MemberRow}, 400, 401, 403, 409, 413, 415, 503, 507),
    tags=["access"],
)
async def add_member(request: Call) -> Answer:
    """Make a user a member; one that is new is created. Nobody gives a role above their own."""
    body = await read_body(request)
    asked = decode_body(body, _body, MemberRequest())
    user_id, role = text_field(asked.user_id, "user_id"), _role(asked)
    services, workspace, acting = services_of(request), request.auth.workspace, acting_of(request)
    services.database.space.require()

    def add(connection: Connection) -> Reply:
        member = administration.add_member(connection, workspace, user_id, role, acting, now=services.now())
        return Reply(status=201, body=msgspec.json.encode(_row(member)))

    added = await change_once(request, body, add)
    doorkeeper_of(request).forget()
    return added


@patch(
    "/api/v1/members/{user_id:str}",
    opt={"role": Role.ADMIN},
    operation_class=operation(body=json_object({"role": _ROLE}, required=["role"])),
    responses=described({200: MemberRow}, 400, 401, 403, 404, 409, 413, 415, 503, 507),
    tags=["access"],
)
async def change_member(request: Call, user_id: FromPath[str]) -> Answer:
    """Change the role of a member. The last OWNER who can sign in stays one."""
    role = _role(decode_body(await read_body(request), _body, MemberRequest()))
    workspace, acting, now = request.auth.workspace, acting_of(request), services_of(request).now()
    wanted = user_id.replace(ENCODED_SLASH, "/")
    member = await changed(
        request,
        "member",
        lambda connection: administration.change_role(connection, workspace, wanted, role, acting, now=now),
    )
    return answer(_row(member))


@delete(
    "/api/v1/members/{user_id:str}",
    opt={"role": Role.ADMIN},
    status_code=204,
    operation_class=operation(),
    responses=described({204: None}, 400, 401, 403, 404, 409, 503),
    tags=["access"],
)
async def remove_member(request: Call, user_id: FromPath[str]) -> None:
    """Take a user out of the workspace: their tokens and sessions cannot act there any more."""
    workspace, acting, now = request.auth.workspace, acting_of(request), services_of(request).now()
    wanted = user_id.replace(ENCODED_SLASH, "/")
    await changed(
        request,
        "member",
        lambda connection: administration.remove_member(connection, workspace, wanted, acting, now=now),
    )


def acting_of(request: Call) -> Acting:
    """Who sends a request, and as what."""
    principal, membership = request.auth.principal, request.auth.membership
    assert membership is not None, "the route declares no role"
    return Acting(Actor(USER, principal.user_id), membership.role, principal.token_id)


async def changed(request: Call, noun: str, change: Callable[[Connection], T]) -> T:
    """Make a change of who may do what; it counts from the next request on."""
    try:
        return await services_of(request).database.write(change)
    except NotFound:
        raise not_found(noun) from None
    finally:
        doorkeeper_of(request).forget()


def _role(asked: MemberRequest) -> Role:
    try:
        return access.parse_role(text_field(asked.role, "role"))
    except UsageError as error:
        raise bad_request("invalid role", str(error)) from None


def _row(member: Member) -> MemberRow:
    return MemberRow(user_id=member.user_id, role=member.role.name)
