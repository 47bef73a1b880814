"""Many missions in their order: a series for each agent and metric, where its level changed, and since when.

Missions of different agents are never in one series. Changes of several metrics at about one run are one
event; what else changed there is offered as an explanation, never taken for one.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Final, Literal

import msgspec

from quartermaster.core.change_points import REFERENCE, Change, course_of
from quartermaster.core.comparison import TOLERANCE, Profile
from quartermaster.core.distributions import student_t_quantile
from quartermaster.core.intervals import Interval, variance
from quartermaster.core.journal import format_instant
from quartermaster.core.series import (
    METRICS,
    Definition,
    Facts,
    Line,
    Point,
    Run,
    Scale,
    Unit,
    bounded_exp,
    line_of,
)

By = Literal["day", "commit", "mission"]
State = Literal["alert", "watch", "steady", "too short", "cannot be said"]
Fact = Literal["model", "version", "prompt", "commit"]

BY: Final[tuple[By, ...]] = ("day", "commit", "mission")
MOST_RUNS: Final = 2_000
"""Runs of one agent that are looked at, the latest ones."""
_NEARBY: Final = 2
"""Changes of several metrics within this many runs are one event."""
_FACTS: Final[tuple[Fact, ...]] = ("model", "version", "prompt", "commit")


class BadMission(msgspec.Struct, frozen=True, kw_only=True):
    """The mission after a change that is furthest on the bad side of what its task was before."""

    mission_id: str
    task: str | None
    at: str
    value: float
    usual: float


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the level of one series. `change` and its 95 % interval `low` to `high` are a difference
    of rates, else a share of the level before; None where that is 0, or a level is a single point.

    `exceeds`: it is beyond the documented threshold. `confirmed`: chart and test agree.
    """

    metric: str
    run: int
    at: str
    worse: bool
    before: float
    after: float
    change: float | None
    low: float | None
    high: float | None
    threshold: float
    exceeds: bool
    confirmed: bool
    confirmed_at: str | None
    runs_before: int
    runs_after: int
    first_bad_mission: BadMission | None


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A series that got worse at a run and still is. `raised_at` is the run at which that could be seen."""

    at: str
    raised_at: str


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one agent. `state` is what its end says, `level` that of the last change to the end,
    `left_out` counts points that were not used."""

    agent: str | None
    metric: str
    unit: Unit
    higher_is_worse: bool
    scale: Scale
    state: State
    reason: str | None
    level: float | None
    left_out: int
    alert: Alert | None
    points: tuple[Point, ...]


