"""Failure modes beyond the four of the contract: what went wrong in a mission, where, and what it cost.

Each module but `evidence` and `registry` holds detectors; one that is imported here is found by itself.
"""

from collections.abc import Iterable
from operator import attrgetter

from quartermaster.core.failure_modes import (  # noqa: F401 - a module registers its detectors
    completion,
    errors,
    grounding,
    guardrails,
    limits,
    loops,
    messages,
    side_effects,
)
from quartermaster.core.failure_modes.evidence import Context, Evidence, Waste
from quartermaster.core.failure_modes.registry import (
    DETECTORS,
    Confidence,
    Detector,
    FailureMode,
    Severity,
    Sighting,
    detector,
)
from quartermaster.core.transcript import Transcript

__all__ = [
    "DETECTORS",
    "Confidence",
    "Context",
    "Detector",
    "Evidence",
    "FailureMode",
    "Severity",
    "Sighting",
    "Waste",
    "detector",
    "find_failure_modes",
    "find_in",
    "unknown_in",
]

_NOTHING_KNOWN = Context()


def find_failure_modes(
    transcript: Transcript, context: Context = _NOTHING_KNOWN, *, names: Iterable[str] | None = None
) -> tuple[FailureMode, ...]:
    """All findings in a mission, by detector id and then by place; `names` are of the detectors asked for."""
    return find_in(Evidence(transcript, context), names=names)


def find_in(evidence: Evidence, *, names: Iterable[str] | None = None) -> tuple[FailureMode, ...]:
    """The same, for who looks at the evidence himself."""
    asked = DETECTORS.values() if names is None else [DETECTORS[name] for name in names]
    return tuple(
        finding
        for one in sorted(asked, key=attrgetter("id"))
        for finding in sorted(one.find(evidence), key=attrgetter("first", "last"))
    )


def unknown_in(evidence: Evidence) -> dict[str, str]:
    """By detector id why it cannot judge this mission, or not all that it looks for."""
    reasons = {one.id: one.lacks(evidence) for one in DETECTORS.values() if one.lacks is not None}
    return {id: reason for id, reason in sorted(reasons.items()) if reason is not None}
