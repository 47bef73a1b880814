"""Alerts over HTTP: rules that tell webhooks, and what became of their messages.

A rule that starts a program is made on the machine alone: an API that makes one would let every token of
an ADMIN, and whoever steals one, run anything there. For the same reason a webhook of a rule that is made
here reaches the open internet only, not what is near the daemon.
"""

from typing import Any, Final

import msgspec
from litestar import delete, get, post
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import FromPath

from quartermaster.alerting import rules, webhook
from quartermaster.alerting.happenings import Judging
from quartermaster.api.access import Call, query_of, services_of
from quartermaster.api.alert_rows import delivery_row, rule_row
from quartermaster.api.answers import Answer, answer
from quartermaster.api.bodies import Query, decode_body, invalid_body, read_body, text_field
from quartermaster.api.documentation import (
    CURSOR,
    TEXT,
    described,
    integer,
    json_object,
    one_of,
    operation,
)
from quartermaster.api.idempotency import Reply, change_once
from quartermaster.api.problems import Problem, bad_request, not_found
from quartermaster.core.alerts import Command, Webhook
from quartermaster.errors import NotFound, UsageError
from quartermaster.store import alerts
from quartermaster.store.access import Role
from quartermaster.store.alerts import DeliveryFilter
from quartermaster.store.audit import USER, Actor
from quartermaster.store.database import Connection

DEFAULT_LIMIT: Final = 100
_SECONDS: Final = 30.0


class RuleRequest(msgspec.Struct, frozen=True):
    """Body that makes a rule. `trigger` has `on` and the options of that event."""

    name: Any = None
    trigger: Any = None
    url: Any = None


class ShownDestination(msgspec.Struct, frozen=True, kw_only=True):
    """`webhook` or `command`, and what may be shown of it."""

    kind: str
    shown: str


class RuleRow(msgspec.Struct, frozen=True, kw_only=True):
    """A rule, without its secret."""

    id: str
    name: str
    trigger: dict[str, Any]
    destination: ShownDestination
    made_locally: bool
    created_at: str
    created_by: str


class NewRuleRow(RuleRow, frozen=True, kw_only=True):
    """A rule that was made just now, with what signs its messages: this answer alone has it."""

    secret: str


class RuleList(msgspec.Struct, frozen=True, kw_only=True):
    """Every rule of the workspace, in the order in which they were made."""

    rows: list[RuleRow]
    count: int


class DeliveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A message; `dead` is one that was given up, `said` how its last attempt ended."""

    id: str
    rule_id: str
    name: str
    state: str
    attempts: int
    said: str | None
    next_attempt_at: str | None
    created_at: str
    ended_at: str | None
    message: dict[str, Any]


class Revived(msgspec.Struct, frozen=True):
    """How many messages that were given up wait again."""

    waiting: int


class DeliveryList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of messages, newest first. `next_cursor` is there when there is more."""

    rows: list[DeliveryRow]
    count: int
    limit: int
    next_cursor: str | msgspec.UnsetType = msgspec.UNSET


_body = msgspec.json.Decoder(RuleRequest | None)


@get(
    "/api/v1/alerts/rules",
    opt={"role": Role.ADMIN},
    operation_class=operation(),
    responses=described({200: RuleList}, 400, 401, 403, 503),
    tags=["alerts"],
)
async def list_rules(request: Call) -> Answer:
    """The alert rules of the workspace."""
    workspace = request.auth.workspace
    found = await services_of(request).database.read(
        lambda connection: alerts.list_rules(connection, workspace)
    )
    return answer({"rows": [rule_row(rule) for rule in found], "count": len(found)})


