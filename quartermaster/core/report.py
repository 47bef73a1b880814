"""What a run leaves behind: one record for programs (JSON) and one text for people (Markdown).

Both follow from their arguments alone, byte for byte.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Final, Literal

import msgspec

from quartermaster.core.assessment import Assessment, Finding, Layers
from quartermaster.core.comparison import Comparison, Delta, Drift, Profile, StepName, Verdict, dollars
from quartermaster.core.difference import Difference
from quartermaster.core.journal import format_instant
from quartermaster.core.metrics import Metric
from quartermaster.core.noise import Evidence, History
from quartermaster.core.set_report import line_of, set_lines
from quartermaster.core.set_verdicts import SetComparison, SetVerdict
from quartermaster.core.trajectory import PICODOLLARS

SCHEMA: Final = 1
OBSERVATIONAL: Final = (
    "Observational: rebuilt from what was recorded. No agent was run and no model was called for it."
)
_SHOWN: Final = 120


class MissionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One mission as the report tells it; `started_at` and `ended_at` are those of its first and last row."""

    mission_id: str
    steps: int
    goal_reached: bool
    started_at: str | None
    ended_at: str | None
    signature: str
    layers: Layers
    metrics: tuple[Metric, ...]
    findings: tuple[Finding, ...]
    model_calls: int
    commands: int
    failed_commands: int
    commands_without_outcome: int
    decisions_denied: int


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    schema: Literal[1] = SCHEMA
    kind: Literal["replay"] = "replay"
    run_id: str
    seed: int
    result: Literal["ok"] = "ok"
    mission: MissionReport
    prices: str | None = None
    notes: tuple[str, ...]


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What a verdict can be computed again from: the digests of the capsules of both sides, the rules and
    prices it was given under, and the earlier runs that a breach was held against."""

    made_by: str
    rules_of_pairs: int
    rules_of_sets: int
    baseline: str
    candidate: str
    baseline_prices: str
    candidate_prices: str
    histories: dict[str, History] = {}


class RegressionReport(msgspec.Struct, frozen=True, kw_only=True):
    schema: Literal[1] = SCHEMA
    kind: Literal["regression"] = "regression"
    run_id: str
    seed: int
    verdict: Verdict
    regressed: bool
    result: str
    reasons: tuple[str, ...]
    regressed_metrics: tuple[str, ...]
    not_comparable: tuple[str, ...]
    profile: Profile
    deltas: tuple[Delta, ...]
    drift: Drift
    evidence: dict[str, Evidence] = {}
    """By breached metric: whether the breach is more than run-to-run variation, as far as that is known."""
    difference: Difference | None = None
    """The pair step by step, without its lines; None where the missions are too long to be read for it."""
    baseline: MissionReport
    candidate: MissionReport
    prices: str | None = None
    notes: tuple[str, ...]
    provenance: Provenance | None = None

    @property
    def continued(self) -> bool:
        """Whether the candidate is the baseline's own session, recorded for longer."""
        changes = self.difference.changes if self.difference else ()
        return any(change.kind == "continuation" for change in changes)


class PairsReport(msgspec.Struct, frozen=True, kw_only=True):
    """A few missions, each against its own counterpart: too few tasks for anything to be tested."""

    schema: Literal[1] = SCHEMA
    kind: Literal["pairs"] = "pairs"
    verdict: Verdict
    regressed: bool
    result: str
    pairs: tuple[RegressionReport, ...]
    only_in_baseline: tuple[str, ...] = ()
    only_in_candidate: tuple[str, ...] = ()


class ComparisonReport(msgspec.Struct, frozen=True, kw_only=True):
    """Two sets of missions. `regressed` says that a gated metric got worse beyond noise and threshold,
    `comparison.fails` whether that is one that blocks."""

    schema: Literal[1] = SCHEMA
    kind: Literal["comparison"] = "comparison"
    run_id: str
    seed: int
    verdict: SetVerdict
    regressed: bool
    result: str
    reasons: tuple[str, ...]
    regressed_metrics: tuple[str, ...]
    not_comparable: tuple[str, ...]
    comparison: SetComparison
    prices: str | None = None
    notes: tuple[str, ...]
    provenance: Provenance | None = None


