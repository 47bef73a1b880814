"""What has happened that a rule may want to tell of: runs that regressed, findings, changes of trends."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import zstandard

from quartermaster.core.alerts import (
    Breach,
    ChangePoint,
    FailureFound,
    Happening,
    OnChangePoint,
    OnFailureMode,
    OnRegression,
    Regression,
    Trigger,
    label,
    wants_metrics,
    wants_severity,
)
from quartermaster.core.comparison import Profile
from quartermaster.core.journal import format_instant
from quartermaster.core.noise import Grade
from quartermaster.core.pricing import OwnPrices
from quartermaster.core.series import Facts
from quartermaster.core.trends import Series, Shift, Trends, trends_of
from quartermaster.store import alerts
from quartermaster.store.alerts import Rule
from quartermaster.store.database import Connection
from quartermaster.store.trends import TrendFilter, trend_facts

_AT_ONCE: Final = 200
_NEARBY: Final = 2
"""Points by which a change may wander, as later missions say more of it, and still be the same change."""


class Judging(NamedTuple):
    """By what trends are judged and costs are known."""

    profile: Profile
    prices: OwnPrices


class News(NamedTuple):
    """What a rule is to tell of, and how far it has looked. `series` are the changes it knows from now on."""

    cursor: int
    happenings: list[Happening]
    series: Mapping[str, str] = {}


class Past(NamedTuple):
    """Something that a rule would have told of, and when it was to be seen."""

    at: str
    happening: Happening


class _Graded(msgspec.Struct):
    grade: Grade


class _Report(msgspec.Struct):
    """What an alert reads of a report. That of two sets has no grades: it was tested over its missions."""

    verdict: str
    regressed_metrics: tuple[str, ...]
    evidence: dict[str, _Graded] | None = None


class _Found(msgspec.Struct):
    detector: str
    name: str
    severity: str
    first: int


class _Examination(msgspec.Struct):
    """What an alert reads of an examination; detectors themselves are slow to load."""

    findings: tuple[_Found, ...] = ()


_read_report: Final = msgspec.json.Decoder(_Report).decode
_read_examination: Final = msgspec.json.Decoder(_Examination).decode


def news(connection: Connection, rule: Rule, judging: Judging) -> News | None:
    """What has happened behind the rule's cursor; None when nothing has."""
    match rule.trigger:
        case OnRegression():
            return _new_regressions(connection, rule, rule.trigger)
        case OnFailureMode():
            return _new_failures(connection, rule, rule.trigger)
        case OnChangePoint():
            return _new_changes(connection, rule, rule.trigger, judging)


def past(
    connection: Connection, workspace: int, trigger: Trigger, since: int, judging: Judging
) -> list[Past]:
    """What a rule would have told of since an instant, oldest first.

    Findings are placed where their mission last changed, changes of a trend at the last mission of the
    point at which they could be seen.
    """
    match trigger:
        case OnRegression():
            found = _past_regressions(connection, workspace, trigger, since)
        case OnFailureMode():
            found = _past_failures(connection, workspace, trigger, since)
        case OnChangePoint():
            found = _past_changes(connection, workspace, trigger, since, judging)
    return sorted(found, key=lambda one: one.at)


_REGRESSED: Final = """
select r.run_id, r.kind, r.baseline_mission_id, r.candidate_mission_id, r.result, p.report, r.completed_at
from eval_run r join eval_report p on p.run = r.id
where r.workspace = ? and r.status = 'completed' and r.regressed = 1
"""


def _new_regressions(connection: Connection, rule: Rule, trigger: OnRegression) -> News | None:
    ended = connection.execute(
        "select id, run, status from eval_event where workspace = ? and id > ? order by id limit ?",
        (rule.workspace, rule.cursor, _AT_ONCE),
    ).fetchall()
    if not ended:
        return None
    rows = (
        row
        for _, run, status in ended
        if status == "completed"
        for row in connection.execute(f"{_REGRESSED} and r.id = ?", (rule.workspace, run))
    )
    return News(ended[-1][0], [one for row in rows if (one := _regression(row, trigger))])


