"""The mission that a request names, for every route below `/api/v1/missions/{mission_id}`."""

from collections.abc import Callable
from typing import TypeVar

from quartermaster.api.access import Call, services_of
from quartermaster.api.edge import ENCODED_SLASH
from quartermaster.api.problems import not_found
from quartermaster.store import missions
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission

T = TypeVar("T")


async def read_of_mission(
    request: Call,
    named: str,
    read: Callable[[Connection, Mission], T],
    *,
    seconds: float = 10.0,
) -> T:
    """What `read` finds of a mission of the caller's workspace, on one state of the database; else 404.

    `named` is the id as the path has it, where a slash of its own travels encoded.
    """
    workspace, mission_id = request.auth.workspace, named.replace(ENCODED_SLASH, "/")

    def look_up(connection: Connection) -> tuple[T] | None:
        mission = missions.find_mission(connection, workspace, mission_id)
        return None if mission is None else (read(connection, mission),)

    found = await services_of(request).database.read(look_up, seconds=seconds)
    if found is None:
        raise not_found("mission")
    return found[0]