Report = ReplayReport | RegressionReport | ComparisonReport | PairsReport
REPORTS: Final[dict[str, type[Report]]] = {
    "replay": ReplayReport,
    "regression": RegressionReport,
    "comparison": ComparisonReport,
    "pairs": PairsReport,
}


def replay_report(
    assessment: Assessment, *, run_id: str, mission_id: str, prices: str | None = None
) -> ReplayReport:
    """`prices` names the edition of the price lists."""
    return ReplayReport(
        run_id=run_id,
        seed=assessment.seed,
        mission=_mission(assessment, mission_id),
        prices=prices,
        notes=(*_coverage_notes(assessment), *_cost_notes(assessment), OBSERVATIONAL),
    )


def regression_report(
    comparison: Comparison,
    baseline: Assessment,
    candidate: Assessment,
    *,
    run_id: str,
    baseline_mission_id: str,
    candidate_mission_id: str,
    evidence: dict[str, Evidence] | None = None,
    difference: Difference | None = None,
    prices: str | None = None,
) -> RegressionReport:
    return RegressionReport(
        run_id=run_id,
        seed=candidate.seed,
        verdict=comparison.verdict,
        regressed=comparison.regressed,
        result=comparison.result,
        reasons=comparison.reasons,
        regressed_metrics=comparison.regressed_metrics,
        not_comparable=comparison.not_comparable,
        profile=comparison.profile,
        deltas=comparison.deltas,
        drift=comparison.drift,
        evidence=evidence or {},
        difference=difference,
        baseline=_mission(baseline, baseline_mission_id),
        candidate=_mission(candidate, candidate_mission_id),
        prices=prices,
        notes=(
            *comparison.notes,
            *(f"baseline: {note}" for note in _cost_notes(baseline)),
            *(f"candidate: {note}" for note in _cost_notes(candidate)),
            OBSERVATIONAL,
        ),
    )


_GRAVITY: Final[tuple[Verdict, ...]] = (
    "regressed",
    "inconclusive",
    "not comparable",
    "unchanged",
    "improved",
)


def pairs_report(
    pairs: Sequence[RegressionReport],
    *,
    only_in_baseline: Sequence[str] = (),
    only_in_candidate: Sequence[str] = (),
) -> PairsReport:
    """The gravest verdict of any pair is that of all; a session that only went on says nothing."""
    judged = [pair for pair in pairs if not pair.continued] or pairs
    verdict = min((pair.verdict for pair in judged), key=_GRAVITY.index)
    worse = [pair for pair in judged if pair.regressed]
    result = "; ".join(f"{pair.candidate.mission_id}: {pair.result}" for pair in worse) or "no_regression"
    return PairsReport(
        verdict=verdict,
        regressed=bool(worse),
        result=result,
        pairs=tuple(pairs),
        only_in_baseline=tuple(only_in_baseline),
        only_in_candidate=tuple(only_in_candidate),
    )


def comparison_report(
    comparison: SetComparison, *, run_id: str, seed: int = 0, prices: str | None = None
) -> ComparisonReport:
    regressed = [metric for metric in comparison.metrics if metric.verdict == "regressed"]
    return ComparisonReport(
        run_id=run_id,
        seed=seed,
        verdict=comparison.verdict,
        regressed=bool(regressed),
        result=comparison.result,
        reasons=tuple(metric.sentence for metric in regressed),
        regressed_metrics=tuple(metric.metric for metric in regressed),
        not_comparable=tuple(
            metric.metric for metric in comparison.metrics if metric.verdict == "not_comparable"
        ),
        comparison=comparison,
        prices=prices,
        notes=(*comparison.notes, OBSERVATIONAL),
    )


def to_json(report: Report) -> bytes:
    return msgspec.json.encode(report)