def _past_regressions(
    connection: Connection, workspace: int, trigger: OnRegression, since: int
) -> Iterator[Past]:
    query = f"{_REGRESSED} and r.completed_at >= ? order by r.completed_at"
    for row in connection.execute(query, (workspace, since)):
        found = _regression(row, trigger)
        if found is not None:
            yield Past(format_instant(row[-1]), found)


def _regression(row: tuple[Any, ...], trigger: OnRegression) -> Regression | None:
    run_id, kind, baseline, candidate, result, raw, _ = row
    report = _read_report(raw)
    graded = report.evidence
    breaches = tuple(
        Breach(metric=metric, grade="outside-noise" if graded is None else _grade(graded, metric))
        for metric in report.regressed_metrics
    )
    if report.verdict != "regressed" or not wants_metrics(trigger, breaches):
        return None
    return Regression(
        run_id=run_id,
        kind=kind,
        baseline_mission_id=baseline,
        candidate_mission_id=candidate,
        verdict=report.verdict,
        result=result,
        metrics=breaches,
    )


def _grade(graded: Mapping[str, _Graded], metric: str) -> Grade:
    return graded[metric].grade if metric in graded else "single-run"


def _new_failures(connection: Connection, rule: Rule, trigger: OnFailureMode) -> News | None:
    examined = connection.execute(
        "select examined.id, m.workspace, m.mission_id, e.data from examined"
        " join mission m on m.id = examined.mission join examination e on e.mission = examined.mission"
        " where examined.id > ? order by examined.id limit ?",
        (rule.cursor, _AT_ONCE),
    ).fetchall()
    if not examined:
        return None
    found = [
        one
        for _, workspace, mission_id, data in examined
        if workspace == rule.workspace
        for one in _failures(mission_id, data, trigger)
    ]
    return News(examined[-1][0], list(found))


def _past_failures(
    connection: Connection, workspace: int, trigger: OnFailureMode, since: int
) -> Iterator[Past]:
    rows = connection.execute(
        "select m.changed_at, m.mission_id, e.data from mission m join examination e on e.mission = m.id"
        " where m.workspace = ? and m.changed_at >= ? and e.high is not null order by m.changed_at",
        (workspace, since),
    )
    for changed_at, mission_id, data in rows:
        for found in _failures(mission_id, data, trigger):
            yield Past(format_instant(changed_at), found)


def _failures(mission_id: str, data: bytes, trigger: OnFailureMode) -> list[FailureFound]:
    """By detector, those findings alone that are grave enough."""
    examination = _read_examination(zstandard.ZstdDecompressor().decompress(data))
    by_detector: dict[str, list[_Found]] = {}
    for finding in examination.findings:
        if trigger.detectors and finding.detector not in trigger.detectors:
            continue
        if wants_severity(trigger, finding.severity):
            by_detector.setdefault(finding.detector, []).append(finding)
    return [_failure(mission_id, findings) for findings in by_detector.values()]


def _failure(mission_id: str, findings: list[_Found]) -> FailureFound:
    severities = {finding.severity for finding in findings}
    return FailureFound(
        mission_id=mission_id,
        detector=findings[0].detector,
        name=findings[0].name,
        severity="high" if "high" in severities else "warn" if "warn" in severities else "info",
        findings=len(findings),
        first_step=min(finding.first for finding in findings),
    )


def latest_change(connection: Connection, workspace: int) -> int:
    """When a mission of the workspace last changed; 0 when it has none."""
    query = "select coalesce(max(changed_at), 0) from mission where workspace = ? and mission_id is not null"
    return int(connection.execute(query, (workspace,)).fetchone()[0])


