"""Where a mission met an end of what it had: money, steps, time, context, rounds."""

import re
from collections.abc import Iterator
from statistics import median
from typing import Final

from quartermaster.core.failure_modes.evidence import Evidence
from quartermaster.core.failure_modes.loops import brings_news
from quartermaster.core.failure_modes.registry import Confidence, Severity, Sighting, detector
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.core.transcript import Event, EventKind

_TIMES_THE_MEDIAN: Final = 3
_FEWEST_EARLIER: Final = 5
_FEWEST_CALLS: Final = 10
_LAST_SHARE: Final = 5
"""The end of a mission is the last one in this many of its steps."""
_FULL: Final = 0.9
_CALLS_AHEAD: Final = 5
_CONDENSATIONS: Final = 10
_CONDENSING: Final = re.compile(r"compact|condens|truncat|summari[sz]e")
_BESIDE_CONDENSING: Final = frozenset({EventKind.MODEL_CALL, EventKind.NOTE, EventKind.BUDGET})

_LIMIT_WORDS: Final = frozenset(
    {"limit_reached", "timed_out", "timeout", "max_steps", "max_turns", "max_iterations", "max_tokens",
     "budget_exceeded", "exit_cost", "exit_context", "exit_timeout", "context_exceeded"}
)  # fmt: skip
_ENDING_WORDS: Final = frozenset(
    {"completed", "done", "failed", "cancelled", "canceled", "aborted", "error", "interrupted", *_LIMIT_WORDS}
)
_CUT_OFF: Final = frozenset({"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded"})
_FILTERED: Final = frozenset({"content_filter", "safety", "prohibited_content", "blocklist", "recitation"})

_SAID_LIMIT: Final = re.compile(
    r"\b(?:max(?:imum)?(?:imum number of)?[ _](?:rounds?|time|turns?|steps?|iterations?|messages)"
    r"(?: \([^)]*\))? (?:was |is |has been |were )?(?:reached|exceeded|hit)"
    r"|(?:round|turn|step|time|iteration|cost|message|recursion|context|token) limit (?:of [\w.$]+ )?"
    r"(?:was |is |has been )?(?:reached|exceeded|hit)"
    r"|replan counter exceeded|exceeded the maximum number of (?:rounds|turns|steps|iterations))",
    re.IGNORECASE,
)
FILTER_WORDS: Final = re.compile(
    r"content[ _-]?(?:filter(?:ed|ing policies)?|management policy|policy violation)\b"
    r"|ResponsibleAIPolicyViolation|prompt was (?:blocked|flagged)"
    r"|(?:blocked|refused|rejected) by (?:the )?(?:safety|content|usage) (?:filter|polic)",
    re.IGNORECASE,
)
_CRASH: Final = re.compile(
    r"Traceback \(most recent call last\)|Error processing publish message|panic: |Segmentation fault"
)


def _no_measure_of_cost(evidence: Evidence) -> str | None:
    context = evidence.context
    budgets = (context.cost_budget, context.step_budget, context.seconds_budget)
    told = any(budgets) or any(
        evidence.events[position].entry_type == "budget.exceeded"
        for position in evidence.positions(EventKind.BUDGET)
    )
    if told or len(context.earlier_costs) >= _FEWEST_EARLIER or evidence.cost_sums[-1] > 0:
        return None
    return "no budget is set, and the cost of this run and of five earlier ones of its task is not known"


@detector(id="D09", severity=Severity.HIGH, trail=("Resource Exhaustion",), lacks=_no_measure_of_cost)
def budget_overrun(evidence: Evidence) -> Iterator[Sighting]:
    """A budget is exceeded; without one, the mission costs far more than earlier runs of its task; without
    these, most of its cost falls into an end that finds nothing new."""
    told = list(_exceeded_budgets(evidence))
    if told:
        yield from told
        return
    beyond = _beyond_earlier_runs(evidence) or _dear_end(evidence)
    if beyond is not None:
        yield beyond


def _no_window(evidence: Evidence) -> str | None:
    calls = [evidence.events[position] for position in evidence.positions(EventKind.MODEL_CALL)]
    if not calls:
        return None
    sized = {event.name for event in calls if event.tokens_in is not None}
    if not sized:
        return "no model call tells how many tokens went in"
    window_of = evidence.context.context_window
    unknown = sorted(model for model in sized if window_of is None or not window_of(model))
    if not unknown:
        return None
    named = ", ".join(model or "a model without a name" for model in unknown[:3])
    return f"the context window of {named} is not known"