@post(
    "/api/v1/alerts/rules",
    opt={"role": Role.ADMIN},
    status_code=201,
    operation_class=operation(
        body=json_object(
            {"name": TEXT, "trigger": Schema(type=OpenAPIType.OBJECT), "url": TEXT},
            required=["name", "trigger", "url"],
        ),
        repeatable=True,
    ),
    responses=described({201: NewRuleRow}, 400, 401, 403, 409, 413, 415, 503, 507),
    tags=["alerts"],
)
async def add_rule(request: Call) -> Answer:
    """Tell a webhook of the open internet when something happens; the answer has the signing secret, once."""
    body = await read_body(request)
    asked = decode_body(body, _body, RuleRequest())
    name, url = text_field(asked.name, "name"), text_field(asked.url, "url")
    if not isinstance(asked.trigger, dict):
        raise invalid_body("trigger is an object with `on`: regression, change_point or failure_mode.")
    services, workspace = services_of(request), request.auth.workspace
    user = request.auth.principal.user_id
    judging = Judging(services.supervisor.profile, services.prices)
    try:
        trigger = rules.trigger_of(asked.trigger)
        destination = Webhook(url=webhook.check_url(url, local=False), local=False)
        new = await services.database.read(
            lambda connection: rules.new_rule(
                connection, workspace, name, trigger, destination, by=user, judging=judging
            ),
            seconds=_SECONDS,
        )
    except UsageError as error:
        raise bad_request("invalid rule", str(error)) from None
    services.database.space.require()

    def keep(connection: Connection) -> Reply:
        kept = rules.keep(connection, workspace, new, Actor(USER, user), now=services.now())
        told = msgspec.json.encode({**rule_row(kept), "secret": new.secret})
        return Reply(status=201, body=told, location=f"/api/v1/alerts/rules/{kept.rule_id}")

    return await change_once(request, body, keep)


@delete(
    "/api/v1/alerts/rules/{rule_id:str}",
    opt={"role": Role.ADMIN},
    status_code=204,
    operation_class=operation(),
    responses=described({204: None}, 400, 401, 403, 404, 503),
    tags=["alerts"],
)
async def remove_rule(request: Call, rule_id: FromPath[str]) -> None:
    """End a rule that tells a webhook: what it still has to send is not sent."""
    services, workspace = services_of(request), request.auth.workspace
    actor = Actor(USER, request.auth.principal.user_id)

    def remove(connection: Connection) -> None:
        rule = alerts.find_rule(connection, workspace, rule_id)
        if isinstance(rule.destination, Command):
            raise Problem(
                403,
                "rule of the machine",
                "This rule starts a program: `quartermaster alert` on the machine makes and removes it.",
            )
        rules.remove(connection, rule, actor, now=services.now())

    try:
        await services.database.write(remove)
    except NotFound:
        raise not_found("rule") from None


@post(
    "/api/v1/alerts/rules/{rule_id:str}/retry",
    opt={"role": Role.ADMIN},
    status_code=202,
    operation_class=operation(),
    responses=described({202: Revived}, 400, 401, 403, 404, 413, 415, 503, 507),
    tags=["alerts"],
)
async def retry_rule(request: Call, rule_id: FromPath[str]) -> Answer:
    """Send again what was given up of a rule, under the same ids."""
    services, workspace = services_of(request), request.auth.workspace
    actor = Actor(USER, request.auth.principal.user_id)
    services.database.space.require()

    def revive(connection: Connection) -> int:
        rule = alerts.find_rule(connection, workspace, rule_id)
        return rules.retry(connection, rule, actor, now=services.now())

    try:
        return answer(Revived(waiting=await services.database.write(revive)), status=202)
    except NotFound:
        raise not_found("rule") from None


@get(
    "/api/v1/alerts/deliveries",
    opt={"role": Role.ADMIN},
    operation_class=operation(
        query={
            "rule_id": TEXT,
            "state": one_of(alerts.STATES),
            "cursor": CURSOR,
            "limit": integer(1, alerts.LIST_LIMIT, DEFAULT_LIMIT),
        }
    ),
    responses=described({200: DeliveryList}, 400, 401, 403, 503),
    tags=["alerts"],
)
async def list_deliveries(request: Call) -> Answer:
    """What became of the messages of the workspace's rules, newest first."""
    query = Query(query_of(request))
    filters = DeliveryFilter(
        rule_id=query.text("rule_id"),
        state=query.choice("state", alerts.STATES),
        cursor=query.text("cursor"),
        limit=query.number("limit", least=1, most=alerts.LIST_LIMIT, default=DEFAULT_LIMIT),
    )
    workspace = request.auth.workspace
    page = await services_of(request).database.read(
        lambda connection: alerts.list_deliveries(connection, workspace, filters)
    )
    told: dict[str, Any] = {
        "rows": [delivery_row(one) for one in page.rows],
        "count": len(page.rows),
        "limit": filters.limit,
    }
    return answer(told | ({"next_cursor": page.next_cursor} if page.next_cursor else {}))
