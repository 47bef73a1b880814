"""Missions, their steps or their metrics as the rows of one table."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal, get_args

import msgspec

from quartermaster.core.journal import format_instant
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.evaluate import assess_mission, nothing_to_check
from quartermaster.exports.parquet import Kind
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission
from quartermaster.store.trajectory import trajectory_window

Table = Literal["missions", "steps", "metrics"]
TABLES: Final[tuple[Table, ...]] = get_args(Table)

_PAGE: Final = 50_000

FACTS: Final[dict[str, Kind]] = {
    "mission_id": "text",
    "format": "text",
    "title": "text",
    "task": "text",
    "variant": "text",
    "trial": "integer",
    "agent": "text",
    "model": "text",
    "version": "text",
    "commit": "text",
    "parent_mission_id": "text",
    "labels": "text",
    "outcome": "text",
    "outcome_origin": "text",
    "reward": "number",
    "started_at": "time",
    "ended_at": "time",
    "entries": "integer",
}
"""What every table of missions begins with: which one it is and how it ended."""

COLUMNS: Final[dict[Table, dict[str, Kind]]] = {
    "missions": {
        **FACTS,
        "model_calls": "integer",
        "calls_with_tokens": "integer",
        "calls_with_cost": "integer",
        "total_tokens": "integer",
        "total_cost_usd": "number",
    },
    "steps": {
        "mission_id": "text",
        "task": "text",
        "variant": "text",
        "index": "integer",
        "entry_id": "text",
        "ts": "time",
        "entry_type": "text",
        "tool": "text",
        "success": "truth",
        "severity": "text",
        "tokens": "integer",
        "cost_usd": "number",
        "duration_ms": "integer",
    },
    "metrics": {
        "mission_id": "text",
        "task": "text",
        "variant": "text",
        "metric": "text",
        "value": "number",
        "unit": "text",
        "direction": "text",
        "reason": "text",
    },
}
"""The columns of each table and what they hold. Times are RFC 3339 in CSV and instants in UTC in Parquet."""


_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What makes a spreadsheet take a cell for a formula."""


def rows_of(
    table: Table, connection: Connection, workspace: int, missions: Iterable[Mission]
) -> Iterator[Sequence[Any]]:
    """Rows in the order of COLUMNS; times are nanoseconds since 1970. What cannot be said is None."""
    for mission in missions:
        match table:
            case "missions":
                yield _mission(mission)
            case "steps":
                yield from _steps(connection, mission)
            case "metrics":
                yield from _metrics(connection, workspace, mission)


def written(value: Any, kind: Kind) -> str | int | float:
    """A value as CSV holds it: nothing for what cannot be said, and no text that a spreadsheet computes."""
    if value is None:
        return ""
    if kind == "text" and value.startswith(_FORMULA):
        return "'" + str(value)
    if kind == "time":
        return format_instant(value)
    if kind == "truth":
        return "true" if value else "false"
    return value  # type: ignore[no-any-return]


def _mission(mission: Mission) -> Sequence[Any]:
    return (
        mission.mission_id,
        mission.format,
        mission.title,
        mission.task,
        mission.variant,
        mission.trial,
        mission.agent,
        mission.model,
        mission.version,
        mission.commit_id,
        mission.parent_mission_id,
        None if mission.labels is None else msgspec.json.encode(mission.labels, order="sorted").decode(),
        mission.outcome,
        mission.outcome_origin,
        mission.reward,
        mission.started_at,
        mission.ended_at,
        mission.entries,
        mission.model_calls,
        mission.calls_with_tokens,
        mission.calls_with_cost,
        mission.total_tokens,
        _dollars(mission.cost),
    )


def _steps(connection: Connection, mission: Mission) -> Iterator[Sequence[Any]]:
    start = 0
    while window := trajectory_window(connection, mission.key, start, _PAGE):
        for step in window:
            yield (
                mission.mission_id,
                mission.task,
                mission.variant,
                step.index,
                step.entry_id,
                step.instant,
                step.entry_type,
                step.tool,
                step.success,
                step.severity,
                step.tokens,
                _dollars(step.cost),
                step.duration_ms,
            )
        start += len(window)


def _metrics(connection: Connection, workspace: int, mission: Mission) -> Iterator[Sequence[Any]]:
    assessment = assess_mission(connection, workspace, mission.mission_id, 0, check=nothing_to_check)
    for metric in assessment.metrics:
        about = (metric.name, metric.number, metric.unit, metric.direction, metric.reason)
        yield (mission.mission_id, mission.task, mission.variant, *about)


def _dollars(picodollars: int | None) -> float | None:
    return None if picodollars is None else picodollars / PICODOLLARS
