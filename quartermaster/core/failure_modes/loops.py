"""Calls that come again and bring nothing new: loops, retries of what fails, repetition, stalls."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import islice, pairwise
from operator import eq
from typing import Any, Final

import msgspec

from quartermaster.core.failure_modes.evidence import Evidence
from quartermaster.core.failure_modes.registry import Confidence, Severity, Sighting, detector
from quartermaster.core.transcript import Event, EventKind

_REPEATS: Final = 3
_LONGEST_PERIOD: Final = 8
_STALL_STEPS: Final = 10
_STALL_SHARE: Final = 5
"""A stall is longer than one in this many of the mission's calls."""
_SILENCE_SECONDS: Final = 600
_SILENCE_NANOSECONDS: Final = _SILENCE_SECONDS * 10**9
_HUMAN_TURNS: Final = frozenset({EventKind.USER_MESSAGE, EventKind.ANSWER, EventKind.DECISION})
_TERMINAL_WORDS: Final = frozenset(
    {"completed", "done", "failed", "cancelled", "canceled", "aborted", "limit_reached", "timed_out", "error"}
)


class Loop(msgspec.Struct, frozen=True):
    """Calls that repeat: `calls` are positions, `period` how many make one round."""

    period: int
    calls: tuple[int, ...]

    @property
    def rounds(self) -> int:
        return len(self.calls) // self.period


@detector(id="D01", severity=Severity.WARN, mast=("1.3",), trail=("Resource Abuse",))
def exact_tool_loop(evidence: Evidence) -> Iterator[Sighting]:
    """The same call with the same answer, at least three times in a row; from four on it is serious."""
    for loop in evidence.once(exact_loops):
        count = len(loop.calls)
        first = evidence.events[loop.calls[0]]
        yield Sighting(
            positions=loop.calls,
            reason=f"{_named(first)} was called {count} times in a row with the same arguments and gave the "
            "same answer each time",
            evidence={"tool": first.name, "repeats": count, "period": 1},
            wasted=range(loop.calls[0] + 1, loop.calls[-1] + 1),
            **_weight(evidence, loop.calls, Severity.HIGH if count > _REPEATS else Severity.WARN),
        )


@detector(id="D02", severity=Severity.HIGH, mast=("1.3",), trail=("Resource Abuse",))
def periodic_tool_loop(evidence: Evidence) -> Iterator[Sighting]:
    """Two to eight calls that come again at least three times, without an answer that the first round
    had not given."""
    for loop in evidence.once(periodic_loops):
        tools = [evidence.events[position].name for position in loop.calls[: loop.period]]
        yield Sighting(
            positions=loop.calls,
            reason=f"{loop.period} calls ({', '.join(tools)}) were repeated {loop.rounds} times over and no "
            "round after the first brought a new answer",
            evidence={"tools": tools, "repeats": loop.rounds, "period": loop.period},
            wasted=range(loop.calls[loop.period - 1] + 1, loop.calls[-1] + 1),
            **_weight(evidence, loop.calls, Severity.HIGH),
        )


@detector(
    id="D03", severity=Severity.HIGH, mast=("1.3",), trail=("Resource Abuse", "Tool Output Misinterpretation")
)
def error_retry_loop(evidence: Evidence) -> Iterator[Sighting]:
    """The same call failing with one class of error at least three times in a row, nothing changed."""
    for loop in evidence.once(retry_loops):
        count = len(loop.calls)
        first = evidence.events[loop.calls[0]]
        error = evidence.error_classes[loop.calls[0]]
        yield Sighting(
            positions=loop.calls,
            reason=f"{_named(first)} failed {count} times in a row with one kind of error ({error}) and was "
            "tried again without a change",
            evidence={"tool": first.name, "repeats": count, "error_class": error},
            wasted=range(loop.calls[0] + 1, loop.calls[-1] + 1),
            **_weight(evidence, loop.calls, Severity.HIGH),
        )


@detector(id="D04", severity=Severity.WARN, mast=("1.3",), trail=("Resource Abuse",))
def repeated_call(evidence: Evidence) -> Iterator[Sighting]:
    """The same call with the same answer at least three times, with nothing written between; loops that
    are told of as such are not told again."""
    told = {
        position
        for loops in map(evidence.once, (exact_loops, periodic_loops, retry_loops))
        for loop in loops
        for position in loop.calls
    }
    for calls in _groups_without_a_write(evidence):
        if len(calls) < _REPEATS or told.issuperset(calls):
            continue
        first = evidence.events[calls[0]]
        yield Sighting(
            positions=calls,
            reason=f"{_named(first)} was called {len(calls)} times with the same arguments and the same "
            "answer, and nothing was written between",
            evidence={"tool": first.name, "repeats": len(calls)},
            wasted=calls[1:],
            **_weight(evidence, calls, Severity.WARN),
        )


