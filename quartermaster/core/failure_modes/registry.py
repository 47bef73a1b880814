"""The register of detectors: each one is a function over Evidence that yields sightings.

A detector's identity, version, severity and place in the published taxonomies travel with its function.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from quartermaster.core.failure_modes.evidence import Evidence, Waste

STEPS_LIMIT: Final = 50


class Severity(StrEnum):
    INFO = "info"
    WARN = "warn"
    HIGH = "high"


class Confidence(StrEnum):
    """`certain` follows from the structure of the recording, `likely` from a likeness of words."""

    CERTAIN = "certain"
    LIKELY = "likely"


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """One occurrence of a failure mode as a detector saw it.

    `positions` are the events that show it, in order. `wasted` are the positions of what was spent after
    the first full period. `evidence` is what was counted. `severity` and `confidence` are those of the
    detector unless given. `agent` is who did it, where that is known.
    """

    positions: Sequence[int]
    reason: str
    evidence: dict[str, Any] = {}
    wasted: Sequence[int] = ()
    severity: Severity | None = None
    confidence: Confidence | None = None
    agent: str | None = None


class FailureMode(msgspec.Struct, frozen=True, kw_only=True):
    """A finding. `steps` are positions of events in the transcript, the first fifty; `first` and `last`
    are those of all `count`. `entry_ids` stand beside `steps`."""

    detector: str
    version: int
    name: str
    severity: Severity
    confidence: Confidence
    reason: str
    first: int
    last: int
    count: int
    steps: tuple[int, ...]
    entry_ids: tuple[str, ...]
    evidence: dict[str, Any]
    wasted: Waste
    agent: str | None = None
    mast: tuple[str, ...] = ()
    trail: tuple[str, ...] = ()
    agentrx: tuple[str, ...] = ()


Look = Callable[[Evidence], Iterable[Sighting]]
Lacks = Callable[[Evidence], str | None]


class Detector(msgspec.Struct, frozen=True, kw_only=True):
    """A function that looks for one failure mode, with what travels with it."""

    id: str
    name: str
    version: int
    severity: Severity
    confidence: Confidence
    mast: tuple[str, ...]
    trail: tuple[str, ...]
    agentrx: tuple[str, ...]
    look: Look
    lacks: Lacks | None = None
    """Why the function, or a part of it, cannot judge a mission; None where it can."""

    def find(self, evidence: Evidence) -> Iterable[FailureMode]:
        return (self._finding(evidence, sighting) for sighting in self.sightings(evidence))

    def sightings(self, evidence: Evidence) -> list[Sighting]:
        """What the function sees in a mission; it looks once, however often it is asked."""
        return evidence.once(self._look)

    def _look(self, evidence: Evidence) -> list[Sighting]:
        return [sighting for sighting in self.look(evidence) if sighting.positions]

    def _finding(self, evidence: Evidence, sighting: Sighting) -> FailureMode:
        steps = tuple(sighting.positions[:STEPS_LIMIT])
        return FailureMode(
            detector=self.id,
            version=self.version,
            name=self.name,
            severity=sighting.severity or self.severity,
            confidence=sighting.confidence or self.confidence,
            reason=sighting.reason,
            first=sighting.positions[0],
            last=sighting.positions[-1],
            count=len(sighting.positions),
            steps=steps,
            entry_ids=tuple(evidence.events[position].entry_id for position in steps),
            evidence=sighting.evidence,
            wasted=evidence.waste(sighting.wasted),
            agent=sighting.agent or evidence.events[sighting.positions[0]].agent,
            mast=self.mast,
            trail=self.trail,
            agentrx=self.agentrx,
        )


DETECTORS: Final[dict[str, Detector]] = {}
"""All detectors by the names of their functions."""


def detector(
    *,
    id: str,
    severity: Severity,
    confidence: Confidence = Confidence.CERTAIN,
    version: int = 1,
    mast: tuple[str, ...] = (),
    trail: tuple[str, ...] = (),
    agentrx: tuple[str, ...] = (),
    lacks: Lacks | None = None,
) -> Callable[[Look], Look]:
    """Registers a function as a detector under its own name."""

    def register(look: Look) -> Look:
        name = look.__name__
        if name in DETECTORS or any(known.id == id for known in DETECTORS.values()):
            raise ValueError(f"the detector {id} {name} is registered twice")
        DETECTORS[name] = Detector(
            id=id,
            name=name,
            version=version,
            severity=severity,
            confidence=confidence,
            mast=mast,
            trail=trail,
            agentrx=agentrx,
            look=look,
            lacks=lacks,
        )
        return look

    return register
