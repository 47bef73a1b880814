"""The catalogue of metrics that speak of one mission alone, each with what it covers or why it is undefined.

The eight contract metrics are in core.metrics. Each module but `registry`, `subject` and `intervals` holds
metrics; one that is imported here is found by itself.
"""

from collections.abc import Sequence

from quartermaster.core.assessment import Assessment
from quartermaster.core.failure_modes import FailureMode
from quartermaster.core.failure_modes.evidence import Evidence
from quartermaster.core.mission_metrics import (  # noqa: F401 - a module registers its metrics
    outcome,
    time,
    tokens,
    tools,
    work,
)
from quartermaster.core.mission_metrics.registry import (
    CATALOGUE,
    Definition,
    Known,
    MissionMetric,
    Partial,
    Reading,
    Undefined,
)
from quartermaster.core.mission_metrics.subject import Subject

__all__ = [
    "CATALOGUE",
    "Definition",
    "Known",
    "MissionMetric",
    "Partial",
    "Reading",
    "Undefined",
    "measure",
]


def measure(
    evidence: Evidence, findings: Sequence[FailureMode], assessment: Assessment | None = None
) -> tuple[MissionMetric, ...]:
    """Every metric of the catalogue; `findings` are those of the detectors over the same evidence.

    With an `assessment` the cost is that of the contract metric, which knows of charges without a call.
    """
    subject = Subject(evidence, findings, assessment)
    return tuple(definition.of(subject) for definition in CATALOGUE.values())
