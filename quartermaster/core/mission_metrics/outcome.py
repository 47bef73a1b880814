"""How a mission ended, who stood in its way, and who had to help."""

from collections import Counter
from collections.abc import Iterable

from quartermaster.core.failure_modes import DETECTORS
from quartermaster.core.mission_metrics.registry import (
    Reading,
    Told,
    Undefined,
    amount,
    catalogue_metric,
    share,
)
from quartermaster.core.mission_metrics.subject import Subject
from quartermaster.core.transcript import EventKind

_WARN = 2
_UNGROUNDED = "ungrounded_action"


@catalogue_metric(unit="0 or 1", direction="higher is better", over="the mission, once it has ended")
def mission_success(subject: Subject) -> Reading:
    """1 for a mission that succeeded, by its verifier's word before its own; 0 for any other end."""
    if subject.status is None:
        return Undefined("the mission has not ended, or nobody said how")
    return amount(int(subject.status == "succeeded"), 1)


@catalogue_metric(unit="findings", direction="lower is better", over="the mission", parts="source")
def hallucination_count(subject: Subject) -> Told:
    """Outputs that a guardrail blocked at severity warn or error, and findings of ungrounded actions."""
    blocked = [
        event for event in subject.of_kind(EventKind.BLOCK) if event.entry_type == "guardrail.output_blocked"
    ]
    reported = sum(event.severity >= _WARN for event in blocked)
    deterministic = sum(finding.name == _UNGROUNDED for finding in subject.findings)
    return Told(
        reading=amount(reported + deterministic, subject.steps),
        parts={
            "reported": amount(reported, len(blocked)),
            "deterministic": amount(deterministic, len(subject.calls)),
            "judged": Undefined("no judge was asked"),
        },
        provenance="mixed",
    )


@catalogue_metric(unit="blocks", direction="lower is better", over="the mission")
def guardrail_blocks(subject: Subject) -> Reading:
    """Inputs and outputs that a guardrail blocked."""
    return amount(len(subject.of_kind(EventKind.BLOCK)), subject.steps)


@catalogue_metric(unit="ratio", direction="lower is better", over="tool calls and model calls")
def guardrail_block_rate(subject: Subject) -> Reading:
    """Blocks over tool calls and model calls."""
    calls = len(subject.calls) + len(subject.model_calls)
    if not calls:
        return Undefined("nothing was called")
    return amount(len(subject.of_kind(EventKind.BLOCK)) / calls, calls)


@catalogue_metric(unit="requests", direction="neutral", over="the mission")
def escalations(subject: Subject) -> Reading:
    """Requests for a human or a superior."""
    return amount(len(subject.of_kind(EventKind.QUESTION)), subject.steps)


@catalogue_metric(unit="ratio", direction="higher is better", over="escalations that could be settled")
def escalation_resolution(subject: Subject) -> Reading:
    """Escalations that were answered over escalations; open ones count once the mission has ended."""
    asked = answered = 0
    waiting = 0
    for event in subject.of_kind(EventKind.QUESTION, EventKind.ANSWER):
        if event.kind is EventKind.QUESTION:
            asked += 1
            waiting += 1
        elif waiting:
            waiting -= 1
            answered += 1
    if subject.status is None:
        nothing = (
            "nothing was escalated" if not asked else "no answer has come, and the mission has not ended"
        )
        return share(answered, answered, nothing, population=asked)
    return share(answered, asked, "nothing was escalated")


@catalogue_metric(unit="inputs", direction="neutral", over="the mission")
def human_interventions(subject: Subject) -> Reading:
    """Inputs of a human after the goal: later messages, and answers to escalations."""
    messages = len(subject.of_kind(EventKind.USER_MESSAGE))
    return amount(max(0, messages - 1) + len(subject.of_kind(EventKind.ANSWER)), len(subject.events))


@catalogue_metric(unit="ratio", direction="lower is better", over="the budgets that are set", parts="budget")
def budget_used(subject: Subject) -> Told:
    """The largest share of a budget (cost, steps or seconds) that was used up."""
    used = {name: part for name, part in _budgets(subject) if part is not None}
    shares = [part.number for part in used.values() if part.number is not None]
    if not used:
        return Told(reading=Undefined("no budget is set"), provenance="computed")
    if not shares:
        return Told(reading=Undefined("what was used is not known", len(used)), parts=used)
    return Told(reading=amount(max(shares), len(used)), parts=used, provenance="computed")


def _budgets(subject: Subject) -> Iterable[tuple[str, Reading | None]]:
    context = subject.evidence.context
    events = subject.events
    costs = [event.cost for event in subject.model_calls]
    spent = None if None in costs or not costs else sum(cost or 0 for cost in costs)
    seconds = subject.evidence.seconds(0, len(events) - 1) if events else None
    yield "cost", _used(spent, context.cost_budget)
    yield "steps", _used(subject.steps, context.step_budget)
    yield "seconds", _used(seconds, context.seconds_budget)


def _used(spent: float | None, budget: float | None) -> Reading | None:
    if not budget or budget < 0:
        return None
    return Undefined("what was used is not known") if spent is None else amount(spent / budget, 1)


@catalogue_metric(unit="findings", direction="lower is better", over="the mission", parts="detector")
def failure_modes(subject: Subject) -> Told:
    """Findings of all detectors of failure modes; its parts name those that found something."""
    found = Counter(finding.detector for finding in subject.findings)
    return Told(
        reading=amount(len(subject.findings), len(DETECTORS)),
        parts={detector: amount(count, count) for detector, count in sorted(found.items())},
        provenance="computed",
    )