def standing(
    connection: Connection, workspace: int, trigger: OnChangePoint, judging: Judging
) -> dict[str, str]:
    """Where the series that are worse by now changed."""
    trends = _trends(connection, workspace, trigger, judging)
    return {change.series: change.at for _, change in _alerts(trends, trigger)}


def _new_changes(connection: Connection, rule: Rule, trigger: OnChangePoint, judging: Judging) -> News | None:
    seen = latest_change(connection, rule.workspace)
    if seen == rule.cursor:
        return None
    told = alerts.told_series(connection, rule.key)
    trends = _trends(connection, rule.workspace, trigger, judging)
    fresh = [
        change
        for series, change in _alerts(trends, trigger)
        if not _is_known(series, change.at, told.get(change.series))
    ]
    return News(seen, list(fresh), {change.series: change.at for change in fresh})


def _is_known(series: Series, at: str, told: str | None) -> bool:
    places = [point.at for point in series.points]
    if told not in places:
        return told == at
    return places.index(at) <= places.index(told) + _NEARBY


def _past_changes(
    connection: Connection, workspace: int, trigger: OnChangePoint, since: int, judging: Judging
) -> Iterator[Past]:
    facts = _facts(connection, workspace, trigger, judging)
    trends = trends_of(facts, judging.profile, by=trigger.by, metrics=trigger.metrics)
    for agent, shift in _confirmed(trends):
        seen_at = _last_instant(facts, agent, shift.confirmed_at or shift.at, trigger)
        if seen_at >= since:
            yield Past(format_instant(seen_at), _change(agent, shift, trigger))


def _last_instant(facts: Iterable[Facts], agent: str | None, at: str, trigger: OnChangePoint) -> int:
    """When the last mission of a point began."""
    own = (one for one in facts if one.agent == agent)
    match trigger.by:
        case "mission":
            inside = (one for one in own if one.mission_id == at)
        case "commit":
            inside = (one for one in own if one.commit == at)
        case "day":
            inside = (one for one in own if one.started_at and format_instant(one.started_at)[:10] == at)
    return max(one.placed_at for one in inside)


def _trends(connection: Connection, workspace: int, trigger: OnChangePoint, judging: Judging) -> Trends:
    facts = _facts(connection, workspace, trigger, judging)
    return trends_of(facts, judging.profile, by=trigger.by, metrics=trigger.metrics)


def _facts(connection: Connection, workspace: int, trigger: OnChangePoint, judging: Judging) -> list[Facts]:
    filters = TrendFilter(metrics=trigger.metrics, task=trigger.task, variant=trigger.variant)
    return trend_facts(connection, workspace, filters, judging.prices)


def _alerts(trends: Trends, trigger: OnChangePoint) -> Iterator[tuple[Series, ChangePoint]]:
    """Series that got worse and still are, each with the change that the page shows as its alert."""
    confirmed = {(agent, shift.metric, shift.at): shift for agent, shift in _confirmed(trends)}
    for series in trends.series:
        if series.alert is not None:
            shift = confirmed[series.agent, series.metric, series.alert.at]
            yield series, _change(series.agent, shift, trigger)


def _confirmed(trends: Trends) -> Iterator[tuple[str | None, Shift]]:
    """Every change for the worse beyond its threshold on which test and chart agree, by agent."""
    for event in trends.events:
        for shift in event.shifts:
            if shift.worse and shift.exceeds and shift.confirmed_at is not None:
                yield event.agent, shift


def _change(agent: str | None, shift: Shift, trigger: OnChangePoint) -> ChangePoint:
    bad = shift.first_bad_mission
    return ChangePoint(
        agent=label(agent),
        metric=shift.metric,
        by=trigger.by,
        at=shift.at,
        seen_at=shift.confirmed_at,
        before=shift.before,
        after=shift.after,
        change=shift.change,
        low=shift.low,
        high=shift.high,
        task=trigger.task,
        variant=trigger.variant,
        first_bad_mission_id=None if bad is None else bad.mission_id,
    )
