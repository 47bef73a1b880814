"""Tools that read missions: list them, show one, walk its steps, open a place in it."""

from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Any, Final, Literal

import msgspec

from quartermaster.cli.target import Row, find_mission_id
from quartermaster.core.selection import Selection
from quartermaster.errors import NotFound, UsageError
from quartermaster.mcp_tools.anchors import Anchor, parse_anchor, step_anchor
from quartermaster.mcp_tools.budget import clipped, fitted
from quartermaster.mcp_tools.explaining import Reason, read_words
from quartermaster.mcp_tools.records import Records
from quartermaster.mcp_tools.tools import (
    LONG,
    SHORT,
    Answer,
    Budget,
    Cursor,
    MissionId,
    Question,
    known,
    tool,
)

_ANCHORS: Final = 3
_SEVERITIES: Final = ("high", "warn", "info")


class MissionShort(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    mission_id: str
    title: str | None = None
    task: str | None = None
    variant: str | None = None
    trial: int | None = None
    format: str | None = None
    agent: str | None = None
    model: str | None = None
    outcome: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    entries: int = 0
    total_tokens: int | None = None
    total_cost_usd: float | None = None
    findings: dict[str, int] | None = None


class ListMissions(Question, frozen=True, kw_only=True):
    q: Annotated[str | None, msgspec.Meta(description="Part of the id, title, task or variant.")] = None
    task: str | None = None
    variant: str | None = None
    outcome: Literal["succeeded", "failed", "aborted", "timed_out", "limit_reached"] | None = None
    format: Annotated[str | None, msgspec.Meta(description="What it was recorded in.")] = None
    failure_mode: Annotated[str | None, msgspec.Meta(description="Where this was found.")] = None
    since: Annotated[str | None, msgspec.Meta(description="Ended at or after this RFC 3339 time.")] = None
    until: Annotated[str | None, msgspec.Meta(description="Started before this RFC 3339 time.")] = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    cursor: Cursor = None


class MissionList(Answer, frozen=True, kw_only=True):
    missions: tuple[MissionShort, ...]
    next_cursor: str | None = None


@tool("List missions")
def list_missions(records: Records, question: ListMissions) -> MissionList:
    """List recorded missions, last changed first. What is not known is left out: an unknown cost is not 0."""
    filters = {
        name: value
        for name, value in msgspec.to_builtins(question).items()
        if name not in ("limit", "cursor") and value is not None
    }
    rows, cursor = records.missions(filters, question.limit, question.cursor)
    return MissionList(missions=tuple(map(_short, rows)), next_cursor=cursor)


def _short(row: Row) -> MissionShort:
    texts = ("title", "task", "variant", "agent", "model")
    cut = {name: clipped(row[name], SHORT) for name in texts if row.get(name)}
    return msgspec.convert({**known(row), **cut}, MissionShort)


def _known(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


class ShowMission(Question, frozen=True, kw_only=True):
    mission: MissionId
    token_budget: Budget = 3_000


class MetricSaid(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`value` is null where it cannot be said, and `reason` says why; `known` of `of` facts were recorded."""

    name: str
    value: int | float | list[str] | None = msgspec.field(default_factory=lambda: None)
    unit: str | None = None
    known: int | None = None
    of: int | None = None
    reason: str | None = None


class MissionShown(Answer, frozen=True, kw_only=True):
    mission: MissionShort
    steps: int
    goal_reached: bool
    metrics: tuple[MetricSaid, ...]
    findings: tuple[Reason, ...]
    more_metrics: tuple[MetricSaid, ...]
    left_out: int


@tool("Show a mission")
def show_mission(records: Records, question: ShowMission) -> MissionShown:
    """Show one mission judged alone: its metrics, where it went wrong first, its failures and unsupported
    claims with the steps that show them, and further metrics as far as the budget allows."""
    mission_id = find_mission_id(records.target, question.mission)
    row = records.target.mission(mission_id)
    metrics = [_metric(one["name"], one, one["coverage"]) for one in row["metrics"]]
    more = [_metric(one["id"], one, one) for one in row["catalogue"] if one["value"] is not None]
    findings = list(_findings(row))
    parts: list[MetricSaid | Reason] = [*metrics, *findings, *more]

    def build(count: int) -> MissionShown:
        return MissionShown(
            mission=_short(row),
            steps=row["steps"],
            goal_reached=row["goal_reached"],
            metrics=tuple(metrics[:count]),
            findings=tuple(findings[: max(count - len(metrics), 0)]),
            more_metrics=tuple(more[: max(count - len(metrics) - len(findings), 0)]),
            left_out=len(parts) - count,
        )

    return fitted(build, len(parts), question.token_budget)


def _metric(name: str, row: Row, coverage: Row) -> MetricSaid:
    return MetricSaid(
        name=name,
        value=list(row["value"]) if isinstance(row["value"], list | tuple) else row["value"],
        unit=row["unit"],
        known=coverage["known"],
        of=coverage["of"],
        reason=row.get("reason"),
    )


def _findings(row: Row) -> Iterable[Reason]:
    """What went wrong, the gravest first."""
    mission_id, cause = row["mission_id"], row["root_cause"]
    if cause is not None and cause["position"] is not None:
        sure = "" if cause["measured"] else " (a guess by the order of things)"
        yield Reason(
            kind="went wrong first",
            text=clipped(cause["reason"] + sure, LONG),
            anchors=_events(mission_id, [cause["position"]]),
        )
    for one in sorted(row["failures"], key=lambda one: _SEVERITIES.index(one["severity"])):
        yield Reason(
            kind="failure",
            text=clipped(f"{one['name']} ({one['severity']}): {one['reason']}", LONG),
            anchors=_events(mission_id, one["steps"]),
        )
    for one in row["claims"]:
        if one["verdict"] != "supported":
            yield Reason(
                kind=f"claim {one['verdict']}",
                text=clipped(f"{one['subject']}: {one['reason']}", LONG),
                anchors=_events(mission_id, [] if one["position"] is None else [one["position"]]),
                recorded=clipped(one["quote"], LONG),
            )


def _events(mission_id: str, positions: Iterable[int]) -> tuple[str, ...]:
    return tuple(f"{mission_id}#event {position}" for position in islice(positions, _ANCHORS))


class ReadSteps(Question, frozen=True, kw_only=True):
    mission: MissionId
    first: Annotated[int, msgspec.Meta(ge=1, le=999_999_999, description="The first step to read.")] = 1
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    token_budget: Budget = 4_000


class StepShort(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`success` is left out where no outcome is known, `severity` where it is info."""

    anchor: str
    entry_type: str
    tool: str | None = None
    success: bool | None = None
    severity: str | None = None
    at: str | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    duration_ms: int | None = None


class Steps(Answer, frozen=True, kw_only=True):
    mission: str
    steps: tuple[StepShort, ...]
    next_first: int | None = None


@tool("Read steps")
def read_steps(records: Records, question: ReadSteps) -> Steps:
    """Read a window of the steps of a mission, in order. `next_first` is where the next window begins."""
    mission_id = find_mission_id(records.target, question.mission)
    rows = records.steps(mission_id, question.first - 1, question.limit + 1)
    more = len(rows) > question.limit
    steps = [_step(mission_id, row) for row in rows[: question.limit]]

    def build(count: int) -> Steps:
        goes_on = more or count < len(steps)
        next_first = question.first + count if goes_on else None
        return Steps(mission=mission_id, steps=tuple(steps[:count]), next_first=next_first)

    return fitted(build, len(steps), question.token_budget)


def _step(mission_id: str, row: Row) -> StepShort:
    return StepShort(
        anchor=step_anchor(mission_id, row["index"]),
        entry_type=row["entry_type"],
        tool=None if row.get("tool") is None else clipped(row["tool"], SHORT),
        success=row.get("success"),
        severity=None if row["severity"] == "info" else row["severity"],
        at=row.get("ts"),
        tokens=row.get("tokens"),
        cost_usd=row.get("cost_usd"),
        duration_ms=row.get("duration_ms"),
    )


class Expand(Question, frozen=True, kw_only=True):
    anchor: Annotated[str, msgspec.Meta(description="As an answer gave it, such as MISSION#step 12.")]
    offset: Annotated[int, msgspec.Meta(ge=0, description="next_offset of the answer before.")] = 0
    token_budget: Budget = 1_500


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One journal entry, JSON as it was recorded (secrets masked); of a long one a part."""

    entry_id: str
    recorded: str


class Expanded(Answer, frozen=True, kw_only=True):
    anchor: str
    entries: tuple[Recorded, ...]
    next_offset: int | None = None
    of_characters: int


@tool("Expand an anchor")
def expand(records: Records, question: Expand) -> Expanded:
    """Open a place that another answer points at: the raw journal entries behind it, where a command has
    them that of its start and that of its end. What does not fit begins at `next_offset`."""
    anchor = parse_anchor(question.anchor)
    entry_ids = _entry_ids(records, anchor)
    raws = [(one, records.entry(one).decode("utf-8", "replace")) for one in entry_ids]
    total = sum(len(raw) for _, raw in raws)
    if question.offset and question.offset >= total:
        raise UsageError(f"offset is beyond the {total:,} characters of this place")

    def build(count: int) -> Expanded:
        end = question.offset + count
        return Expanded(
            anchor=question.anchor,
            entries=_window(raws, question.offset, end),
            next_offset=end if end < total else None,
            of_characters=total,
        )

    return fitted(build, total - question.offset, question.token_budget)


def _window(raws: Iterable[tuple[str, str]], start: int, end: int) -> tuple[Recorded, ...]:
    """The characters from `start` to `end` of the entries one after the other."""
    shown, at = [], 0
    for entry_id, raw in raws:
        part = raw[max(start - at, 0) : max(end - at, 0)]
        at += len(raw)
        if part:
            shown.append(Recorded(entry_id=entry_id, recorded=part))
    return tuple(shown)


def _entry_ids(records: Records, anchor: Anchor) -> list[str]:
    if anchor.kind == "entry":
        return [anchor.entry_id]
    mission_id = find_mission_id(records.target, anchor.mission)
    if anchor.kind == "step":
        if anchor.number == 0:
            raise UsageError("the first step is step 1")
        rows = records.steps(mission_id, anchor.number - 1, 1)
        if not rows:
            raise NotFound(f"{mission_id!r} has no step {anchor.number:,}; read_steps shows those it has")
        return [one for one in (rows[0]["entry_id"], rows[0].get("ended_by")) if one]
    place = records.place_of([Selection(mission_ids=(mission_id,))])
    events = place.look(
        lambda connection, workspace: read_words(connection, workspace, mission_id, records.terms).events
    )
    if anchor.number >= len(events):
        raise NotFound(f"{mission_id!r} has {len(events):,} events, counted from 0")
    event = events[anchor.number]
    return [one for one in (event.entry_id, event.ended_id) if one]
