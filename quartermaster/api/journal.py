"""The journal over HTTP: list, read, count, add."""

from functools import partial
from typing import Any, Final

import anyio.to_thread
import msgspec
from litestar import get, post
from litestar.params import FromPath

from quartermaster import ingest
from quartermaster.api.access import Call, query_of, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.bodies import Query, read_body
from quartermaster.api.documentation import CURSOR, ENTRIES, TEXT, TIME, described, integer, operation
from quartermaster.api.edge import ENCODED_SLASH
from quartermaster.api.idempotency import Reply, work_once
from quartermaster.api.problems import not_found
from quartermaster.store import journal
from quartermaster.store.access import Role

DEFAULT_LIMIT: Final = 100

_TEXTS: Final = (
    "mission_id",
    "entry_type",
    "exclude_entry_type",
    "severity",
    "actor_type",
    "trace_id",
    "run_id",
    "q",
)
_FILTERS: Final = {**dict.fromkeys(_TEXTS, TEXT), "since": TIME, "until": TIME}


class EntryList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of entries, newest first, each as it was recorded."""

    entries: list[dict[str, Any]]
    next_cursor: str | None
    count: int


class EntryCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many entries pass the filters."""

    count: int


class AcceptedEntries(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the entries that were sent. A rejected one is named by its line, from 1 on."""

    accepted: int
    duplicate: int
    rejected: list[dict[str, Any]]


@get(
    "/api/v1/journal",
    opt={"role": Role.VIEWER},
    operation_class=operation(
        query={**_FILTERS, "cursor": CURSOR, "limit": integer(1, journal.LIST_LIMIT, DEFAULT_LIMIT)}
    ),
    responses=described({200: EntryList}, 400, 401, 403, 503),
    tags=["journal"],
)
async def list_entries(request: Call) -> Answer:
    """Entries of the workspace, newest first by time and id. Types may be given with commas between them."""
    filters = _filters(Query(query_of(request)))
    workspace = request.auth.workspace
    page = await services_of(request).database.read(
        lambda connection: journal.list_entries(connection, workspace, filters)
    )
    entries = [msgspec.Raw(raw) for raw in page.entries]
    return answer({"entries": entries, "next_cursor": page.next_cursor, "count": len(entries)})


@get(
    "/api/v1/journal/count",
    opt={"role": Role.VIEWER},
    operation_class=operation(query=_FILTERS),
    responses=described({200: EntryCount}, 400, 401, 403, 503),
    tags=["journal"],
)
async def count_entries(request: Call) -> Answer:
    """How many entries pass the filters."""
    filters = _filters(Query(query_of(request)))
    workspace = request.auth.workspace
    count = await services_of(request).database.read(
        lambda connection: journal.count_entries(connection, workspace, filters)
    )
    return answer(EntryCount(count=count))


@get(
    "/api/v1/journal/{entry_id:str}",
    opt={"role": Role.VIEWER},
    operation_class=operation(),
    responses=described({200: dict[str, Any]}, 400, 401, 403, 404, 503),
    tags=["journal"],
)
async def show_entry(request: Call, entry_id: FromPath[str]) -> Answer:
    """One entry as it was recorded."""
    workspace, wanted = request.auth.workspace, entry_id.replace(ENCODED_SLASH, "/")
    raw = await services_of(request).database.read(
        lambda connection: journal.find_entry(connection, workspace, wanted)
    )
    if raw is None:
        raise not_found("journal entry")
    return Answer(200, raw)


@post(
    "/api/v1/journal",
    opt={"role": Role.MEMBER},
    status_code=200,
    operation_class=operation(body=ENTRIES, repeatable=True),
    responses=described({200: AcceptedEntries}, 400, 401, 403, 409, 413, 415, 503, 507),
    tags=["journal"],
)
async def add_entries(request: Call) -> Answer:
    """Add native entries: one JSON object a line, or a JSON array of them. Answered after the commit."""
    body = await read_body(request, line_based=True)
    services = services_of(request)
    workspace, masker = request.auth.workspace, services.masker
    accept = partial(ingest.accept_entries, services.database, workspace, body, masker)

    async def work() -> Reply:
        accepted = await anyio.to_thread.run_sync(accept)
        return Reply(status=200, body=msgspec.json.encode(accepted))

    return await work_once(request, body, work)


def _filters(query: Query) -> journal.JournalFilter:
    return journal.JournalFilter(
        mission_id=query.text("mission_id"),
        entry_type=query.texts("entry_type"),
        exclude_entry_type=query.texts("exclude_entry_type"),
        severity=query.texts("severity"),
        actor_type=query.texts("actor_type"),
        trace_id=query.text("trace_id"),
        run_id=query.text("run_id"),
        since=query.instant("since"),
        until=query.instant("until"),
        q=query.text("q"),
        cursor=query.text("cursor"),
        limit=query.number("limit", least=1, most=journal.LIST_LIMIT, default=DEFAULT_LIMIT),
    )
