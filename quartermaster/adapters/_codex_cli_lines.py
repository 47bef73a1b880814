"""The lines of a Codex CLI rollout, as far as the adapter reads them.

Fields take any value, because files hold any; bodies that can be large stay undecoded (`Raw`).
"""

import re
from typing import Any, Final, NamedTuple

import msgspec

from quartermaster.adapters import _json as json
from quartermaster.adapters._lines import or_none, text_or_none

_NOTHING: Final = msgspec.Raw(b"null")


class Line(msgspec.Struct, gc=False):
    """One line: an envelope around a payload whose meaning depends on the type."""

    type: Any = None
    timestamp: Any = None
    payload: msgspec.Raw = _NOTHING


class Item(msgspec.Struct, gc=False):
    """What the model produced or was given (`response_item`), or what happened (`event_msg`)."""

    type: Any = None
    role: Any = None
    name: Any = None
    call_id: Any = None
    message: Any = None
    reason: Any = None
    status: Any = None
    success: Any = None
    exit_code: Any = None
    arguments: msgspec.Raw = _NOTHING
    input: msgspec.Raw = _NOTHING
    action: msgspec.Raw = _NOTHING
    content: msgspec.Raw = _NOTHING
    output: msgspec.Raw = _NOTHING
    result: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    info: msgspec.Raw = _NOTHING


class SessionMeta(msgspec.Struct, gc=False):
    """Who runs where. `source` is a text, or an object for sub-agents."""

    id: Any = None
    parent_thread_id: Any = None
    cwd: Any = None
    cli_version: Any = None
    model_provider: Any = None
    source: msgspec.Raw = _NOTHING
    git: msgspec.Raw = _NOTHING


class TurnContext(msgspec.Struct, gc=False):
    """What a turn runs with; the only place that names the model."""

    model: Any = None


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counters; what was cached is part of the input, what was reasoned part of the output."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0
    total_tokens: int = 0


class TokenCount(msgspec.Struct, gc=False):
    """The tokens of the whole session so far, and of its last model call."""

    total_token_usage: msgspec.Raw = _NOTHING
    last_token_usage: msgspec.Raw = _NOTHING


class Verdict(NamedTuple):
    """What the text of a call's result says of how it went.

    `exit_code` is None where the text has none, `running` the process that goes on behind the call's back.
    """

    exit_code: int | None
    elapsed_ms: int | None
    running: str | None
    text: str


decode_line = msgspec.json.Decoder(Line).decode
_decode_item = msgspec.json.Decoder(Item).decode
_decode_meta = msgspec.json.Decoder(SessionMeta).decode
_decode_context = msgspec.json.Decoder(TurnContext).decode
_decode_count = msgspec.json.Decoder(TokenCount).decode
_decode_usage = msgspec.json.Decoder(Usage).decode

_HEAD: Final = 2_000
_EXIT_CODE: Final = re.compile(r"^(?:Process exited with code|Exit code:) (-?\d{1,9})\b", re.MULTILINE)
_WALL_TIME: Final = re.compile(r"^Wall time: (\d{1,9}(?:\.\d{1,9})?) seconds", re.MULTILINE)
_RUNNING: Final = re.compile(r"^Process running with session ID (\w{1,64})", re.MULTILINE)


def item_of(line: Line) -> Item | None:
    """The payload of a line of items or events."""
    return or_none(_decode_item, line.payload)


def meta_of(line: Line) -> SessionMeta | None:
    """The payload of a line that opens a session."""
    return or_none(_decode_meta, line.payload)


def model_of(line: Line) -> Any:
    """The model that a turn runs with."""
    context = or_none(_decode_context, line.payload)
    return context.model if context else None


def parent_of(meta: SessionMeta) -> str | None:
    """The session that sent this one out as its sub-agent."""
    source = json.decoded_or_none(meta.source)
    for name in ("subagent", "thread_spawn"):
        source = source.get(name) if isinstance(source, dict) else None
    spawned_by = source.get("parent_thread_id") if isinstance(source, dict) else None
    return text_or_none(meta.parent_thread_id) or text_or_none(spawned_by)


def usages_of(item: Item) -> tuple[Usage, Usage | None] | None:
    """The usage so far and that of the last call; None where the line carries none."""
    count = or_none(_decode_count, item.info)
    total = or_none(_decode_usage, count.total_token_usage) if count else None
    return (total, or_none(_decode_usage, count.last_token_usage)) if count and total else None


def texts_of(content: msgspec.Raw) -> list[str]:
    """The texts of a message, or of a result that is a text, an object or a list of content items."""
    value = json.decoded_or_none(content)
    items = value if isinstance(value, list) else [value]
    texts = (item.get("text", item.get("content")) if isinstance(item, dict) else item for item in items)
    return [text for text in texts if isinstance(text, str)]


def verdict_of(output: msgspec.Raw) -> Verdict:
    """How a call went, from its result: JSON in older versions, a text with a head in newer ones."""
    text = next(iter(texts_of(output)), "")
    if text.startswith("{"):
        told = json.decoded_or_none(text.encode("utf-8", "replace"))
        metadata = told.get("metadata") if isinstance(told, dict) else None
        if isinstance(metadata, dict):
            output_text = told.get("output")
            return Verdict(
                _whole_number(metadata.get("exit_code")),
                _milliseconds(metadata.get("duration_seconds")),
                None,
                output_text if isinstance(output_text, str) else "",
            )
    head = text[:_HEAD].split("\nOutput:", 1)[0]
    exit_code, wall_time, running = _EXIT_CODE.search(head), _WALL_TIME.search(head), _RUNNING.search(head)
    return Verdict(
        int(exit_code.group(1)) if exit_code else None,
        _milliseconds(float(wall_time.group(1))) if wall_time else None,
        running.group(1) if running and not exit_code else None,
        text,
    )


def failed_by(item: Item) -> bool | None:
    """Whether an event says that its call failed; None where it does not say."""
    if type(item.exit_code) is int:
        return item.exit_code != 0
    if type(item.success) is bool:
        return not item.success
    result = json.decoded_or_none(item.result)
    if not isinstance(result, dict):
        return None
    told = result.get("Ok")
    return "Err" in result or (isinstance(told, dict) and told.get("isError") is True)


def _whole_number(value: Any) -> int | None:
    return value if type(value) is int else None


def _milliseconds(seconds: Any) -> int | None:
    if type(seconds) is not float and type(seconds) is not int:
        return None
    return round(seconds * 1_000) if 0 <= seconds < 1e9 else None
