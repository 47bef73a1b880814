"""Where the time of a mission went. All spans are taken from the recording's own clock."""

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from operator import itemgetter
from typing import Final

from quartermaster.core.mission_metrics.intervals import Span, longest_chain, union
from quartermaster.core.mission_metrics.registry import (
    Reading,
    Undefined,
    amount,
    catalogue_metric,
    partial_amount,
)
from quartermaster.core.mission_metrics.subject import Subject, span_of
from quartermaster.core.transcript import Event, EventKind

_NANOSECONDS: Final = 1e9
_UNTIMED: Final = "the recording has an order and no times"
_NO_DURATION: Final = "it is not recorded how long it took"
_BEGINS: Final = itemgetter(0, 1)

Timed = Callable[[Subject], Reading]


def _timed(measure: Timed) -> Timed:
    """Undefined for a recording that tells no times."""

    @wraps(measure)
    def of(subject: Subject) -> Reading:
        if not subject.transcript.timed:
            return Undefined(_UNTIMED)
        return measure(subject) if subject.events else Undefined("nothing was recorded")

    return of


@catalogue_metric(unit="s", direction="lower is better", over="the mission")
@_timed
def wall_time(subject: Subject) -> Reading:
    """Seconds from the first event to the end of the last."""
    return amount(_wall(subject) / _NANOSECONDS, len(subject.events))


@catalogue_metric(unit="s", direction="lower is better", over="calls")
@_timed
def active_time(subject: Subject) -> Reading:
    """Seconds in which at least one call was running."""
    return _time_of(
        subject.spans,
        len(subject.calls) + len(subject.model_calls),
        "nothing was called",
    )


@catalogue_metric(unit="s", direction="lower is better", over="model calls")
@_timed
def llm_time(subject: Subject) -> Reading:
    """Seconds in which at least one model call was running."""
    return _time_of(subject.model_call_spans, len(subject.model_calls), "no model call was recorded")


@catalogue_metric(unit="s", direction="lower is better", over="tool calls")
@_timed
def tool_time(subject: Subject) -> Reading:
    """Seconds in which at least one tool call was running."""
    return _time_of(subject.call_spans, len(subject.calls), "no tool was called")


@catalogue_metric(unit="s", direction="lower is better", over="waits for a human")
@_timed
def human_wait(subject: Subject) -> Reading:
    """Seconds of waiting for a human: until a later message, and from an escalation to its answer."""
    waits = list(_human_waits(subject))
    return amount(union(waits) / _NANOSECONDS, len(waits))


@catalogue_metric(unit="s", direction="lower is better", over="calls")
@_timed
def idle_time(subject: Subject) -> Reading:
    """Seconds in which no call was running and nobody waited for a human."""
    spans = subject.spans
    calls = len(subject.calls) + len(subject.model_calls)
    idle = max(0, _wall(subject) - union([*spans, *_human_waits(subject)]))
    return partial_amount(idle / _NANOSECONDS, len(spans), calls, "nothing was called", _NO_DURATION)


@catalogue_metric(unit="s", direction="lower is better", over="spans that name their parent")
@_timed
def critical_path(subject: Subject) -> Reading:
    """Seconds of the longest chain of spans of which each begins after the one before has ended.

    A span that holds others counts for its own length or, where it is longer, for their longest chain.
    """
    spans = [
        (span[0], -span[1], event)
        for event in subject.events
        if event.span is not None and (span := span_of(event)) is not None
    ]
    if not any(event.parent is not None for _, _, event in spans):
        return Undefined("the recording does not say which step caused which")
    return amount(_critical(spans) / _NANOSECONDS, len(spans))


def _critical(spans: Sequence[tuple[int, int, Event]]) -> int:
    """Spans are finished from the last that began to the first, so that children come before parents."""
    known = {event.span for _, _, event in spans}
    children: dict[str | None, list[tuple[int, int, int]]] = {}
    for start, back, event in sorted(spans, key=_BEGINS, reverse=True):
        weight = -back - start
        if below := children.pop(event.span, None):
            weight = max(weight, longest_chain(below))
        parent = event.parent if event.parent in known else None
        children.setdefault(parent, []).append((start, -back, weight))
    return max(map(longest_chain, children.values()), default=0)


def _wall(subject: Subject) -> int:
    return max(subject.over, subject.events[-1].instant) - subject.events[0].instant


def _time_of(spans: Sequence[Span], calls: int, nothing: str) -> Reading:
    return partial_amount(union(spans) / _NANOSECONDS, len(spans), calls, nothing, _NO_DURATION)


def _human_waits(subject: Subject) -> Iterator[Span]:
    """A message ends a wait that began when everything before it was over, the first one excepted."""
    asked: list[int] = []
    for event in subject.of_kind(EventKind.QUESTION, EventKind.ANSWER):
        if event.kind is EventKind.QUESTION:
            asked.append(event.instant)
        elif asked:
            yield asked.pop(), event.instant
    over, begin = subject.events[0].instant, 0
    for position in subject.evidence.positions(EventKind.USER_MESSAGE)[1:]:
        for event in subject.events[begin:position]:
            over = max(over, event.ended_at or event.instant)
        begin = position
        yield over, subject.events[position].instant
