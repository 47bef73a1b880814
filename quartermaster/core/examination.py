"""What can be found out about one mission alone, beyond its contract metrics: the catalogue of metrics,
failure modes with their steps, what its last message claims, and where it went wrong first.
"""

from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from quartermaster.core import root_cause
from quartermaster.core.assessment import Assessment
from quartermaster.core.claims import Claim, claims_of
from quartermaster.core.failure_modes import DETECTORS, Context, Evidence, FailureMode, find_in, unknown_in
from quartermaster.core.mission_metrics import CATALOGUE, MissionMetric, measure
from quartermaster.core.root_cause import RootCause
from quartermaster.core.transcript import Transcript

VERSION: Final = 2
"""Of metrics, claims and root causes; detectors have versions of their own. Raised with each change."""

FINDINGS_LIMIT: Final = 100
"""Findings of one detector that are kept with their steps; all of them are counted."""
ENTRIES_LIMIT: Final = 250_000
"""Missions of more entries are not examined: their words would not fit into memory beside everything else."""

_NOTHING_KNOWN: Final = Context()
_INFRASTRUCTURE: Final = "D24"


class Examination(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found out. `counts` are all findings by detector, `severities` by severity; `findings` are the
    first of each detector. `tools` holds the calls that succeeded and failed of each tool. `unexamined`
    says why nothing was looked at, and then everything else is empty. `unknown` says by detector why it
    cannot judge, `around` stands for the missions around this one that it was held against.
    """

    metrics: tuple[MissionMetric, ...] = ()
    findings: tuple[FailureMode, ...] = ()
    counts: dict[str, int] = {}
    severities: dict[str, int] = {}
    claims: tuple[Claim, ...] = ()
    root_cause: RootCause | None = None
    tools: dict[str, tuple[int, int]] = {}
    unknown: dict[str, str] = {}
    unexamined: str | None = None
    around: int = 0

    @property
    def by_severity(self) -> dict[str, int] | None:
        """Findings of each severity, the worst first; None where nothing was looked at."""
        if self.unexamined is not None:
            return None
        return {severity: self.severities.get(severity, 0) for severity in ("high", "warn", "info")}

    @property
    def ended_by_infrastructure(self) -> bool:
        """Whether a failure of what the agent runs on ended the mission."""
        return any(
            finding.detector == _INFRASTRUCTURE and finding.severity == "high" for finding in self.findings
        )

    def metric(self, id: str) -> MissionMetric:
        return next(metric for metric in self.metrics if metric.id == id)


def too_large(entries: int, limit: int = ENTRIES_LIMIT) -> Examination | None:
    """What is said of a mission that is too large to be examined; None for any other."""
    if entries <= limit:
        return None
    return Examination(unexamined=f"the mission has {entries:,} entries; up to {limit:,} are examined")


def examine(
    transcript: Transcript, assessment: Assessment | None = None, context: Context = _NOTHING_KNOWN
) -> Examination:
    """Everything at once, over one reading. With an `assessment` costs are those of the contract metric."""
    evidence = Evidence(transcript, context)
    findings = find_in(evidence)
    return Examination(
        metrics=measure(evidence, findings, assessment),
        findings=_first_of_each(findings),
        counts=dict(sorted(Counter(finding.detector for finding in findings).items())),
        severities=dict(sorted(Counter(str(finding.severity) for finding in findings).items())),
        claims=claims_of(transcript),
        root_cause=root_cause.root_cause(transcript),
        tools=_tools(evidence),
        unknown=unknown_in(evidence),
    )


def rules_version(prices: str) -> int:
    """Changes when a rule does, or the `prices` that costs are computed from; signed, of 64 bits."""
    rules = sorted((one.id, one.version) for one in DETECTORS.values())
    metrics = [(one.id, one.unit, one.direction) for one in CATALOGUE.values()]
    framed = msgspec.json.encode([VERSION, rules, metrics, prices])
    return int.from_bytes(blake2b(framed, digest_size=8).digest(), "big", signed=True)


def detector_names() -> Mapping[str, str]:
    """The names of the detectors by id."""
    return {one.id: one.name for one in DETECTORS.values()}


def _first_of_each(findings: tuple[FailureMode, ...]) -> tuple[FailureMode, ...]:
    kept: Counter[str] = Counter()
    first = []
    for finding in findings:
        kept[finding.detector] += 1
        if kept[finding.detector] <= FINDINGS_LIMIT:
            first.append(finding)
    return tuple(first)


def _tools(evidence: Evidence) -> dict[str, tuple[int, int]]:
    good: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    for position in evidence.calls:
        event = evidence.events[position]
        if event.succeeded is not None and not event.refused:
            (good if event.succeeded else bad)[event.name] += 1
    return {name: (good[name], bad[name]) for name in sorted(good.keys() | bad.keys())}
