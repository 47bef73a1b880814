"""Tools that judge: compare two missions or two sets, and explain a verdict."""

from typing import Annotated, Any, Final

import msgspec

from quartermaster.cli.target import find_run_id
from quartermaster.core.report import (
    REPORTS,
    ComparisonReport,
    PairsReport,
    RegressionReport,
    ReplayReport,
    Report,
)
from quartermaster.core.reports.cases import sentence_of, verdict_of
from quartermaster.core.selection import Selection
from quartermaster.errors import UsageError
from quartermaster.mcp_tools.budget import clipped, fitted
from quartermaster.mcp_tools.explaining import Reason, explained
from quartermaster.mcp_tools.judging import judged, sides_of
from quartermaster.mcp_tools.records import Place, Records
from quartermaster.mcp_tools.tools import LONG, Answer, Budget, Question, Side, tool


class Compare(Question, frozen=True, kw_only=True):
    baseline: Side
    candidate: Side
    token_budget: Budget = 2_000


class MetricCompared(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`judged` is breach, better, within, not comparable or not gated, of sets the verdict of the metric."""

    metric: str
    judged: str
    baseline: int | float | list[str] | None = msgspec.field(default_factory=lambda: None)
    candidate: int | float | list[str] | None = msgspec.field(default_factory=lambda: None)
    sentence: str | None = None


class Compared(Answer, frozen=True, kw_only=True):
    verdict: str
    regressed: bool
    sentence: str
    baseline: str
    candidate: str
    metrics: tuple[MetricCompared, ...]
    notes: tuple[str, ...]
    left_out: int


@tool("Compare")
def compare(records: Records, question: Compare) -> Compared:
    """Say whether the candidate is worse than the baseline. One mission against one (or against a frozen
    baseline) is held against thresholds; sets are paired by task and tested, so that noise is told from
    regression. Nothing is queued or kept. explain_verdict says why, with the steps that show it."""
    report, _ = judged(records, sides_of(records.target, question.baseline, question.candidate))
    metrics, notes = _metrics(report), _notes(report)

    def build(count: int) -> Compared:
        return Compared(
            verdict=verdict_of(report),
            regressed=not isinstance(report, ReplayReport) and report.regressed,
            sentence=clipped(sentence_of(report), LONG),
            baseline=question.baseline,
            candidate=question.candidate,
            metrics=metrics[:count],
            notes=notes[: max(count - len(metrics), 0)],
            left_out=len(metrics) + len(notes) - count,
        )

    return fitted(build, len(metrics) + len(notes), question.token_budget)


_GRAVITY: Final = ("breach", "regressed", "drift", "inconclusive", "not comparable", "not_comparable")


def _metrics(report: Report) -> tuple[MetricCompared, ...]:
    """Every judged metric, the gravest first."""
    found: list[MetricCompared] = []
    match report:
        case RegressionReport():
            found = [
                MetricCompared(
                    metric=delta.metric,
                    judged=delta.state,
                    baseline=_plain(delta.baseline),
                    candidate=_plain(delta.candidate),
                    sentence=delta.reason and clipped(delta.reason, LONG),
                )
                for delta in report.deltas
            ]
        case ComparisonReport(comparison=comparison):
            found = [
                MetricCompared(
                    metric=one.metric,
                    judged=one.verdict.replace("_", " "),
                    baseline=one.baseline,
                    candidate=one.candidate,
                    sentence=clipped(one.sentence or one.label, LONG),
                )
                for one in comparison.metrics
            ]
        case _:
            pass
    return tuple(sorted(found, key=lambda one: one.judged not in _GRAVITY))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _notes(report: Report) -> tuple[str, ...]:
    if isinstance(report, PairsReport):
        return ()
    return tuple(clipped(note, LONG) for note in report.notes)


class ExplainVerdict(Question, frozen=True, kw_only=True):
    run: Annotated[str | None, msgspec.Meta(description="The id of a run that has ended, or latest.")] = None
    baseline: Side | None = None
    candidate: Side | None = None
    token_budget: Budget = 2_000


class Explained(Answer, frozen=True, kw_only=True):
    verdict: str
    sentence: str
    baseline: str | None
    candidate: str | None
    reasons: tuple[Reason, ...]
    left_out: int


@tool("Explain a verdict")
def explain_verdict(records: Records, question: ExplainVerdict) -> Explained:
    """Say why a verdict came out as it did, within a budget of tokens: the verdict, then reasons in the order
    of their weight, each with anchors of the steps that show it, which expand opens. Name a run, or a
    baseline and a candidate. Numbers of steps inside of sentences are those of events (MISSION#event 12)."""
    report, place, candidate = _verdict(records, question)
    found = explained(report, place, records.terms, candidate)

    def build(count: int) -> Explained:
        return Explained(
            verdict=found.verdict,
            sentence=found.sentence,
            baseline=found.baseline or question.baseline,
            candidate=found.candidate or question.candidate,
            reasons=found.reasons[:count],
            left_out=len(found.reasons) - count,
        )

    return fitted(build, len(found.reasons), question.token_budget)


def _verdict(records: Records, question: ExplainVerdict) -> tuple[Report, Place, Selection | None]:
    if question.run is None:
        if question.baseline is None or question.candidate is None:
            raise UsageError("name a run, or a baseline and a candidate")
        sides = sides_of(records.target, question.baseline, question.candidate)
        report, place = judged(records, sides)
        return report, place, sides.candidate
    if question.baseline is not None or question.candidate is not None:
        raise UsageError("name a run, or a baseline and a candidate, not both")
    row = records.target.run(find_run_id(records.target, question.run))
    document = row.get("report")
    if document is None:
        raise UsageError(
            f"run {row['id']} is {row['status']} and has no report: {row.get('result') or 'wait for it'}"
        )
    if document["kind"] not in REPORTS:
        raise UsageError(
            f"a report of kind {document['kind']!r} is newer than this program; upgrade quartermaster"
        )
    report = msgspec.convert(document, REPORTS[document["kind"]])
    there = [one for one in _missions_of(report) if records.target.has_mission(one)]
    place = records.place_of([Selection(mission_ids=tuple(there))] if there else [])
    return report, place, None


def _missions_of(report: Report) -> tuple[str, ...]:
    match report:
        case RegressionReport():
            return report.baseline.mission_id, report.candidate.mission_id
        case ReplayReport():
            return (report.mission.mission_id,)
        case _:
            return ()
