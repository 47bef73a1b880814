"""Where a failed mission went wrong first: the decisive step and the agent that took it, without a model.

Rules are tried in order, from what is seen in the recording to what is only likely. A mission of which no
rule has anything to say gets no step, and the reason why.
"""

import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from quartermaster.core.transcript import Event, EventKind, Transcript


class RootCause(msgspec.Struct, frozen=True, kw_only=True):
    """The step that decided, or None with the reason why nobody can say.

    `position` is that of the decisive event, `symptom` that of the event which gave it away. `rule` names
    what was gone by; `measured` says that the place follows from a recorded failure, otherwise it is the
    best guess of a rule that looks at the order of things alone.
    """

    reason: str
    rule: str | None = None
    position: int | None = None
    entry_id: str | None = None
    agent: str | None = None
    symptom: int | None = None
    measured: bool = False


Found = tuple[int, int, str]
"""The position of the decisive event, that of its symptom, and the reason in words."""

Rule = Callable[[Sequence[Event]], Found | None]

_SPEECH: Final = frozenset({EventKind.USER_MESSAGE, EventKind.AGENT_MESSAGE, EventKind.DELEGATION})
_LOOKS_BACK: Final = 8
_SAME_INSTRUCTION: Final = 85
_INSTRUCTION_LIMIT: Final = 500
_INSTRUCTIONS_LIMIT: Final = 1_000
_READ_LIMIT: Final = 1_500
_ADMITS: Final = re.compile(
    r"\b(?:there (?:was|is|seems to be|appears to be) an? (?:\w+ )?(?:error|issue|problem|miscalculation)"
    r"|(?:was|were|am|are|is) unable to|traceback \(most recent call last\)|captcha"
    r"|verify (?:that )?you are human"
    r"|(?:page|file|site|server) (?:could not be|can(?:no|')t be|not) (?:found|reached|opened|loaded))\b",
    re.IGNORECASE,
)


def first_failed_call(events: Sequence[Event]) -> Found | None:
    """The step before the first result that failed: whoever wrote what was carried out."""
    for position, event in enumerate(events):
        if event.kind is EventKind.TOOL_CALL and event.failed and not event.refused:
            code = "" if event.exit_code in (None, 0) else f" with exit code {event.exit_code}"
            return _author(events, position), position, f"the first call that failed is {event.name}{code}"
    return None


def repeated_instruction(events: Sequence[Event]) -> Found | None:
    """The answer after which the same was asked again: it was not what was wanted."""
    from rapidfuzz.fuzz import token_set_ratio  # noqa: PLC0415 - half the daemon's start for a rare question

    earlier: deque[str] = deque(maxlen=_LOOKS_BACK)
    answer: int | None = None
    asked: set[str | None] = set()
    count = 0
    for position, event in enumerate(events):
        if event.kind is EventKind.DELEGATION and event.text and count < _INSTRUCTIONS_LIMIT:
            count += 1
            text = event.text[:_INSTRUCTION_LIMIT]
            again = any(token_set_ratio(text, before, score_cutoff=_SAME_INSTRUCTION) for before in earlier)
            if again and answer is not None:
                return answer, position, "the same instruction is given again after this answer"
            earlier.append(text)
            asked.add(event.to)
        elif event.kind is EventKind.AGENT_MESSAGE and (event.agent in asked or None in asked):
            answer = position
    return None


def first_admission(events: Sequence[Event]) -> Found | None:
    """The first agent to speak of an error, where no call is recorded as failed."""
    for position, event in enumerate(events):
        if event.kind is EventKind.AGENT_MESSAGE and event.text and _ADMITS.search(event.text[:_READ_LIMIT]):
            return position, position, "the first error that an agent speaks of"
    return None


def first_call(events: Sequence[Event]) -> Found | None:
    """The first thing that was carried out: where nothing failed, everything after it rests on it."""
    for position, event in enumerate(events):
        if event.kind is EventKind.TOOL_CALL:
            reason = "no call failed; what follows rests on the first one"
            return _author(events, position), position, reason
    return None


def accepted_answer(events: Sequence[Event]) -> Found | None:
    """Whoever took a delegate's last answer for good, where nothing failed and nothing was asked twice."""
    asked: set[str | None] = set()
    accepted: int | None = None
    answered = False
    for position, event in enumerate(events):
        if event.kind is EventKind.DELEGATION:
            asked.add(event.to)
        elif event.kind is EventKind.AGENT_MESSAGE and (event.agent in asked or None in asked):
            answered, accepted = True, None
        elif event.kind is EventKind.AGENT_MESSAGE and answered and accepted is None:
            accepted = position
    if accepted is None:
        return None
    return accepted, accepted, "no call failed and nothing was asked twice; here the last answer was accepted"


RULES: Final[tuple[Rule, ...]] = (
    first_failed_call,
    repeated_instruction,
    first_admission,
    first_call,
    accepted_answer,
)
"""In the order in which they are tried."""

_MEASURED: Final = frozenset({first_failed_call, repeated_instruction})


def root_cause(transcript: Transcript, *, rules: Sequence[Rule] = RULES) -> RootCause:
    """The decisive step of a mission that failed, or of whose success only its own agent speaks."""
    if transcript.outcome == "succeeded" and any(
        told.outcome == "succeeded" and told.origin != "agent" for told in transcript.told
    ):
        return RootCause(reason="the mission succeeded")
    events = transcript.events
    for rule in rules:
        found = rule(events)
        if found is not None:
            position, symptom, reason = found
            decisive = events[position]
            return RootCause(
                reason=reason,
                rule=rule.__name__,
                position=position,
                entry_id=decisive.entry_id,
                agent=decisive.agent,
                symptom=symptom,
                measured=rule in _MEASURED,
            )
    return RootCause(reason="no call, no error and no repeated instruction points anywhere")


def _author(events: Sequence[Event], position: int) -> int:
    """Who decided on a call: the call itself, or what was said before an executor that speaks for itself."""
    call = events[position]
    if call.agent is not None and call.agent != call.name:
        return position
    if call.agent is None and not _is_team(events):
        return position
    said = (index for index in range(position - 1, -1, -1) if events[index].kind in _SPEECH)
    return next(said, position)


def _is_team(events: Sequence[Event]) -> bool:
    """Whether more than one agent speaks."""
    speakers = {event.agent for event in events if event.kind is EventKind.AGENT_MESSAGE and event.agent}
    return len(speakers) > 1