def render_markdown(report: Report) -> str:
    """The report for people: what came out first, then why, then every number."""
    match report:
        case ReplayReport():
            lines = _replay_lines(report)
        case RegressionReport():
            lines = _regression_lines(report)
        case ComparisonReport():
            lines = _comparison_lines(report)
        case PairsReport():
            lines = _pairs_lines(report)
    return "\n".join(lines) + "\n"


def _mission(assessment: Assessment, mission_id: str) -> MissionReport:
    first, last = assessment.first_instant, assessment.last_instant
    return MissionReport(
        mission_id=mission_id,
        steps=assessment.steps,
        goal_reached=assessment.goal_reached,
        started_at=None if first is None else format_instant(first),
        ended_at=None if last is None else format_instant(last),
        signature=assessment.signature,
        layers=assessment.layers,
        metrics=assessment.metrics,
        findings=assessment.findings,
        model_calls=assessment.model_calls,
        commands=assessment.commands,
        failed_commands=assessment.failed_commands,
        commands_without_outcome=assessment.commands_without_outcome,
        decisions_denied=assessment.decisions_denied,
    )


def _coverage_notes(assessment: Assessment) -> Iterator[str]:
    if not assessment.steps:
        yield "the mission has no steps"
    for metric in assessment.metrics:
        if metric.value is None:
            yield f"{metric.name} cannot be said: {metric.reason}"
        elif not metric.coverage.full:
            yield f"{metric.name} rests on {metric.coverage.known} of {metric.coverage.of} facts"


def _cost_notes(assessment: Assessment) -> Iterator[str]:
    cost = assessment.metric("total_cost_usd")
    if cost.value is not None and cost.reason is not None:
        yield f"{cost.name}: {cost.reason}"
    check = assessment.cost_check
    if check is not None and check.differs:
        recorded, listed = (
            dollars(float(Decimal(sum_) / PICODOLLARS)) for sum_ in (check.recorded, check.listed)
        )
        yield (
            f"recorded and list price differ: {check.calls:,} model calls cost {recorded} as recorded,"
            f" {listed} by the price list; the recorded cost counts"
        )


def _replay_lines(report: ReplayReport) -> Iterator[str]:
    mission = report.mission
    goal = "reached its goal" if mission.goal_reached else "reached no goal"
    yield f"# Replay of {_code(mission.mission_id)}: {mission.steps:,} steps, {goal}"
    yield ""
    for finding in mission.findings:
        yield f"- {finding.failure_mode}, at step {finding.step + 1:,}"
    if mission.findings:
        yield ""
    yield from _table(
        ("metric", "value", "known", "source"),
        ((m.name, _shown(m.value, m.unit), _coverage(m), m.source) for m in mission.metrics),
    )
    yield ""
    yield f"Signature (seed {report.seed}): `{mission.signature}`"
    yield from _prices(report)
    yield from _notes(report.notes)


def _regression_lines(report: RegressionReport) -> Iterator[str]:
    yield f"# {report.verdict.capitalize()}"
    yield ""
    candidate, baseline = _code(report.candidate.mission_id), _code(report.baseline.mission_id)
    yield f"Candidate {candidate} against baseline {baseline}."
    if report.continued:
        yield ""
        yield "The candidate continues the baseline's own session: more was done, no sign of doing worse."
    yield ""
    for reason in report.reasons or (report.result,):
        yield f"- {reason}"
    for metric, evidence in report.evidence.items():
        yield f"- {metric}, {evidence.grade}: {evidence.sentence}"
    yield from _difference_lines(report.difference)
    yield ""
    yield from _table(
        ("metric", "baseline", "candidate", "change", "in %", "judged"),
        (_delta_cells(delta, report) for delta in report.deltas),
    )
    yield ""
    yield _drift_line(report.drift)
    yield ""
    yield f"Thresholds: {_thresholds(report.profile)}."
    yield from _prices(report)
    yield from _notes(report.notes)


