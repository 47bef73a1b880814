"""Why a verdict came out as it did: reasons in the order of their weight, with the steps that show them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from quartermaster.core.examination import Examination
from quartermaster.core.failure_modes import FailureMode
from quartermaster.core.pricing import PriceBook
from quartermaster.core.report import ComparisonReport, PairsReport, RegressionReport, ReplayReport, Report
from quartermaster.core.reports.cases import sentence_of, verdict_of
from quartermaster.core.selection import Selection
from quartermaster.core.set_verdicts import MetricComparison
from quartermaster.core.transcript import Event, EventKind
from quartermaster.core.trials import TaskRecord
from quartermaster.looking import judged
from quartermaster.mcp_tools.anchors import event_anchor, step_anchor
from quartermaster.mcp_tools.budget import clipped
from quartermaster.mcp_tools.records import Place, Terms
from quartermaster.store import missions
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission
from quartermaster.store.transcript import read_transcript

_ANCHORS: Final = 3
_TEXT: Final = 300
_RECORDED: Final = 200
_MOST_ENTRIES_READ: Final = 50_000
_EXAMPLES: Final = 5
"""Tasks that got worse of which one mission is looked at for the step that decided."""
_SEVERITIES: Final = ("high", "warn", "info")


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One reason. `anchors` are steps that show it, for `expand`; `recorded` is what the first of them says,
    in the words of the recording."""

    kind: str
    text: str
    anchors: tuple[str, ...] = ()
    recorded: str | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict in one sentence and its reasons, the most important first."""

    verdict: str
    sentence: str
    baseline: str | None
    candidate: str | None
    reasons: tuple[Reason, ...]


class Words:
    """One mission in words; without any where it is gone, or too long to be read for a question."""

    def __init__(
        self, mission_id: str, events: Sequence[Event] = (), seen: Examination | None = None
    ) -> None:
        self.mission_id = mission_id
        self.events = events
        self.seen = seen or Examination()

    def reason(self, kind: str, text: str, positions: Iterable[int] = ()) -> Reason:
        """A reason that events of this mission show."""
        shown = [self.events[at] for at in positions if 0 <= at < len(self.events)][:_ANCHORS]
        return Reason(
            kind=kind,
            text=clipped(text, _TEXT),
            anchors=tuple(event_anchor(self.mission_id, event) for event in shown),
            recorded=_said(shown[0]) if shown else None,
        )


def read_words(connection: Connection, workspace: int, mission_id: str, terms: Terms) -> Words:
    """A mission in words with what was found out about it."""
    mission = missions.find_mission(connection, workspace, mission_id)
    if mission is None or mission.entries > _MOST_ENTRIES_READ:
        return Words(mission_id)
    transcript = read_transcript(connection, mission, price=PriceBook(terms.prices))
    return Words(
        mission_id, transcript.events, judged(connection, workspace, mission, terms.prices).examination
    )


def explained(report: Report, place: Place, terms: Terms, candidate: Selection | None) -> Explanation:
    """The reasons of a report. `candidate` says which missions examples are taken from, where two sets were
    compared; None where that is not known any more."""
    return place.look(
        lambda connection, workspace: _explained(report, _Here(connection, workspace, terms), candidate)
    )


class _Here(msgspec.Struct, frozen=True):
    """Where the missions of a report are read."""

    connection: Connection
    workspace: int
    terms: Terms

    def words(self, mission_id: str) -> Words:
        return read_words(self.connection, self.workspace, mission_id, self.terms)


def _explained(report: Report, here: _Here, candidate: Selection | None) -> Explanation:
    names: tuple[str | None, str | None] = (None, None)
    match report:
        case RegressionReport():
            names = report.baseline.mission_id, report.candidate.mission_id
            reasons = _of_pair(
                report, here.words(report.baseline.mission_id), here.words(report.candidate.mission_id)
            )
        case ComparisonReport():
            reasons = _of_sets(report, here, candidate)
        case ReplayReport():
            names = None, report.mission.mission_id
            reasons = _of_mission(here.words(report.mission.mission_id))
        case PairsReport():
            reasons = (
                Reason(kind="pair", text=clipped(f"{sentence_of(pair)}: {pair.verdict}", _TEXT))
                for pair in report.pairs
            )
    return Explanation(
        verdict=verdict_of(report),
        sentence=clipped(sentence_of(report), _TEXT),
        baseline=names[0],
        candidate=names[1],
        reasons=tuple(reasons),
    )


def _of_pair(report: RegressionReport, before: Words, after: Words) -> Iterator[Reason]:
    if report.continued:
        yield Reason(
            kind="continuation", text="The candidate is the baseline's own session, recorded for longer."
        )
    yield from _breaches(report, after)
    if report.verdict in ("regressed", "inconclusive"):
        yield from _root_cause(after)
    yield from _divergence(report, after)
    yield from _new_failures(before, after)
    yield from _changes(report, before, after)
    yield from _attributions(report, after)
    for delta in report.deltas:
        if delta.state == "not comparable":
            yield Reason(kind="cannot be said", text=clipped(f"{delta.metric}: {delta.reason}", _TEXT))
    for delta in report.deltas:
        if delta.state in ("better", "within"):
            text = f"{delta.metric}: {_shown(delta.baseline)} -> {_shown(delta.candidate)} ({delta.state})"
            yield Reason(kind="not breached", text=text)
    for note in report.notes:
        yield Reason(kind="note", text=clipped(note, _TEXT))


def _breaches(report: RegressionReport, after: Words) -> Iterator[Reason]:
    for delta in report.deltas:
        if delta.state != "breach":
            continue
        graded = report.evidence.get(delta.metric)
        evidence = "" if graded is None else f" {graded.grade}: {graded.sentence}"
        yield after.reason("breach", f"{delta.reason}.{evidence}", _that_show(delta.metric, report, after))


def _that_show(metric: str, report: RegressionReport, after: Words) -> list[int]:
    """Events of the candidate behind a breach, the first ones."""
    if metric == "tool_success_rate":
        calls = (event for event in after.events if event.kind is EventKind.TOOL_CALL)
        return [event.position for event in calls if event.failed or event.refused][:_ANCHORS]
    if metric == "hallucinations":
        blocked = (EventKind.BLOCK,)
        return [event.position for event in after.events if event.kind in blocked][:_ANCHORS]
    quantity = {"steps_to_goal": "work steps", "total_cost_usd": "cost"}.get(metric)
    found = report.difference.attributions if report.difference else ()
    parts = [part for one in found if one.quantity == quantity for part in one.parts if part.amount > 0]
    return [part.candidate.start for part in parts if len(part.candidate)][:_ANCHORS]


def _root_cause(words: Words) -> Iterator[Reason]:
    cause = words.seen.root_cause
    if cause is None or cause.position is None:
        return
    sure = "" if cause.measured else " (a guess by the order of things)"
    agent = f" by {cause.agent}" if cause.agent else ""
    places = [cause.position, *([] if cause.symptom in (None, cause.position) else [cause.symptom])]
    yield words.reason(
        "went wrong first", f"{cause.reason}{agent}{sure}", [at for at in places if at is not None]
    )


def _divergence(report: RegressionReport, after: Words) -> Iterator[Reason]:
    found = report.drift.divergence
    if found is None:
        return
    sides = [
        "the end" if name is None else f"{name.entry_type} {name.tool}".rstrip()
        for name in (found.baseline, found.candidate)
    ]
    here = [
        (report.baseline.mission_id, found.baseline),
        (report.candidate.mission_id, found.candidate),
    ]
    yield Reason(
        kind="first difference",
        text=clipped(f"from step {found.step + 1:,} on: {sides[0]} became {sides[1]}", _TEXT),
        anchors=tuple(step_anchor(mission_id, found.step) for mission_id, name in here if name is not None),
        recorded=next((_said(event) for event in after.events if event.step == found.step), None),
    )


def _new_failures(before: Words, after: Words) -> Iterator[Reason]:
    """What the candidate shows and its baseline does not, the gravest first."""
    known = {finding.detector for finding in before.seen.findings}
    fresh = [finding for finding in after.seen.findings if finding.detector not in known]
    yield from (_failure(finding, after, "new failure") for finding in _by_severity(fresh))


def _of_mission(words: Words) -> Iterator[Reason]:
    yield from _root_cause(words)
    yield from (_failure(finding, words, "failure") for finding in _by_severity(words.seen.findings))


def _by_severity(findings: Iterable[FailureMode]) -> list[FailureMode]:
    return sorted(findings, key=lambda finding: (_SEVERITIES.index(finding.severity), finding.first))


def _failure(finding: FailureMode, words: Words, kind: str) -> Reason:
    return words.reason(kind, f"{finding.name} ({finding.severity}): {finding.reason}", finding.steps)


def _changes(report: RegressionReport, before: Words, after: Words) -> Iterator[Reason]:
    for change in report.difference.changes if report.difference else ():
        there = before.reason("change", change.sentence, [change.first.baseline])
        here = after.reason("change", change.sentence, [change.first.candidate])
        yield msgspec.structs.replace(here, anchors=(*here.anchors, *there.anchors))


def _attributions(report: RegressionReport, after: Words) -> Iterator[Reason]:
    for one in report.difference.attributions if report.difference else ():
        if one.total and one.quantity in ("cost", "tokens", "work steps"):
            places = [part.candidate.start for part in one.parts if len(part.candidate)]
            yield after.reason(f"where the {one.quantity} went", one.sentence, places)


_ORDER: Final = (
    "regressed",
    "drift",
    "inconclusive",
    "not_comparable",
    "improved",
    "no_regression",
    "not_gated",
)


def _of_sets(report: ComparisonReport, here: _Here, candidate: Selection | None) -> Iterator[Reason]:
    comparison = report.comparison
    ordered = sorted(comparison.metrics, key=lambda one: (not one.blocks, _ORDER.index(one.verdict)))
    grave = [one for one in ordered if one.verdict in ("regressed", "drift")]
    yield from map(_of_metric, grave)
    yield from _of_tasks(comparison.tasks, here, candidate)
    for found in comparison.worth_a_look:
        yield Reason(
            kind="worth a look", text=clipped(f"{found.subject} {found.name}: {found.sentence}", _TEXT)
        )
    yield from (_of_metric(one) for one in ordered if one not in grave)
    for note in (*comparison.stamps, *comparison.notes):
        yield Reason(kind="note", text=clipped(note, _TEXT))


def _of_metric(metric: MetricComparison) -> Reason:
    text = " ".join((metric.sentence or metric.label, *metric.notes))
    return Reason(kind=metric.verdict.replace("_", " "), text=clipped(text, _TEXT))


def _of_tasks(tasks: Iterable[TaskRecord], here: _Here, candidate: Selection | None) -> Iterator[Reason]:
    """Tasks that succeed less often than before, the worst first; of some the step that decided."""
    worse = sorted((task for task in tasks if _lost(task) > 0), key=lambda task: (-_lost(task), task.task))
    failed = _failed_missions(here, candidate) if worse and candidate else {}
    for index, task in enumerate(worse):
        text = (
            f"task {task.task}: {task.baseline_succeeded} of {task.baseline_runs} runs succeeded,"
            f" now {task.candidate_succeeded} of {task.candidate_runs}"
        )
        mission_id = failed.get(task.task)
        if mission_id is None:
            yield Reason(kind="task", text=clipped(text, _TEXT))
            continue
        words = here.words(mission_id) if index < _EXAMPLES else Words(mission_id)
        decisive = next(_root_cause(words), None)
        yield Reason(
            kind="task",
            text=clipped(text if decisive is None else f"{text}; {decisive.text}", _TEXT),
            anchors=(step_anchor(mission_id, 0),) if decisive is None else decisive.anchors,
            recorded=None if decisive is None else decisive.recorded,
        )


def _lost(task: TaskRecord) -> float:
    """By how much the share of runs that succeed fell."""
    if not task.baseline_runs or not task.candidate_runs:
        return 0.0
    return task.baseline_succeeded / task.baseline_runs - task.candidate_succeeded / task.candidate_runs


def _failed_missions(here: _Here, candidate: Selection | None) -> dict[str, str]:
    """By task a mission of the candidate that did not succeed."""
    if candidate is None or candidate.baseline is not None:
        return {}
    found: list[Mission] = missions.select_missions(here.connection, here.workspace, candidate)
    return {one.task: one.mission_id for one in found if one.task and one.outcome != "succeeded"}


def _shown(value: object) -> str:
    if value is None:
        return "cannot be said"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _said(event: Event) -> str:
    """The words of an event: what was called or said, and how it failed."""
    told = (
        event.command or event.text or event.name,
        event.error or (event.output if event.failed else None),
    )
    return clipped(" -> ".join(one for one in told if one), _RECORDED)
