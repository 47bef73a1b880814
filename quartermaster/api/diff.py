"""Two missions side by side, and missions like one, over HTTP."""

import time
from collections.abc import Callable
from typing import Final

from litestar import get
from litestar.params import FromPath

from quartermaster.api.access import Call, query_of, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.bodies import Query
from quartermaster.api.documentation import TEXT, described, integer, one_of, operation
from quartermaster.api.edge import ENCODED_SLASH
from quartermaster.api.problems import bad_request, not_found
from quartermaster.api.subjects import read_of_mission
from quartermaster.core.assessment import LEVELS
from quartermaster.core.difference import Compared, Difference
from quartermaster.core.matching import ARGUMENTS, MATCH_MODES, Rules
from quartermaster.core.pricing import PriceBook
from quartermaster.core.transcript import EventKind, Transcript
from quartermaster.errors import TookTooLong
from quartermaster.store import missions, similar
from quartermaster.store.access import Role
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission
from quartermaster.store.similar import Similar
from quartermaster.store.transcript import read_transcript

LINE_LIMIT: Final = 1_000
DEFAULT_LINES: Final = 200
DEFAULT_SIMILAR: Final = 50

_LAST_LINE: Final = 999_999_999
_SECONDS: Final = 30.0
_WHOLE_STEPS: Final = 20_000
"""Longer missions are aligned in windows here: a daemon does not stand still for one answer."""

_CALLS_PAIRED: Final = 2_000

_DRAWING_SECONDS: Final = 5.0
_DRAWN_AT_ONCE: Final = 20_000


@get(
    "/api/v1/missions/{mission_id:str}/diff/{other:str}",
    opt={"role": Role.VIEWER},
    operation_class=operation(
        query={
            "from": integer(0, _LAST_LINE, 0),
            "limit": integer(1, LINE_LIMIT, DEFAULT_LINES),
            "match": one_of(tuple(MATCH_MODES)),
            "arguments": one_of(ARGUMENTS),
            "ignore_tool": TEXT,
            "ignore_argument": TEXT,
        }
    ),
    responses=described({200: Difference}, 400, 401, 403, 404, 503),
    tags=["missions"],
)
async def show_difference(request: Call, mission_id: FromPath[str], other: FromPath[str]) -> Answer:
    """The mission as the baseline beside another one: aligned steps and what each difference cost.

    With `match` the tool calls of the other one are held against those of the mission as a reference.
    """
    query = Query(query_of(request))
    start = query.number("from", least=0, most=_LAST_LINE, default=0)
    limit = query.number("limit", least=1, most=LINE_LIMIT, default=DEFAULT_LINES)
    rules = _rules(query)
    workspace, prices = request.auth.workspace, PriceBook(services_of(request).prices)
    wanted = [name.replace(ENCODED_SLASH, "/") for name in (mission_id, other)]
    check, recent = _until(_SECONDS), services_of(request).recent_pairs

    def look_up(connection: Connection) -> Difference | None:
        baseline, candidate = (missions.find_mission(connection, workspace, name) for name in wanted)
        if baseline is None or candidate is None:
            return None
        pair = recent.find(baseline, candidate)
        if pair is None:
            told = [
                read_transcript(connection, one, price=prices, check=check) for one in (baseline, candidate)
            ]
            pair = Compared(*told, whole_limit=_WHOLE_STEPS)
            recent.keep(baseline, candidate, pair)
        if rules is not None and rules.arguments in ("subset", "superset"):
            _refuse_long(*pair.both)
        return pair.window(start=start, limit=limit, rules=rules)

    shown = await services_of(request).database.read(look_up, seconds=_SECONDS)
    if shown is None:
        raise not_found("mission")
    return answer(shown)


def _rules(query: Query) -> Rules | None:
    mode = query.choice("match", tuple(MATCH_MODES))
    arguments = query.choice("arguments", ARGUMENTS)
    ignored = query.texts("ignore_tool"), query.texts("ignore_argument")
    if mode is None:
        return None
    return Rules(
        order=MATCH_MODES[mode],
        arguments=next((one for one in ARGUMENTS if one == arguments), Rules().arguments),
        ignored_tools=frozenset(ignored[0]),
        ignored_arguments=frozenset(ignored[1]),
    )


def _refuse_long(*both: Transcript) -> None:
    """Where arguments may be a part of others, each call is held against each."""
    if any(sum(event.kind is EventKind.TOOL_CALL for event in one.events) > _CALLS_PAIRED for one in both):
        raise bad_request(
            "too long",
            f"Arguments are matched as subset or superset up to {_CALLS_PAIRED:,} tool calls a mission.",
        )


@get(
    "/api/v1/missions/{mission_id:str}/similar",
    opt={"role": Role.VIEWER},
    operation_class=operation(
        query={
            "level": one_of(LEVELS),
            "limit": integer(1, missions.LIST_LIMIT, DEFAULT_SIMILAR),
        }
    ),
    responses=described({200: Similar}, 400, 401, 403, 404, 503),
    tags=["missions"],
)
async def show_similar(request: Call, mission_id: FromPath[str]) -> Answer:
    """Missions of the same shape or nearly the same, nearest first, and how they ended."""
    query = Query(query_of(request))
    chosen = query.choice("level", LEVELS)
    level = next((one for one in LEVELS if one == chosen), None)
    limit = query.number("limit", least=1, most=missions.LIST_LIMIT, default=DEFAULT_SIMILAR)
    workspace = request.auth.workspace

    def outdated(connection: Connection, mission: Mission) -> list[similar.Drawn]:
        return similar.draw_stale(connection, workspace, mission, _DRAWN_AT_ONCE, _is_over(_DRAWING_SECONDS))

    drawn = await read_of_mission(request, mission_id, outdated, seconds=_SECONDS)
    if drawn:
        await services_of(request).database.write(lambda connection: similar.keep(connection, drawn))

    def read(connection: Connection, mission: Mission) -> Similar | None:
        return similar.find_similar(connection, workspace, mission, level=level, limit=limit)

    found = await read_of_mission(request, mission_id, read, seconds=_SECONDS)
    if found is None:  # it was removed and came again meanwhile
        raise not_found("mission")
    return answer(found)


def _is_over(seconds: float) -> Callable[[], bool]:
    ends = time.monotonic() + seconds
    return lambda: time.monotonic() > ends


def _until(seconds: float) -> Callable[[], None]:
    over = _is_over(seconds)

    def check() -> None:
        if over():
            raise TookTooLong("these missions take too long to be read; compare shorter ones")

    return check
