"""How much was done, by how many, and what of it was for nothing."""

from typing import Final

from quartermaster.core.failure_modes import DETECTORS
from quartermaster.core.mission_metrics.intervals import union
from quartermaster.core.mission_metrics.registry import (
    Reading,
    Told,
    Undefined,
    amount,
    catalogue_metric,
    partial_amount,
)
from quartermaster.core.mission_metrics.subject import Subject
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.core.transcript import Event, EventKind

_LOOPS: Final = ("exact_tool_loop", "periodic_tool_loop", "error_retry_loop", "repeated_call")
_NANOSECONDS: Final = 1e9


@catalogue_metric(unit="steps", direction="lower is better", over="the mission")
def work_steps(subject: Subject) -> Reading:
    """Model calls and tool calls; a call and its result are one step."""
    return amount(len(subject.calls) + len(subject.model_calls), subject.steps)


@catalogue_metric(unit="steps", direction="lower is better", over="the mission")
def steps(subject: Subject) -> Reading:
    """Steps of the trajectory: work, status changes, blocks, escalations and decisions."""
    return amount(subject.steps, len(subject.events))


@catalogue_metric(unit="calls", direction="neutral", over="the mission")
def llm_calls(subject: Subject) -> Reading:
    """Model calls."""
    return amount(len(subject.model_calls), subject.steps)


@catalogue_metric(unit="turns", direction="neutral", over="the mission")
def turns(subject: Subject) -> Reading:
    """Stretches in which agents act, between one message of the user and the next."""
    count = 0
    acting = False
    kinds = (EventKind.USER_MESSAGE, EventKind.MODEL_CALL, EventKind.TOOL_CALL, EventKind.AGENT_MESSAGE)
    for event in subject.of_kind(*kinds, EventKind.DELEGATION):
        acts = event.kind is not EventKind.USER_MESSAGE
        count += acts and not acting
        acting = acts
    return amount(count, len(subject.events))


@catalogue_metric(unit="handoffs", direction="neutral", over="what agents did")
def handoffs(subject: Subject) -> Reading:
    """Delegations, and changes of the acting agent that none announced."""
    count = 0
    acting: str | None = None
    for event in subject.acts:
        if event.agent is not None:
            count += acting is not None and event.agent != acting
            acting = event.agent
        if event.kind is EventKind.DELEGATION:
            count += 1
            acting = event.to
    return amount(count, len(subject.acts))


@catalogue_metric(unit="agents", direction="neutral", over="what agents did")
def agents(subject: Subject) -> Reading:
    """Agents that acted or were given work, by name."""
    names = {event.agent for event in subject.acts} | {event.to for event in subject.of_kind(_DELEGATION)}
    names.discard(None)
    if not names:
        return Undefined("no step names its agent", len(subject.acts))
    return amount(len(names), len(subject.acts))


_DELEGATION: Final = EventKind.DELEGATION


@catalogue_metric(unit="levels", direction="neutral", over="delegations")
def depth(subject: Subject) -> Reading:
    """Agents in the longest chain of delegations; 1 where nobody delegates."""
    if not subject.acts:
        return Undefined("no agent did anything")
    levels: dict[str | None, int] = {}
    deepest = 1
    delegations = subject.of_kind(_DELEGATION)
    for event in delegations:
        below = levels.get(event.agent, 1) + 1
        deepest = max(deepest, below)
        if event.to is not None and event.to != event.agent:
            levels.setdefault(event.to, below)
    return amount(deepest, len(delegations))


@catalogue_metric(unit="steps", direction="lower is better", over="findings of loops", parts="what")
def loop_waste(subject: Subject) -> Told:
    """Steps inside of loops after their first full period, and the tokens, money and seconds of them."""
    seen = [one for name in _LOOPS for one in DETECTORS[name].sightings(subject.evidence)]
    positions = sorted({position for sighting in seen for position in sighting.wasted})
    wasted = [subject.events[position] for position in positions]
    called = [event for event in wasted if event.kind is EventKind.MODEL_CALL]
    return Told(
        reading=amount(sum(event.step is not None for event in wasted), len(seen)),
        parts={
            "tokens": _spent(called, [event.tokens for event in called], 1),
            "cost_usd": _spent(called, [event.cost for event in called], PICODOLLARS),
            "seconds": _seconds(subject, [list(sighting.wasted) for sighting in seen if sighting.wasted]),
        },
        provenance="computed",
    )


def _spent(called: list[Event], values: list[int | None], unit: int) -> Reading:
    known = [value for value in values if value is not None]
    whole = sum(known)
    spent = whole if unit == 1 else whole / unit
    nothing = "no model call lies inside of a loop"
    return partial_amount(spent, len(known), len(called), nothing, "not recorded")


def _seconds(subject: Subject, loops: list[list[int]]) -> Reading:
    if not subject.transcript.timed:
        return Undefined("the recording has an order and no times")
    spans = []
    for positions in loops:
        last = subject.events[positions[-1]]
        spans.append((subject.events[positions[0]].instant, last.ended_at or last.instant))
    return amount(union(spans) / _NANOSECONDS, len(loops))
