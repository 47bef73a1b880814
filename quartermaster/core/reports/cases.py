"""A report as single judgements: one for each metric of each pair, or of two sets.

Every form of a report that is read by another program (test results, annotations, code scanning) is made
of these, so that all of them agree, with one another and with the exit code.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from quartermaster.core.comparison import Delta
from quartermaster.core.difference import Difference
from quartermaster.core.gate import FailOn
from quartermaster.core.report import ComparisonReport, PairsReport, RegressionReport, ReplayReport, Report
from quartermaster.core.set_verdicts import MetricComparison

Level = Literal["error", "warning", "note", "passed", "unknown"]
"""`error` fails the gate; `unknown` is what cannot be said."""

_ABOVE_NOISE: Final = ("outside-noise", "within-run")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What a form may tell beside the report.

    `candidate` is the candidate as it was named, `files` are the recordings of its missions, both as paths
    from the working directory with `/` between the parts. `steps` are pairs with their aligned steps.
    """

    version: str
    fail_on: FailOn | None = None
    candidate: str | None = None
    files: Mapping[str, str] = {}
    steps: tuple[Difference, ...] = ()

    def file_of(self, subject: str) -> str | None:
        """Where to point at for a mission, or for the whole set where the subject is none."""
        return self.files.get(subject, self.candidate)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One judgement. `subject` is the mission, or `sets` where two sets were compared."""

    subject: str
    name: str
    level: Level
    sentence: str
    evidence: tuple[str, ...] = ()


SETS: Final = "sets"


def cases_of(report: Report, fail_on: FailOn | None = None) -> tuple[Case, ...]:
    """All judgements of a report, in its order."""
    match report:
        case ReplayReport():
            return tuple(_of_replay(report))
        case RegressionReport():
            return tuple(_of_pair(report, fail_on or "breach"))
        case PairsReport():
            return tuple(case for pair in report.pairs for case in _of_pair(pair, fail_on or "breach"))
        case ComparisonReport():
            cases = [_of_sets(metric, report, fail_on or "regressed") for metric in report.comparison.metrics]
            return tuple(case for case in (*cases, _of_behaviour(report)) if case is not None)


def verdict_of(report: Report) -> str:
    """The verdict in words; a replay has none and is `replayed`."""
    return "replayed" if isinstance(report, ReplayReport) else report.verdict.replace("_", " ")


def sentence_of(report: Report) -> str:
    """What came out, in one line."""
    match report:
        case ReplayReport(mission=mission):
            return f"{mission.mission_id}: {mission.steps:,} steps"
        case ComparisonReport(comparison=comparison):
            return comparison.result.removeprefix(f"{verdict_of(report).capitalize()}: ")
        case PairsReport(pairs=pairs):
            worse = [pair.candidate.mission_id for pair in pairs if pair.regressed and not pair.continued]
            named = f": {', '.join(worse[:3])}{', ...' if len(worse) > 3 else ''}" if worse else ""
            return f"{len(worse)} of {len(pairs)} missions crossed a threshold{named}"
        case RegressionReport(regressed=False):
            return f"{report.candidate.mission_id}: no threshold was crossed"
        case RegressionReport():
            return f"{report.candidate.mission_id}: {'; '.join(report.reasons)}"


def _of_replay(report: ReplayReport) -> Iterator[Case]:
    subject = report.mission.mission_id
    for metric in report.mission.metrics:
        known = metric.value is not None
        said = f"{metric.name} is {metric.value}" if known else f"cannot be said: {metric.reason}"
        yield Case(subject=subject, name=metric.name, level="passed" if known else "unknown", sentence=said)
    for finding in report.mission.findings:
        sentence = f"{finding.failure_mode}, at step {finding.step + 1:,}"
        yield Case(subject=subject, name=finding.failure_mode, level="note", sentence=sentence)


def _of_pair(report: RegressionReport, fail_on: FailOn) -> Iterator[Case]:
    subject = report.candidate.mission_id
    for delta in report.deltas:
        if delta.state != "not gated":
            yield _of_delta(report, delta, fail_on)
    known = {finding.failure_mode for finding in report.baseline.findings}
    for finding in report.candidate.findings:
        if finding.failure_mode not in known:
            sentence = f"{finding.failure_mode}, at step {finding.step + 1:,}; the baseline does not show it"
            yield Case(subject=subject, name=finding.failure_mode, level="note", sentence=sentence)


def _of_delta(report: RegressionReport, delta: Delta, fail_on: FailOn) -> Case:
    subject = report.candidate.mission_id
    graded = report.evidence.get(delta.metric)
    evidence = () if graded is None else (f"{graded.grade}: {graded.sentence}",)
    level: Level = "passed"
    sentence = f"{delta.metric}: {_plain(delta.baseline)} -> {_plain(delta.candidate)}"
    if delta.state == "not comparable":
        level, sentence = "unknown", f"{delta.metric} is not comparable: {delta.reason}"
    elif delta.state == "breach":
        sentence = delta.reason or sentence
        above = graded is not None and graded.grade in _ABOVE_NOISE
        fails = fail_on == "breach" or (fail_on != "never" and above)
        level = "error" if fails and not report.continued else "warning"
    return Case(subject=subject, name=delta.metric, level=level, sentence=sentence, evidence=evidence)


def _of_sets(metric: MetricComparison, report: ComparisonReport, fail_on: FailOn) -> Case | None:
    if metric.verdict == "not_gated":
        return None
    strict = report.comparison.policy.strict
    return Case(
        subject=SETS,
        name=metric.metric,
        level=_level_of_sets(metric, fail_on, strict=strict),
        sentence=metric.sentence or metric.label,
        evidence=metric.notes,
    )


def _of_behaviour(report: ComparisonReport) -> Case | None:
    """Told where it was seen; a difference is no failure, and not seeing one no success."""
    behaviour = report.comparison.behaviour
    if behaviour is None or behaviour.verdict != "drift":
        return None
    return Case(subject=SETS, name="behaviour", level="note", sentence=behaviour.sentence)


def _level_of_sets(metric: MetricComparison, fail_on: FailOn, *, strict: bool) -> Level:
    unsaid = metric.verdict in ("inconclusive", "not_comparable")
    regressed = metric.verdict == "regressed"
    if fail_on == "breach" and metric.breach:
        return "error"
    if fail_on in ("regressed", "outside-noise") and metric.blocks and (regressed or (strict and unsaid)):
        return "error"
    if regressed or metric.verdict == "drift":
        return "warning"
    return "unknown" if unsaid else "passed"


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return ", ".join(value) or "none" if isinstance(value, tuple) else str(value)