class Annotation(msgspec.Struct, frozen=True, kw_only=True):
    """A fact about an agent that is not the same in a run as in the one before."""

    agent: str | None
    run: int
    at: str
    fact: Fact
    before: tuple[str, ...]
    after: tuple[str, ...]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Changes of one agent at about one run. What `explanations` names changed there too: an offer.

    `new_tasks` counts tasks after it that were never there before: another mix, not another agent.
    """

    agent: str | None
    run: int
    at: str
    worse: bool
    shifts: tuple[Shift, ...]
    explanations: tuple[Annotation, ...]
    new_tasks: int
    first_bad_mission: BadMission | None


class Trends(msgspec.Struct, frozen=True, kw_only=True):
    """`without_place` missions have no time, or no commit, to be put in order by; `runs_left_out` are
    older than the runs that are looked at."""

    by: By
    missions: int
    without_place: int
    runs_left_out: int
    series: tuple[Series, ...]
    events: tuple[Event, ...]
    annotations: tuple[Annotation, ...]


def trends_of(missions: Iterable[Facts], profile: Profile, *, by: By, metrics: Sequence[str] = ()) -> Trends:
    """Every series, change and event of these missions; of all metrics where none is named."""
    missions = sorted(missions, key=lambda one: (one.placed_at, one.mission_id))
    placed = [one for one in missions if _place(one, by) is not None]
    chosen = [METRICS[name] for name in METRICS if not metrics or name in metrics]
    series: list[Series] = []
    events: list[Event] = []
    annotations: list[Annotation] = []
    left_out = 0
    for agent, every_run in _runs_by_agent(placed, by):
        runs = every_run[-MOST_RUNS:]
        left_out += len(every_run) - len(runs)
        noted = _annotations(agent, runs)
        shifts: list[Shift] = []
        for definition in chosen:
            one, found = _series(agent, definition, runs, getattr(profile, definition.threshold))
            series.append(one)
            shifts += found
        events += _events(agent, shifts, runs, noted)
        annotations += noted
    return Trends(
        by=by,
        missions=len(missions),
        without_place=len(missions) - len(placed),
        runs_left_out=left_out,
        series=tuple(series),
        events=tuple(events),
        annotations=tuple(annotations),
    )


def _place(mission: Facts, by: By) -> str | None:
    if by == "mission":
        return mission.mission_id
    if by == "commit":
        return mission.commit
    return None if mission.started_at is None else format_instant(mission.started_at)[:10]


def _runs_by_agent(missions: Iterable[Facts], by: By) -> list[tuple[str | None, list[Run]]]:
    """Runs in the order of their first missions."""
    agents: dict[str | None, dict[str, list[Facts]]] = {}
    for mission in missions:
        agents.setdefault(mission.agent, {}).setdefault(_place(mission, by) or "", []).append(mission)
    return [
        (agent, [Run(at, tuple(inside)) for at, inside in agents[agent].items()])
        for agent in sorted(agents, key=lambda agent: agent or "")
    ]


def _annotations(agent: str | None, runs: Sequence[Run]) -> list[Annotation]:
    return [
        Annotation(agent=agent, run=number, at=after.at, fact=fact, before=old, after=new)
        for number, (before, after) in enumerate(pairwise(runs), start=1)
        for fact in _FACTS
        if (old := _values(before, fact)) != (new := _values(after, fact))
    ]


def _values(run: Run, fact: Fact) -> tuple[str, ...]:
    return tuple(sorted({value for one in run.missions if (value := getattr(one, fact)) is not None}))


def _series(
    agent: str | None, definition: Definition, runs: Sequence[Run], threshold: float
) -> tuple[Series, list[Shift]]:
    line = line_of(definition, runs)
    course = course_of(line.scaled(), spread=line.spread())
    shifts = [_shift(line, change, runs, threshold) for change in course.changes]
    level = line.level(course.changes[-1].index if course.changes else 0) if line.used else None
    alert = _alert(line, shifts, level)
    outside = course.high if definition.higher_is_worse else course.low
    series = Series(
        agent=agent,
        metric=definition.name,
        unit=definition.unit,
        higher_is_worse=definition.higher_is_worse,
        scale=line.scale,
        state=_state(len(line.used), alert, outside=outside),
        reason=_reason(line),
        level=level,
        left_out=len(line.points) - len(line.used),
        alert=alert,
        points=line.points,
    )
    return series, shifts


def _shift(line: Line, change: Change, runs: Sequence[Run], threshold: float) -> Shift:
    before, after = line.level(change.start, change.index), line.level(change.index, change.end)
    worse = change.rose == line.definition.higher_is_worse
    interval = _interval(line, change, before, after)
    point = line.used[change.index]
    return Shift(
        metric=line.definition.name,
        run=point.run,
        at=point.at,
        worse=worse,
        before=before,
        after=after,
        change=line.change(before, after),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        threshold=threshold,
        exceeds=_exceeds(line, before, after, threshold),
        confirmed=change.confirmed_at is not None,
        confirmed_at=None if change.confirmed_at is None else line.used[change.confirmed_at].at,
        runs_before=change.index - change.start,
        runs_after=change.end - change.index,
        first_bad_mission=_first_bad_mission(line, change, runs) if worse else None,
    )


def _exceeds(line: Line, before: float, after: float, threshold: float) -> bool:
    """Whether levels differ by more than the threshold; from 0 to anything is more than any share."""
    change = line.change(before, after)
    return change is None or abs(change) > threshold + TOLERANCE


def _interval(line: Line, change: Change, before: float, after: float) -> Interval | None:
    """Of the change, by Welch's t on the points; None where one level is a single point."""
    if min(change.index - change.start, change.end - change.index) < 2:
        return None
    logarithmic = line.scale == "log"
    errors: list[float] = []
    weights: list[float] = []
    for start, end in ((change.start, change.index), (change.index, change.end)):
        values = line.scaled(start, end) if logarithmic else [p.value or 0.0 for p in line.used[start:end]]
        errors.append(variance(values) / len(values))
        weights.append(errors[-1] ** 2 / (len(values) - 1))
    half = 0.0
    if any(weights):
        half = student_t_quantile(0.975, sum(errors) ** 2 / sum(weights)) * math.sqrt(sum(errors))
    if logarithmic:
        ratio = math.log(after) - math.log(before)
        return Interval(bounded_exp(ratio - half) - 1, bounded_exp(ratio + half) - 1)
    unit = 1.0 if line.definition.is_rate else before
    return Interval((after - before - half) / unit, (after - before + half) / unit) if unit else None


