"""What became of tool calls."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from quartermaster.core.failure_modes import DETECTORS
from quartermaster.core.failure_modes.grounding import grounding_of, schema_faults
from quartermaster.core.mission_metrics.registry import (
    Reading,
    Told,
    Undefined,
    amount,
    catalogue_metric,
    share,
)
from quartermaster.core.mission_metrics.subject import Subject

_RECOVERS_WITHIN: Final = 5
_NO_CALL: Final = "no tool was called"
_NO_RESULT: Final = "no tool call has a result"


@catalogue_metric(unit="calls", direction="neutral", over="the mission")
def tool_calls(subject: Subject) -> Reading:
    """Tool calls that were begun, retries among them."""
    return amount(len(subject.calls), subject.steps)


@catalogue_metric(unit="calls", direction="neutral", over="tool calls")
def tool_calls_refused(subject: Subject) -> Reading:
    """Tool calls that were blocked or cancelled and never carried out."""
    return amount(sum(event.refused for event in subject.calls), len(subject.calls))


@catalogue_metric(unit="calls", direction="neutral", over="tool calls")
def tool_calls_without_result(subject: Subject) -> Reading:
    """Tool calls of which no outcome was recorded."""
    unknown = sum(event.succeeded is None and not event.refused for event in subject.calls)
    return amount(unknown, len(subject.calls))


@catalogue_metric(unit="ratio", direction="higher is better", over="tool calls with a result")
def tool_call_success_rate(subject: Subject) -> Reading:
    """Tool calls that succeeded over tool calls with a result; refused ones and those without are no part.

    The contract's tool_success_rate counts access decisions too.
    """
    judged = subject.judged_calls
    nothing = _NO_RESULT if subject.calls else _NO_CALL
    return share(sum(event.succeeded is True for event in judged), len(judged), nothing)


@catalogue_metric(unit="ratio", direction="lower is better", over="tool calls", parts="class of error")
def tool_error_rate(subject: Subject) -> Told:
    """Tool calls that failed over tool calls; its parts are the classes of error that occurred."""
    classes: Counter[str] = Counter()
    for position in subject.evidence.calls:
        if not subject.events[position].refused and (kind := subject.evidence.error_classes[position]):
            classes[kind] += 1
    calls = len(subject.calls)
    return Told(
        reading=share(classes.total(), calls, _NO_CALL),
        parts={kind: share(count, calls, _NO_CALL) for kind, count in sorted(classes.items())},
    )


@catalogue_metric(unit="ratio", direction="higher is better", over="distinct attempts with a result")
def first_try_success(subject: Subject) -> Reading:
    """Attempts (a tool with its arguments) of which the first call succeeded over distinct attempts."""
    first: dict[int, bool | None] = {}
    for position in subject.evidence.calls:
        event = subject.events[position]
        if not event.refused:
            first.setdefault(subject.evidence.step_keys[position], event.succeeded)
    judged = [succeeded for succeeded in first.values() if succeeded is not None]
    return share(sum(judged), len(judged), _NO_RESULT if first else _NO_CALL, population=len(first))


@catalogue_metric(unit="ratio", direction="higher is better", over="error episodes")
def recovery_rate(subject: Subject) -> Reading:
    """Error episodes that a success of the same tool ended within five tool calls over error episodes.

    Errors of one tool that follow each other within five tool calls are one episode.
    """
    episodes = recovered = 0
    last_error: dict[str, int] = {}
    for index, event in enumerate(subject.calls):
        if event.refused or event.succeeded is None:
            continue
        before = last_error.get(event.name)
        near = before is not None and index - before <= _RECOVERS_WITHIN
        if event.failed:
            episodes += not near
            last_error[event.name] = index
        elif before is not None:
            recovered += near
            del last_error[event.name]
    return share(recovered, episodes, "no tool call failed: there is nothing to recover from")


@catalogue_metric(unit="calls", direction="lower is better", over="tool calls that count as good")
def silent_failure_count(subject: Subject) -> Reading:
    """Tool calls that count as good and whose answer has the shape of an error."""
    seen = DETECTORS["silent_tool_failure"].sightings(subject.evidence)
    good = sum(event.succeeded is True for event in subject.calls)
    return amount(sum(len(sighting.positions) for sighting in seen), good)


@catalogue_metric(unit="ratio", direction="higher is better", over="tool calls with a schema")
def argument_validity(subject: Subject) -> Reading:
    """Tool calls whose arguments fit the tool's schema over tool calls with a schema."""
    valid, with_schema, population = 0, 0, 0
    for arguments, schema in _with_schema(subject):
        population += 1
        if arguments is not None:
            with_schema += 1
            valid += next(iter(schema_faults(schema, arguments)), None) is None
    nothing = "the recording holds no schema of a tool that was called"
    return share(valid, with_schema, nothing, population=population)


def _with_schema(subject: Subject) -> Iterator[tuple[Mapping[str, object] | None, Mapping[str, object]]]:
    schemas = subject.evidence.context.tool_schemas
    for event in subject.calls if schemas else ():
        schema = schemas.get(event.name)
        if isinstance(schema, Mapping):
            whole = isinstance(event.arguments, Mapping) and event.arguments_digest is None
            yield (event.arguments if whole else None), schema


@catalogue_metric(unit="ratio", direction="lower is better", over="tool calls that hold an id")
def ungrounded_argument_rate(subject: Subject) -> Reading:
    """Tool calls with an id that nothing before had told over tool calls with an id among their arguments."""
    grounding = subject.evidence.once(grounding_of)
    nothing = "no tool call has an id among its arguments"
    if grounding.with_ids and not grounding.judged:
        return Undefined("what was told before was not kept whole", grounding.with_ids)
    return share(grounding.ungrounded, grounding.judged, nothing, population=grounding.with_ids)


@catalogue_metric(unit="ratio", direction="lower is better", over="tool calls")
def redundant_call_ratio(subject: Subject) -> Reading:
    """Tool calls that had been made before, with the same answer and no write between, over tool calls."""
    evidence = subject.evidence
    seen: set[tuple[int, int]] = set()
    redundant = 0
    for position in evidence.calls:
        event = subject.events[position]
        outcome = evidence.outcome_keys[position]
        if outcome is None:
            continue
        key = (evidence.step_keys[position], outcome)
        redundant += key in seen
        if not event.failed and not event.refused and evidence.may_write(event):
            seen.clear()
        seen.add(key)
    return share(redundant, len(subject.calls), _NO_CALL)
