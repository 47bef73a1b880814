"""Evaluations over HTTP: queue, list, read, cancel, follow."""

import secrets
from functools import partial
from typing import Any, Final

import msgspec
from litestar import get, post
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import FromPath

from quartermaster.api.access import Call, query_of, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.bodies import Query, decode_body, integer_field, invalid_body, read_body, text_field
from quartermaster.api.documentation import (
    CURSOR,
    EVENT_STREAM,
    FLAG,
    TEXT,
    TIME,
    WHOLE,
    described,
    integer,
    json_object,
    operation,
)
from quartermaster.api.edge import ENCODED_SLASH, fields_of
from quartermaster.api.idempotency import Reply, change_once, work_once
from quartermaster.api.problems import Problem, bad_request, not_found, queue_full
from quartermaster.api.streams import RunStream, Streams
from quartermaster.core import run as core_run
from quartermaster.core.comparison import Profile
from quartermaster.core.selection import LARGEST, Selection, selection_of
from quartermaster.errors import UsageError
from quartermaster.store import baselines, missions, runs
from quartermaster.store.access import Role
from quartermaster.store.database import Connection

LIST_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 50


class ReplayRequest(msgspec.Struct, frozen=True):
    """Body of a replay. The fields take any JSON value, so that a wrong one gets an answer in words."""

    mission_id: Any = None
    seed: Any = None


class RegressionRequest(msgspec.Struct, frozen=True):
    """Body of a regression. `baseline` names a frozen one instead of a mission."""

    baseline: Any = None
    baseline_mission_id: Any = None
    candidate_mission_id: Any = None
    seed: Any = None
    thresholds: Any = None


class ComparisonRequest(msgspec.Struct, frozen=True):
    """Body of a comparison of two sets of missions."""

    baseline: Any = None
    candidate: Any = None
    seed: Any = None
    thresholds: Any = None


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """A run that works in the background, or is about to."""

    run_id: str
    status: str


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run. What is optional is left out while it is empty."""

    id: str
    workspace_id: str
    kind: str
    status: str
    seed: int
    total_tokens: int
    total_cost_usd: float
    regressed: bool
    created_at: str
    mission_id: str | msgspec.UnsetType = msgspec.UNSET
    baseline_mission_id: str | msgspec.UnsetType = msgspec.UNSET
    candidate_mission_id: str | msgspec.UnsetType = msgspec.UNSET
    result: str | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    signature: str | msgspec.UnsetType = msgspec.UNSET
    created_by: str | msgspec.UnsetType = msgspec.UNSET
    started_at: str | msgspec.UnsetType = msgspec.UNSET
    completed_at: str | msgspec.UnsetType = msgspec.UNSET


class RunWithReport(RunRow, frozen=True, kw_only=True):
    """One run with everything that was found out."""

    report: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of runs, newest first. `next_cursor` is there when there is more."""

    rows: list[RunRow]
    count: int
    limit: int
    next_cursor: str | msgspec.UnsetType = msgspec.UNSET


_replay_body = msgspec.json.Decoder(ReplayRequest | None)
_regression_body = msgspec.json.Decoder(RegressionRequest | None)
_comparison_body = msgspec.json.Decoder(ComparisonRequest | None)

_THRESHOLDS: Final = Schema(
    type=OpenAPIType.OBJECT,
    description="How much worse each gated metric may get; what is left out is as the settings say.",
    properties={**dict.fromkeys(Profile.__struct_fields__, Schema(type=OpenAPIType.NUMBER, minimum=0))},
    additional_properties=False,
)
_IDS: Final = Schema(type=OpenAPIType.ARRAY, items=TEXT, max_items=LARGEST)
_SIDE: Final = Schema(
    description="Ids of missions, what is known of them, or the name of a frozen baseline.",
    any_of=[
        _IDS,
        Schema(
            type=OpenAPIType.OBJECT,
            properties={
                **dict.fromkeys(Selection.__struct_fields__, TEXT),
                "mission_ids": _IDS,
                "labels": Schema(type=OpenAPIType.OBJECT),
            },
            additional_properties=False,
        ),
    ],
)


@post(
    "/api/v1/eval/replay",
    opt={"role": Role.ADMIN},
    status_code=202,
    operation_class=operation(
        body=json_object({"mission_id": TEXT, "seed": WHOLE}, required=["mission_id"]), repeatable=True
    ),
    responses=described({202: Queued}, 400, 401, 403, 404, 409, 413, 415, 429, 503, 507),
    tags=["eval"],
)
async def queue_replay(request: Call) -> Answer:
    """Queue a replay: rebuild a mission from its journal and measure it. Agents are not run again."""
    body = await read_body(request)
    asked = decode_body(body, _replay_body, ReplayRequest())
    mission_id = text_field(asked.mission_id, "mission_id")
    seed = integer_field(asked.seed, "seed")
    if not mission_id:
        raise bad_request(
            "mission_id required", "Name the mission to replay; GET /api/v1/missions lists them."
        )
    _require_mission(request, mission_id)
    return await _queue(
        request, body, partial(runs.queue_run, kind="replay", seed=seed, mission_id=mission_id)
    )


