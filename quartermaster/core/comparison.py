"""A candidate mission against its baseline: what got worse, by how much, and what cannot be said."""

import math
from collections.abc import Callable, Collection, Iterable
from itertools import zip_longest
from typing import Any, Final, Literal, NamedTuple

import msgspec

from quartermaster.core.assessment import LEVELS, Assessment, Level, Row, Texts, steps, text_of
from quartermaster.core.metrics import Metric
from quartermaster.core.trajectory import ENTRY_TYPE_OF_KIND

Verdict = Literal["improved", "unchanged", "regressed", "inconclusive", "not comparable"]
State = Literal["breach", "better", "within", "not comparable", "not gated"]
Number = int | float

TOLERANCE: Final = 1e-9
"""A change of exactly the threshold is no breach, whatever binary fractions make of it."""
_TOOL_LIMIT: Final = 200


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By how much each gate metric may get worse: success as an absolute share, steps and cost as a
    share of the baseline, hallucinations as a count."""

    tool_success_rate: float = 0.05
    steps_to_goal: float = 0.20
    total_cost_usd: float = 0.15
    hallucinations: float = 0.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            threshold = getattr(self, name)
            if not math.isfinite(threshold) or threshold < 0:
                raise ValueError(f"the threshold of {name} must be zero or a positive number")
            # as it is read back from a report, where a whole number would be told apart
            msgspec.structs.force_setattr(self, name, float(threshold))


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One metric on both sides. `absolute` and `relative` are None where they cannot be said.

    `reason` is the breach in words, or why the metric is not comparable.
    """

    metric: str
    unit: str
    baseline: Number | tuple[str, ...] | None
    candidate: Number | tuple[str, ...] | None
    absolute: Number | None
    relative: float | None
    state: State
    threshold: float | None = None
    reason: str | None = None


class StepName(msgspec.Struct, frozen=True):
    """A step as people know it; of a long tool text the first 200 characters."""

    entry_type: str
    tool: str


class Divergence(msgspec.Struct, frozen=True):
    """The first step that differs; a side is None where its trajectory ended before."""

    step: int
    baseline: StepName | None
    candidate: StepName | None


