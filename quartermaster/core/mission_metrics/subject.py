"""What the catalogue metrics look at: one mission, what detectors found in it, and its contract metrics."""

from collections.abc import Sequence
from functools import cached_property

from quartermaster.core.assessment import Assessment
from quartermaster.core.failure_modes import FailureMode
from quartermaster.core.failure_modes.evidence import Evidence
from quartermaster.core.mission_metrics.intervals import Span
from quartermaster.core.trajectory import GOAL_WORDS
from quartermaster.core.transcript import Event, EventKind, Transcript

TERMINAL = frozenset({"succeeded", "failed", "aborted", "timed_out", "limit_reached"})
_ACTS = frozenset({EventKind.MODEL_CALL, EventKind.TOOL_CALL, EventKind.AGENT_MESSAGE, EventKind.DELEGATION})


def span_of(event: Event) -> Span | None:
    """None for what has no end, and for a clock that went backwards."""
    ended = event.ended_at
    if ended is None or ended < event.instant:
        return None
    return event.instant, ended


class Subject:
    """One mission, read once for all metrics. `assessment` knows of charges that are no event."""

    def __init__(
        self, evidence: Evidence, findings: Sequence[FailureMode], assessment: Assessment | None = None
    ) -> None:
        self.evidence = evidence
        self.findings = findings
        self.assessment = assessment
        self.transcript: Transcript = evidence.transcript
        self.events: tuple[Event, ...] = evidence.events

    def of_kind(self, *kinds: EventKind) -> list[Event]:
        return [self.events[position] for position in self.evidence.positions(*kinds)]

    @cached_property
    def calls(self) -> list[Event]:
        """Tool calls."""
        return self.of_kind(EventKind.TOOL_CALL)

    @cached_property
    def judged_calls(self) -> list[Event]:
        """Tool calls that were carried out and have an outcome."""
        return [event for event in self.calls if event.succeeded is not None and not event.refused]

    @cached_property
    def model_calls(self) -> list[Event]:
        return self.of_kind(EventKind.MODEL_CALL)

    @cached_property
    def call_spans(self) -> list[Span]:
        """When tool calls ran, as far as it was recorded."""
        return [span for event in self.calls if (span := span_of(event)) is not None]

    @cached_property
    def model_call_spans(self) -> list[Span]:
        return [span for event in self.model_calls if (span := span_of(event)) is not None]

    @cached_property
    def spans(self) -> list[Span]:
        """When calls ran, of either kind, in order."""
        return sorted([*self.call_spans, *self.model_call_spans])

    @cached_property
    def inputs(self) -> list[int]:
        """Input tokens of the model calls that tell them."""
        return [tokens for event in self.model_calls if (tokens := event.tokens_in) is not None]

    @cached_property
    def over(self) -> int:
        """The instant at which everything had ended."""
        return max((event.ended_at or event.instant for event in self.events), default=0)

    @cached_property
    def status(self) -> str | None:
        """How the mission ended; None while it has not, or nobody said."""
        if self.transcript.outcome in TERMINAL:
            return self.transcript.outcome
        words = (event.name.lower() for event in self.of_kind(EventKind.STATUS))
        return "succeeded" if any(word in GOAL_WORDS for word in words) else None

    @cached_property
    def steps(self) -> int:
        """Steps of the contract trajectory."""
        return sum(event.step is not None for event in self.events)

    @cached_property
    def acts(self) -> list[Event]:
        """What agents did or said."""
        return [event for event in self.events if event.kind in _ACTS]
