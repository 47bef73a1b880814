"""Tools that list what was judged and frozen before, and how metrics went."""

from typing import Annotated, Any, Literal

import msgspec

from quartermaster.cli.target import Row
from quartermaster.mcp_tools.budget import clipped, fitted
from quartermaster.mcp_tools.records import Records
from quartermaster.mcp_tools.tools import LONG, Answer, Budget, Question, known, tool


class ListRuns(Question, frozen=True, kw_only=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20


class RunShort(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    kind: str
    status: str
    created_at: str
    result: str | None = None
    mission_id: str | None = None
    baseline_mission_id: str | None = None
    candidate_mission_id: str | None = None


class RunList(Answer, frozen=True, kw_only=True):
    runs: tuple[RunShort, ...]


@tool("List runs")
def list_runs(records: Records, question: ListRuns) -> RunList:
    """List evaluation runs, newest first: replays and comparisons that were queued before."""
    return RunList(runs=tuple(map(_run, records.target.runs(question.limit))))


def _run(row: Row) -> RunShort:
    cut = {"result": clipped(row["result"], LONG)} if row.get("result") else {}
    return msgspec.convert({**known(row), **cut}, RunShort)


class ListBaselines(Question, frozen=True, kw_only=True):
    pass


class BaselineShort(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    version: int
    missions: int
    created_at: str
    created_by: str | None = None
    reason: str | None = None


class BaselineList(Answer, frozen=True, kw_only=True):
    baselines: tuple[BaselineShort, ...]


@tool("List baselines")
def list_baselines(records: Records, question: ListBaselines) -> BaselineList:
    """List frozen baselines; compare takes one as baseline:NAME."""
    return BaselineList(
        baselines=tuple(msgspec.convert(known(row), BaselineShort) for row in records.target.baselines())
    )


class ReadTrends(Question, frozen=True, kw_only=True):
    metric: (
        Literal[
            "success_rate", "tool_success_rate", "total_cost_usd", "work_steps", "total_tokens", "wall_time"
        ]
        | None
    ) = None
    by: Literal["day", "commit", "mission"] = "day"
    task: str | None = None
    variant: str | None = None
    since: str | None = None
    until: str | None = None
    token_budget: Budget = 3_000


class Trends(Answer, frozen=True, kw_only=True):
    missions: int
    events: tuple[dict[str, Any], ...]
    series: tuple[dict[str, Any], ...]
    left_out: int


@tool("Read trends")
def read_trends(records: Records, question: ReadTrends) -> Trends:
    """Read how metrics went over many missions: `events` are changes of level, `series` the state of each
    metric of each agent at its end, those of which nothing can be said yet at the end."""
    asked = {name: getattr(question, name) for name in ("task", "variant", "since", "until")}
    filters = {name: value for name, value in asked.items() if value is not None}
    metrics = () if question.metric is None else (question.metric,)
    row = records.target.trends({**filters, "metric": metrics, "by": question.by})
    series = [{name: value for name, value in one.items() if name != "points"} for one in row["series"]]
    series.sort(key=lambda one: one["state"] in ("too short", "cannot be said"))
    events = [dict(one) for one in row["events"]]

    def build(count: int) -> Trends:
        return Trends(
            missions=row["missions"],
            events=tuple(events[:count]),
            series=tuple(series[: max(count - len(events), 0)]),
            left_out=len(events) + len(series) - count,
        )

    return fitted(build, len(events) + len(series), question.token_budget)