@post(
    "/api/v1/eval/regression",
    opt={"role": Role.ADMIN},
    status_code=202,
    operation_class=operation(
        body=json_object(
            {
                "baseline_mission_id": TEXT,
                "baseline": TEXT,
                "candidate_mission_id": TEXT,
                "thresholds": _THRESHOLDS,
            },
            required=["candidate_mission_id"],
        ),
        repeatable=True,
    ),
    responses=described({202: Queued}, 400, 401, 403, 404, 409, 413, 415, 429, 503, 507),
    tags=["eval"],
)
async def queue_regression(request: Call) -> Answer:
    """Queue a regression: compare a candidate mission with its baseline, a mission or a frozen one."""
    body = await read_body(request)
    asked = decode_body(body, _regression_body, RegressionRequest())
    baseline = text_field(asked.baseline_mission_id, "baseline_mission_id")
    candidate = text_field(asked.candidate_mission_id, "candidate_mission_id")
    seed = integer_field(asked.seed, "seed")
    thresholds = _thresholds(request, asked.thresholds)
    frozen = text_field(asked.baseline, "baseline")
    if not (baseline or frozen) or not candidate:
        raise bad_request(
            "baseline_mission_id and candidate_mission_id required",
            "Name both missions; GET /api/v1/missions lists them.",
        )
    if baseline and frozen:
        raise bad_request(
            "one baseline only", "Name a mission by baseline_mission_id or a baseline, not both."
        )
    chosen = Selection(baseline=frozen) if frozen else None
    _require_side(request, chosen or Selection(mission_ids=(baseline,)))
    _require_mission(request, candidate)
    return await _queue(
        request,
        body,
        partial(
            runs.queue_run,
            kind="regression",
            seed=seed,
            baseline_mission_id=baseline or None,
            candidate_mission_id=candidate,
            asked=core_run.Asked(baseline=chosen, thresholds=thresholds),
        ),
    )


@post(
    "/api/v1/eval/comparisons",
    opt={"role": Role.ADMIN},
    status_code=202,
    operation_class=operation(
        body=json_object(
            {"baseline": _SIDE, "candidate": _SIDE, "thresholds": _THRESHOLDS, "seed": WHOLE},
            required=["baseline", "candidate"],
        ),
        repeatable=True,
    ),
    responses=described({202: Queued}, 400, 401, 403, 404, 409, 413, 415, 429, 503, 507),
    tags=["eval"],
)
async def queue_comparison(request: Call) -> Answer:
    """Queue a comparison of two sets of missions: task by task, with the noise between runs in mind."""
    body = await read_body(request)
    asked = decode_body(body, _comparison_body, ComparisonRequest())
    seed = integer_field(asked.seed, "seed")
    thresholds = _thresholds(request, asked.thresholds)
    baseline, candidate = (
        _side(value, side) for side, value in (("baseline", asked.baseline), ("candidate", asked.candidate))
    )
    _require_side(request, baseline)
    _require_side(request, candidate)
    sides = core_run.Asked(baseline=baseline, candidate=candidate, thresholds=thresholds)
    return await _queue(request, body, partial(runs.queue_run, kind="comparison", seed=seed, asked=sides))


def _side(value: Any, side: str) -> Selection:
    try:
        return selection_of(value, side)
    except UsageError as error:
        raise bad_request(f"invalid {side}", str(error)) from None


def _thresholds(request: Call, value: Any) -> Profile | None:
    """The thresholds of one request: those of the settings with the ones that it names."""
    if value is None:
        return None
    usual = msgspec.to_builtins(services_of(request).supervisor.profile)
    if type(value) is not dict:
        raise invalid_body("thresholds is an object of numbers.")
    try:
        return msgspec.convert(usual | value, Profile)
    except (msgspec.ValidationError, ValueError) as error:
        raise bad_request("invalid thresholds", str(error)) from None


def _require_side(request: Call, side: Selection) -> None:
    """404 for a mission or a baseline that is not in the workspace."""
    for mission_id in side.mission_ids:
        _require_mission(request, mission_id)
    name, workspace = side.baseline, request.auth.workspace
    if name is None:
        return
    known = services_of(request).database.look_up(
        lambda connection: baselines.find_baseline(connection, workspace, name)
    )
    if known is None:
        raise not_found("baseline")


def _require_mission(request: Call, mission_id: str) -> None:
    workspace = request.auth.workspace
    known = services_of(request).database.look_up(
        lambda connection: missions.exists(connection, workspace, mission_id)
    )
    if not known:
        raise not_found("mission")


