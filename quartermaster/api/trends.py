"""Trends over HTTP: how metrics went over many missions, and where they changed."""

from typing import Any, Final

import msgspec
from litestar import get

from quartermaster.api.access import Call, query_of, services_of
from quartermaster.api.answers import Answer, answer
from quartermaster.api.bodies import Query
from quartermaster.api.documentation import TEXT, TIME, described, one_of, operation
from quartermaster.api.problems import bad_request
from quartermaster.core.series import METRICS
from quartermaster.core.trends import BY, Trends, trends_of
from quartermaster.store.access import Role
from quartermaster.store.database import Connection
from quartermaster.store.trends import TrendFilter, trend_facts

_SECONDS: Final = 30.0


@get(
    "/api/v1/eval/trends",
    opt={"role": Role.VIEWER},
    operation_class=operation(
        query={
            "metric": one_of(list(METRICS)),
            "by": one_of(BY),
            "task": TEXT,
            "variant": TEXT,
            "since": TIME,
            "until": TIME,
        }
    ),
    responses=described({200: Trends}, 400, 401, 403, 503),
    tags=["eval"],
)
async def show_trends(request: Call) -> Answer:
    """Series of each agent and metric by day, commit or mission, with their changes and open alerts."""
    query = Query(query_of(request))
    filters = TrendFilter(
        metrics=_metrics(query),
        task=query.text("task"),
        variant=query.text("variant"),
        since=query.instant("since"),
        until=query.instant("until"),
    )
    by: Any = query.choice("by", BY) or "day"
    workspace, services = request.auth.workspace, services_of(request)

    def look_up(connection: Connection) -> bytes:
        facts = trend_facts(connection, workspace, filters, services.prices)
        trends = trends_of(facts, services.supervisor.profile, by=by, metrics=filters.metrics)
        return msgspec.json.encode(trends)

    return answer(msgspec.Raw(await services.database.read(look_up, seconds=_SECONDS)))


def _metrics(query: Query) -> tuple[str, ...]:
    named = query.texts("metric")
    if set(named) - METRICS.keys():
        raise bad_request("invalid parameter", f"metric is one or several of {', '.join(METRICS)}.")
    return named