@detector(
    id="D10",
    severity=Severity.WARN,
    mast=("1.4",),
    trail=("Context Handling Failures",),
    lacks=_no_window,
)
def context_runaway(evidence: Evidence) -> Iterator[Sighting]:
    """The context is nearly full, will be within five calls, or is condensed again and again."""
    window_of = evidence.context.context_window
    by_agent: dict[tuple[str | None, str], list[int]] = {}
    for position in evidence.positions(EventKind.MODEL_CALL) if window_of else ():
        event = evidence.events[position]
        if event.tokens_in is not None:
            by_agent.setdefault((event.agent, event.name), []).append(position)
    for (_, model), calls in by_agent.items():
        window = window_of(model) if window_of else None
        largest = max(evidence.events[position].tokens_in or 0 for position in calls)
        if window and largest <= window:  # what holds more is another window than the listed one
            yield from _full_windows(evidence, calls, window)
    yield from _condensations(evidence)


@detector(id="D15", severity=Severity.HIGH, mast=("3.1",), agentrx=("Guardrails Triggered",))
def stopped_by_a_limit(evidence: Evidence) -> Iterator[Sighting]:
    """The mission did not end, it was ended: by a limit, a content filter, a crash, or without a word."""
    if not evidence.events or evidence.context.now is not None:
        return
    cause = _cause(evidence)
    if cause is None:
        return
    event, name, reason = cause
    known = name != "broken off"  # a recording that breaks off may be one that has not ended yet
    yield Sighting(
        positions=[event.position],
        reason=reason,
        evidence={"cause": name},
        severity=Severity.HIGH if known else Severity.WARN,
        confidence=Confidence.CERTAIN if known else Confidence.LIKELY,
        agent=event.agent,
    )


def _exceeded_budgets(evidence: Evidence) -> Iterator[Sighting]:
    context = evidence.context
    recorded = [
        position
        for position in evidence.positions(EventKind.BUDGET)
        if evidence.events[position].entry_type == "budget.exceeded"
    ]
    if recorded:
        yield Sighting(
            positions=recorded,
            reason="the recording says that a budget was exceeded",
            evidence={"exceeded": len(recorded)},
            wasted=range(recorded[0], len(evidence.events)),
        )
    first = evidence.events[0].instant if evidence.events else 0
    spent = steps = 0
    limits = {"cost": context.cost_budget, "steps": context.step_budget, "seconds": context.seconds_budget}
    if not evidence.transcript.timed:
        limits["seconds"] = None
    for event in evidence.events:
        spent += event.cost or 0
        steps += event.step is not None
        now = {"cost": spent, "steps": steps, "seconds": (event.instant - first) / 1e9}
        for name, limit in list(limits.items()):
            if limit is not None and now[name] > limit:
                limits[name] = None
                yield Sighting(
                    positions=[event.position],
                    reason=f"the budget of {_amount(name, limit)} was exceeded",
                    evidence={"budget": name, "limit": limit},
                    wasted=range(event.position, len(evidence.events)),
                )
        if not any(limit is not None for limit in limits.values()):
            return


def _amount(name: str, limit: float) -> str:
    if name == "cost":
        return _money(limit)
    return f"{limit:g} {name}"


def _money(picodollars: float) -> str:
    return f"${picodollars / PICODOLLARS:.2f}"


def _beyond_earlier_runs(evidence: Evidence) -> Sighting | None:
    earlier = evidence.context.earlier_costs
    if len(earlier) < _FEWEST_EARLIER:
        return None
    typical = median(earlier)
    allowed = max(_TIMES_THE_MEDIAN * typical, *earlier)
    spent = 0
    for event in evidence.events:
        spent += event.cost or 0
        if spent > allowed:
            total = sum(one.cost or 0 for one in evidence.events)
            return Sighting(
                positions=[event.position],
                reason=f"cost {_money(total)}, more than {_TIMES_THE_MEDIAN} times the median "
                f"({_money(typical)}) and more than any of {len(earlier)} earlier runs",
                evidence={"cost": total, "median": int(typical), "earlier_runs": len(earlier)},
                wasted=range(event.position, len(evidence.events)),
            )
    return None


