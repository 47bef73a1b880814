"""Missions at a glance over HTTP: every entry in a few columns, what entries say, and strips for a list."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import get
from litestar.params import FromPath

from quartermaster.api.access import Call, query_of, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.bodies import Query
from quartermaster.api.documentation import TEXT, described, integer, operation
from quartermaster.api.problems import bad_request
from quartermaster.api.subjects import read_of_mission
from quartermaster.store import missions, outline
from quartermaster.store.access import Role
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission
from quartermaster.store.outline import Outline, Strip

ROW_LIMIT: Final = 200_000
ENTRY_LIMIT: Final = 1_000
DEFAULT_ENTRIES: Final = 200
STRIP_LIMIT: Final = 64

_LAST_ROW: Final = 999_999_999
_SNIPPET: Final = 300
_SECONDS: Final = 30.0


class Snippet(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry says, cut to a line. `place` counts all entries of the mission in their order."""

    place: int
    entry_id: str | None
    summary: str | None
    agent: str | None
    arguments: str | None
    output: str | None


class Snippets(msgspec.Struct, frozen=True, kw_only=True):
    """A window of what entries say."""

    mission_id: str
    entries: list[Snippet]


class Strips(msgspec.Struct, frozen=True, kw_only=True):
    """Strips of some missions; those that are not there are left out."""

    strips: dict[str, Strip]


@get(
    "/api/v1/missions/{mission_id:str}/outline",
    opt={"role": Role.VIEWER},
    operation_class=operation(
        query={"from": integer(0, _LAST_ROW, 0), "limit": integer(1, ROW_LIMIT, ROW_LIMIT)}
    ),
    responses=described({200: Outline}, 400, 401, 403, 404, 503),
    tags=["missions"],
)
async def show_outline(request: Call, mission_id: FromPath[str]) -> Answer:
    """Every entry of a mission in a few columns, 100,000 at once: what a timeline is drawn from."""
    query = Query(query_of(request))
    start = query.number("from", least=0, most=_LAST_ROW, default=0)
    limit = query.number("limit", least=1, most=ROW_LIMIT, default=ROW_LIMIT)

    def read(connection: Connection, mission: Mission) -> bytes:
        return msgspec.json.encode(outline.read_outline(connection, mission, start, limit))

    return Answer(200, await read_of_mission(request, mission_id, read, seconds=_SECONDS))


@get(
    "/api/v1/missions/{mission_id:str}/snippets",
    opt={"role": Role.VIEWER},
    operation_class=operation(
        query={"from": integer(0, _LAST_ROW, 0), "limit": integer(1, ENTRY_LIMIT, DEFAULT_ENTRIES)}
    ),
    responses=described({200: Snippets}, 400, 401, 403, 404, 503),
    tags=["missions"],
)
async def show_snippets(request: Call, mission_id: FromPath[str]) -> Answer:
    """What the entries at some places of a mission say, each cut to a line."""
    query = Query(query_of(request))
    start = query.number("from", least=0, most=_LAST_ROW, default=0)
    limit = query.number("limit", least=1, most=ENTRY_LIMIT, default=DEFAULT_ENTRIES)

    def read(connection: Connection, mission: Mission) -> Snippets:
        told = outline.read_told(connection, mission.key, start, limit)
        entries = [_snippet(one.place, _decoded(one.raw)) for one in told]
        return Snippets(mission_id=mission.mission_id, entries=entries)

    return answer(await read_of_mission(request, mission_id, read, seconds=_SECONDS))


@get(
    "/api/v1/missions/strips",
    opt={"role": Role.VIEWER},
    operation_class=operation(query={"mission_id": TEXT}),
    responses=described({200: Strips}, 400, 401, 403, 503),
    tags=["missions"],
)
async def show_strips(request: Call) -> Answer:
    """The steps of some missions in a strip of at most forty cells each; `mission_id` may be repeated."""
    wanted = query_of(request).get("mission_id", [])
    if len(wanted) > STRIP_LIMIT:
        raise bad_request("too many missions", f"Ask for at most {STRIP_LIMIT} strips at once.")
    workspace = request.auth.workspace

    def look_up(connection: Connection) -> dict[str, Strip]:
        found = (missions.find_mission(connection, workspace, one) for one in wanted)
        return {
            mission.mission_id: outline.read_strip(connection, mission.key)
            for mission in found
            if mission is not None
        }

    return answer(Strips(strips=await services_of(request).database.read(look_up, seconds=_SECONDS)))


def _decoded(raw: bytes) -> Mapping[str, Any]:
    try:
        entry = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):  # numbers beyond any type, or nested to the limit
        return {}
    return entry if isinstance(entry, dict) else {}


def _snippet(place: int, entry: Mapping[str, Any]) -> Snippet:
    payload = entry.get("payload")
    if not isinstance(payload, dict):
        payload = {}
    return Snippet(
        place=place,
        entry_id=_line(entry.get("id")),
        summary=_first_line(payload.get("text"), entry.get("summary")),
        agent=_line(payload.get("agent")) or _line(entry.get("agent_id")) or _line(entry.get("actor_id")),
        arguments=_first_line(payload.get("arguments"), payload.get("args"), payload.get("input")),
        output=_first_line(payload.get("error"), payload.get("output"), payload.get("result")),
    )


def _first_line(*values: Any) -> str | None:
    return next((line for value in values if (line := _line(value))), None)


def _line(value: Any) -> str | None:
    """The beginning of a value as one line; None of nothing."""
    if value is None or value == "" or isinstance(value, bool):
        return None
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return " ".join(text[: 2 * _SNIPPET].split())[:_SNIPPET] or None