def _first_bad_mission(line: Line, change: Change, runs: Sequence[Run]) -> BadMission | None:
    """Of the first run after the change with a mission on the bad side: the furthest, of equals the first.

    Each is held against its task before the change, or against all missions where the task is new.
    """
    read = line.definition.read
    by_task: dict[str | None, list[float]] = defaultdict(list)
    for point in line.used[change.start : change.index]:
        for mission in runs[point.run].missions:
            value = read(mission).value
            if value is not None:
                by_task[mission.task].append(value)
    usual = {task: fmean(values) for task, values in by_task.items()}
    overall = fmean(value for values in by_task.values() for value in values)
    for point in line.used[change.index : change.end]:
        told = [
            BadMission(
                mission_id=mission.mission_id,
                task=mission.task,
                at=point.at,
                value=value,
                usual=usual.get(mission.task, overall),
            )
            for mission in runs[point.run].missions
            if (value := read(mission).value) is not None
        ]
        worst = max(told, key=lambda one: _distance(line, one))
        if _distance(line, worst) > TOLERANCE:
            return worst
    return None


def _distance(line: Line, mission: BadMission) -> float:
    """How far on the bad side of the usual a mission is, as a change of its metric is counted."""
    if not line.definition.higher_is_worse:
        return mission.usual - mission.value
    return (mission.value - mission.usual) / (mission.usual or 1.0)


def _alert(line: Line, shifts: Sequence[Shift], level: float | None) -> Alert | None:
    """The latest confirmed change for the worse beyond its threshold, unless the series came back since."""
    for shift in reversed(shifts):
        if level is None or shift.confirmed_at is None or not (shift.worse and shift.exceeds):
            continue
        still_worse = (level > shift.before) == line.definition.higher_is_worse
        if still_worse and _exceeds(line, shift.before, level, shift.threshold):
            return Alert(at=shift.at, raised_at=shift.confirmed_at)
    return None


def _state(used: int, alert: Alert | None, *, outside: bool) -> State:
    if not used:
        return "cannot be said"
    if alert is not None:
        return "alert"
    if used <= REFERENCE:
        return "too short"
    return "watch" if outside else "steady"


def _reason(line: Line) -> str | None:
    if not line.used:
        unknown = all(point.value is None for point in line.points)
        return "no mission tells it" if unknown else "too little of every point is known"
    if len(line.used) <= REFERENCE:
        return f"{len(line.used)} of the {REFERENCE + 1} points that a chart needs at least"
    return None


def _events(
    agent: str | None, shifts: Iterable[Shift], runs: Sequence[Run], noted: Sequence[Annotation]
) -> list[Event]:
    groups: list[list[Shift]] = []
    for shift in sorted(shifts, key=lambda shift: shift.run):
        if groups and shift.run - groups[-1][0].run <= _NEARBY:
            groups[-1].append(shift)
        else:
            groups.append([shift])
    return [_event(agent, group, runs, noted) for group in groups]


def _event(
    agent: str | None, shifts: Sequence[Shift], runs: Sequence[Run], noted: Sequence[Annotation]
) -> Event:
    order = list(METRICS)
    told = sorted(shifts, key=lambda one: (not one.confirmed, not one.exceeds, order.index(one.metric)))
    run, at = told[0].run, told[0].at
    nearby = [one for one in noted if abs(one.run - run) <= _NEARBY]
    before, after = (
        {mission.task for one in side for mission in one.missions} for side in (runs[:run], runs[run:])
    )
    return Event(
        agent=agent,
        run=run,
        at=at,
        worse=any(shift.worse for shift in shifts),
        shifts=tuple(told),
        explanations=tuple(sorted(nearby, key=lambda one: abs(one.run - run))),
        new_tasks=len(after - before - {None}),
        first_bad_mission=next((one.first_bad_mission for one in told if one.first_bad_mission), None),
    )
