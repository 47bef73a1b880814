"""How a mission ended: too early, too late, or with a success that nobody checked."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from quartermaster.core.assertions import claims_checks_pass
from quartermaster.core.claims import checks_passed, runs_checks, writes_code
from quartermaster.core.failure_modes.errors import is_error
from quartermaster.core.failure_modes.evidence import Evidence
from quartermaster.core.failure_modes.registry import Confidence, Severity, Sighting, detector
from quartermaster.core.transcript import Event, EventKind

_FURTHER_STEPS: Final = 3
_DEEDS: Final = frozenset({EventKind.AGENT_MESSAGE, EventKind.TOOL_CALL, EventKind.DELEGATION})
_PLANNERS: Final = re.compile(r"todo|plan|task_?list|checklist", re.IGNORECASE)
_OPEN: Final = frozenset(
    {"pending", "in_progress", "in progress", "open", "todo", "not_started", "not started"}
)
_CLOSED: Final = frozenset({"completed", "complete", "done", "cancelled", "canceled", "skipped"})
_ADMITS: Final = re.compile(
    r"\b(?:errors?|fail(?:s|ed|ing|ure|ures)?|unable|could ?n[o']t|can ?n[o']t|cannot|blocked|problem"
    r"|issue|unfortunately"
    r"|sorry|apolog\w+|not (?:able|possible|found|available|yet|allowed|permitted|eligible)|denied"
    r"|refused|missing"
    r"|instead|remaining|still|pending|manually|skipped|timed out|timeout|transfer\w*|did ?n[o']t"
    r"|do(?:es)? ?n[o']t"
    r"|was ?n[o']t|is ?n[o']t|invalid|unavailable|limit\w*|incomplete|however|but)\b",
    re.IGNORECASE,
)
_MARKER: Final = re.compile(
    r"\A\W*TERMINATE\W*\Z|\bTERMINATE\W*\Z|^\W*FINAL ANSWER\b"
    r"|\b(?:the|this|your|all) tasks? (?:is|are|has been|have been|was) (?:now |fully |successfully )*"
    r"(?:complete|completed|finished|done)\b",
    re.IGNORECASE | re.MULTILINE,
)
_HINTS: Final = ("terminate", "final answer", "task")
_FINISHERS: Final = frozenset(
    {
        "finish",
        "task_done",
        "submit",
        "attempt_completion",
        "complete_task",
        "task_complete",
        "done",
        "final_answer",
    }
)
_VERIFIES: Final = re.compile(r"verif|test|check|lint|review|valid", re.IGNORECASE)
_DELEGATES: Final = re.compile(r"^(?:task|agent|sub_?agent|delegate\w*|spawn\w*|dispatch\w*)$", re.IGNORECASE)
_PROGRAM: Final = re.compile(r"\bunittest\b|\bassert\b|\bpytest\b")


@detector(id="D13", severity=Severity.WARN, confidence=Confidence.LIKELY, mast=("3.1",))
def premature_termination(evidence: Evidence) -> Iterator[Sighting]:
    """An end that is called good while something is open: a plan, a failed call, a check that must be."""
    end = _good_end(evidence)
    if end is None:
        return
    yield from _never_ran(evidence, end)
    yield from _open_plan(evidence, end)
    yield from _open_failure(evidence, end)


def _good_end(evidence: Evidence) -> int | None:
    """The last answer, where it stands after all calls and was not taken back by the one who asked."""
    last = evidence.transcript.final_answer
    if last is None or (evidence.calls and evidence.calls[-1] > last.position):
        ended = bool(evidence.calls) and evidence.transcript.outcome == "succeeded"
        return evidence.calls[-1] if ended else None
    if evidence.transcript.outcome in ("failed", "cancelled", "limit_reached", "timed_out", "error"):
        return None
    return last.position


def _never_ran(evidence: Evidence, end: int) -> Iterator[Sighting]:
    if not evidence.context.required_tools:
        return
    called = {evidence.events[at].name for at in evidence.calls if evidence.events[at].succeeded is not False}
    missing = [tool for tool in evidence.context.required_tools if tool not in called]
    if missing:
        yield Sighting(
            positions=[end],
            reason=f"the mission ended and {', '.join(missing)} never ran",
            evidence={"never_ran": missing},
            severity=Severity.HIGH,
            confidence=Confidence.CERTAIN,
        )


def _open_plan(evidence: Evidence, end: int) -> Iterator[Sighting]:
    """The plan as it was last written down; a question at the end leaves it open on purpose."""
    planners = {tool for tool in evidence.called_tools if _PLANNERS.search(tool)}
    planned = [at for at in evidence.calls if evidence.events[at].name in planners] if planners else []
    states = [(at, states) for at in planned if (states := _states(evidence.events[at].arguments))]
    if not states or _asks(evidence.events[end]):
        return
    at, last = states[-1]
    still = sum(state in _OPEN for state in last)
    if still:
        yield Sighting(
            positions=[at, end],
            reason=f"the mission ended while {still} of {len(last)} items of its own plan were open",
            evidence={"open_items": still, "items": len(last)},
            confidence=Confidence.CERTAIN,
        )


def _states(arguments: Any) -> list[str]:
    """The states of the items of a plan, wherever in the arguments it stands."""
    if not isinstance(arguments, Mapping):
        return []
    for items in arguments.values():
        if not isinstance(items, list):
            continue
        told = [one.get("status") for one in items if isinstance(one, Mapping)]
        states = [one.lower() for one in told if isinstance(one, str)]
        if states and all(state in _OPEN or state in _CLOSED for state in states):
            return states
    return []


def _open_failure(evidence: Evidence, end: int) -> Iterator[Sighting]:
    """The last call failed, and nothing that was said after it speaks of anything that went wrong."""
    last = next((at for at in reversed(evidence.calls) if not evidence.events[at].refused), None)
    if last is None or not is_error(evidence.events[last]):
        return
    said = [evidence.events[at] for at in evidence.positions(EventKind.AGENT_MESSAGE) if last < at <= end]
    if not said or _asks(said[-1]) or any(_ADMITS.search(answer.text or "") for answer in said):
        return
    yield Sighting(
        positions=[last, end],
        reason=f"the last call, {evidence.events[last].name}, failed, and nothing said after it tells so",
        evidence={"tool": evidence.events[last].name},
    )


def _asks(event: Event) -> bool:
    return (event.text or "").rstrip(" \n*_)").endswith("?")


@detector(id="D14", severity=Severity.INFO, confidence=Confidence.LIKELY, mast=("1.5",))
def continues_after_completion(evidence: Evidence) -> Iterator[Sighting]:
    """The one who may end the mission says that it is done, and three more steps of the agents follow."""
    if not _may_be_marked(evidence):
        return
    ends = _who_may_end(evidence)
    marker: int | None = None
    further: list[int] = []
    for at in evidence.steps:
        event = evidence.events[at]
        if event.kind in (EventKind.USER_MESSAGE, EventKind.ANSWER):
            if len(further) >= _FURTHER_STEPS:
                break
            marker, further = None, []
        elif marker is None:
            marker = at if (ends is None or event.agent == ends) and _is_marker(event) else None
        elif (
            event.kind is not EventKind.MODEL_CALL
            and event.kind is not EventKind.STATUS
            and not _verifies(event)
        ):
            further.append(at)
    if marker is not None and len(further) >= _FURTHER_STEPS:
        yield Sighting(
            positions=[marker, *further],
            reason=f"the mission was called done, and {len(further)} more steps followed without a request",
            evidence={"further_steps": len(further)},
            wasted=further,
        )


def _who_may_end(evidence: Evidence) -> str | None:
    """In a team the agent that hands out work, else the one that speaks first; None for a single agent."""
    speakers = {evidence.events[at].agent for at in evidence.positions(EventKind.AGENT_MESSAGE)}
    if len(speakers) < 2:
        return None
    delegations = evidence.positions(EventKind.DELEGATION)
    first = delegations or evidence.positions(EventKind.AGENT_MESSAGE)
    return evidence.events[first[0]].agent


def _may_be_marked(evidence: Evidence) -> bool:
    """Whether anything that was called or said can be a marker."""
    finishes = any(tool.lower() in _FINISHERS for tool in evidence.called_tools)
    said = (evidence.events[at] for at in evidence.positions(EventKind.AGENT_MESSAGE))
    return finishes or any(map(_is_marker, said))


def _is_marker(event: Event) -> bool:
    if event.kind is EventKind.TOOL_CALL:
        return event.name.lower() in _FINISHERS and event.succeeded is not False
    if event.kind is not EventKind.AGENT_MESSAGE or not event.text:
        return False
    plain = event.text.lower()
    return any(hint in plain for hint in _HINTS) and _MARKER.search(event.text) is not None


def _verifies(event: Event) -> bool:
    if event.kind is EventKind.TOOL_CALL:
        return _VERIFIES.search(event.command or event.name) is not None or event.name.lower() in _FINISHERS
    return event.kind is EventKind.AGENT_MESSAGE and _VERIFIES.search(event.agent or "") is not None


@detector(id="D18", severity=Severity.WARN, confidence=Confidence.LIKELY, mast=("3.2",))
def unverified_claim(evidence: Evidence) -> Iterator[Sighting]:
    """The final answer says that tests pass, and no run of tests passed after the last change of the code."""
    last = evidence.transcript.final_answer
    claim = claims_checks_pass(last.text) if last is not None and last.text else None
    if last is None or claim is None:
        return
    calls = [evidence.events[at] for at in evidence.calls if at < last.position]
    changed = next((event.position for event in reversed(calls) if writes_code(event)), -1)
    since = [event for event in calls if event.position > changed]
    runs = [event for event in since if _tests(event)]
    if any(checks_passed(event) is not False for event in runs) or any(map(_may_test, since)):
        return
    positions = [event.position for event in runs] + [last.position]
    reason = "and the run of tests before it failed" if runs else "and no run of tests is recorded"
    after = " after the last change of the code" if changed >= 0 else ""
    yield Sighting(
        positions=positions if changed < 0 else [changed, *positions],
        reason=f"the final answer claims that tests pass, {reason}{after}",
        evidence={"claim": claim[:200], "failed_runs": len(runs)},
    )


def _tests(event: Event) -> bool:
    return event.command is not None and runs_checks(event.command)


def _may_test(event: Event) -> bool:
    """Work that was given to somebody else, and code that is run by other means, may hold the tests."""
    if _DELEGATES.match(event.name) or _VERIFIES.search(event.name):
        return True
    if not isinstance(event.arguments, Mapping):
        return False
    return any(isinstance(one, str) and _PROGRAM.search(one) for one in event.arguments.values())