class Drift(msgspec.Struct, frozen=True):
    """Whether the contract signatures differ, and the first layered signature that does."""

    changed: bool
    level: Level | None
    divergence: Divergence | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The judgement of a pair; `result` is its one sentence, `reasons` are the breaches alone."""

    verdict: Verdict
    regressed: bool
    result: str
    reasons: tuple[str, ...]
    regressed_metrics: tuple[str, ...]
    not_comparable: tuple[str, ...]
    profile: Profile
    deltas: tuple[Delta, ...]
    drift: Drift
    notes: tuple[str, ...]


def compare(
    baseline: Assessment,
    candidate: Assessment,
    profile: Profile | None = None,
    divergence: Divergence | None = None,
    ignored: Collection[str] = (),
) -> Comparison:
    """Judges a pair; both assessments must carry the same seed, or their signatures say nothing.

    `ignored` metrics are shown and not judged.
    """
    assert baseline.seed == candidate.seed
    thresholds = profile or Profile()
    deltas = tuple(
        _delta(
            metric,
            candidate.metric(metric.name),
            baseline,
            candidate,
            _threshold(thresholds, metric.name, ignored),
        )
        for metric in baseline.metrics
    )
    breaches = [delta for delta in deltas if delta.state == "breach"]
    verdict, result = _judgement(deltas, baseline, candidate)
    drift = Drift(baseline.signature != candidate.signature, _first_level(baseline, candidate), divergence)
    return Comparison(
        verdict=verdict,
        regressed=bool(breaches),
        result=result,
        reasons=tuple(delta.reason for delta in breaches if delta.reason),
        regressed_metrics=tuple(delta.metric for delta in breaches),
        not_comparable=tuple(delta.metric for delta in deltas if delta.state == "not comparable"),
        profile=thresholds,
        deltas=deltas,
        drift=drift,
        notes=tuple(_notes(deltas, baseline, candidate)),
    )


def first_divergence(
    baseline_rows: Iterable[Row],
    candidate_rows: Iterable[Row],
    baseline_texts: Texts,
    candidate_texts: Texts,
) -> Divergence | None:
    """Walks both trajectories in lockstep; None where every step has the same entry type and tool."""
    pairs = zip_longest(_names(baseline_rows, baseline_texts), _names(candidate_rows, candidate_texts))
    for index, (before, after) in enumerate(pairs):
        if before != after:
            return Divergence(index, _step_name(before), _step_name(after))
    return None


def _names(rows: Iterable[Row], texts: Texts) -> Iterable[tuple[str, str]]:
    return ((ENTRY_TYPE_OF_KIND[kind], text_of(texts, tool)) for kind, tool in steps(rows))


def _step_name(name: tuple[str, str] | None) -> StepName | None:
    if name is None:
        return None
    entry_type, tool = name
    return StepName(entry_type, tool[:_TOOL_LIMIT].encode("utf-8", "replace").decode())


def _first_level(baseline: Assessment, candidate: Assessment) -> Level | None:
    for level in LEVELS:
        if getattr(baseline.layers, level) != getattr(candidate.layers, level):
            return level
    return None


class _Gate(NamedTuple):
    """How much worse the second number is (negative: better), and the breach in words."""

    worsening: Callable[[Any, Any], float]
    wording: Callable[[Any, Any, float], str]


def _lost(baseline: Number, candidate: Number) -> float:
    return baseline - candidate


def _gained(baseline: Number, candidate: Number) -> float:
    return candidate - baseline


def _risen(baseline: Number, candidate: Number) -> float:
    """Share of the baseline; from nothing to something is a rise without bounds."""
    if baseline <= 0:
        return math.inf if candidate > baseline else 0.0
    return (candidate - baseline) / baseline


def _success_dropped(baseline: Number, candidate: Number, threshold: float) -> str:
    return f"tool success dropped {100 * (baseline - candidate):.1f}% (> {100 * threshold:g}% threshold)"


def _rose(label: str, show: Callable[[Any], str]) -> Callable[[Any, Any, float], str]:
    def wording(baseline: Number, candidate: Number, threshold: float) -> str:
        if baseline <= 0:
            return f"{label} rose from {show(baseline)} to {show(candidate)}"
        rise = 100 * _risen(baseline, candidate)
        return f"{label} rose {rise:.1f}% (> {100 * threshold:g}% threshold)"

    return wording


def _hallucinations_rose(baseline: Number, candidate: Number, threshold: float) -> str:
    allowed = f" (> {threshold:g} threshold)" if threshold else ""
    return f"hallucinations rose from {baseline} to {candidate}{allowed}"


def dollars(amount: Number) -> str:
    """An amount for people: cents, or two significant digits below a cent."""
    if amount == 0:
        return "$0"
    size = abs(amount)
    if size >= 0.01:
        text = f"{size:.2f}"
    else:
        digits = 1 - math.floor(math.log10(size))
        text = f"{size:.{digits}f}"
    return ("-$" if amount < 0 else "$") + text


_GATES: Final = {
    "tool_success_rate": _Gate(_lost, _success_dropped),
    "steps_to_goal": _Gate(_risen, _rose("steps to goal", str)),
    "total_cost_usd": _Gate(_risen, _rose("cost", dollars)),
    "hallucinations": _Gate(_gained, _hallucinations_rose),
}


def worsening(metric: str, baseline: Number, candidate: Number) -> float:
    """By how much a gate metric got worse, on the scale of its threshold; below zero it got better."""
    return _GATES[metric].worsening(baseline, candidate)


def _threshold(profile: Profile, metric: str, ignored: Collection[str]) -> float | None:
    """None for a metric that is not judged."""
    return None if metric in ignored or metric not in _GATES else float(getattr(profile, metric))


def _delta(
    before: Metric, after: Metric, baseline: Assessment, candidate: Assessment, threshold: float | None
) -> Delta:
    state, reason = _state(before, after, baseline, candidate, threshold)
    absolute, relative = _change(before.number, after.number)
    return Delta(
        metric=before.name,
        unit=before.unit,
        baseline=before.value,
        candidate=after.value,
        absolute=absolute,
        relative=relative,
        state=state,
        threshold=threshold,
        reason=reason,
    )


def _change(baseline: Number | None, candidate: Number | None) -> tuple[Number | None, float | None]:
    if baseline is None or candidate is None:
        return None, None
    difference = candidate - baseline
    return difference, difference / baseline if baseline > 0 else None


def _state(
    before: Metric, after: Metric, baseline: Assessment, candidate: Assessment, threshold: float | None
) -> tuple[State, str | None]:
    unsaid = _why_unsaid(before, after)
    if threshold is None:
        return "not gated", unsaid
    if unsaid:
        return "not comparable", unsaid
    gate = _GATES[before.name]
    worsening = gate.worsening(before.number, after.number)
    if worsening > threshold + TOLERANCE:
        return "breach", gate.wording(before.number, after.number, threshold)
    if not candidate.steps:
        return "not comparable", "the candidate has no steps"
    if before.name == "steps_to_goal" and _unfinished(baseline, candidate):
        return "not comparable", "the candidate never reached the goal that its baseline reached"
    return "better" if worsening < -threshold - TOLERANCE else "within", None


def _why_unsaid(before: Metric, after: Metric) -> str | None:
    if before.value is None and after.value is None and before.reason == after.reason:
        return f"{before.reason} (both sides)"
    sides = (("baseline", before), ("candidate", after))
    reasons = [f"{metric.reason} ({side})" for side, metric in sides if metric.value is None]
    return "; ".join(reasons) or None


def _unfinished(baseline: Assessment, candidate: Assessment) -> bool:
    return baseline.goal_reached and not candidate.goal_reached


def _judgement(deltas: tuple[Delta, ...], baseline: Assessment, candidate: Assessment) -> tuple[Verdict, str]:
    gates = [delta for delta in deltas if delta.state != "not gated"]
    reasons = [delta.reason for delta in gates if delta.state == "breach" and delta.reason]
    states = {delta.state for delta in gates}
    if reasons:
        return "regressed", "regressed: " + "; ".join(reasons)
    if not candidate.steps:
        who = "the candidate has no steps" if baseline.steps else "neither mission has steps"
        return "not comparable", f"not comparable: {who}"
    if _unfinished(baseline, candidate):
        return "inconclusive", "inconclusive: the candidate never reached the goal that its baseline reached"
    if states == {"not comparable"}:
        return "not comparable", "not comparable: no compared metric can be said of both missions"
    if "better" in states and "not comparable" not in states:
        return "improved", "no_regression"
    return "unchanged", "no_regression"


def _notes(deltas: tuple[Delta, ...], baseline: Assessment, candidate: Assessment) -> Iterable[str]:
    if not baseline.steps:
        yield "the baseline has no steps"
    if not candidate.steps:
        yield "the candidate has no steps"
    if _unfinished(baseline, candidate):
        yield "the candidate never reached the goal that its baseline reached"
    elif candidate.goal_reached and not baseline.goal_reached:
        yield "the candidate reached a goal, its baseline did not"
    elif not candidate.goal_reached:
        yield "neither mission reached a goal: steps to goal counts all steps"
    for delta in deltas:
        if delta.state == "not comparable":
            yield f"{delta.metric} is not comparable: {delta.reason}"
    modes_before, modes_after = _failure_modes(baseline), _failure_modes(candidate)
    for mode in modes_after:
        if mode not in modes_before:
            yield f"the candidate shows {mode}, its baseline does not"
    for mode in modes_before:
        if mode not in modes_after:
            yield f"the baseline shows {mode}, the candidate does not"


def _failure_modes(assessment: Assessment) -> tuple[str, ...]:
    return tuple(finding.failure_mode for finding in assessment.findings)
