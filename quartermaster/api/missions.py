"""Missions over HTTP: list, read, walk."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from litestar import get
from litestar.params import FromPath

from quartermaster.api.access import Call, query_of, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.bodies import Query
from quartermaster.api.documentation import CURSOR, TEXT, TIME, described, integer, one_of, operation
from quartermaster.api.rows import mission_detail, mission_row, source_detail, step_row
from quartermaster.api.services import Services
from quartermaster.api.subjects import read_of_mission
from quartermaster.errors import StorageError
from quartermaster.lookout import LONG_ENTRIES
from quartermaster.store import examinations, missions, sources, trajectory
from quartermaster.store.access import Role
from quartermaster.store.database import Connection
from quartermaster.store.examinations import Examined
from quartermaster.store.missions import Mission

if TYPE_CHECKING:
    from quartermaster.looking import Looked

DEFAULT_LIMIT: Final = 100
STEP_LIMIT: Final = 1_000
DEFAULT_STEPS: Final = 200

_OUTCOMES: Final = ("succeeded", "failed", "aborted", "timed_out", "limit_reached")
_LAST_STEP: Final = 999_999_999
_ASSESSMENT_SECONDS: Final = 30.0


class MissionList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of missions, last changed first. `next_cursor` is there when there is more."""

    rows: list[dict[str, Any]]
    count: int
    limit: int
    next_cursor: str | msgspec.UnsetType = msgspec.UNSET


class MissionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One mission; beside these fields everything that a list shows.

    `metrics` and `failure_modes` are those of the contract. `catalogue`, `failures` (of the detectors, with
    their steps), `claims` and `root_cause` come from its words; `unexamined` says why they are missing,
    `not_judged` by detector why it cannot judge this mission.
    """

    mission_id: str
    steps: int
    goal_reached: bool
    signature: str
    signatures: dict[str, str]
    metrics: list[dict[str, Any]]
    failure_modes: list[dict[str, Any]]
    unexamined: str | None
    catalogue: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    failure_counts: dict[str, int]
    not_judged: dict[str, str]
    claims: list[dict[str, Any]]
    root_cause: dict[str, Any] | None
    outcomes: list[dict[str, Any]]
    sources: list[dict[str, Any]]


class Trajectory(msgspec.Struct, frozen=True, kw_only=True):
    """A window of steps. `next_from` is there when the window is full."""

    mission_id: str
    steps: list[dict[str, Any]]
    count: int
    next_from: int | msgspec.UnsetType = msgspec.UNSET


@get(
    "/api/v1/missions",
    opt={"role": Role.VIEWER},
    operation_class=operation(
        query={
            **dict.fromkeys(("q", "task", "variant", "outcome", "format", "failure_mode"), TEXT),
            "since": TIME,
            "until": TIME,
            "sort": one_of(missions.SORTS),
            "cursor": CURSOR,
            "limit": integer(1, missions.LIST_LIMIT, DEFAULT_LIMIT),
        }
    ),
    responses=described({200: MissionList}, 400, 401, 403, 503),
    tags=["missions"],
)
async def list_missions(request: Call) -> Answer:
    """The missions of the workspace, last changed first."""
    query = Query(query_of(request))
    chosen = query.choice("sort", missions.SORTS)
    filters = missions.MissionFilter(
        q=query.text("q"),
        task=query.text("task"),
        variant=query.text("variant"),
        outcome=query.choice("outcome", _OUTCOMES),
        format=query.text("format"),
        failure_mode=query.text("failure_mode"),
        since=query.instant("since"),
        until=query.instant("until"),
        sort=next((one for one in missions.SORTS if one == chosen), "changed"),
        cursor=query.text("cursor"),
        limit=query.number("limit", least=1, most=missions.LIST_LIMIT, default=DEFAULT_LIMIT),
    )
    workspace = request.auth.workspace

    def look_up(connection: Connection) -> tuple[missions.MissionPage, Mapping[int, dict[str, int]]]:
        page = missions.list_missions(connection, workspace, filters)
        return page, examinations.counts(connection, page.rows)

    page, findings = await services_of(request).database.read(look_up)
    return answer(
        MissionList(
            rows=[mission_row(mission, findings.get(mission.key)) for mission in page.rows],
            count=len(page.rows),
            limit=filters.limit,
            next_cursor=page.next_cursor or msgspec.UNSET,
        )
    )


@get(
    "/api/v1/missions/{mission_id:str}",
    opt={"role": Role.VIEWER},
    operation_class=operation(),
    responses=described({200: MissionDetail}, 400, 401, 403, 404, 503),
    tags=["missions"],
)
async def show_mission(request: Call, mission_id: FromPath[str]) -> Answer:
    """One mission judged alone: metrics, failures with their steps, claims, root cause, and its sources.

    Of a mission of 2,000 entries and more the answer may be some seconds old, ten at most. Where one takes
    longer to examine than 30 seconds, that goes on after a 503, `took too long`, and is there for who asks
    again.
    """
    services, workspace = services_of(request), request.auth.workspace

    def read(connection: Connection, mission: Mission) -> _Detail | Mission:
        known = services.recent_details.find(mission)
        if known is not None:
            return _Detail(known, None)
        if services.lookout is not None and mission.entries >= LONG_ENTRIES:
            return mission
        return _detail_of(connection, workspace, mission, services, None)

    found = await read_of_mission(request, mission_id, read, seconds=_ASSESSMENT_SECONDS)
    if isinstance(found, Mission):
        assert services.lookout is not None
        looked = await services.lookout.look(workspace, found.mission_id, seconds=_ASSESSMENT_SECONDS)
        found = await read_of_mission(
            request,
            mission_id,
            lambda connection, mission: _detail_of(connection, workspace, mission, services, looked),
            seconds=_ASSESSMENT_SECONDS,
        )
    told, fresh = found
    if fresh is not None:
        with suppress(StorageError):  # a disk that is full is no reason not to show what was found
            await services.database.write(lambda connection: examinations.keep(connection, [fresh]))
    return Answer(200, told)


class _Detail(NamedTuple):
    """An answer, and what is to be remembered of the examination that was made for it."""

    told: bytes
    fresh: Examined | None


def _detail_of(
    connection: Connection, workspace: int, mission: Mission, services: Services, looked: "Looked | None"
) -> _Detail:
    """Everything about a mission, examined here unless another process has `looked` at it."""
    from quartermaster.looking import judged  # noqa: PLC0415 - detectors are slow to load

    assessment, examination, fresh = judged(connection, workspace, mission, services.prices, looked=looked)
    detail = mission_detail(
        mission,
        assessment,
        examination,
        outcomes=missions.outcomes_of(connection, mission.key),
        sources=[source_detail(one) for one in sources.sources_of(connection, mission.key)],
    )
    told = msgspec.json.encode(detail)
    services.recent_details.keep(mission, told)
    return _Detail(told, fresh)


@get(
    "/api/v1/missions/{mission_id:str}/trajectory",
    opt={"role": Role.VIEWER},
    operation_class=operation(
        query={"from": integer(0, _LAST_STEP, 0), "limit": integer(1, STEP_LIMIT, DEFAULT_STEPS)}
    ),
    responses=described({200: Trajectory}, 400, 401, 403, 404, 503),
    tags=["missions"],
)
async def show_trajectory(request: Call, mission_id: FromPath[str]) -> Answer:
    """A window of the steps of a mission, in order."""
    query = Query(query_of(request))
    start = query.number("from", least=0, most=_LAST_STEP, default=0)
    limit = query.number("limit", least=1, most=STEP_LIMIT, default=DEFAULT_STEPS)

    def read(connection: Connection, mission: Mission) -> Trajectory:
        steps = trajectory.trajectory_window(connection, mission.key, start, limit)
        return Trajectory(
            mission_id=mission.mission_id,
            steps=[step_row(step) for step in steps],
            count=len(steps),
            next_from=start + limit if len(steps) == limit else msgspec.UNSET,
        )

    return answer(await read_of_mission(request, mission_id, read))