def _pairs_lines(report: PairsReport) -> Iterator[str]:
    yield f"# {report.verdict.capitalize()}"
    yield ""
    yield f"{len(report.pairs)} missions, each against the one of the same name: too few for a test."
    for side, names in (("baseline", report.only_in_baseline), ("candidate", report.only_in_candidate)):
        if names:
            yield f"- only in the {side}, not compared: {', '.join(map(_code, names[:10]))}"
    for pair in report.pairs:
        yield ""
        yield from (f"#{line}" if line.startswith("# ") else line for line in _regression_lines(pair))


def _comparison_lines(report: ComparisonReport) -> Iterator[str]:
    yield f"# {report.verdict.replace('_', ' ').capitalize()}"
    yield ""
    yield from set_lines(report.comparison)
    yield from _prices(report)
    yield from _notes((OBSERVATIONAL,))


_TOLD: Final = frozenset({"cost", "tokens", "work steps"})


def _difference_lines(found: Difference | None) -> Iterator[str]:
    """What kind of change the pair shows, and where it went."""
    if found is None or not (found.changes or found.unaligned):
        return
    yield ""
    yield "What changed:"
    yield ""
    for change in found.changes:
        yield f"- {line_of(change.sentence)}"
    for attribution in found.attributions:
        if attribution.quantity in _TOLD and attribution.total:
            yield f"- {line_of(attribution.sentence)}"


def _delta_cells(delta: Delta, report: RegressionReport) -> tuple[str, ...]:
    return (
        delta.metric,
        _side(report.baseline, delta.metric),
        _side(report.candidate, delta.metric),
        "" if delta.absolute is None else _signed(delta.absolute, delta.unit),
        "" if delta.relative is None else f"{100 * delta.relative:+.1f}%",
        "" if delta.state == "not gated" else delta.state,
    )


def _side(mission: MissionReport, name: str) -> str:
    metric = next(metric for metric in mission.metrics if metric.name == name)
    shown = _shown(metric.value, metric.unit)
    if metric.coverage.full:
        return shown
    return f"{shown} ({metric.coverage.known:,} of {metric.coverage.of:,} known)"


def _coverage(metric: Metric) -> str:
    return "all" if metric.coverage.full else f"{metric.coverage.known:,} of {metric.coverage.of:,}"


def _drift_line(drift: Drift) -> str:
    found = drift.divergence
    if not drift.changed:
        level = "" if drift.level is None else f"; the {drift.level} differ"
        return f"Drift: none, every step has the same type and tool{level}."
    level = "" if drift.level is None else f", first in {drift.level}"
    if found is None:
        return f"Drift: the trajectories differ{level}."
    sides = f"{_step(found.baseline)} became {_step(found.candidate)}"
    return f"Drift: the trajectories differ{level}, from step {found.step + 1:,} on: {sides}."


def _step(name: StepName | None) -> str:
    return "the end" if name is None else _code(f"{name.entry_type} {name.tool}".rstrip())


def _thresholds(profile: Profile) -> str:
    return (
        f"tool success -{100 * profile.tool_success_rate:g}%, "
        f"steps to goal +{100 * profile.steps_to_goal:g}%, "
        f"cost +{100 * profile.total_cost_usd:g}%, "
        f"hallucinations +{profile.hallucinations:g}"
    )


def _prices(report: ReplayReport | RegressionReport | ComparisonReport) -> Iterator[str]:
    if report.prices is not None:
        yield ""
        yield f"Price lists: {report.prices}."


def _notes(notes: Iterable[str]) -> Iterator[str]:
    yield ""
    for note in notes:
        yield f"- {note}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield _cells(head)
    yield _cells(tuple("---" for _ in head))
    for row in rows:
        yield _cells(row)


def _cells(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def _shown(value: int | float | tuple[str, ...] | None, unit: str) -> str:
    if value is None:
        return "cannot be said"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if unit == "USD":
        return dollars(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _signed(change: int | float, unit: str) -> str:
    if not change:
        return "0"
    return ("+" if change > 0 else "-") + _shown(abs(change), unit)


def _code(text: str) -> str:
    """A recorded text as one harmless line: no control characters, no end to its quotes."""
    clipped = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    line = "".join(char if char.isprintable() else " " for char in clipped)
    return "`" + line.replace("`", "'") + "`"