async def _queue(request: Call, body: bytes, queue_run: Any) -> Answer:
    services = services_of(request)
    workspace, created_by = request.auth.workspace, request.auth.principal.user_id
    run_id = "er_" + secrets.token_hex(8)
    services.database.space.require()

    def queue(connection: Connection) -> Reply:
        if not runs.has_room(connection, workspace, services.queue_limit):
            raise queue_full(services.queue_limit)
        run = queue_run(connection, workspace, run_id=run_id, created_by=created_by, now=services.now())
        queued = msgspec.json.encode(Queued(run_id=run.run_id, status=run.status))
        return Reply(status=202, body=queued, location=f"/api/v1/eval/runs/{run.run_id}")

    queued = await change_once(request, body, queue)
    services.supervisor.wake()
    return queued


@get(
    "/api/v1/eval/runs",
    opt={"role": Role.VIEWER},
    operation_class=operation(
        query={
            "limit": integer(1, LIST_LIMIT, DEFAULT_LIMIT),
            "kind": TEXT,
            "status": TEXT,
            "mission_id": TEXT,
            "regressed": FLAG,
            "since": TIME,
            "cursor": CURSOR,
            "fields": TEXT,
        }
    ),
    responses=described({200: RunList}, 400, 401, 403, 503),
    tags=["eval"],
)
async def list_runs(request: Call) -> Answer:
    """The runs of the workspace, newest first. A limit that is no number from 1 to 200 means 50."""
    query = Query(query_of(request))
    as_row = _shape(query)
    filters = runs.RunFilter(
        kind=query.text("kind"),
        status=query.choice("status", core_run.STATUSES),
        mission_id=query.text("mission_id"),
        regressed=query.flag("regressed"),
        since=query.instant("since"),
        cursor=query.text("cursor"),
        limit=query.forgiving_number("limit", least=1, most=LIST_LIMIT, default=DEFAULT_LIMIT),
    )
    workspace = request.auth.workspace
    page = await services_of(request).database.read(
        lambda connection: runs.list_runs(connection, workspace, filters)
    )
    rows = [as_row(run) for run in page.rows]
    listed: dict[str, object] = {"rows": rows, "count": len(rows), "limit": filters.limit}
    if page.next_cursor is not None:
        listed["next_cursor"] = page.next_cursor
    return answer(listed)


@get(
    "/api/v1/eval/runs/{run_id:str}",
    opt={"role": Role.VIEWER},
    operation_class=operation(query={"fields": TEXT}),
    responses=described({200: RunWithReport}, 400, 401, 403, 404, 503),
    tags=["eval"],
)
async def show_run(request: Call, run_id: FromPath[str]) -> Answer:
    """One run, with its report when it has one."""
    as_row = _shape(Query(query_of(request)))
    workspace, wanted = request.auth.workspace, run_id.replace(ENCODED_SLASH, "/")

    def look_up(connection: Connection) -> tuple[core_run.Run | None, bytes | None]:
        run = runs.find_run(connection, workspace, wanted)
        return run, runs.find_report(connection, workspace, wanted)

    run, report = await services_of(request).database.read(look_up)
    if run is None:
        raise not_found("eval run")
    row = as_row(run)
    if report is not None:
        row["report"] = msgspec.Raw(report)
    return answer(row)


def _shape(query: Query) -> Any:
    return core_run.row if query.choice("fields", ("v1",)) is None else core_run.row_v1


@post(
    "/api/v1/eval/runs/{run_id:str}/cancel",
    opt={"role": Role.ADMIN},
    status_code=202,
    operation_class=operation(repeatable=True),
    responses=described({202: Queued}, 400, 401, 403, 404, 409, 413, 415, 503, 507),
    tags=["eval"],
)
async def cancel_run(request: Call, run_id: FromPath[str]) -> Answer:
    """End a run. It fails with the reason `cancelled`; one that has ended stays as it is."""
    body = await read_body(request)
    workspace, wanted = request.auth.workspace, run_id.replace(ENCODED_SLASH, "/")

    async def cancel() -> Reply:
        run = await services_of(request).supervisor.cancel(workspace, wanted)
        if run is None:
            raise not_found("eval run")
        return Reply(status=202, body=msgspec.json.encode(Queued(run_id=run.run_id, status=run.status)))

    return await work_once(request, body, cancel)


@get(
    "/api/v1/eval/runs/stream",
    opt={"role": Role.VIEWER},
    operation_class=operation(),
    responses={200: EVENT_STREAM, **described({}, 400, 401, 403, 429, 503)},
    tags=["eval"],
)
async def stream_runs(request: Call) -> RunStream:
    """Server-sent events, `event: run`, one for each change of a status. Last-Event-ID continues."""
    services = services_of(request)
    workspace = request.auth.workspace
    newest = services.database.look_up(lambda connection: runs.newest_event(connection, workspace))
    streams: Streams = request.app.state["streams"]
    return streams.open(request, _last_event(request, newest))


def _last_event(request: Call, newest: int) -> int:
    given = fields_of(request.scope).get(b"last-event-id")
    if given is None:
        return newest
    if not given.isdigit() or len(given) > 18:
        raise Problem(400, "invalid Last-Event-ID", "Send the id of the last event you got, or none.")
    return min(int(given), newest)
