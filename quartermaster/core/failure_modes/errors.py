"""Calls that failed: storms of them, failures that count as success, calls without an end, and failures of
what an agent runs on rather than its own."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from quartermaster.core.failure_modes.evidence import Evidence, reads_only
from quartermaster.core.failure_modes.registry import Confidence, Severity, Sighting, detector
from quartermaster.core.transcript import Event, EventKind

_STORM_CALLS: Final = 10
_STORM_ERRORS: Final = 5
_RATE_CALLS: Final = 6
_FEWEST_WITHOUT_END: Final = 3

_SEARCHES: Final = re.compile(
    r"(?:^|[|;&]\s*)(?:[ef]?grep|rg|ag|diff|test|\[|cmp|which|git diff|git grep)(?:\s|$)"
)
_ERROR_MEMBERS: Final = ("error", "errors", "exception")
_STATUS_MEMBERS: Final = ("status", "status_code", "statusCode", "http_status", "code")
_EXIT_MEMBERS: Final = ("exit_code", "exitCode", "returncode", "return_code")
_FIRST_CLIENT_ERROR: Final = 400
_LAST_SERVER_ERROR: Final = 599
_SAYS_ERROR: Final = re.compile(
    r"\s*(?:error(?: \w+){0,3}:|\[error\]|exception:|fatal:|traceback \(most recent call last\):"
    r"|(?:process )?(?:exited|finished) with (?:exit )?code:? [1-9]|exit(?: ?code)?:? [1-9]\d{0,2}\b"
    r"|http(?:/\d(?:\.\d)?)?(?: error)? [45]\d\d\b)",
    re.IGNORECASE,
)
_ENDS_IN_TRACEBACK: Final = re.compile(
    r"^Traceback \(most recent call last\):.*\n(?:[A-Za-z_][\w.]*(?:Error|Exception|Exit"
    r"|Interrupt))(?:: [^\n]*)?\s*\Z",
    re.DOTALL | re.MULTILINE,
)
_READS_FILES: Final = re.compile(
    r"(?:^|_)(?:read|view|open|cat|grep|glob|search|find|ls|list_dir)(?:_|$)", re.IGNORECASE
)

_INFRASTRUCTURE: Final = {
    "rate limit": r"\b429\b|too many requests|rate[ _-]?limit(?:ed|s)? (?:is |was )?(?:exceeded"
    r"|reached|hit)|rate_limit"
    r"|token limit is exceeded|overloaded_error|quota exceeded",
    "auth": r"\b(?:http|status|code|error|client error)\b[^\n]{0,20}\b40[13]\b"
    r"|\b40[13] (?:client error|unauthori[sz]ed"
    r"|forbidden)|invalid[ _]api[ _]key|incorrect api key|authentication_error",
    "not found": r"\b(?:http|status|code|error|client error)\b[^\n]{0,20}\b404\b"
    r"|\b404 (?:client error|not found)",
    "server": r"\b(?:http|status|code|api error|server error)\b[^\n]{0,20}\b50[0234]\b"
    r"|\b50[0234] (?:server error"
    r"|internal|bad gateway|service unavailable|gateway)|internal server error|service unavailable"
    r"|econnre(?:set|fused)"
    r"|connection (?:refused|reset)",
    "timeout": r"timed out|etimedout|deadline exceeded|timeout(?:error|expired)|exit code:? 124\b",
    "dns": r"enotfound|getaddrinfo|name or service not known|could not resolve host"
    r"|temporary failure in name resolution",
}
"""What an API, a network or a clock answers, by class; words of files and of programs are none of it."""

_CLASSES: Final = re.compile("|".join(f"({pattern})" for pattern in _INFRASTRUCTURE.values()), re.IGNORECASE)
_HINTS: Final = (
    "429", "401", "403", "404", "500", "502", "503", "504", "124",
    "too many requests", "limit", "overloaded", "quota",
    "api key", "api_key", "authentication_error", "internal server", "unavailable", "econn", "connection re",
    "timed out", "timedout", "deadline", "timeout", "enotfound", "getaddrinfo", "name or service",
    "could not resolve", "temporary failure",
)  # fmt: skip
"""One of these is in every text that is of a class: most texts need no further look."""

_NAMES: Final = tuple(_INFRASTRUCTURE)
_OUTSIDE_LIMIT: Final = 400
_TIMED_OUT: Final = 124
_decode: Final = msgspec.json.Decoder().decode


def is_error(event: Event) -> bool:
    """A call that failed; a search that found nothing, and a call that was refused, have not failed."""
    if not event.failed or event.refused:
        return False
    searched = event.exit_code == 1 and not event.output and event.command is not None
    return not (searched and _SEARCHES.search(event.command or ""))


def tells_error(event: Event) -> str | None:
    """What in the answer of a call that counts as good has the shape of an error; None for nothing.

    Only the top of an answer counts: a file or a log that is shown may hold any error.
    """
    if not event.output or event.succeeded is not True:
        return None
    return None if _shows(event.name, event.command) else _error_shape(event.output)


@lru_cache(maxsize=4096)
def _shows(tool: str, command: str | None) -> bool:
    """Whether a call shows what stands somewhere, errors of others among it."""
    if command is None:
        return _READS_FILES.search(tool) is not None
    return reads_only(command) or _SEARCHES.search(command) is not None


def _error_shape(output: str) -> str | None:
    if found := _SAYS_ERROR.match(output):
        return found[0].strip()
    if output.startswith("{"):
        try:
            return _error_member(_decode(output))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            return None
    if "Traceback (most" in output and _ENDS_IN_TRACEBACK.search(output):
        return "a traceback"
    return None


def _error_member(answer: dict[str, Any]) -> str | None:
    for name in _ERROR_MEMBERS:
        if answer.get(name) and not isinstance(answer[name], int | float):
            return f"{name} is set"
    for name in _STATUS_MEMBERS:
        if type(answer.get(name)) is int and _FIRST_CLIENT_ERROR <= answer[name] <= _LAST_SERVER_ERROR:
            return f"{name} {answer[name]}"
    for name in _EXIT_MEMBERS:
        if type(answer.get(name)) is int and answer[name] != 0:
            return f"{name} {answer[name]}"
    return "success is false" if answer.get("success") is False else None


@detector(id="D16", severity=Severity.HIGH, trail=("System Execution Errors",))
def error_storm(evidence: Evidence) -> Iterator[Sighting]:
    """Five errors among ten calls, or half of all calls where there are six or more."""
    calls = [at for at in evidence.calls if evidence.events[at].succeeded is not None]
    calls = [at for at in calls if not evidence.events[at].refused]
    failed = [is_error(evidence.events[at]) for at in calls]
    storms = list(_storms(failed))
    errors = sum(failed)
    if not storms and len(calls) >= _RATE_CALLS and errors * 2 >= len(calls):
        storms = [(0, len(calls) - 1)]
    for first, last in storms:
        positions = [calls[index] for index in range(first, last + 1) if failed[index]]
        many = last - first + 1
        yield Sighting(
            positions=positions,
            reason=f"{len(positions)} of {many} calls failed",
            evidence={"errors": len(positions), "calls": many},
            wasted=positions,
        )


def _storms(failed: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """First and last error of each run of windows of ten calls with five errors in them."""
    errors = [index for index, bad in enumerate(failed) if bad]
    begin: int | None = None
    end = 0
    for nth in range(len(errors) - _STORM_ERRORS + 1):
        first, last = errors[nth], errors[nth + _STORM_ERRORS - 1]
        if last - first >= _STORM_CALLS:
            continue
        if begin is not None and first > end:
            yield begin, end
            begin = None
        begin, end = (first if begin is None else begin), last
    if begin is not None:
        yield begin, end


@detector(id="D21", severity=Severity.WARN, confidence=Confidence.LIKELY, trail=("Service Errors",))
def silent_tool_failure(evidence: Evidence) -> Iterator[Sighting]:
    """Calls of one tool that are recorded as good and answered with an error."""
    found: dict[str, list[int]] = {}
    shapes: dict[str, str] = {}
    for position in evidence.calls:
        event = evidence.events[position]
        shape = tells_error(event) if event.succeeded is True else None
        if shape is not None:
            found.setdefault(event.name, []).append(position)
            shapes.setdefault(event.name, shape)
    for tool, positions in found.items():
        yield Sighting(
            positions=positions,
            reason=f"{tool} counts as successful but answered with an error ({shapes[tool]})",
            evidence={"tool": tool, "calls": len(positions), "shape": shapes[tool]},
        )


def _no_results(evidence: Evidence) -> str | None:
    calls = [evidence.events[at] for at in evidence.calls]
    if len(calls) < _FEWEST_WITHOUT_END or not all(map(_has_no_end, calls)):
        return None
    return f"the recording holds no result of any of its {len(calls)} calls"


@detector(id="D22", severity=Severity.INFO, lacks=_no_results)
def orphan(evidence: Evidence) -> Iterator[Sighting]:
    """Calls whose end was never recorded, but for those that may still be running at the end. Where no call
    has one, results are not recorded, and nothing can be said."""
    if _no_results(evidence) is not None:
        return
    last = next(
        (at for at in reversed(evidence.steps) if evidence.events[at].kind is not EventKind.TOOL_CALL), -1
    )
    positions = [at for at in evidence.calls if at < last and _has_no_end(evidence.events[at])]
    if positions:
        yield Sighting(
            positions=positions,
            reason=f"{len(positions)} calls have no recorded result",
            evidence={"calls": len(positions)},
        )


def _has_no_end(event: Event) -> bool:
    if event.succeeded is not None or event.refused:
        return False
    told = (event.exit_code, event.output, event.error, event.ended_id, event.ended_at)
    return all(one is None for one in told)


@detector(id="D24", severity=Severity.INFO, confidence=Confidence.LIKELY, trail=("API Issues",))
def infrastructure(evidence: Evidence) -> Iterator[Sighting]:
    """Failures of what the agent runs on, by class; serious where nothing succeeded after the last one."""
    found: dict[str, list[int]] = {}
    for position, event in enumerate(evidence.events):
        if event.succeeded is False or event.error or event.severity > 1:
            kind = infrastructure_class(event)
            if kind is not None:
                found.setdefault(kind, []).append(position)
    if not found:
        return
    failed = {position for positions in found.values() for position in positions}
    good = next(
        (
            position
            for position in range(len(evidence.events) - 1, -1, -1)
            if position not in failed and _goes_on(evidence.events[position])
        ),
        -1,
    )
    for kind, positions in found.items():
        ended = positions[-1] > good
        failures = "one failure" if len(positions) == 1 else f"{len(positions)} failures"
        yield Sighting(
            positions=positions,
            reason=f"{failures} of class {kind}" + (", and the mission ended with it" if ended else ""),
            evidence={"class": kind, "failures": len(positions), "ended_the_mission": ended},
            severity=Severity.HIGH if ended else None,
            wasted=positions,
        )


def infrastructure_class(event: Event) -> str | None:
    """The class of a failure that is none of the agent's own; None for every other event."""
    if event.kind is EventKind.TOOL_CALL:
        if not event.failed or event.refused:
            return None
        if event.exit_code == _TIMED_OUT:
            return "timeout"
        return _outside(event.error or event.output)
    if event.kind in (EventKind.MODEL_CALL, EventKind.NOTE) and (event.error or event.severity > 1):
        return _outside(event.text if event.kind is EventKind.NOTE and event.text else event.error)
    return None


def _outside(text: str | None) -> str | None:
    """Errors stand at the beginning of an answer or at its end; what is between may be anything."""
    if not text:
        return None
    shown = text if len(text) <= 2 * _OUTSIDE_LIMIT else f"{text[:_OUTSIDE_LIMIT]}\n{text[-_OUTSIDE_LIMIT:]}"
    plain = shown.lower()
    if not any(hint in plain for hint in _HINTS):
        return None
    found = _CLASSES.search(shown)
    return None if found is None or found.lastindex is None else _NAMES[found.lastindex - 1]


def _goes_on(event: Event) -> bool:
    if event.kind is EventKind.TOOL_CALL:
        return event.succeeded is True
    return event.kind in (EventKind.AGENT_MESSAGE, EventKind.MODEL_CALL) and event.error is None
