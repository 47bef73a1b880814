"""Missions and steps as clients read them."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from quartermaster.core.assessment import Assessment
from quartermaster.core.examination import Examination
from quartermaster.core.failure_modes import FailureMode
from quartermaster.core.journal import format_instant
from quartermaster.core.mission_metrics import CATALOGUE, Known, MissionMetric, Partial, Reading
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.store.missions import Mission
from quartermaster.store.sources import SourceLedger
from quartermaster.store.trajectory import StepView

SEVERITIES: Final = ("high", "warn", "info")
"""Of findings, the worst first."""


def mission_row(mission: Mission, findings: Mapping[str, int] | None = None) -> dict[str, Any]:
    """A mission in a list. What cannot be said is null: tokens and cost, unless every call has them, and
    `findings` by severity while it was not examined as it is now."""
    return {
        "mission_id": mission.mission_id,
        "format": mission.format,
        "title": mission.title,
        "task": mission.task,
        "variant": mission.variant,
        "trial": mission.trial,
        "agent": mission.agent,
        "model": mission.model,
        "version": mission.version,
        "commit": mission.commit_id,
        "parent_mission_id": mission.parent_mission_id,
        "labels": mission.labels,
        "outcome": mission.outcome,
        "outcome_origin": mission.outcome_origin,
        "reward": mission.reward,
        "started_at": _time(mission.started_at),
        "ended_at": _time(mission.ended_at),
        "entries": mission.entries,
        "model_calls": mission.model_calls,
        "total_tokens": mission.total_tokens,
        "total_cost_usd": _dollars(mission.cost),
        "findings": findings,
        "created_at": format_instant(mission.created_at),
        "changed_at": format_instant(mission.changed_at),
    }


def mission_detail(
    mission: Mission,
    assessment: Assessment,
    examination: Examination,
    *,
    outcomes: Iterable[msgspec.Struct],
    sources: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """A mission with everything that was found out about it alone."""
    severities = {name: examination.severities.get(name, 0) for name in SEVERITIES}
    return mission_row(mission, None if examination.unexamined else severities) | {
        "outcomes": msgspec.to_builtins(list(outcomes)),
        "steps": assessment.steps,
        "goal_reached": assessment.goal_reached,
        "signature": assessment.signature,
        "signatures": msgspec.to_builtins(assessment.layers),
        "metrics": msgspec.to_builtins(assessment.metrics),
        "failure_modes": msgspec.to_builtins(assessment.findings),
        "unexamined": examination.unexamined,
        "catalogue": [metric_row(metric) for metric in examination.metrics],
        "failures": [failure_row(finding) for finding in examination.findings],
        "failure_counts": examination.counts,
        "claims": msgspec.to_builtins(examination.claims),
        "root_cause": msgspec.to_builtins(examination.root_cause),
        "sources": list(sources),
    }


def metric_row(metric: MissionMetric) -> dict[str, Any]:
    """A catalogue metric with what it says. `value` is null where nothing can be said, and `reason` why;
    `known` of `of` is its coverage."""
    definition = CATALOGUE[metric.id]
    return {
        "id": metric.id,
        **_reading(metric.reading),
        "unit": definition.unit,
        "direction": definition.direction,
        "population": definition.population,
        "provenance": metric.provenance,
        "parts": {name: _reading(part) for name, part in metric.parts.items()},
        "export": definition.export,
    }


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "state": reading.__struct_config__.tag,
        "value": reading.number,
        "known": _known(reading),
        "of": reading.of,
        "reason": None if isinstance(reading, Known) else reading.reason,
    }


def _known(reading: Reading) -> int:
    if isinstance(reading, Partial):
        return reading.known
    return reading.of if isinstance(reading, Known) else 0


def failure_row(finding: FailureMode) -> dict[str, Any]:
    """A finding of a detector. What was wasted is in USD, and null where it is not known."""
    row: dict[str, Any] = msgspec.to_builtins(finding)
    wasted = row["wasted"]
    wasted["cost_usd"] = _dollars(wasted.pop("cost"))
    return row


def source_row(ledger: SourceLedger) -> dict[str, Any]:
    """A file in a list. Where it lies on this machine is nobody's business but this machine's."""
    row: dict[str, Any] = msgspec.to_builtins(ledger)
    del row["path"], row["rejected_lines"]
    row["changed_at"] = format_instant(ledger.changed_at)
    return row


def source_detail(ledger: SourceLedger) -> dict[str, Any]:
    """A file with the ranges of it that were not understood."""
    return source_row(ledger) | {"rejected_lines": msgspec.to_builtins(ledger.rejected_lines)}


def step_row(step: StepView) -> dict[str, Any]:
    """One step of a trajectory. `success` is null where no outcome is known."""
    return {
        "index": step.index,
        "entry_id": step.entry_id,
        "ended_by": step.ended,
        "ts": format_instant(step.instant),
        "entry_type": step.entry_type,
        "tool": step.tool,
        "success": step.success,
        "severity": step.severity,
        "tokens": step.tokens,
        "cost_usd": _dollars(step.cost),
        "duration_ms": step.duration_ms,
    }


def _time(instant: int | None) -> str | None:
    return None if instant is None else format_instant(instant)


def _dollars(picodollars: int | None) -> float | None:
    return None if picodollars is None else picodollars / PICODOLLARS


def baseline_row(baseline: Baseline) -> dict[str, Any]:
    """A baseline in a list, or one version in its history."""
    return msgspec.to_builtins(baseline) | {"created_at": format_instant(baseline.created_at)}


def baseline_detail(history: list[Baseline], capsule: Capsule) -> dict[str, Any]:
    """A baseline with its missions and everything that was accepted for it, the last first."""
    head = capsule.head
    return baseline_row(history[0]) | {
        "made_by": head.made_by,
        "rules_of_pairs": head.rules_of_pairs,
        "rules_of_sets": head.rules_of_sets,
        "profile": msgspec.to_builtins(head.profile),
        "prices": head.prices,
        "history": [baseline_row(one) for one in history],
        "rows": [_frozen_row(mission) for mission in capsule.missions],
    }


def _frozen_row(mission: FrozenMission) -> dict[str, Any]:
    facts = mission.facts
    return {
        "mission_id": facts.mission_id,
        "task": facts.task,
        "variant": facts.variant,
        "trial": facts.trial,
        "outcome": facts.outcome,
        "steps": mission.computed.steps,
        "signature": mission.computed.signature,
        "journal": msgspec.to_builtins(mission.journal),
        "metrics": {metric.name: metric.value for metric in mission.computed.metrics},
    }
