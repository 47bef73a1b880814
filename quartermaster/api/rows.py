"""Missions and steps as clients read them."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from quartermaster.core.assessment import Assessment
from quartermaster.core.journal import format_instant
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.store.missions import Mission
from quartermaster.store.sources import SourceLedger
from quartermaster.store.trajectory import StepView

if TYPE_CHECKING:  # detectors take longer to load than everything else, and few requests need them
    from quartermaster.core.examination import Examination


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
        "calls_with_tokens": mission.calls_with_tokens,
        "calls_with_cost": mission.calls_with_cost,
        "total_tokens": mission.total_tokens,
        "total_cost_usd": _dollars(mission.cost),
        "known_cost_usd": _dollars(mission.known_cost),
        "findings": findings,
        "created_at": format_instant(mission.created_at),
        "changed_at": format_instant(mission.changed_at),
    }


def mission_detail(
    mission: Mission,
    assessment: Assessment,
    examination: "Examination",
    *,
    outcomes: Iterable[msgspec.Struct],
    sources: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """A mission with everything that was found out about it alone."""
    from quartermaster.api.examinations import examination_detail  # noqa: PLC0415 - see above

    return mission_row(mission, examination.by_severity) | {
        "outcomes": msgspec.to_builtins(list(outcomes)),
        "steps": assessment.steps,
        "goal_reached": assessment.goal_reached,
        "signature": assessment.signature,
        "signatures": msgspec.to_builtins(assessment.layers),
        "metrics": msgspec.to_builtins(assessment.metrics),
        "failure_modes": msgspec.to_builtins(assessment.findings),
        **examination_detail(examination),
        "sources": list(sources),
    }


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
