"""Sources over HTTP: what became of every file that was offered."""

from typing import Any, Final

import msgspec
from litestar import get
from litestar.params import FromPath

from quartermaster.api.access import Call, query_of, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.bodies import Query
from quartermaster.api.documentation import CURSOR, TEXT, described, integer, one_of, operation
from quartermaster.api.problems import not_found
from quartermaster.api.rows import source_detail, source_row
from quartermaster.store import sources
from quartermaster.store.access import Role

DEFAULT_LIMIT: Final = 100


class SourceList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of files, last changed first. `next_cursor` is there when there is more."""

    rows: list[dict[str, Any]]
    count: int
    limit: int
    next_cursor: str | msgspec.UnsetType = msgspec.UNSET


class RejectedRange(msgspec.Struct, frozen=True, kw_only=True):
    """A range of a file that was not understood: bytes from 0, lines from 1, null in a document."""

    line: int | None
    position: int
    length: int
    reason: str
    text: str


class SourceDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file: `accepted`, `duplicate`, `conflicting` and `rejected` are all its records.

    `unknown_types` are entries of types that no number is made of; `masked` are secrets by rule;
    `rejected_lines` are the first of them, `rejected` how many there are.
    """

    source_id: str
    name: str
    format: str | None
    state: str
    reason: str | None
    missions: int
    accepted: int
    duplicate: int
    conflicting: int
    rejected: int
    size: int
    unread: int
    masked: dict[str, int]
    unknown_types: dict[str, int]
    changed_at: str
    rejected_lines: list[RejectedRange]


@get(
    "/api/v1/sources",
    opt={"role": Role.VIEWER},
    operation_class=operation(
        query={
            "q": TEXT,
            "state": one_of(sources.STATES),
            "format": TEXT,
            "cursor": CURSOR,
            "limit": integer(1, sources.LIST_LIMIT, DEFAULT_LIMIT),
        }
    ),
    responses=described({200: SourceList}, 400, 401, 403, 503),
    tags=["sources"],
)
async def list_sources(request: Call) -> Answer:
    """Every file that was offered to the workspace and what became of it, last changed first."""
    query = Query(query_of(request))
    state: Any = query.choice("state", sources.STATES)
    filters = sources.SourceFilter(
        q=query.text("q"),
        state=state,
        format=query.text("format"),
        cursor=query.text("cursor"),
        limit=query.number("limit", least=1, most=sources.LIST_LIMIT, default=DEFAULT_LIMIT),
    )
    workspace = request.auth.workspace
    page = await services_of(request).database.read(
        lambda connection: sources.page_of_sources(connection, workspace, filters)
    )
    return answer(
        SourceList(
            rows=[source_row(ledger) for ledger in page.rows],
            count=len(page.rows),
            limit=filters.limit,
            next_cursor=page.next_cursor or msgspec.UNSET,
        )
    )


@get(
    "/api/v1/sources/{source_id:str}",
    opt={"role": Role.VIEWER},
    operation_class=operation(),
    responses=described({200: SourceDetail}, 400, 401, 403, 404, 503),
    tags=["sources"],
)
async def show_source(request: Call, source_id: FromPath[str]) -> Answer:
    """One file, with the ranges that were not understood and why."""
    workspace = request.auth.workspace
    ledger = await services_of(request).database.read(
        lambda connection: sources.find_ledger(connection, workspace, source_id)
    )
    if ledger is None:
        raise not_found("source")
    return answer(source_detail(ledger))
