"""Baselines over HTTP: list, read, freeze, accept."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from litestar import get, post
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import FromPath

from quartermaster import freezing
from quartermaster.api.access import Call, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.bodies import decode_body, read_body, text_field
from quartermaster.api.documentation import TEXT, described, json_object, operation
from quartermaster.api.frozen_rows import baseline_detail, baseline_row
from quartermaster.api.idempotency import Reply, change_once
from quartermaster.api.problems import Problem, bad_request, not_found
from quartermaster.core.pricing import PriceBook
from quartermaster.core.selection import Selection, selection_of
from quartermaster.errors import NotFound, UsageError
from quartermaster.evaluate import Terms, nothing_to_check
from quartermaster.store import baselines, missions
from quartermaster.store.access import Role
from quartermaster.store.database import Connection

T = TypeVar("T")

_SECONDS: Final = 30.0
_MISSIONS: Final = Schema(
    description="Ids of missions, or what is known of them.",
    any_of=[Schema(type=OpenAPIType.ARRAY, items=TEXT), Schema(type=OpenAPIType.OBJECT)],
)


class BaselineRequest(msgspec.Struct, frozen=True):
    """Body that freezes or accepts missions."""

    name: Any = None
    missions: Any = None
    reason: Any = None


class BaselineRow(msgspec.Struct, frozen=True, kw_only=True):
    """The version of a baseline that holds; `digest` is the SHA-256 of its capsule."""

    name: str
    version: int
    digest: str
    missions: int
    created_at: str
    created_by: str
    reason: str | None


class BaselineList(msgspec.Struct, frozen=True, kw_only=True):
    """Every baseline of the workspace, by name."""

    rows: list[BaselineRow]
    count: int


class BaselineDetail(BaselineRow, frozen=True, kw_only=True):
    """A baseline with its missions and its history, the last version first."""

    made_by: str
    rules_of_pairs: int
    rules_of_sets: int
    profile: dict[str, float]
    prices: str
    rows: list[dict[str, Any]]
    history: list[BaselineRow]


_body = msgspec.json.Decoder(BaselineRequest | None)


@get(
    "/api/v1/baselines",
    opt={"role": Role.VIEWER},
    operation_class=operation(),
    responses=described({200: BaselineList}, 400, 401, 403, 503),
    tags=["baselines"],
)
async def list_baselines(request: Call) -> Answer:
    """The baselines of the workspace, by name."""
    workspace = request.auth.workspace
    found = await services_of(request).database.read(
        lambda connection: baselines.list_baselines(connection, workspace)
    )
    return answer({"rows": [baseline_row(one) for one in found], "count": len(found)})


@get(
    "/api/v1/baselines/{name:str}",
    opt={"role": Role.VIEWER},
    operation_class=operation(),
    responses=described({200: BaselineDetail}, 400, 401, 403, 404, 503),
    tags=["baselines"],
)
async def show_baseline(request: Call, name: FromPath[str]) -> Answer:
    """One baseline with its missions, and everything that was accepted for it."""
    workspace = request.auth.workspace

    def look_up(connection: Connection) -> bytes | None:
        history = baselines.history(connection, workspace, name)
        if not history:
            return None
        capsule = freezing.baseline_side(connection, workspace, name).capsule
        return msgspec.json.encode(baseline_detail(history, capsule))

    found = await services_of(request).database.read(look_up, seconds=_SECONDS)
    if found is None:
        raise not_found("baseline")
    return answer(msgspec.Raw(found))


@post(
    "/api/v1/baselines",
    opt={"role": Role.ADMIN},
    status_code=201,
    operation_class=operation(
        body=json_object(
            {"name": TEXT, "missions": _MISSIONS, "reason": TEXT}, required=["name", "missions"]
        ),
        repeatable=True,
    ),
    responses=described({201: BaselineRow}, 400, 401, 403, 404, 409, 413, 415, 503, 507),
    tags=["baselines"],
)
async def freeze_baseline(request: Call) -> Answer:
    """Freeze missions as a new baseline: as they are now, with their prices and the rules."""
    body = await read_body(request)
    asked = decode_body(body, _body, BaselineRequest())
    name = text_field(asked.name, "name")
    return await _keep(request, body, name, asked, accepted=False)


@post(
    "/api/v1/baselines/{name:str}/accept",
    opt={"role": Role.ADMIN},
    status_code=201,
    operation_class=operation(
        body=json_object({"missions": _MISSIONS, "reason": TEXT}, required=["missions", "reason"]),
        repeatable=True,
    ),
    responses=described({201: BaselineRow}, 400, 401, 403, 404, 409, 413, 415, 503, 507),
    tags=["baselines"],
)
async def accept_baseline(request: Call, name: FromPath[str]) -> Answer:
    """Accept missions as the baseline from now on, for a reason. What was before stays in its history."""
    body = await read_body(request)
    asked = decode_body(body, _body, BaselineRequest())
    if not text_field(asked.reason, "reason").strip():
        raise bad_request("reason required", "Say why these missions are the baseline from now on.")
    return await _keep(request, body, name, asked, accepted=True)


async def _keep(request: Call, body: bytes, name: str, asked: BaselineRequest, *, accepted: bool) -> Answer:
    services, workspace = services_of(request), request.auth.workspace
    reason = text_field(asked.reason, "reason") or None
    signed = freezing.Signed(name, request.auth.principal.user_id, reason, services.now())
    selection = _as_asked(lambda: selection_of(asked.missions, "missions"))
    _as_asked(lambda: baselines.check_name(name))
    services.database.space.require()
    terms = Terms(services.supervisor.profile, services.prices, nothing_to_check)

    def freeze(connection: Connection) -> freezing.Side:
        _require(connection, workspace, name, selection, accepted=accepted)
        return freezing.freeze_baseline(
            connection,
            workspace,
            selection,
            signed,
            terms.head(),
            price=PriceBook(services.prices),
            check=nothing_to_check,
            accepted=accepted,
        )

    def keep(connection: Connection) -> Reply:
        known = baselines.find_baseline(connection, workspace, name)
        if known is not None and not accepted:
            raise Problem(409, "baseline exists", "There is a baseline of that name; accept missions for it.")
        kept = _as_asked(
            lambda: freezing.keep_baseline(connection, workspace, side, signed, accepted=accepted)
        )
        location = f"/api/v1/baselines/{name}"
        return Reply(status=201, body=msgspec.json.encode(baseline_row(kept)), location=location)

    try:
        side = await services.database.read(freeze, seconds=_SECONDS)
    except UsageError as error:
        raise bad_request("invalid missions", str(error)) from None
    return await change_once(request, body, keep)


def _require(
    connection: Connection, workspace: int, name: str, selection: Selection, *, accepted: bool
) -> None:
    if accepted and baselines.find_baseline(connection, workspace, name) is None:
        raise not_found("baseline")
    if not all(missions.exists(connection, workspace, one) for one in selection.mission_ids):
        raise not_found("mission")


def _as_asked(work: Callable[[], T]) -> T:
    """What the request got wrong is told as that."""
    try:
        return work()
    except NotFound:
        raise not_found("baseline") from None
    except UsageError as error:
        raise bad_request("invalid baseline", str(error)) from None
