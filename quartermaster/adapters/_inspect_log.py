"""Samples of Inspect logs, as far as the adapter reads them.

Fields take any value, because files hold any; bodies that can be large stay undecoded (`Raw`).
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from quartermaster.adapters._documents import or_none
from quartermaster.adapters._lines import is_id, text_or_none
from quartermaster.adapters._story import Usage, arguments_of, count_of, fresh_of, text_of
from quartermaster.core.journal import minted_id

DEPTH_LIMIT: Final = 32
_NOTHING: Final = msgspec.Raw(b"null")
_LETTERS: Final = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}


class Event(msgspec.Struct, gc=False):
    """One event of a sample; fields take any value."""

    event: Any = None
    timestamp: Any = None
    completed: Any = None
    span_id: Any = None
    parent_id: Any = None
    id: Any = None
    type: Any = None
    name: Any = None
    action: Any = None
    model: Any = None
    role: Any = None
    output: msgspec.Raw = _NOTHING
    error: Any = None
    retries: Any = None
    cache: Any = None
    pending: Any = None
    working_time: Any = None
    function: Any = None
    arguments: Any = None
    cmd: Any = None
    file: Any = None
    result: msgspec.Raw = _NOTHING
    call: msgspec.Raw = _NOTHING
    decision: Any = None
    approver: Any = None
    explanation: Any = None
    agent: Any = None
    tools: msgspec.Raw = _NOTHING
    message: Any = None
    limit: Any = None
    events: msgspec.Raw = _NOTHING


class Sample(msgspec.Struct, gc=False):
    """One sample of one epoch."""

    id: Any = None
    epoch: Any = None
    uuid: Any = None
    input: Any = None
    messages: msgspec.Raw = _NOTHING
    scores: Any = None
    error: Any = None
    limit: Any = None
    output: msgspec.Raw = _NOTHING
    attachments: msgspec.Raw = _NOTHING
    events: list[Event] | None = None


class Evaluation(NamedTuple):
    """What all samples of a log have in common."""

    key: tuple[str, ...]
    task: str | None
    agent: str | None
    model: str | None
    commit: str | None
    harness: str | None


class Tool(msgspec.Struct, gc=False):
    name: Any = None


class Message(msgspec.Struct, gc=False):
    role: Any = None
    content: Any = None
    model: Any = None
    tool_calls: Any = None
    tool_call_id: Any = None
    function: Any = None
    error: Any = None


class Choice(msgspec.Struct, gc=False):
    message: Message | None = None
    stop_reason: Any = None


class Output(msgspec.Struct, gc=False):
    choices: list[Choice] = []
    usage: Any = None
    time: Any = None


class Span(NamedTuple):
    type: Any
    name: Any
    parent: Any


_decode_events = msgspec.json.Decoder(list[Event]).decode
decode_tools = msgspec.json.Decoder(list[Tool]).decode
decode_messages = msgspec.json.Decoder(list[Message]).decode
decode_output = msgspec.json.Decoder(Output).decode
decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class ToolSpans:
    """Which span a tool call ran in: newer logs open one, named as the tool, around each call."""

    def __init__(self, spans: dict[Any, Span]) -> None:
        self._waiting: dict[tuple[Any, Any], list[Any]] = {}
        for key, span in spans.items():
            if span.type == "tool" and type(span.name) is str and isinstance(span.parent, str | None):
                self._waiting.setdefault((span.parent, span.name), []).append(key)
        self._spans = spans

    def of_tool(self, event: Event) -> Any:
        """The span of a call; its id where it has none."""
        waiting: list[Any] | None = None
        if type(event.function) is str and isinstance(event.span_id, str | None):
            own = self._spans.get(event.span_id)
            inside = own is not None and own.type == "tool" and own.name == event.function
            parent = own.parent if own and inside else event.span_id
            waiting = self._waiting.get((parent, event.function)) if isinstance(parent, str | None) else None
        return waiting.pop(0) if waiting else text_or_none(event.id)


def flattened(events: list[Event], within: Any, depth: int) -> Iterator[tuple[Event, Any]]:
    """Events in order, those inside of a tool's or a sub-task's own list too, with that tool."""
    for event in events:
        yield event, within
        if depth >= DEPTH_LIMIT or event.event not in ("tool", "subtask"):
            continue
        inner = or_none(_decode_events, event.events)
        if inner:
            place = text_or_none(event.id) if event.event == "tool" else within
            yield from flattened(inner, place, depth + 1)


def mission_id_of(sample: Sample, evaluation: Evaluation) -> str:
    if is_id(sample.uuid) and len(sample.uuid) <= 256:
        return f"inspect_{sample.uuid}"
    return "inspect_" + minted_id("inspect_ai", *evaluation.key, str(sample.id), str(sample.epoch))[2:]


def id_text(value: Any) -> str | None:
    return str(value) if type(value) is int or (type(value) is str and value) else None


def asked(value: Any) -> str:
    """What the sample asks: a text, or the last thing that the user says."""
    if not isinstance(value, list):
        return text_of(value)
    said = (
        text_of(one.get("content")) for one in value if isinstance(one, dict) and one.get("role") == "user"
    )
    return next((text for text in reversed(list(said)) if text), "")


def arguments_told(tool: str, value: Any) -> Any:
    """A shell's command line is called `cmd` here."""
    arguments = arguments_of(value)
    if tool == "bash" and isinstance(arguments, dict) and isinstance(arguments.get("cmd"), str):
        return {"command": arguments["cmd"]}
    return arguments


def calls_of(message: Message) -> list[dict[str, Any]]:
    calls = message.tool_calls if isinstance(message.tool_calls, list) else []
    return [call for call in calls if isinstance(call, dict)] if message.role == "assistant" else []


def usage_of(value: Any, model: str | None) -> Usage:
    """Counters that do not overlap.

    Whether the input includes what the cache gave differs by provider and by version; the total tells.
    """
    counters = value if isinstance(value, dict) else {}
    sent, received = count_of(counters.get("input_tokens")), count_of(counters.get("output_tokens"))
    read = count_of(counters.get("input_tokens_cache_read"))
    write = count_of(counters.get("input_tokens_cache_write"))
    total = count_of(counters.get("total_tokens"))
    if total is not None and sent is not None and received is not None and (read or write):
        inclusive = total == sent + received
    else:
        inclusive = not (model or "").startswith(("anthropic/", "bedrock/anthropic"))
    return Usage(
        fresh=fresh_of(sent, read, write) if inclusive else sent,
        output=received,
        cache_read=read,
        cache_write=write,
        reasoning=count_of(counters.get("reasoning_tokens")),
    )


def counters_of(used: Usage) -> dict[str, Any]:
    return {
        "input_tokens": used.fresh,
        "output_tokens": used.output,
        "cached_input_tokens": used.cache_read,
        "cache_creation_tokens": used.cache_write,
        "reasoning_tokens": used.reasoning,
        "cost_usd": used.cost,
    }


def milliseconds_of(*seconds: Any) -> int | None:
    found = (int(one * 1000) for one in seconds if type(one) in (int, float) and 0 <= one < 1e9)
    return next(found, None)


def reward_of(scores: Any) -> float | None:
    """What the first scorer says on a scale from 0 to 1; other scales stay labels."""
    first = next(iter(scores.values()), None) if isinstance(scores, dict) else None
    value: Any = first.get("value") if isinstance(first, dict) else None
    if isinstance(value, str):
        return _LETTERS.get(value)
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    return None
