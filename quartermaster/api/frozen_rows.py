"""Baselines as clients read them."""

from typing import Any

import msgspec

from quartermaster.core.capsule import Capsule, FrozenMission
from quartermaster.core.journal import format_instant
from quartermaster.store.baselines import Baseline


def baseline_row(baseline: Baseline) -> dict[str, Any]:
    """A baseline in a list, or one version in its history."""
    told: dict[str, Any] = msgspec.to_builtins(baseline)
    return told | {"created_at": format_instant(baseline.created_at)}


def baseline_detail(history: list[Baseline], capsule: Capsule) -> dict[str, Any]:
    """A baseline with its missions and everything that was accepted for it, the last first."""
    told = [baseline_row(one) for one in history]
    return told[0] | _content(capsule) | {"history": told}


def _content(capsule: Capsule) -> dict[str, Any]:
    head = capsule.head
    return {
        "made_by": head.made_by,
        "rules_of_pairs": head.rules_of_pairs,
        "rules_of_sets": head.rules_of_sets,
        "profile": msgspec.to_builtins(head.profile),
        "prices": head.prices,
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


def capsule_row(capsule: Capsule) -> dict[str, Any]:
    """The capsule of a file, as a baseline in a list; its version counts what was accepted before."""
    head = capsule.head
    return {
        "name": head.name,
        "version": len(head.history) + 1,
        "digest": capsule.digest,
        "missions": head.missions,
        "created_at": head.created_at,
        "created_by": head.created_by,
        "reason": head.reason,
    }


def capsule_detail(capsule: Capsule) -> dict[str, Any]:
    """The capsule of a file, as a baseline with its missions and its history."""
    row, former = capsule_row(capsule), capsule.head.history
    earlier = [
        {"name": row["name"], "version": len(former) - index, "missions": None, **msgspec.to_builtins(one)}
        for index, one in enumerate(former)
    ]
    return row | _content(capsule) | {"history": [row, *earlier]}