@detector(id="D08", severity=Severity.WARN, trail=("Resource Abuse",))
def stall(evidence: Evidence) -> Iterator[Sighting]:
    """A long run of calls of which none brings a new answer, or ten minutes of silence while at work."""
    yield from _calls_without_news(evidence)
    yield from _silences(evidence)


def exact_loops(evidence: Evidence) -> list[Loop]:
    """Runs of at least three calls with equal step and outcome keys."""
    return _runs(evidence, evidence.outcome_keys)


def retry_loops(evidence: Evidence) -> list[Loop]:
    """Runs of at least three failures of one call with one class of error."""
    return _runs(evidence, evidence.error_classes)


def _runs(evidence: Evidence, ends: Sequence[Hashable]) -> list[Loop]:
    """Runs of at least three calls with one step key and one end that is not None."""
    steps, found = evidence.step_keys, []
    for turn in evidence.once(turns):
        keys = [(steps[position], ends[position]) for position in turn]
        for start, end in _stretches(keys, 1):
            if keys[start][1] is not None:
                found.append(Loop(1, tuple(turn[start:end])))
    return found


def periodic_loops(evidence: Evidence) -> list[Loop]:
    """Runs of at least three rounds with the shortest period that explains them, two to eight."""
    taken: set[int] = set()
    found: list[Loop] = []
    for turn in evidence.once(turns):
        keys = [evidence.step_keys[position] for position in turn]
        for period in range(2, min(_LONGEST_PERIOD, len(turn) // _REPEATS) + 1):
            for start, end in _repetitions(keys, period):
                for calls in _without_news(evidence, turn[start:end], period):
                    if taken.isdisjoint(calls):
                        taken.update(calls)
                        found.append(Loop(period, calls))
    return found


def turns(evidence: Evidence) -> list[list[int]]:
    """The positions of tool calls, parted by what a human said: who is asked again does not loop."""
    parted: list[list[int]] = []
    turn: list[int] = []
    for position in evidence.positions(EventKind.TOOL_CALL, EventKind.USER_MESSAGE, EventKind.ANSWER):
        if evidence.events[position].kind is EventKind.TOOL_CALL:
            turn.append(position)
        elif turn:
            parted.append(turn)
            turn = []
    if turn:
        parted.append(turn)
    return parted


def brings_news(evidence: Evidence) -> dict[int, bool]:
    """For every tool call by its position whether it brought something that the mission had not seen.

    An answer is news where its outcome key is new; a call that changes the world or answers nothing is
    news by what it did, so by its step key.
    """
    seen: set[tuple[int | None, int | None]] = set()
    news = {}
    steps, outcomes = evidence.step_keys, evidence.outcome_keys
    for position in evidence.calls:
        event = evidence.events[position]
        told: tuple[int | None, int | None] = (None, outcomes[position])
        if event.succeeded is not False and (not event.output or evidence.may_write(event)):
            told = (steps[position], outcomes[position])
        news[position] = told not in seen
        seen.add(told)
    return news


def _repetitions(keys: list[int], period: int) -> Iterator[tuple[int, int]]:
    """Stretches that no shorter period explains."""
    for start, end in _stretches(keys, period):
        if not _has_shorter_period(keys[start : start + period]):
            yield start, end


def _stretches(keys: Sequence[Hashable], period: int) -> Iterator[tuple[int, int]]:
    """Maximal stretches (start, end), three rounds long, where every key equals the one a period before."""
    equal = bytes(map(eq, islice(keys, period, None), keys))
    long_enough = b"\1" * ((_REPEATS - 1) * period)
    start = equal.find(long_enough)
    while start >= 0:
        end = equal.find(b"\0", start)
        if end < 0:
            end = len(equal)
        yield start, end + period
        start = equal.find(long_enough, end)


def _has_shorter_period(block: list[int]) -> bool:
    length = len(block)
    return any(
        length % shorter == 0 and block == block[:shorter] * (length // shorter)
        for shorter in range(1, length // 2 + 1)
    )


def _without_news(evidence: Evidence, calls: list[int], period: int) -> Iterator[tuple[int, ...]]:
    """The parts of a repetition, three rounds long, whose answers were all given in their first round.

    A new answer starts a part anew so that it lies in the first round of the next.
    """
    outcomes = [evidence.outcome_keys[position] for position in calls]
    start, seen = 0, set(outcomes[:period])
    for index in range(period, len(calls) + 1):
        if index < len(calls) and outcomes[index] in seen:
            continue
        if index - start >= _REPEATS * period and None not in seen:
            yield tuple(calls[start:index])
        start = index - period + 1
        seen = set(outcomes[start : index + 1])


def _groups_without_a_write(evidence: Evidence) -> Iterator[list[int]]:
    """Calls with equal keys that are often enough, parted where another call may have changed the world
    between them."""
    steps, outcomes = evidence.step_keys, evidence.outcome_keys
    times = Counter((steps[position], outcomes[position]) for position in evidence.calls)
    groups: dict[tuple[int, int], list[int]] = {}
    last_write: tuple[int, int] | None = None
    last_other: tuple[int, int] | None = None
    for position in evidence.calls:
        step, outcome = steps[position], outcomes[position]
        if outcome is not None and times[step, outcome] >= _REPEATS:
            write = last_other if last_write is not None and last_write[0] == step else last_write
            group = groups.get((step, outcome))
            if group is not None and write is not None and write[1] > group[-1]:
                yield group
                group = None
            if group is None:
                groups[step, outcome] = group = []
            group.append(position)
        if evidence.may_write(evidence.events[position]):
            if last_write is not None and last_write[0] != step:
                last_other = last_write
            last_write = (step, position)
    yield from groups.values()


def _calls_without_news(evidence: Evidence) -> Iterator[Sighting]:
    news = evidence.once(brings_news)
    longest = max(_STALL_STEPS, len(evidence.calls) // _STALL_SHARE)
    run: list[int] = []
    for position in [*evidence.calls, None]:
        if position is not None and not news[position] and evidence.outcome_keys[position] is not None:
            run.append(position)
            continue
        if len(run) > longest:
            yield Sighting(
                positions=run,
                reason=f"{len(run)} calls in a row brought nothing that had not been seen before",
                evidence={"calls": len(run), "allowed": longest},
                wasted=range(run[0], run[-1] + 1),
                **_weight(evidence, run, Severity.WARN),
            )
        run = []


def _silences(evidence: Evidence) -> Iterator[Sighting]:
    """Gaps in which nobody waited for a human; the last one lasts until now while the mission runs."""
    if not evidence.transcript.timed:
        return
    active = [event for event in evidence.events if event.kind is not EventKind.NOTE]
    for before, after in pairwise(active):
        if after.instant - before.instant <= _SILENCE_NANOSECONDS:
            continue
        silent = (after.instant - max(before.instant, before.ended_at or 0)) / 1e9
        if silent > _SILENCE_SECONDS and after.kind not in _HUMAN_TURNS and not _waits(before):
            yield _silence(before, after, silent)
    now = evidence.context.now
    if now is not None and active and not _waits(active[-1]):
        silent = (now - max(active[-1].instant, active[-1].ended_at or 0)) / 1e9
        if silent > _SILENCE_SECONDS:
            yield _silence(active[-1], active[-1], silent)


def _silence(before: Event, after: Event, seconds: float) -> Sighting:
    return Sighting(
        positions=sorted({before.position, after.position}),
        reason=f"nothing happened for {seconds / 60:.0f} minutes while the agent was at work",
        evidence={"silent_seconds": round(seconds, 3)},
        severity=Severity.WARN,
    )


def _waits(event: Event) -> bool:
    """Whether after this event it is for a human to act, or nothing more is to come."""
    if event.kind is EventKind.STATUS:
        return event.name.lower() in _TERMINAL_WORDS
    return event.kind in (EventKind.QUESTION, EventKind.AGENT_MESSAGE)


def _weight(evidence: Evidence, calls: Sequence[int], severity: Severity) -> dict[str, Any]:
    """How much a likeness of calls weighs: only what was recorded is known to be the same.

    Where arguments were not kept, or a success without its answer, the calls may well have differed.
    """
    known = all(_is_told(evidence.events[position]) for position in calls)
    if known:
        return {"severity": severity, "confidence": Confidence.CERTAIN}
    return {"severity": Severity.INFO, "confidence": Confidence.LIKELY}


def _is_told(event: Event) -> bool:
    asked = event.arguments is not None or event.command is not None or event.arguments_digest is not None
    return asked and (event.failed or event.refused or bool(event.output or event.error))


def _named(event: Event) -> str:
    return event.name or "a tool"
