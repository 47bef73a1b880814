"""The events of a Copilot CLI session, as far as the adapter reads them.

Fields take any value, because files hold any; bodies that can be large stay undecoded (`Raw`).
"""

import re
from typing import Any, Final

import msgspec

from quartermaster.adapters import _json as json
from quartermaster.adapters._lines import or_none

_NOTHING: Final = msgspec.Raw(b"null")


class Event(msgspec.Struct, gc=False):
    """One line: something that happened."""

    type: Any = None
    id: Any = None
    timestamp: Any = None
    data: msgspec.Raw = _NOTHING


class Start(msgspec.Struct, rename="camel", gc=False):
    """How a session began. The model that was selected need not be the one that answers."""

    session_id: Any = None
    producer: Any = None
    copilot_version: Any = None
    context: msgspec.Raw = _NOTHING


class Data(msgspec.Struct, rename="camel", gc=False):
    """What happened, for the events that make entries."""

    content: Any = None
    model: Any = None
    message_id: Any = None
    api_call_id: Any = None
    output_tokens: Any = None
    tool_call_id: Any = None
    parent_tool_call_id: Any = None
    tool_name: Any = None
    agent_name: Any = None
    success: Any = None
    reason: Any = None
    message: Any = None
    shutdown_type: Any = None
    arguments: msgspec.Raw = _NOTHING
    result: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    model_metrics: msgspec.Raw = _NOTHING


class Usage(msgspec.Struct, rename="camel", frozen=True, gc=False):
    """Tokens of all calls of one model, told once at the end of a session."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


class _Metrics(msgspec.Struct, gc=False):
    usage: msgspec.Raw = _NOTHING


decode_event = msgspec.json.Decoder(Event).decode
_decode_start = msgspec.json.Decoder(Start).decode
_decode_data = msgspec.json.Decoder(Data).decode
_decode_metrics = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_metric = msgspec.json.Decoder(_Metrics).decode
_decode_usage = msgspec.json.Decoder(Usage).decode

_TAIL: Final = 300
_EXIT_CODE: Final = re.compile(r"\bexit(?:ed with)?(?: exit)? code (-?\d{1,9})>?\s*\Z")


def start_of(event: Event) -> Start | None:
    """What the event that opens a session says."""
    return or_none(_decode_start, event.data) if event.type == "session.start" else None


def data_of(event: Event) -> Data | None:
    """What the event says, where that is an object."""
    return or_none(_decode_data, event.data)


def usages_of(data: Data) -> dict[str, Usage]:
    """The usage of each model; one that is 0 throughout is unknown and left out."""
    usages = {}
    for model, raw in (or_none(_decode_metrics, data.model_metrics) or {}).items():
        metrics = or_none(_decode_metric, raw)
        usage = or_none(_decode_usage, metrics.usage) if metrics else None
        if usage and any((usage.input_tokens, usage.output_tokens, usage.cache_read_tokens)):
            usages[model] = usage
    return usages


def text_in(raw: msgspec.Raw, name: str) -> str:
    """The text of that name in an object, or nothing."""
    value = json.decoded_or_none(raw)
    text = value.get(name) if isinstance(value, dict) else None
    return text if isinstance(text, str) else ""


def exit_code_of(text: str) -> int | None:
    """The exit code that a shell's result ends with."""
    found = _EXIT_CODE.search(text[-_TAIL:])
    return int(found.group(1)) if found else None