def _dear_end(evidence: Evidence) -> Sighting | None:
    total = evidence.cost_sums[-1]
    if len(evidence.calls) < _FEWEST_CALLS or total <= 0:
        return None
    news = evidence.once(brings_news)
    steps = [position for position, event in enumerate(evidence.events) if event.step is not None]
    start = steps[len(steps) - len(steps) // _LAST_SHARE]
    calls = [position for position in evidence.calls if position >= start]
    spent = total - evidence.cost_sums[start]
    if not calls or 2 * spent <= total or any(news[position] for position in calls):
        return None
    return Sighting(
        positions=calls,
        reason=f"the last fifth of the mission took {spent / total:.0%} of its cost and found nothing new",
        evidence={"share": round(spent / total, 4), "calls": len(calls)},
        wasted=range(start, len(evidence.events)),
    )


def _full_windows(evidence: Evidence, calls: list[int], window: int) -> Iterator[Sighting]:
    sizes = [evidence.events[position].tokens_in or 0 for position in calls]
    full = [position for position, size in zip(calls, sizes, strict=True) if size >= _FULL * window]
    if full:
        yield Sighting(
            positions=full,
            reason=f"{len(full)} model calls filled {_FULL:.0%} or more of a window of {window:,} tokens",
            evidence={"window": window, "largest": max(sizes), "calls": len(full)},
        )
        return
    last = sizes[-_CALLS_AHEAD - 1 :]
    if len(last) <= _CALLS_AHEAD or min(last) <= 0:
        return
    growth = (last[-1] - last[0]) / _CALLS_AHEAD
    if growth > 0 and last[-1] + growth * _CALLS_AHEAD >= window:
        yield Sighting(
            positions=calls[-_CALLS_AHEAD - 1 :],
            reason=f"at the growth of its last calls the context overflows {window:,} tokens within "
            f"{_CALLS_AHEAD} more",
            evidence={"window": window, "last": last[-1], "growth_per_call": round(growth)},
        )


def _condensations(evidence: Evidence) -> Iterator[Sighting]:
    if len(evidence.positions(EventKind.NOTE)) < _CONDENSATIONS:
        return
    run: list[int] = []
    for event in [*evidence.events, None]:
        if event is not None and event.kind is EventKind.NOTE and _CONDENSING.search(event.entry_type):
            run.append(event.position)
            continue
        if event is not None and event.kind in _BESIDE_CONDENSING:
            continue
        if len(run) >= _CONDENSATIONS:
            yield Sighting(
                positions=run,
                reason=f"the context was condensed {len(run)} times with nothing done between",
                evidence={"condensations": len(run)},
                wasted=range(run[0] + 1, run[-1] + 1),
            )
        run = []


def _cause(evidence: Evidence) -> tuple[Event, str, str] | None:
    """The event that ended the mission, the name of the cause, and the words for it."""
    events = evidence.events
    words = [events[position] for position in reversed(evidence.positions(EventKind.STATUS))]
    for event in words:
        if event.name.lower() in _LIMIT_WORDS:
            return event, "status", f"the mission ended with the status {event.name}"
    if evidence.transcript.outcome in _LIMIT_WORDS:
        return events[-1], "outcome", f"the mission ended as {evidence.transcript.outcome}"
    if evidence.transcript.outcome == "succeeded":
        return None
    ended = any(event.name.lower() in _ENDING_WORDS for event in words)
    for event in reversed(_last_turn(evidence)):
        reason = (event.finish_reason or "").lower()
        said = "\n".join(filter(None, (event.text, event.error, event.reason)))
        if reason in _FILTERED or FILTER_WORDS.search(said):
            return event, "content filter", "a content filter of the provider stopped the mission"
        if reason in _CUT_OFF:
            return event, "token limit", f"the last answer was cut off ({event.finish_reason})"
        if limit := _SAID_LIMIT.search(said):
            return event, "limit", f"a limit ended the mission: {limit[0]}"
        if event.kind is not EventKind.TOOL_CALL and _CRASH.search(said):
            return event, "crash", "the program of the agent crashed"
    if ended or evidence.transcript.outcome is not None:
        return None
    return _unanswered(evidence)


def _last_turn(evidence: Evidence) -> list[Event]:
    """What happened since the last step but one: the events that can tell of the end."""
    events: list[Event] = []
    telling = 0
    for event in reversed(evidence.events):
        if event.kind is EventKind.USER_MESSAGE or telling == 2:
            break
        telling += event.kind in (EventKind.AGENT_MESSAGE, EventKind.TOOL_CALL, EventKind.DELEGATION)
        events.append(event)
    return events[::-1]


def _unanswered(evidence: Evidence) -> tuple[Event, str, str] | None:
    """The recording breaks off: a call without its result, a question or a task without an answer."""
    told = (
        event
        for event in reversed(evidence.events)
        if event.kind not in (EventKind.NOTE, EventKind.MODEL_CALL)
    )
    last = next(told, None)
    if last is None:
        return None
    if last.kind is EventKind.TOOL_CALL and last.succeeded is None:
        return last, "broken off", f"the recording ends in a call of {last.name} without a result"
    if last.kind in (EventKind.TOOL_CALL, EventKind.DELEGATION):
        return last, "broken off", "the recording ends without a last word of the agent"
    return None
